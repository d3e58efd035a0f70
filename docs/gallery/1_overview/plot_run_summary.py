"""
Many runs side by side
======================

**How much does a number vary between runs?**

One line a run, read at the input of its classifier; the bar is the interval, the upright tick the value with shuffled
labels.
"""

import repana
from repana import plots

report = repana.example_report("training")
figure = plots.figure_of(plots.run_summary(report, "nc1", "etf_error", sort=True))
