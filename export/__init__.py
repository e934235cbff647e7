"""Export from PyTorch to ONNX: lossless surgery, tracing, verification, bundles."""
