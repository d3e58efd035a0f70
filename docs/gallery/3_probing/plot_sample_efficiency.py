"""
Accuracy with few labels
========================

**Which probe is best with few labels?**

Generative probes lead with few labels; the dotted line is where the logistic probe overtakes naive Bayes.
"""

import repana
from repana import plots

model, train, held_out = repana.example_model()
layers = repana.record(model, train)
found = repana.sample_efficiency(layers["input"], layers.labels, repeats=5)
figure = plots.figure_of(plots.sample_efficiency_curve(found))
