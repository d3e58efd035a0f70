"""
Robustness by layer
===================

**How far does a corruption reach, by its severity?**

Debiased CKA of every layer with the same samples clean. Where a line rises again the network repairs what the input
lost.
"""

import torch

import repana
from repana import plots

model, train, held_out = repana.example_model()
noise = torch.randn(held_out[0].shape, generator=torch.Generator().manual_seed(0))
corrupted = {f"noise {s}": (held_out[0] + s * noise, held_out[1]) for s in (0.1, 0.2, 0.4)}
found = repana.comparison.robustness(held_out, corrupted, model)
figure = plots.figure_of(plots.robustness_depth(found.report()))
