"""What a smaller or other model costs: judges, accuracy checks, calibration sets and int8 quantizers."""
