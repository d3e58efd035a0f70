"""
Heat map
========

All quantities of all layers, each on its own scale: darker is better.
"""

from _digits import report

from repana import plots

figure = plots.figure_of(plots.heat_map(report(), split="train"))
