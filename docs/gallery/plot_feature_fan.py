"""
Features over depth
===================

From which layer on every feature of the last hidden layer can be read linearly.
"""

from _digits import features

from repana import plots

figure = plots.figure_of(plots.feature_fan(features()))
