"""
Local dimension
===============

**Does the dimension vary between samples?**

Outlines are densities over samples, ticks below them medians.
"""

import repana
from repana import plots

model, train, held_out = repana.example_model()
layers = repana.record(model, train)
values = {name: repana.local_dimension(layers[name]) for name in ("input", "conv3", "classifier:in")}
figure = plots.figure_of(plots.local_dimension_histogram(values))
