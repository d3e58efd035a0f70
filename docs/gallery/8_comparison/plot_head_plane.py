"""
In front of the classifier
==========================

**What does a corruption do to each sample?**

Features become shorter and turn away from the weight of their class; those that turn far are the ones that become
wrong.
"""

import torch

import repana
from repana import plots

model, train, (x, y) = repana.example_model()
noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
clean, noisy = repana.record(model, (x, y)), repana.record(model, (x + 0.25 * noise, y))
found = repana.comparison.head_geometry(clean, noisy)
figure = plots.figure_of(plots.head_plane(found))
