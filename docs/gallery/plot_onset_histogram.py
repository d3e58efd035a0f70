"""
Onsets of features
==================

How many features become readable at each layer.
"""

from _digits import features

from repana import plots

figure = plots.figure_of(plots.onset_histogram(features()))
