"""
Spanning trees by layer
=======================

Edges of the minimum spanning tree, which are the deaths of H0: clusters leave a few long ones.
"""

from _digits import report

from repana import plots

figure = plots.figure_of(plots.edge_lengths(report()))
