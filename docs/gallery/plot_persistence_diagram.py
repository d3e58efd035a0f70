"""
A persistence diagram
=====================

Components and holes of the digits at the input of the classifier.
"""

from _digits import activations

from repana import persistence, plots

found = persistence(activations()["classifier:in"], max_samples=400)
figure = plots.figure_of(plots.persistence_diagram(found, title="classifier:in"))
