"""
Task and control
================

A probe of word-like types: what it reads and what it remembers.
"""

from _digits import words

from repana import plots, selectivity

layers, labels, types = words()
found = {name: selectivity(features, labels, types) for name, features in layers.items()}
figure = plots.figure_of(plots.selectivity_depth(found))
