"""
Three classes in the plane of the classifier
============================================

**How does the network place what lies between classes?**

Corners are classes, arrows the rows of the classifier. Mixed images lie between the corners, stronger in colour where
the mixture is even.
"""

import torch

import repana
from repana import plots

model, (x, y), _ = repana.example_model()
g = torch.Generator().manual_seed(0)
i, j = torch.randint(0, len(y), (2, 1500), generator=g)
share = torch.rand(1500, generator=g)
between = share[:, None, None, None] * x[i] + (1 - share)[:, None, None, None] * x[j]
features = repana.record(model, (between, y[i]))["classifier:in"]
mixed = plots.Mixed(features, torch.stack([y[i], y[j]], 1), share)
layers = repana.record(model, (x, y))
figure = plots.figure_of(plots.classifier_plane(layers, classes=[3, 8, 9], mixed=mixed))
