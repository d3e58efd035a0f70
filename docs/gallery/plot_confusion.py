"""
Confusion
=========

What the linear probe of an early layer takes for what.
"""

from _digits import probes

from repana import plots

figure = plots.figure_of(plots.confusion(probes(), "conv1"))
