"""
Accuracy against complexity
===========================

Fronts over the effective dimension of the probe.
"""

from _digits import activations

from repana import pareto, plots

layers = activations()
fronts = {name: pareto(layers[name], layers.labels) for name in ("input", "conv1", "conv3", "classifier:in")}
figure = plots.figure_of(plots.pareto_front(fronts))
