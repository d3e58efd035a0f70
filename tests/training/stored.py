"""The probe set and the network of the training in `store_1.zip`, in numbers that are exact in every float type."""

import torch
from torch import nn


def probe():
    x = (torch.arange(24)[:, None] * torch.tensor([3, 5, 7, 11]) % 13) / 8
    return x, torch.arange(24) % 3


def net():
    layers = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        for k, p in enumerate(layers.parameters(), 1):
            p.copy_(((7 * k * torch.arange(p.numel()) % 11 - 5) / 8).reshape(p.shape))
    return layers
