"""
Dimension over scales
=====================

A flat curve is a dimension; a slope is none. Open marks: TwoNN of a half, a quarter, ... of the samples.
"""

from _digits import report

from repana import plots

figure = plots.figure_of(plots.dimension_scale(report(), "input", "conv3", "classifier:in", decimation=True))
