"""
Map of local dimension
======================

**Where is the dimension high?**

Each point is a sample in the plane of two principal components, coloured by the dimension around it.
"""

import repana
from repana import plots

model, train, held_out = repana.example_model()
layers = repana.record(model, train)
smooth = repana.local_dimension(layers["conv3"], smooth=True)
figure = plots.figure_of(plots.local_dimension_map(layers, smooth, "conv3"))
