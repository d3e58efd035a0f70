"""
Online code
===========

Bits that the next label costs, over the labels known.
"""

from _digits import activations

from repana import mdl, plots

layers = activations()
codes = {name: mdl(layers[name], layers.labels, probe="lda") for name in ("input", "conv1", "conv3", "classifier:in")}
figure = plots.figure_of(plots.mdl_curve(codes))
