"""Benchmarks: what was saved, and that nothing was lost. Timings are ratios measured in one run."""
