"""
Dimension over scales
=====================

**At which scale does a layer have its dimension?**

Where a curve is flat there is a dimension to report. Open marks are TwoNN on parts of the samples, which reaches the
same scales in another way.
"""

import repana
from repana import plots

report = repana.example_report()
figure = plots.figure_of(plots.dimension_scale(report, "input", "classifier:in"))
