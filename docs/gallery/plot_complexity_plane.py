"""
Complexity and importance
=========================

How complex every feature is, against how much the decision depends on it.
"""

from _digits import features

from repana import plots

figure = plots.figure_of(plots.complexity_plane(features()))
