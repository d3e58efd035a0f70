"""
Dictionaries of a layer
=======================

**What does a dictionary explain, and with how many features a row?**

Three top-k autoencoders of one layer of a CNN on digits, trained for a few seconds. What lies below the crosses
explains less than the layer's own largest units do with as many numbers.
"""

import torch

import repana
from repana import plots
from repana.features import dictionary_quality, sparse_autoencoder

model, train, held_out = repana.example_model()
x, x_test = (repana.record(model, data, ["linear1"])["linear1"] for data in (train, held_out))


def trained(k, features=256, seed=0):
    generator = torch.Generator().manual_seed(seed)
    atoms = torch.randn(features, x.shape[1], generator=generator)
    atoms = torch.nn.functional.normalize(atoms, dim=1).requires_grad_()
    encoder = atoms.detach().T.clone().requires_grad_()
    bias, mean = torch.zeros(features, requires_grad=True), x.mean(0).clone().requires_grad_()
    optimizer = torch.optim.Adam([atoms, encoder, bias, mean], 3e-3)
    for _ in range(300):
        rows = x[torch.randint(len(x), (256,), generator=generator)]
        a = (rows - mean) @ encoder + bias
        top = a.topk(k, 1)
        codes = torch.zeros_like(a).scatter(1, top.indices, top.values.relu())
        loss = (rows - codes @ atoms - mean).square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    arrays = {"encoder_bias": bias.detach(), "decoder_bias": mean.detach()}
    return sparse_autoencoder(atoms.detach(), encoder.detach(), architecture="topk", k=k, **arrays)


found = [dictionary_quality(trained(k), x_test) for k in (2, 4, 8)]
figure = plots.figure_of(plots.dictionary(*found, names=("k = 2", "k = 4", "k = 8")))
