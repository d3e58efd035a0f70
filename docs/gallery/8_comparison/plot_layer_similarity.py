"""
Similarity of layers
====================

**Which layers of two networks are alike, beyond chance and architecture?**

At the left all pairs of layers; a ring marks the most similar layer of each row. At the right the same layers in both,
with intervals. Grey: samples paired at random. Dashed: a copy with random weights; where it is as high, inputs and
architecture alone make layers alike.
"""

import copy

import torch

import repana
from repana import plots

model, train, held_out = repana.example_model()
tuned = copy.deepcopy(model).train()
optimizer = torch.optim.SGD(tuned.parameters(), lr=0.1)
odd = train[1] % 2  # fine-tuned to tell odd digits from even ones
for _ in range(60):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(tuned(train[0]), odd).backward()
    optimizer.step()
found = repana.similarity(model, tuned.eval(), held_out, untrained=True, names=("digits", "odd or even"))
figure = plots.figure_of(plots.layer_similarity(found.report()))
