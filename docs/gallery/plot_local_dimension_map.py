"""
Local dimension on a map
========================

Where a layer is of high dimension.
"""

from _digits import activations

from repana import local_dimension, plots

made = activations()
figure = plots.figure_of(plots.local_dimension_map(made, local_dimension(made["conv3"], smooth=True), "conv3"))
