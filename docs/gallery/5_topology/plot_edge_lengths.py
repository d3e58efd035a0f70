"""
Edges of the minimum spanning tree
==================================

**How clustered is a layer?**

In clustered layers most edges are near 0 and a few, those between clusters, near 1.
"""

import repana
from repana import plots

report = repana.example_report()
figure = plots.figure_of(plots.edge_lengths(report))
