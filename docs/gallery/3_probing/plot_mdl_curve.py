"""
Online code
===========

**How many labels does a probe need?**

The bits that the next label costs, over the labels known. The area below a curve is the code length.
"""

import repana
from repana import plots

model, train, held_out = repana.example_model()
layers = repana.record(model, train)
names = ("input", "conv1", "conv3", "classifier:in")
codes = {name: repana.mdl(layers[name], layers.labels, probe="lda") for name in names}
figure = plots.figure_of(plots.mdl_curve(codes))
