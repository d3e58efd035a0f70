"""Benchmarks: ratios taken in one process against a named peer or the hardware's limit."""
