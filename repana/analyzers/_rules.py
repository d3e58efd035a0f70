"""How many eigenvalues to keep: the rules in use, for one spectrum with its interval or for many at once."""

from collections.abc import Iterator
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import torch
from jaxtyping import Float
from scipy import integrate, optimize
from torch import Tensor

from repana._results import NAN, Estimate
from repana.summaries.covariance import Covariance

RULES = ("fukunaga_olsen", "ratio", "max_gap", "kaiser", "broken_stick", "marchenko_pastur", "gavish_donoho")
SMALL = 0.05  # of the largest eigenvalue, for Fukunaga and Olsen
UNKNOWN = "no interval: single samples are not known"
ROWS = 4096  # samples at a time


def retained(values: Float[Tensor, "b m"], n: int, d: int, rule: str, share: float) -> Float[Tensor, " b"]:
    """How many of the descending eigenvalues of sample covariances (n samples, d features) a rule keeps."""
    if rule == "max_gap":
        gaps = values[:, :-1] / values[:, 1:].clamp_min(1e-300)
        known = values[:, 1:] > 0
        return torch.where(known, gaps, 0.0).argmax(1).double() + 1
    return _counted(_surplus(values, n, d, rule, share), rule)


def _counted(surplus: Float[Tensor, "b m"], rule: str) -> Float[Tensor, " b"]:
    above = surplus > 0
    if rule == "broken_stick":
        return above.cumprod(1).sum(1).double()
    return above.sum(1).double() + (rule == "ratio")


def _surplus(values: Float[Tensor, "b m"], n: int, d: int, rule: str, share: float) -> Float[Tensor, "b m"]:
    """What every eigenvalue has above its threshold, on the rule's own scale."""
    total, m = values.sum(1, keepdim=True), values.shape[1]
    if rule == "fukunaga_olsen":
        return values - SMALL * values[:, :1]
    if rule == "ratio":
        return share - 1e-12 - values.cumsum(1) / total
    if rule == "kaiser":
        return values - total / m
    if rule == "broken_stick":
        return values / total - _stick(m).to(values)
    return values - _edge(n, d, rule) * _middle(values)


def _stick(m: int) -> Float[Tensor, " m"]:
    """Expected lengths of m pieces of a stick broken at random, the longest first."""
    return (1 / torch.arange(1, m + 1, dtype=torch.float64)).flip(0).cumsum(0).flip(0) / m


def _middle(values: Float[Tensor, "b m"]) -> Float[Tensor, "b 1"]:
    """The median of the positive eigenvalues; those below the rounding of the largest are zero."""
    rank = (values > values[:, :1] * values.shape[1] * torch.finfo(values.dtype).eps).sum(1, keepdim=True)
    at = torch.stack([(rank - 1) // 2, rank // 2], 2)[:, 0].clamp_min(0)
    return values.gather(1, at).mean(1, keepdim=True)


@lru_cache(maxsize=256)
def _edge(n: int, d: int, rule: str) -> float:
    """The threshold over the median eigenvalue, which stands for the noise: with q = n - 1 and b = min/max of (q, d),
    sigma^2 is the median over mu_b max(q, d)/q, mu_b the median of the Marchenko-Pastur law.
    """
    q = n - 1
    low, high = min(q, d), max(q, d)
    beta = low / high
    a, b = (1 - beta**0.5) ** 2, (1 + beta**0.5) ** 2

    def below(x: float) -> float:
        def density(y: float) -> float:
            return max((b - y) * (y - a), 0.0) ** 0.5 / (2 * torch.pi * beta * y)

        return float(integrate.quad(density, a, x)[0]) - 0.5

    found: Any = optimize.brentq(below, a + 1e-9, b)
    if rule == "marchenko_pastur":
        return (1 + (d / q) ** 0.5) ** 2 / (found * high / q)
    return (2 * (beta + 1) + 8 * beta / (beta + 1 + (beta**2 + 14 * beta + 1) ** 0.5)) / found


def ranked(covariance: Covariance, rule: str, *, share: float = 0.95, level: float = 0.95) -> Estimate:
    """How many components a rule keeps, with the interval from the errors of eigenvalues less their thresholds."""
    n, d = covariance.n, covariance.varying  # a constant feature is no direction that noise could fill
    m = min(n, d)
    if not len(covariance.eigenvalues):
        return Estimate(NAN, n=n, note=covariance.reason)
    rank = len(covariance.eigenvalues)
    if rule in ("marchenko_pastur", "gavish_donoho") and rank < min(n - 1, d):
        return Estimate(float(rank), n=n, note=f"no noise floor: the covariance has rank {rank}, which is given")
    values = torch.nn.functional.pad(covariance.eigenvalues, (0, m - len(covariance.eigenvalues)))[None] * n / (n - 1)
    count = float(retained(values, n, d, rule, share)[0])
    if rule == "max_gap" or covariance.coordinates is None:
        return Estimate(count, n=n, note=UNKNOWN if covariance.coordinates is None else "no interval for a gap")
    surplus = _surplus(values, n, d, rule, share)[0, : len(covariance.eigenvalues)]
    squares = torch.zeros_like(surplus)
    for influence in _influences(covariance, n, d, rule):
        squares += influence.square().sum(0)
    blur = NormalDist().inv_cdf(0.5 + level / 2) * squares.sqrt() / n * (n / (n - 1))
    if rule in ("ratio", "broken_stick"):  # on the scale of shares
        blur = blur * (n - 1) / n
    low, high = (float(_counted((surplus + side * blur)[None], rule)[0]) for side in (-1, 1))
    return Estimate(count, min(low, count), max(high, count), n)


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
