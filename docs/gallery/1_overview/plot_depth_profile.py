"""
Depth profile
=============

**How does the network change its representation from layer to layer?**

Each panel is one quantity, from input to output. Compare the curve with the grey line, which is the value with
shuffled labels, and training with held-out data. A hollow mark is not significant.
"""

import repana

report = repana.example_report()
figure = report.plot()
