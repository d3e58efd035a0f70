"""
Several runs in one depth profile
=================================

**Where do two networks differ?**

One colour a run. Of more than eight curves the figure has thin lines and their median.
"""

import repana
from repana import plots

report = repana.example_report("training")
ends = ["weight decay/epoch24", "no decay/epoch24"]
figure = plots.figure_of(plots.depth_profile(report, "nc1", "etf_error", runs=ends))
