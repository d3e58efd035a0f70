"""Shrinkage of a within-class covariance."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana._typing import Features, Labels


def ledoit_wolf(
    z: Float[Tensor, "n r"],
    codes: Int[Tensor, " n"],
    means: Float[Tensor, "c r"],
    within: Float[Tensor, "r r"],
    d: int,
) -> float:
    """The share of the identity in a pooled covariance of d features (Ledoit & Wolf 2004), as scikit-learn has it."""
    n = len(z)
    fourth = float((z.double() - means[codes]).square().sum(1).square().sum())
    squares, level = float(within.square().sum()), float(within.diagonal().sum()) / d
    apart = (squares - d * level**2) / d
    noise = (fourth / n - squares) / (d * n)
    return min(max(noise, 0.0), apart) / apart if apart > 0 else 1.0


def share_of_diagonal(features: Features, labels: Labels) -> float:
    """How far the within-class covariance goes towards its diagonal: the share of Ledoit & Wolf 2004 for features in
    units of their within-class deviation, where that diagonal is the identity.
    """
    x = features.double()
    _, codes, counts = torch.unique(labels.to(x.device), return_inverse=True, return_counts=True)
    means = torch.zeros(len(counts), x.shape[1], dtype=x.dtype, device=x.device).index_add_(0, codes, x)
    residual = x - (means / counts[:, None])[codes]
    scale = residual.square().mean(0).sqrt()
    alive = scale > 1e-13 * x.abs().amax(0)
    if not bool(alive.any()):
        return 0.0
    residual = residual[:, alive] / scale[alive]
    n, d = residual.shape
    return ledoit_wolf(residual, torch.zeros_like(codes), residual.new_zeros(1, d), residual.T @ residual / n, d)
