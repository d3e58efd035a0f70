"""
Trajectory over training
========================

**How do layers change as training goes on?**

One line a layer, dark for the first; one column a series of checkpoints.
"""

import repana
from repana import plots

report = repana.example_report("training")
figure = plots.figure_of(plots.trajectory(report, "nc1", "etf_error"))
