"""
Persistence diagram
===================

**Which components and loops last over scales?**

What is far above the diagonal lasts.
"""

import repana
from repana import plots

model, train, held_out = repana.example_model()
layers = repana.record(model, train)
found = repana.persistence(layers["classifier:in"], max_samples=400)
figure = plots.figure_of(plots.persistence_diagram(found, title="classifier:in"))
