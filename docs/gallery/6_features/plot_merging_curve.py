"""
Feature merging
===============

**How many channels say something of their own?**

Channels that are near copies are merged up to a threshold; the black line is the share of predictions that stay.
"""

import repana
from repana import plots

model, train, held_out = repana.example_model()
figure = plots.figure_of(plots.merging_curve(repana.feature_merging(model, held_out)))
