"""
In- and out-of-distribution accuracy
====================================

**Which layer survives a shift of the data?**

On the dotted line there is no drop. Here probes are fitted on clean digits and tested on noisy ones.
"""

import torch

import repana
from repana import plots

model, _, (x, y) = repana.example_model()
noise = 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
clean, noisy = (repana.record(model, (values, y)) for values in (x, x + noise))
names = [name for name in clean if name != "classifier"]
found = {k: repana.ood_probe(clean[k], clean.labels, {"noisy": (noisy[k], y)}) for k in names}
figure = plots.figure_of(plots.ood_scatter(found))
