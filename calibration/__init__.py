"""Int8 quantization of bundles, and comparison of models: calibration data, quantizers, accuracy checks, speed."""
