"""
In- and out-of-distribution accuracy
====================================

Probes fitted on clean digits and tested on noisy ones, layer by layer.
"""

from _digits import noisy

from repana import ood_probe, plots

clean, other = noisy()
found = {k: ood_probe(clean[k], clean.labels, {"noisy": (other[k], other.labels)}) for k in clean if k != "classifier"}
figure = plots.figure_of(plots.ood_scatter(found))
