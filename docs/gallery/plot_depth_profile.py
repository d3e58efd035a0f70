"""
Depth profile
=============

What every layer knows: one panel a quantity, with intervals and the shuffled-label null.
"""

from _digits import report

figure = report().plot("nc1", "cdnv", "ncc_accuracy")
