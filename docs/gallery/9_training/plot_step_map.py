"""
Layers over training
====================

**When does which layer collapse?**

NC1 by layer and step, on a logarithmic scale. The dashed line is the first record at which every training sample of the
probe is right; the upper layers go on collapsing after it.
"""

import tempfile

import torch

import repana
from repana import plots

model, train, held_out = repana.example_model(trained=False)
x, y = train
optimizer = torch.optim.Adam(model.parameters(), 2e-3)
torch.manual_seed(0)
with tempfile.TemporaryDirectory() as folder:
    monitor = repana.Monitor(held_out, train_probe=train, store=folder, every=20, budget=None, max_samples=450)
    monitor.begin(model)
    model.train()
    for step in range(1, 301):
        rows = torch.randint(len(x), (64,))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
        monitor.step(model, step)
    report = monitor.finish(later=False)
figure = plots.figure_of(plots.step_map(report))
