"""
Betti curves
============

**Do samples form separate clusters?**

The number of connected components when samples within a distance are joined. A plateau at ten components is ten
clusters.
"""

import repana
from repana import plots

report = repana.example_report()
figure = plots.figure_of(plots.betti_curves(report))
