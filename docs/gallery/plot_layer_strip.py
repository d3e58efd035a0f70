"""
Layers compared
===============

Every layer against the one chosen on the validation rows, on the same test rows.
"""

from _digits import probes

from repana import plots

figure = plots.figure_of(plots.layer_strip(probes()))
