"""
Maps of layers
==============

**From which layer on are classes apart?**

One map per layer, the same samples in all. ``method="umap"`` and ``"phate"`` need the extra ``[maps]``.
"""

import repana
from repana import plots

model, train, held_out = repana.example_model()
layers = repana.record(model, train)
axes = plots.layer_maps(layers, "input", "conv1", "conv3", "linear1", max_samples=600)
figure = plots.figure_of(axes)
