"""
A barcode
=========

The same bars, from birth to death; the longest of each dimension.
"""

from _digits import activations

from repana import persistence, plots

found = persistence(activations()["classifier:in"], max_samples=400)
figure = plots.figure_of(plots.barcode(found, title="classifier:in"))
