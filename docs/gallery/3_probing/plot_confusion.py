"""
Confusion of a probe
====================

**What does an early layer take for what?**

Rows are true classes. Colours are those of errors; the diagonal has the share that is right.
"""

import repana
from repana import plots

report = repana.example_report()
figure = plots.figure_of(plots.confusion(report, "conv1"))
