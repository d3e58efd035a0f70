"""
Residual knowledge of the forget set
====================================

**Has a network forgotten, or only its last layer?**

The bias of digit 3 was lowered until the network never says 3. At the left a linear probe still finds it in every
layer. It also finds it, less well, in a network that never saw a 3: what counts is the gap. At the right every layer is
still the original's.
"""

import copy

import torch

import repana
from repana import plots

model, (x, y), held_out = repana.example_model()
never = repana.reinitialised(model).train()
optimizer = torch.optim.Adam(never.parameters(), lr=3e-3)
for step in range(150):
    at = torch.randperm(len(y), generator=torch.Generator().manual_seed(step))[:128]
    at = at[y[at] != 3]
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(never(x[at]), y[at]).backward()
    optimizer.step()
edited = copy.deepcopy(model)
edited.classifier.bias.data[3] -= 100
three = y == 3
found = repana.unlearning(model, edited, never.eval(), forget=(x[three], y[three]), retain=(x[~three], y[~three]))
figure = plots.figure_of(plots.unlearning_depth(found.report()))
