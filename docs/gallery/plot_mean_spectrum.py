"""
Spectrum of class means
=======================

Flat where the means form a simplex.
"""

from _digits import report

from repana import plots

figure = plots.figure_of(plots.mean_spectrum(report()))
