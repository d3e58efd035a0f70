"""
Depth profile of chosen quantities
==================================

**How do I draw the quantities that my paper is about?**

Names are those of the table of quantities. Give ``ax=`` to draw into a figure of your own, ``runs=`` or ``splits=``
to draw some.
"""

import repana

report = repana.example_report()
figure = report.plot("nc1", "cdnv", "ncc_accuracy")
