"""
Features over depth
===================

**From which layer on is each feature decodable?**

One line per feature of the last hidden layer. Features that rise early are simple, late ones complex.
"""

import repana
from repana import plots

model, train, held_out = repana.example_model()
reading = repana.read_features(model, held_out, features="nmf", count=16)
figure = plots.figure_of(plots.feature_fan(reading))
