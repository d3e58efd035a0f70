"""Five pairs of layers that every machine has (scikit-learn's data), and slow references on (n, n) matrices in
float64."""

from functools import cache

import numpy as np
import torch
from sklearn import datasets


def mixed(i, o):
    return np.cos(0.7 * np.outer(np.arange(1, i + 1), np.arange(1, o + 1)))


def scaled(x):
    return (x - x.mean(0)) / x.std(0)


@cache
def pairs():
    digits = datasets.load_digits().data
    a, e = digits[:500] / 16, digits[:40] / 16
    b, c = scaled(datasets.load_wine().data), scaled(datasets.load_breast_cancer().data)
    d = datasets.load_iris().data
    found = {
        "A": (a, np.maximum(a @ mixed(64, 48) - 0.5, 0)),
        "B": (b[:, :6], b[:, 6:]),
        "C": (c[:, :10], c[:, 20:]),
        "D": (d[:, :2], d[:, 2:]),
        "E": (e, np.tanh(e @ mixed(64, 80))),
    }
    return {k: tuple(torch.from_numpy(np.ascontiguousarray(t)) for t in v) for k, v in found.items()}


def u_centred(k):
    """By its definition, entry by entry of the sums."""
    n = len(k)
    k = k - np.diag(np.diag(k))
    rows, total = k.sum(1), k.sum()
    out = k - rows[:, None] / (n - 2) - rows[None] / (n - 2) + total / ((n - 1) * (n - 2))
    return out - np.diag(np.diag(out))


def double_centred(k):
    h = np.eye(len(k)) - 1 / len(k)
    return h @ k @ h


def cosine(a, b):
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def slow_cka(x, y):
    x, y = np.asarray(x, float), np.asarray(y, float)
    return cosine(u_centred(x @ x.T), u_centred(y @ y.T))


def gaussians(n, d, e, seed, shared=0.0):
    """Two layers of which the second is a share of a linear map of the first."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=g, dtype=torch.float64)
    w = torch.randn(d, e, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / d**0.5
    return x, shared * (x @ w) + (1 - shared) * torch.randn(n, e, generator=g, dtype=torch.float64)
