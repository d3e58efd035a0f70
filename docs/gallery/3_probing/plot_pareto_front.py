"""
Accuracy and probe complexity
=============================

**Can a simple probe decode the classes?**

Up and to the left is better: a high accuracy by a probe of few effective dimensions.
"""

import repana
from repana import plots

model, train, held_out = repana.example_model()
layers = repana.record(model, train)
names = ("input", "conv1", "conv3", "classifier:in")
fronts = {name: repana.pareto(layers[name], layers.labels) for name in names}
figure = plots.figure_of(plots.pareto_front(fronts))
