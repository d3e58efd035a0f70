"""
Answers at every layer
======================

**From which layer on does a network know what it will say?**

A ridge probe of every layer of a CNN on digits, beside the network's own answer at the end. Dashed, what a constant
answer reaches.
"""

import repana
from repana import plots

model, _, (x, y) = repana.example_model()
found = repana.probes.exits(model, (x, y), lens="probe", layers=["conv1", "conv2", "conv3", "linear1", "classifier:in"])
print(found.says())
figure = plots.figure_of(plots.exit_depth(found))
