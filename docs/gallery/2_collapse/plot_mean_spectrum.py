"""
Singular values of class means
==============================

**How many directions do class means fill?**

A simplex has c - 1 equal singular values (dashed). A curve that falls says that means lie near fewer directions.
"""

import repana
from repana import plots

report = repana.example_report()
figure = plots.figure_of(plots.mean_spectrum(report))
