"""
Heat map
========

**Where in the network does which quantity stand out?**

Every row has a scale of its own: blue rows are darker where they are better, grey rows where they are higher. A dot
marks a value that is not significant.
"""

import repana
from repana import plots

report = repana.example_report()
figure = plots.figure_of(plots.heat_map(report, split="train"))
