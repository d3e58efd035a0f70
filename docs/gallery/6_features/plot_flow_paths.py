"""
Where features flow
===================

**Do skip paths or branches carry the features?**

Thin lines are features, thick ones their means: how much of the last features each side of a block gives.
"""

from collections import OrderedDict

import torch
from torch import nn

import repana
from repana import plots


class Residual(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, x):
        return x + self.branch(x)


_, data, _ = repana.example_model()
torch.manual_seed(0)
blocks = {f"block{i}": Residual() for i in range(1, 7)}
net = nn.Sequential(OrderedDict(flat=nn.Flatten(), stem=nn.Linear(64, 48), **blocks, head=nn.Linear(48, 10)))
optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
for _ in range(60):
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(data[0]), data[1]).backward()
    optimizer.step()
paths = repana.residual_paths(net, data)
layers = repana.record(net, data, [*(address for p in paths for address in (p.skip, p.branch)), "head:in"])
figure = plots.figure_of(plots.flow_paths(repana.flow(layers, layers["head:in"], paths)))
