"""Clouds of samples in classes, and simplices, for the tests of every family."""

import torch
from torch import Tensor


def clouds(n=240, d=12, c=5, sd=0.5, counts=None, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    y = (
        torch.arange(n) % c
        if counts is None
        else torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    )
    c = int(y.max()) + 1
    means = torch.randn(c, d, generator=generator, dtype=torch.float64)
    x = means[y] + sd * torch.randn(len(y), d, generator=generator, dtype=torch.float64)
    return x.to(dtype), y


def simplex(c: int, d: int) -> Tensor:
    rows = torch.eye(c, dtype=torch.float64) - 1 / c
    return torch.nn.functional.pad(rows / rows.norm(dim=1, keepdim=True), (0, d - c))
