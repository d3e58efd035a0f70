"""
Settling of layers
==================

**Which layers have their final representation first?**

Debiased CKA of every layer with its last record. A mark is the record from which on it is at least .95.
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
figure = plots.figure_of(plots.settling(report))
