"""
Trajectory over checkpoints
===========================

Quantities over training, one line a layer, one column a series of checkpoints.
"""

from _digits import checkpoints

from repana import plots

figure = plots.figure_of(plots.trajectory(checkpoints(), "nc1", "etf_error"))
