"""Torch to ONNX: lossless surgery, tracing, verification, bundles."""
