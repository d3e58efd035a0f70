"""
Estimators of dimension
=======================

**How many dimensions do features fill, layer by layer?**

Where estimators of different scale diverge, no single number describes the layer.
"""

import repana
from repana import plots

report = repana.example_report()
figure = plots.figure_of(plots.dimension_depth(report))
