"""
Class means
===========

Cosines between class means at the input of the classifier: a simplex has the same in every place.
"""

from _digits import report

from repana import plots

figure = plots.figure_of(plots.class_gram(report()))
