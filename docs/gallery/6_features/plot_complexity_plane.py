"""
Complexity and importance
=========================

**Does the decision rest on simple features?**

Each point is a feature. A negative rank correlation says that simple features matter more.
"""

import repana
from repana import plots

model, train, held_out = repana.example_model()
reading = repana.read_features(model, held_out, features="nmf", count=16)
figure = plots.figure_of(plots.complexity_plane(reading))
