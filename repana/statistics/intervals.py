"""Intervals of a quantity: from replicates, from a delete-a-group jackknife, and of a proportion."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from repana._estimate import NAN, Estimate


def from_replicates(
    value: float,
    replicates: Sequence[float],
    *,
    n: int,
    level: float = 0.95,
    bounds: tuple[float, float] = (0.0, math.inf),
    note: str = "",
    unbiased: float | None = None,
    widen: float = 1.0,
) -> Estimate:
    """Bias-corrected normal bootstrap interval, on the log scale for a positive unbounded quantity.

    With t = log value (or value), replicates t*: t - (mean t* - t) -+ z sd(t*), widened where needed to hold t itself.
    `unbiased` is the same quantity from unbiased parts, and so are the replicates then: the interval is around
    u - (mean u* - t), u = log unbiased. `widen` multiplies the spread: a bootstrap of n samples falls short of it by
    sqrt((n - 1)/n).
    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, sections 10.2 and 13.3.
    """
    z = NormalDist().inv_cdf(0.5 + level / 2)
    others = np.asarray(replicates, float)
    if unbiased is not None and len(others) and np.isfinite(others).mean() > 0.5 and unbiased > 0:
        others = others[np.isfinite(others) & (others > 0)] * (value / unbiased)
    low, high = _interval(value, others, z, widen, 1.0, bounds)
    return Estimate(value, low, high, n, note)


def from_jackknife(
    value: float,
    deleted: Sequence[float],
    *,
    n: int,
    level: float = 0.95,
    bounds: tuple[float, float] = (0.0, math.inf),
    note: str = "",
    corrected: bool = True,
) -> Estimate:
    """Delete-a-group jackknife interval with Student's t on groups - 1 degrees of freedom, on the log scale likewise.

    Variance (g - 1)/g sum (t_(j) - mean)^2, bias (g - 1)(mean - t), which is not taken off with `corrected=False`.
    Source: Kott 2001, Journal of Official Statistics 17, 521-526.
    """
    g = len(deleted)
    if g < 2:
        return Estimate(value, NAN, NAN, n, note)
    t = float(stats.t.ppf(0.5 + level / 2, g - 1))
    low, high = _interval(value, np.asarray(deleted, float), t, (g - 1) / math.sqrt(g), (g - 1.0) * corrected, bounds)
    return Estimate(value, low, high, n, note)


def from_error(
    value: float,
    error: float,
    *,
    n: int,
    bias: float = 0.0,
    level: float = 0.95,
    bounds: tuple[float, float] = (0.0, math.inf),
    note: str = "",
    holding: bool = True,
) -> Estimate:
    """Normal interval of value - bias, on the log scale for a positive unbounded quantity; `holding` extends it to the
    value, which covers also where the bias is known roughly.
    """
    z = NormalDist().inv_cdf(0.5 + level / 2)
    if not (math.isfinite(value) and math.isfinite(error)):
        return Estimate(value, n=n, note=note)
    centre = value - bias
    low, high = centre - z * error, centre + z * error
    if value > 0 and value + bias > 0 and bounds[0] >= 0 and bounds[1] == math.inf:
        centre, half = value * value / (value + bias), z * error / value  # log v - (log(v + bias) - log v)
        low, high = centre * math.exp(-half), centre * math.exp(min(half, 700.0))
    if holding:
        low, high = min(low, value), max(high, value)
    return Estimate(value, max(low, bounds[0]), min(high, bounds[1]), n, note)


def without_groups(value: float, influence: Float[Tensor, " n"], groups: int = 20) -> Float[Tensor, " g"]:
    """A value without each of some groups of samples, every 20th in one, to first order in each sample's influence: for
    differences of two runs on the same samples.
    """
    n, groups = len(influence), min(groups, len(influence))
    group = torch.arange(n, device=influence.device) % groups
    sums = torch.zeros(groups, dtype=torch.float64, device=influence.device).index_add_(0, group, influence.double())
    return (value - sums / (n - torch.bincount(group))).cpu()


def replicates_with(value: float, parts: Float[Tensor, " g"], error: float, *, log: bool) -> Float[Tensor, " g"]:
    """Jackknife values of a quantity whose error is known otherwise: `parts` are what each group of samples adds to it,
    up to a factor, and the factor is such that the jackknife's error is `error` (of log value with `log`). Two runs on
    the same samples have the same groups, so that differences of these values are paired.
    """
    g, parts = len(parts), parts.double().cpu()
    parts = parts - parts.mean()
    spread = float(parts.std()) * (g - 1) / math.sqrt(g)
    moved = -parts * (error / spread if spread > 0 else 0.0)
    return value * moved.exp() if log else value + moved


def quantile_of(
    shares: Float[Tensor, " r"], errors: Float[Tensor, " r"], share: float, level: float
) -> tuple[float, float]:
    """Bounds of the place where rising shares reach one share: where share + z error and share - z error reach it.

    Source: Woodruff 1952, doi:10.1080/01621459.1952.10483443.
    """
    z = NormalDist().inv_cdf(0.5 + level / 2)
    ends = [int(((shares + sign * z * errors) < share - 1e-12).sum()) + 1 for sign in (1, -1)]
    return float(min(ends[0], len(shares))), float(min(ends[1], len(shares)))


def _interval(
    value: float, others: np.ndarray, quantile: float, spread: float, bias: float, bounds: tuple[float, float]
) -> tuple[float, float]:
    """Quantile x spread x sd(others) around the value less bias x (mean(others) - value)."""
    others = others[np.isfinite(others)]
    if len(others) < 2 or not math.isfinite(value):
        return NAN, NAN
    log = bounds == (0.0, math.inf) and value > 0 and bool((others > 0).all())
    at, around = (math.log(value), np.log(others)) if log else (value, others)
    centre = at - bias * (float(around.mean()) - at)
    half = quantile * spread * float(around.std(ddof=1))
    low, high = centre - half, centre + half
    if log:
        low, high = math.exp(low), math.exp(min(high, 700.0))
    return max(min(low, value), bounds[0]), min(max(high, value), bounds[1])


def proportion(hits: int, n: int, *, level: float = 0.95, note: str = "") -> Estimate:
    """A share of n with Wilson's score interval (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
    if n == 0:
        return Estimate(NAN, note=note or "no samples")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    p = hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Estimate(p, max(0.0, min(centre - half, p)), min(1.0, max(centre + half, p)), n, note)


def columns(estimates: Sequence[Estimate]) -> Float[Tensor, "e three"]:
    """Value, low and high of each, for a curve."""
    return torch.tensor([[e.value, e.low, e.high] for e in estimates], dtype=torch.float64)


def mean_of(
    values: Float[Tensor, "n *t"], level: float
) -> tuple[Float[Tensor, "*t"], Float[Tensor, "*t"], Float[Tensor, "*t"]]:
    """The mean over rows, and Student's interval around it; NaN bounds for one row."""
    n, mean = len(values), values.mean(0)
    if n < 2:
        return mean, mean * NAN, mean * NAN
    wide = float(stats.t.ppf(0.5 + level / 2, n - 1)) * values.std(0) / n**0.5
    return mean, mean - wide, mean + wide
