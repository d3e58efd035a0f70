"""
Probes over depth
=================

**From which layer on are classes decodable?**

Read each curve against the baselines: shuffled labels, re-initialised copies of the network, and random projections
of the input. Where accuracies are high, errors are drawn.
"""

import repana
from repana import plots

report = repana.example_report()
figure = plots.figure_of(plots.probe_depth(report))
