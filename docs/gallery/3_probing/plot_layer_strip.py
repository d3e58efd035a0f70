"""
Layers compared
===============

**Which layers are worse than the selected one, beyond chance?**

Differences are paired on the test samples; filled marks are significant after Holm over the layers.
"""

import repana
from repana import plots

report = repana.example_report()
figure = plots.figure_of(plots.layer_strip(report))
