"""Inference on a GPU: provider options, I/O binding, optimization profiles. Imported on request only."""
