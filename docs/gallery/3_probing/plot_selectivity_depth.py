"""
Task and control
================

**Does the probe decode the task, or memorise the words?**

The control task gives every word type a random label. Selectivity is the distance of the two curves.
"""

import torch

import repana
from repana import plots

g = torch.Generator().manual_seed(
    0
)  # four layers of made-up tokens: what is of the word fades, what is of its class grows
types = torch.randint(120, (2400,), generator=g)
labels = torch.randint(4, (120,), generator=g)[types]
own, shared = torch.randn(120, 60, generator=g), torch.randn(4, 60, generator=g)
noise = torch.randn(2400, 60, generator=g)
layers = {
    f"block{i}": (1 - a) * own[types] + 2 * a * shared[labels] + noise for i, a in enumerate((0.0, 0.3, 0.6, 0.9))
}
found = {name: repana.selectivity(features, labels, types) for name, features in layers.items()}
figure = plots.figure_of(plots.selectivity_depth(found))
