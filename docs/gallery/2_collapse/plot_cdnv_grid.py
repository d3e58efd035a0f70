"""
Class pairs
===========

**Which classes overlap?**

Darker pairs overlap more (class-distance normalised variance); the closest pairs are framed and named.
"""

import repana
from repana import plots

report = repana.example_report()
figure = plots.figure_of(plots.cdnv_grid(report, split="held_out"))
