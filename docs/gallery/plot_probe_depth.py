"""
What probes read
================

Accuracy over depth beside chance, shuffled labels, re-initialised copies and random projections.
"""

from _digits import probes

from repana import plots

figure = plots.figure_of(plots.probe_depth(probes()))
