"""
A layer by t-SNE
================

Near neighbours are kept, more or less; groups may come from the method, and distances between them mean nothing.
"""

from _digits import activations

from repana import plots

figure = plots.figure_of(plots.layer_map(activations(), "conv3", method="tsne", max_samples=600))
