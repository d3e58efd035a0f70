"""
Layers compared
===============

Every layer against the one chosen on the select rows, on the same report rows.
"""

from _digits import probes

from repana import plots

figure = plots.figure_of(plots.layer_strip(probes()))
