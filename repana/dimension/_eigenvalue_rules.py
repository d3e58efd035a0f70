"""How many eigenvalues to keep: the rules in use, for one spectrum with its interval or for many at once."""

import math
from collections.abc import Iterator
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from scipy import optimize
from torch import Tensor

from repana._estimate import NAN, Estimate, Flag
from repana.summaries.covariance import Covariance

RULES = ("fukunaga_olsen", "ratio", "max_gap", "kaiser", "broken_stick", "marchenko_pastur", "gavish_donoho")
SMALL = 0.05  # of the largest eigenvalue, for Fukunaga and Olsen
UNKNOWN = "no interval: single samples are not known"
NOISE = ("marchenko_pastur", "gavish_donoho")  # rules that take the median eigenvalue for noise
MOSTLY_SIGNAL = "more than half of the components are kept: the median, taken for noise, is one of them"
ROWS = 4096  # samples at a time


def retained(
    values: Float[Tensor, "b m"], n: Int[Tensor, " b"], d: Int[Tensor, " b"], rule: str, share: float
) -> tuple[Float[Tensor, " b"], Bool[Tensor, " b"]]:
    """How many of the descending eigenvalues of sample covariances a rule keeps, and where they show no noise.

    Each of n samples of d features that vary. Eigenvalues in the rounding of the first are 0. Where fewer than
    min(n - 1, d) are left, there is no noise to be estimated and the gap behind the last is infinite: the rank is kept.
    """
    rank = (values > 0).sum(1).double()
    short = rank < torch.minimum(d, n - 1)
    if rule == "max_gap":
        gaps = torch.where(values[:, 1:] > 0, values[:, :-1] / values[:, 1:].clamp_min(1e-300), 0.0)
        count = torch.nn.functional.pad(gaps, (0, 1)).argmax(1).double() + 1
    else:
        count = _counted(_surplus(values, n, d, rule, share), rule)
    bare = short & (rule in (*NOISE, "max_gap"))
    return torch.where(bare, rank, count), bare


def _counted(surplus: Float[Tensor, "b m"], rule: str) -> Float[Tensor, " b"]:
    above = surplus > 0
    if rule == "broken_stick":
        return above.cumprod(1).sum(1).double()
    return above.sum(1).double() + (rule == "ratio")


def _surplus(
    values: Float[Tensor, "b m"], n: Int[Tensor, " b"], d: Int[Tensor, " b"], rule: str, share: float
) -> Float[Tensor, "b m"]:
    """What every eigenvalue has above its threshold, on the rule's own scale."""
    total, m = values.sum(1, keepdim=True), torch.minimum(d, n).clamp_min(1)[:, None]
    if rule == "fukunaga_olsen":
        return values - SMALL * values[:, :1]
    if rule == "ratio":
        return share - 1e-12 - values.cumsum(1) / total
    if rule == "kaiser":
        return values - total / m
    kinds, which = torch.stack([n, d], 1).unique(dim=0, return_inverse=True)
    if rule == "broken_stick":
        pieces = torch.stack([_stick(min(a, b), values.shape[1]) for a, b in kinds.tolist()])
        return values / total - pieces.to(values)[which]
    edges = values.new_tensor([_edge(a, b, rule) for a, b in kinds.tolist()])
    return values - edges[which][:, None] * _median_of_positive(values)


def _stick(m: int, width: int) -> Float[Tensor, " width"]:
    """Expected lengths of m pieces of a stick broken at random, the longest first, zeros behind them."""
    pieces = (1 / torch.arange(1, m + 1, dtype=torch.float64)).flip(0).cumsum(0).flip(0) / max(m, 1)
    return torch.nn.functional.pad(pieces, (0, max(0, width - m)))[:width]


def _median_of_positive(values: Float[Tensor, "b m"]) -> Float[Tensor, "b 1"]:
    """The median of the positive eigenvalues."""
    rank = (values > 0).sum(1, keepdim=True)
    at = torch.stack([(rank - 1) // 2, rank // 2], 2)[:, 0].clamp(0, values.shape[1] - 1)
    return values.gather(1, at).mean(1, keepdim=True)


@lru_cache(maxsize=4096)
def _edge(n: int, d: int, rule: str) -> float:
    """The threshold over the median eigenvalue, which stands for the noise: with q = n - 1 and b = min/max of (q, d),
    sigma^2 is the median over mu_b max(q, d)/q, mu_b the median of the Marchenko-Pastur law.
    """
    q, d = n - 1, max(d, 1)
    low, high = min(q, d), max(q, d)
    beta = low / high
    median = marchenko_pastur_median(beta)
    if rule == "marchenko_pastur":
        return (1 + (d / q) ** 0.5) ** 2 / (median * high / q)
    return (2 * (beta + 1) + 8 * beta / (beta + 1 + (beta**2 + 14 * beta + 1) ** 0.5)) / median


def marchenko_pastur_median(beta: float) -> float:
    """Where the integral of sqrt((b - x)(x - a))/(2 pi beta x) from a is a half; a, b = (1 -+ sqrt(beta))^2."""
    a, b = (1 - beta**0.5) ** 2, (1 + beta**0.5) ** 2

    def below(x: float) -> float:
        first = math.asin(max(-1.0, min(1.0, (2 * x - a - b) / (b - a)))) + math.pi / 2
        second = math.asin(max(-1.0, min(1.0, ((a + b) * x - 2 * a * b) / (x * (b - a))))) + math.pi / 2
        root = max((b - x) * (x - a), 0.0) ** 0.5
        return (root + (1 + beta) * first - (1 - beta) * second) / (2 * math.pi * beta) - 0.5

    found: Any = optimize.brentq(below, max(a, 1e-12), b, xtol=1e-14)
    return float(found)


def ranked(covariance: Covariance, rule: str, *, share: float = 0.95, level: float = 0.95) -> Estimate:
    """How many components a rule keeps, with the interval from the errors of eigenvalues less their thresholds."""
    n, d = covariance.n, covariance.varying  # a constant feature is no direction that noise could fill
    if not len(covariance.eigenvalues):
        return Estimate(NAN, n=n, note=covariance.reason)
    values = covariance.eigenvalues[None] * n / (n - 1)
    samples, width = (torch.tensor([m], device=values.device) for m in (n, d))
    kept, bare = retained(values, samples, width, rule, share)
    count, rank = float(kept[0]), len(covariance.eigenvalues)
    if bool(bare[0]):
        what = "an infinite gap" if rule == "max_gap" else "no noise floor"
        return Estimate(count, n=n, note=Flag.AT_BOUND.note(f"{what}: the covariance has rank {rank}, which is given"))
    if rule == "max_gap" or covariance.coordinates is None:
        return Estimate(
            count,
            n=n,
            note=UNKNOWN if covariance.coordinates is None else Flag.NO_INTERVAL.note("no interval for a gap"),
        )
    surplus = _surplus(values, samples, width, rule, share)[0]
    squares = torch.zeros_like(surplus)
    for influence in _influences(covariance, n, d, rule):
        squares += influence.square().sum(0)
    blur = NormalDist().inv_cdf(0.5 + level / 2) * squares.sqrt() / n * (n / (n - 1))
    if rule in ("ratio", "broken_stick"):  # on the scale of shares
        blur = blur * (n - 1) / n
    low, high = (float(_counted((surplus + side * blur)[None], rule)[0]) for side in (-1, 1))
    note = MOSTLY_SIGNAL if rule in NOISE and count > rank / 2 else ""
    return Estimate(count, min(low, count), max(high, count), n, note)


def _influences(covariance: Covariance, n: int, d: int, rule: str) -> Iterator[Float[Tensor, "b r"]]:
    """The influence of samples on the surplus of every eigenvalue: on lambda_j it is z_j^2 - lambda_j."""
    v, z = covariance.eigenvalues, covariance.coordinates
    assert z is not None
    total, m = v.sum(), min(n, d)
    for part in z.split(ROWS):
        squares = part.square()
        e = squares - v
        if rule == "fukunaga_olsen":
            yield e - SMALL * e[:, :1]
        elif rule == "ratio":
            yield -(squares.cumsum(1) - v.cumsum(0) / total * squares.sum(1, keepdim=True)) / total
        elif rule == "kaiser":
            yield e - e.sum(1, keepdim=True) / m
        elif rule == "broken_stick":
            yield (squares - v / total * squares.sum(1, keepdim=True)) / total
        else:
            r = len(v)
            yield e - _edge(n, d, rule) * (e[:, [(r - 1) // 2]] + e[:, [r // 2]]) / 2
