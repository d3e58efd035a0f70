"""
Feature merging
===============

Channels that remain when near copies are merged, and the predictions that stay.
"""

from _digits import digits, trained

from repana import feature_merging, plots

figure = plots.figure_of(plots.merging_curve(feature_merging(trained(), digits()[1])))
