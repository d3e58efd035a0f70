"""
Distances between classes
=========================

**How far apart are classes, counted in their own spread?**

Bhattacharyya distances of Gaussian classes. The title has the distance between two halves of one class, which is
noise.
"""

import repana
from repana import plots

model, train, held_out = repana.example_model()
layers = repana.record(model, train)
found = repana.class_divergences(layers["classifier:in"], layers.labels)
figure = plots.figure_of(plots.class_distances(found))
