"""Benchmarks: how much smaller and faster the models are, and tests that accuracy is not lost.

Timings are compared as ratios within one run.
"""

__all__ = [
    "context",
    "fresh_process",
    "golden",
    "gpu",
    "program",
    "progress",
    "report",
    "runner",
    "sections",
    "studies",
]
