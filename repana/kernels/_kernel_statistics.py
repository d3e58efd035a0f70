"""What a kernel matrix over samples says: its size and spectrum, and how it lies to labels."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana._estimate import NAN

DOUBLE, SINGLE = 1e-13, 1e-6  # of the largest eigenvalue: what rounding of gradients leaves of one that is 0
LAZY = 0.01  # of velocity, below which a kernel has not moved
SPECTRAL = ("top_share", "effective_rank", "participation", "condition")
LAMBDAS = tuple(10.0 ** (-k) for k in range(3, -1, -1))  # of tr K/n


def centred(kernel: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """H K H."""
    rows = kernel - kernel.mean(1, keepdim=True)
    return rows - rows.mean(0, keepdim=True)


def singular(settings: Mapping[str, Any]) -> float:
    """The share of the largest eigenvalue below which one is 0, by the precision of the network."""
    return DOUBLE if kept_as(settings) == torch.float64 else SINGLE


def kept_as(settings: Mapping[str, Any]) -> torch.dtype:
    """The precision in which the kernels of single parameters are kept."""
    return torch.float64 if settings.get("dtype") == str(torch.float64) else torch.float32


def spectral(kernel: Float[Tensor, "n n"], least: float = DOUBLE) -> dict[str, float]:
    """Of the eigenvalues of K: lambda_1/sum, exp H(lambda/sum), (sum)^2/sum of squares, lambda_1/lambda_n, infinite
    where lambda_n is `least` of lambda_1 or less."""
    values = torch.linalg.eigvalsh(kernel.double()).flip(0).clamp_min(0)
    total = float(values.sum())
    if not total > 0:
        return dict.fromkeys(SPECTRAL, NAN)
    share = values / total
    smallest = float(values[-1])
    return {
        "top_share": float(share[0]),
        "effective_rank": float((-torch.xlogy(share, share).sum()).exp()),
        "participation": float(1 / share.square().sum()),
        "condition": math.inf if smallest <= least * float(values[0]) else float(values[0]) / smallest,
    }


def one_hot(labels: Int[Tensor, " n"]) -> Float[Tensor, "n c"]:
    """Of the classes that are there."""
    _, at = torch.unique(labels, return_inverse=True)
    return torch.nn.functional.one_hot(at).double()


def alignment(kernel: Float[Tensor, "n n"], y: Float[Tensor, "n c"]) -> float:
    """<HKH, HYY'H> over their norms."""
    k, m = centred(kernel), y - y.mean(0)
    inner = torch.einsum("ic,ij,jc->", m, k, m)
    norms = k.norm() * (m.T @ m).norm()
    return float(inner / norms) if float(norms) > 0 else NAN


def mean_alignment(kernel: Float[Tensor, "n n"], y: Float[Tensor, "n c"]) -> float:
    """The mean over all permutations of the labels: tr(HKH) tr(HYY'H)/((n - 1) norms)."""
    k, m = centred(kernel), y - y.mean(0)
    norms = k.norm() * (m.T @ m).norm() * (len(y) - 1)
    return float(k.trace() * m.square().sum() / norms) if float(norms) > 0 else NAN


def permuted_alignments(
    kernel: Float[Tensor, "n n"], y: Float[Tensor, "n c"], orders: Sequence[Int[Tensor, " n"]]
) -> list[float]:
    """The alignment under each order of the labels."""
    k, m = centred(kernel), y - y.mean(0)
    norms = float(k.norm() * (m.T @ m).norm())
    return [float((m[o] * (k @ m[o])).sum()) / norms for o in orders] if norms > 0 else []


def similarity(a: Float[Tensor, "n n"], b: Float[Tensor, "n n"]) -> float:
    """The cosine of HAH and HBH."""
    x, y = centred(a), centred(b)
    norms = float(x.norm() * y.norm())
    return float((x * y).sum()) / norms if norms > 0 else NAN


def velocity(a: Float[Tensor, "n n"], b: Float[Tensor, "n n"]) -> float:
    """1 - <A, B>/(|A| |B|), not centred."""
    norms = float(a.norm() * b.norm())
    return 1 - float((a * b).sum()) / norms if norms > 0 else NAN


def left_out(kernel: Float[Tensor, "n n"], y: Float[Tensor, "n c"]) -> Int[Tensor, " n"]:
    """The class of each sample by kernel ridge regression on all others, Y centred, the penalty chosen of `LAMBDAS` by
    the squared error of the same leave-one-out predictions."""
    n = len(y)
    values, vectors = torch.linalg.eigh(kernel.double())
    target, best = y - y.mean(0), (math.inf, y)
    for share in LAMBDAS:
        ridge = share * float(values.clamp_min(0).sum()) / n
        inverse = (vectors / (values.clamp_min(0) + ridge)) @ vectors.T
        predicted = target - (inverse @ target) / inverse.diagonal()[:, None]
        error = float((predicted - target).square().mean())
        if error < best[0]:
            best = (error, predicted + y.mean(0))
    return best[1].argmax(1)
