"""
Cosines of class means
======================

**Do class means form a simplex?**

White is the cosine of a simplex equiangular tight frame. Blue pairs are closer than that, red ones further apart.
"""

import repana
from repana import plots

report = repana.example_report()
figure = plots.figure_of(plots.class_gram(report))
