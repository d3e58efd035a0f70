"""
A layer in two dimensions
=========================

Principal components, with their share of the variance.
"""

from _digits import activations

from repana import plots

figure = plots.figure_of(plots.layer_map(activations(), "conv3"))
