"""
A layer by t-SNE
================

**Are classes apart in any direction?**

Neighbours stay neighbours. Distances between groups and their sizes have no meaning.
"""

import repana
from repana import plots

model, train, held_out = repana.example_model()
layers = repana.record(model, train)
figure = plots.figure_of(plots.layer_map(layers, "conv3", method="tsne", max_samples=600))
