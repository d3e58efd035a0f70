"""
Inputs of simple and of complex features
========================================

The digits with the largest codes of the simplest features and of the most complex ones.
"""

from _digits import digits, features

from repana import plots

figure = plots.figure_of(plots.exciting_inputs(features(), digits()[1][0]))
