"""
Spectrum of layers
==================

The variance of each principal component, and the power law fitted to it.
"""

from _digits import report

from repana import plots

figure = plots.figure_of(plots.spectrum(report(), "conv1", "conv2", "conv3"))
