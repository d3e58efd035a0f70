"""
Depth profile of several runs
=============================

Two networks in the same panels.
"""

from _digits import checkpoints

from repana import plots

ends = ["weight decay/epoch24", "no decay/epoch24"]
figure = plots.figure_of(plots.depth_profile(checkpoints(), "nc1", "etf_error", runs=ends))
