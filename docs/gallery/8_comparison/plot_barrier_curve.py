"""
The line between two networks
=============================

**Are two networks the same but for the order of their units?**

Loss and accuracy of the networks whose weights lie between two, trained from two seeds. As they are, the middle is far
worse than both ends; with the units of the second in the order that its weights give, much less so.
"""

import torch

import repana
from repana import plots

model, (x, y), held_out = repana.example_model()


def trained(seed):
    net = repana.reinitialised(model, seed=seed).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3, weight_decay=1e-4)
    for step in range(120):
        at = torch.randperm(len(y), generator=torch.Generator().manual_seed(step))[:128]
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x[at]), y[at]).backward()
        optimizer.step()
    return net.eval()


found = repana.comparison.barrier(trained(0), trained(1), (x, y))
figure = plots.figure_of(plots.barrier_curve(found))
