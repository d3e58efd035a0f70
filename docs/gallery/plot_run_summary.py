"""
Many runs
=========

One line a run, read at the input of the classifier.
"""

from _digits import checkpoints

from repana import plots

figure = plots.figure_of(plots.run_summary(checkpoints(), "nc1", "etf_error"))
