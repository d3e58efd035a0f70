"""
Three classes in the plane of their classifier
==============================================

With examples mixed from two images, coloured by pair, stronger where the mixture is even.
"""

import torch
from _digits import activations, trained

import repana
from repana import plots
from repana.extraction._samples import digits

x, y = digits()[0]
generator = torch.Generator().manual_seed(0)
i, j = torch.randint(0, len(y), (2, 1500), generator=generator)
share = torch.rand(1500, generator=generator)
between = share[:, None, None, None] * x[i] + (1 - share)[:, None, None, None] * x[j]
features = repana.record(trained(), (between, y[i]))["classifier:in"]
mixed = plots.Mixed(features, torch.stack([y[i], y[j]], 1), share)
figure = plots.figure_of(plots.classifier_plane(activations(), classes=[3, 8, 9], mixed=mixed))
