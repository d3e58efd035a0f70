"""
Maps of layers
==============

Are classes apart, and from which layer on? One map per layer, the same samples in all.
"""

from _digits import activations

from repana import plots

figure = plots.figure_of(plots.layer_maps(activations(), "input", "conv1", "conv3", "linear1", max_samples=600))
