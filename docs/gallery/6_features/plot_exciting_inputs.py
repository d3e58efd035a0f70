"""
Inputs that excite features
===========================

**What do simple and complex features look for?**

Rows are features, the simplest above; columns are the inputs with the largest codes.
"""

import repana
from repana import plots

model, train, held_out = repana.example_model()
reading = repana.read_features(model, held_out, features="nmf", count=16)
figure = plots.figure_of(plots.exciting_inputs(reading, held_out[0]))
