"""
Class pairs
===========

Which classes overlap most, with the closest pairs named.
"""

from _digits import report

from repana import plots

figure = plots.figure_of(plots.cdnv_grid(report()))
