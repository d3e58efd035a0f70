"""
Sessions of a continual training
================================

**How much of what is lost over sessions is forgetting?**

Digits in five sessions of two classes each. The network learns them one after the other; after each session all samples
go through it. Heads keep only sums of what they saw. Competition is what a frozen network loses too, as more classes
answer; the rest is the head that kept old means, and the body that changed.
"""

import torch

import repana
from repana import plots
from repana.dynamics import sessions

model, (x, y), (x_test, y_test) = repana.example_model(trained=False)
optimizer = torch.optim.Adam(model.parameters(), 1e-3)
torch.manual_seed(0)
bodies = []
for session in range(5):
    mine = (y // 2 == session).nonzero()[:, 0]
    model.train()
    for _ in range(60):
        rows = mine[torch.randint(len(mine), (64,))]
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    read = [repana.record(model, data, ["classifier:in"], progress=False) for data in (x, x_test)]
    bodies.append([found["classifier:in"] for found in read])
found = sessions(None, y, y // 2, held_out=(None, y_test), bodies=bodies)
print(found.says("nmc"))
figure = plots.figure_of(plots.session_accuracy(found))
