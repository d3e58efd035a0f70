"""
From which layer on is the answer a linear function?
====================================================

**Does one linear map lead from a layer to the logits, and what is its inverse worth?**

A small CNN after training on digits. Left, directions of the map's inverse beside simpler ones; middle, answers that
edits change, dotted for random directions; right, R2 of the map on samples that it was not fitted on.
"""

import repana
from repana import plots
from repana.probes import relation

model, _, held_out = repana.example_model()
layers = ("conv2", "conv3", "linear1")
found = {layer: relation(model, held_out, layer, "classifier", fit=60) for layer in layers}
print(found["linear1"].says())
figure = plots.figure_of(plots.relation_depth(found))
