"""The sections of the report, one module each, and the implementations that they measure."""

__all__ = [
    "accuracy",
    "cold_start",
    "frame_fbank",
    "implementations",
    "latency",
    "memory",
    "parameters",
    "parity",
    "robustness",
    "roofline",
    "size",
    "streaming",
]
