"""
Components by layer
===================

How many components samples form within a distance, over the median distance of their layer; labels are not read.
"""

from _digits import report

from repana import plots

figure = plots.figure_of(plots.betti_curves(report()))
