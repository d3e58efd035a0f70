"""
Spectrum of the covariance
==========================

**How is variance spread over principal components?**

A straight line is a power law. The small panel has the exponents; 1 is the boundary of smooth codes.
"""

import repana
from repana import plots

report = repana.example_report()
figure = plots.figure_of(plots.spectrum(report, "conv1", "conv2", "conv3"))
