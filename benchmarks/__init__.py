"""Benchmarks: how much the models save, and tests that nothing is lost.

Timings are ratios measured in one run.
"""
