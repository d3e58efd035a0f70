"""
Distances of classes
====================

Bhattacharyya distances of Gaussian classes at the classifier's input, and how much of them is noise.
"""

from _digits import activations

from repana import class_divergences, plots

layer = activations()
found = class_divergences(layer["classifier:in"], layer.labels)
figure = plots.figure_of(plots.class_distances(found))
