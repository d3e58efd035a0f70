"""
Local dimension
===============

How the dimension around single samples is spread in three layers.
"""

from _digits import activations

from repana import local_dimension, plots

made = activations()
values = {layer: local_dimension(made[layer]) for layer in ("input", "conv3", "classifier:in")}
figure = plots.figure_of(plots.local_dimension_histogram(values))
