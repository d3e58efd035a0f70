"""
Sizes: column, page, slide, Nature
==================================

**How do I get the figure in the size of my journal, or for a talk?**

``width`` takes inches or a name; ``style`` sets text and lines. Nothing global changes.
"""

import repana
from repana import plots

report = repana.example_report()
figure = report.plot("nc1", "two_nn", width="column")
variants = {"column": figure, "page": report.plot("nc1", "two_nn", width="page")}
with plots.style("slide"):
    variants["slide"] = report.plot("nc1", "two_nn")
with plots.style("nature"):
    variants["Nature"] = report.plot("nc1", "two_nn", width="nature")
with plots.style("slide", dark=True):
    variants["dark slide"] = report.plot("nc1", "two_nn")
