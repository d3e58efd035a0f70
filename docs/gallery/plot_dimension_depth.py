"""
Dimension over depth
====================

Several estimators in one panel: where they part, the dimension depends on the scale.
"""

from _digits import report

from repana import plots

figure = plots.figure_of(plots.dimension_depth(report()))
