"""
Few labels
==========

Generative readers against a logistic one, over the number of labels.
"""

from _digits import activations

from repana import plots, sample_efficiency

layers = activations()
found = sample_efficiency(layers["input"], layers.labels, repeats=5)
figure = plots.figure_of(plots.sample_efficiency_curve(found))
