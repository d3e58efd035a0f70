"""
A layer in two dimensions
=========================

**Are classes apart in the plane of most variance?**

Principal components, with their share of the variance on the axes; every class is named at its middle.
"""

import repana
from repana import plots

model, train, held_out = repana.example_model()
layers = repana.record(model, train)
figure = plots.figure_of(plots.layer_map(layers, "conv3"))
