"""
Barcode
=======

**From which distance to which does each component or loop last?**

The same bars as in the diagram, the longest of each dimension first.
"""

import repana
from repana import plots

model, train, held_out = repana.example_model()
layers = repana.record(model, train)
found = repana.persistence(layers["classifier:in"], max_samples=400)
figure = plots.figure_of(plots.barcode(found, title="classifier:in"))
