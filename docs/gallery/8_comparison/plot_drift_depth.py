"""
Drift over depth
================

**What did a change do to every layer?**

A network before and after half of its weights of one layer were set to zero: everything in front of it is equal to the
last digit. R² after to before says how much of what was there can still be read.
"""

import copy

import torch

import repana
from repana import plots

model, train, held_out = repana.example_model()
pruned = copy.deepcopy(model)
with torch.no_grad():
    weight = pruned.conv3[0].weight
    weight[weight.abs() < weight.abs().median()] = 0
found = repana.drift(model, pruned, held_out)
figure = plots.figure_of(plots.drift_depth(found.report()))
