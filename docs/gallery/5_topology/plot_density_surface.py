"""
Clusters by density and scale
=============================

**Which clusters are there among dense samples, and do sparse ones bridge them?**

The ten digits in the last layer of a small CNN. At the right the clusters of each level of density.
"""

import repana
from repana import plots
from repana.topology import density_persistence

model, _, held_out = repana.example_model()
activations = repana.record(model, held_out, ["classifier:in"])
found = density_persistence(activations["classifier:in"])
print(found.says())
figure = plots.figure_of(plots.density_surface(found))
