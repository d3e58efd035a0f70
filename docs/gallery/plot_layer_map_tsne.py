"""
A layer by t-SNE
================

Groups are real, their distances and sizes are not.
"""

from _digits import activations

from repana import plots

figure = plots.figure_of(plots.layer_map(activations(), "conv3", method="tsne", max_samples=600))
