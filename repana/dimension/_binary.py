"""Intrinsic dimension of binary patterns, such as which units of a layer are active."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import optimize, special
from torch import Tensor

from repana import _check
from repana._estimate import NAN, Estimate, Flag
from repana._typing import FeatureArray
from repana.statistics.intervals import from_jackknife

FEWEST = 10  # samples
LEAST = 4  # distances that take part in the fit
SLOPES = (-1.0, 3.0)  # of d(r), between which d1 is bracketed
GROUPS = 20  # of the jackknife
BLOCK = 2**26  # bytes of products at a time


def binary_dimension(
    features: FeatureArray, *, threshold: float = 0.0, quantile: float = 0.2, level: float = 0.95
) -> Estimate:
    """Binary intrinsic dimension (BID): how many independent bits would lie as far apart. Call on features.

    Every feature is one bit, x > `threshold`. The Hamming distances r of all pairs are modelled as
    P(r) ~ C(d(r), r) 2^-d(r) with d(r) = d0 + d1 r, C the binomial by gamma functions, which is the law of d0
    independent bits where d1 = 0; d0 and d1 are those of the least Kullback-Leibler divergence over the distances up to
    the `quantile` of pairs, and d0 is the dimension at small scale. The fit is nested: for every d1 the best d0 is
    bracketed, and d1 likewise (the published code walks at random). Unit: bits, above 0. Interval: delete one of 20
    groups of samples and fit again, over the distances that are then below the quantile; it also holds the values of
    one distance more and one less. Where few distances take part, or no d0 and d1 fit them well, as with a few latent
    dimensions behind many bits, the value depends on the smallest distance that occurs, and the interval is too short.
    Equal patterns count as pairs at distance 0. NaN with the reason where fewer than 4 distances take part.

    Raises InputError for NaN or infinite features, fewer than 10 samples, `quantile` outside (0, 1].

    Source: Acevedo, Rodriguez & Laio 2025, doi:10.1038/s42005-025-02113-1, eq. 2 to 5.

    >>> import torch
    >>> from repana import binary_dimension
    >>> bits = torch.randn(1000, 40, generator=torch.Generator().manual_seed(0))
    >>> round(float(binary_dimension(bits)) / 40, 1)
    1.0
    """
    _check.in_range(quantile, "quantile", 1e-9, 1.0)
    _check.level_of(level)
    x = _check.features_of(features)
    n, width = x.shape
    if n < FEWEST:
        raise _check.too_few_samples("binary_dimension", n, FEWEST)
    counts = _counts(x > threshold)
    total = counts.sum(0) / 2  # every pair came once from each side
    value = _smallest_divergence(total, quantile, width)
    if value is None:
        if int((total > 0).sum()) == 1 and float(total[0]) > 0:
            return Estimate(
                NAN,
                n=n,
                note=Flag.CONSTANT.note(
                    f"all samples have one pattern: no feature crosses the threshold {threshold:g}"
                ),
            )
        return Estimate(
            NAN, n=n, note=Flag.FEW_SAMPLES.note(f"fewer than {LEAST} distances below the quantile {quantile:g}")
        )
    within = _pairs_inside_groups(x > threshold)
    found = [_smallest_divergence(total - counts[g] + within[g], quantile, width) for g in range(GROUPS)]
    e = from_jackknife(value, [one or NAN for one in found], n=n, level=level, corrected=False)
    cut = [one for step in (-1, 1) if (one := _smallest_divergence(total, quantile, width, step)) is not None]
    return replace(e, low=min(e.low, *cut, value), high=max(e.high, *cut, value))


def _smallest_divergence(total: Float[Tensor, " w"], quantile: float, width: int, more: int = 0) -> float | None:
    """d0 from how many pairs lie at each distance, up to so many more; None where too few distances take part."""
    upto = min(len(total), int((total.cumsum(0) / total.sum() < quantile).sum()) + 1 + more)
    first = int((total > 0).nonzero()[0, 0])
    if upto - first < LEAST:
        return None
    return _fitted(np.arange(first, upto, dtype=float), total[first:upto].numpy(), width)


def _groups(n: int) -> list[Int[Tensor, " m"]]:
    """Every sample in one of the groups, dealt out in turn."""
    return [torch.arange(g, n, GROUPS) for g in range(min(GROUPS, n))]


def _counts(bits: Tensor) -> Float[Tensor, "20 w"]:
    """For every group, how often its samples lie at each distance from the others."""
    signs = bits.float() * 2 - 1
    n, width = signs.shape
    found = torch.zeros(GROUPS, width + 1, dtype=torch.float64)
    for g, rows in enumerate(_groups(n)):
        for part in rows.to(signs.device).split(max(1, BLOCK // (4 * n))):
            apart = ((width - signs[part] @ signs.T) / 2).round_().long()
            found[g] += torch.bincount(apart.flatten(), minlength=width + 1).double().cpu()
        found[g, 0] -= len(rows)  # each from itself
    return found


def _pairs_inside_groups(bits: Tensor) -> Float[Tensor, "20 w"]:
    """For every group, the pairs inside it at each distance, which its loss takes away once and not twice."""
    signs = bits.float() * 2 - 1
    n, width = signs.shape
    found = torch.zeros(GROUPS, width + 1, dtype=torch.float64)
    for g, rows in enumerate(_groups(n)):
        own = signs[rows.to(signs.device)]
        apart = ((width - own @ own.T) / 2).round_().long()
        found[g] = torch.bincount(apart.flatten(), minlength=width + 1).double().cpu()
        found[g, 0] -= len(rows)
    return found / 2


def _fitted(r: np.ndarray, counts: np.ndarray, width: int) -> float:
    """d0 of the least divergence; d1 is bracketed by a grid over all of its range."""
    p = counts / counts.sum()
    entropy = float(special.xlogy(p, p).sum())

    of_r = special.gammaln(r + 1)

    def divergence(d0: float, d1: float) -> float:
        d = d0 + d1 * r
        logs = special.gammaln(d + 1) - of_r - special.gammaln(d - r + 1) - d * math.log(2)
        top = logs.max()
        total = top + math.log(np.exp(logs - top).sum())
        return entropy - float(p @ logs) + total  # p sums to 1

    def best(d1: float) -> tuple[float, float]:
        """The best d0 for a slope, and its divergence."""
        least = max(1e-3, float((r - d1 * r).max()) + 1e-9)  # so that d(r) >= r
        found: Any = optimize.minimize_scalar(
            lambda t: divergence(math.exp(t), d1),
            bounds=(math.log(least), math.log(max(4.0 * width, 2 * least))),
            method="bounded",
            options={"xatol": 1e-9},
        )
        return math.exp(float(found.x)), float(found.fun)

    grid = np.linspace(*SLOPES, 33)
    near = float(grid[int(np.argmin([best(d1)[1] for d1 in grid]))])
    step = (SLOPES[1] - SLOPES[0]) / 32
    slope: Any = optimize.minimize_scalar(
        lambda d1: best(d1)[1], bounds=(near - step, near + step), method="bounded", options={"xatol": 1e-6}
    )
    return best(float(slope.x))[0]
