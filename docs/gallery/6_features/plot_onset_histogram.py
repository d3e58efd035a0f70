"""
Onset of features
=================

**At which layer do features become decodable?**

The bar of a layer counts the features whose R² first reaches the threshold there.
"""

import repana
from repana import plots

model, train, held_out = repana.example_model()
reading = repana.read_features(model, held_out, features="nmf", count=16)
figure = plots.figure_of(plots.onset_histogram(reading))
