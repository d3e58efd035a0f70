"""
Sedimentation
=============

**Do important features become simpler during training?**

The mean complexity of all features, and of the most important ones, over training steps.
"""

import torch

import repana
from repana import plots

model, (x, y), held_out = repana.example_model(trained=False)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-3)
found = {}
for epoch in range(1, 17):
    model.train()
    for batch in torch.randperm(1344, generator=torch.Generator().manual_seed(epoch)).split(64):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()
    model.eval()
    if epoch in (1, 2, 4, 8, 16):
        found[epoch] = repana.read_features(model, held_out, features="nmf", count=16)
complexities, importances = ({k: getattr(r, name) for k, r in found.items()} for name in ("complexity", "importance"))
figure = plots.figure_of(plots.sedimentation_curve(repana.sedimentation(complexities, importances, top=0.25)))
