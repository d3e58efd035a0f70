"""What a random pairing of the rows gives: exact moments of <A, B> = sum_ij A_ij B_ij over all orders of B's samples.

A and B are (n, n) with zero diagonals. Under a permutation pi of the samples of B, drawn uniformly, the moments of
sum_ij A_ij B_pi(i)pi(j) are sums over the patterns that two or three edges can form, each the product of one sum over
A and the same over B divided by the number of its placements, n(n - 1)...(n - m + 1) for a pattern on m samples.

Sources: Mantel 1967, Cancer Research 27, 209-220 (mean and variance); the third moment by the same count of patterns.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import torch
from jaxtyping import Float, Int
from scipy import stats
from torch import Tensor

from repana.summaries._linalg import full_precision

EXACT = 512  # samples up to which the trace of A^3 is a product of matrices
SKETCH, PROBES = 16, 16  # directions kept and drawn for the trace of A^3 of more samples
ROUNDING = 1e-12  # of the deviation: a mean below is 0
NORMAL = 1e-6  # a skewness below is none


@dataclass(frozen=True)
class PairSums:
    """Sums over the patterns of two edges of an (n, n) matrix of zero diagonal, and over those of three where it is
    symmetric and they were asked for.

    `pairs`: sum A^2, sum A*A', pairs with a common start, with a common end, start to end, and without a common sample.
    `triples`: a triple edge, a double edge with an adjacent one, with a disjoint one, triangle, star, path, two
    adjacent with a disjoint one, three disjoint.
    """

    n: int
    total: float
    pairs: tuple[float, ...]
    triples: tuple[float, ...] = ()

    @classmethod
    def of(cls, matrix: Float[Tensor, "n n"], *, third: bool = False, symmetric: bool = True) -> "PairSums":
        """Of a matrix; `third` adds the sums of three edges, of a symmetric one."""
        a, n = matrix.double(), len(matrix)
        out = a.sum(1)
        into = out if symmetric else a.sum(0)
        squares = a.square().sum(1)
        t, a1 = float(out.sum()), float(squares.sum())
        a2 = a1 if symmetric else float((a * a.T).sum())
        a3, a4 = float(out.square().sum()) - a1, float(into.square().sum()) - a1
        a5 = float(out @ into) - a2
        pairs = (a1, a2, a3, a4, a5, t * t - a1 - a2 - a3 - a4 - 2 * a5)
        if not third:
            return cls(n, t, pairs)
        cubes = float((a.square() * a).sum())
        around = float(out @ (a @ out))
        return cls(n, t, pairs, _triples(t, a1, out, squares, cubes, around, trace_cubed(a)))

    @classmethod
    def centred(cls, n: int, squares: float, cubes: float, triangles: float) -> "PairSums":
        """Of a symmetric matrix whose rows sum to 0: from the sum of its squares, of its cubes, and the trace of
        A^3."""
        pairs = (squares, squares, -squares, -squares, -squares, 2 * squares)
        return cls(n, 0.0, pairs, _of_triples(0.0, squares, 0.0, 0.0, cubes, 0.0, triangles))

    @classmethod
    def of_lists(cls, indices: Int[Tensor, "n k"]) -> "PairSums":
        """Of the indicator of lists of neighbours, A_ij = 1 where j is in the list of i."""
        n, k = indices.shape
        into = torch.bincount(indices.flatten(), minlength=n).double()
        start = torch.arange(n, device=indices.device)[:, None].expand(n, k).flatten()
        end = indices.flatten()
        mutual = float(torch.isin(start * n + end, end * n + start).sum())
        t = float(n * k)
        a3, a4, a5 = n * k * k - t, float(into.square().sum()) - t, k * t - mutual
        return cls(n, t, (t, mutual, a3, a4, a5, t * t - t - mutual - a3 - a4 - 2 * a5))


@dataclass(frozen=True)
class Pairing:
    """Mean, standard deviation and skewness of a statistic under random pairings; skewness NaN where it is not
    known."""

    mean: float
    sd: float
    skewness: float = math.nan
    draws: int = 0  # from which mean and deviation were estimated; 0 where they are exact

    def scaled(self, factor: float) -> "Pairing":
        """Of the statistic times a positive number."""
        return Pairing(self.mean * factor, self.sd * factor, self.skewness, self.draws)

    def p(self, value: float) -> float:
        """The probability of a value at least as large, by the Pearson type III distribution of these moments."""
        if not self.sd > 0:
            return 1.0 if value <= self.mean else 0.0
        z = (value - self.mean) / self.sd
        if self.draws:
            return float(stats.t.sf(z / math.sqrt(1 + 1 / self.draws), self.draws - 1))
        if not abs(self.skewness) > NORMAL:  # NaN too
            return float(stats.norm.sf(z))
        return float(stats.pearson3.sf(z, self.skewness))

    def interval(self, level: float) -> tuple[float, float]:
        """The range that holds a random value as often as the level says."""
        if not self.sd > 0:
            return self.mean, self.mean
        ends = (0.5 - level / 2, 0.5 + level / 2)
        if self.draws:
            factor = math.sqrt(1 + 1 / self.draws)
            low, high = (factor * float(stats.t.ppf(q, self.draws - 1)) for q in ends)
        elif not abs(self.skewness) > NORMAL:
            low, high = (float(stats.norm.ppf(q)) for q in ends)
        else:
            low, high = (float(stats.pearson3.ppf(q, self.skewness)) for q in ends)
        return self.mean + low * self.sd, self.mean + high * self.sd


def predicted(drawn: Sequence[float]) -> Pairing:
    """Of values under some random pairings: Student's prediction of one more; NaN without any."""
    known = [v for v in drawn if math.isfinite(v)]
    if len(known) < 2:
        return Pairing(math.nan, math.nan)
    return Pairing(fmean(known), stdev(known), draws=len(known))


def pairing(a: PairSums, b: PairSums) -> Pairing:
    """Of <A, B> over all pairings of their samples."""
    n = a.n
    mean = a.total * b.total / _falling(n, 2)
    (a1, a2, a3, a4, a5, a6), (b1, b2, b3, b4, b5, b6) = a.pairs, b.pairs
    second = (a1 * b1 + a2 * b2) / _falling(n, 2) + (a3 * b3 + a4 * b4 + 2 * a5 * b5) / _falling(n, 3)
    second += a6 * b6 / _falling(n, 4) if n > 3 else 0.0
    variance = max(second - mean**2, 0.0)
    mean = mean if abs(mean) > ROUNDING * math.sqrt(variance) else 0.0
    if not a.triples or not b.triples or not variance > 0 or n < 6:
        return Pairing(mean, math.sqrt(variance))
    third = sum(c * x * y / _falling(n, m) for (c, m), x, y in zip(PATTERNS, a.triples, b.triples))
    return Pairing(mean, math.sqrt(variance), (third - 3 * mean * variance - mean**3) / variance**1.5)


# how often each pattern of three edges is met among ordered triples of ordered pairs, and its number of samples
PATTERNS = ((4, 2), (24, 3), (6, 4), (8, 3), (8, 4), (24, 4), (12, 5), (1, 6))


def _falling(n: int, m: int) -> float:
    """n(n - 1)...(n - m + 1)."""
    return float(math.perm(n, m))


def _triples(
    t: float, a1: float, out: Tensor, squares: Tensor, cubes: float, around: float, triangles: float
) -> tuple[float, ...]:
    """From row sums, row sums of squares, sum A^3, r'Ar, tr A^3, and sum A^2_jk r_j."""
    mixed, third = float(squares @ out), float((out**3).sum())
    return _of_triples(t, a1, mixed, third, cubes, around, triangles, float(out.square().sum()))


def _of_triples(
    t: float,
    a1: float,
    mixed: float,
    third: float,
    cubes: float,
    around: float,
    triangles: float,
    starts: float = 0.0,
) -> tuple[float, ...]:
    """Sums over placements on distinct samples: `mixed` sum_i q_i r_i, `third` sum r^3, `starts` sum r^2, with r and q
    the row sums of A and of its squares."""
    adjacent = mixed - cubes
    disjoint = t * a1 - 4 * mixed + 2 * cubes
    star = third - 3 * mixed + 2 * cubes
    path = around - 2 * mixed + cubes - triangles
    bent = t * (starts - a1) - 2 * (third - 3 * mixed + 2 * around) + 2 * (2 * adjacent + triangles)
    first = (cubes, adjacent, disjoint, triangles, star, path, bent)
    apart = t**3 - sum(c * x for (c, _), x in zip(PATTERNS, first))
    return (*first, apart)


def trace_cubed(a: Float[Tensor, "n n"]) -> float:
    """tr A^3 of a symmetric matrix: exact up to 512 samples, else estimated."""
    if len(a) <= EXACT:
        return float(((a @ a) * a).sum())
    return estimated_trace(lambda z: a @ z, len(a), a.device)


def estimated_trace(times: Callable[[Tensor], Tensor], n: int, device: torch.device, seed: int = 0) -> float:
    """tr A^3 from products with A: exact on the span of A S, S of random signs, and the mean of z'A^3 z of random signs
    z beside it.

    Source: Meyer et al. 2021, arXiv:2010.09649 (Hutch++).
    """
    generator = torch.Generator().manual_seed(seed)

    def signs(columns: int) -> Tensor:
        return (torch.randint(0, 2, (n, columns), generator=generator) * 2.0 - 1.0).double().to(device)

    with full_precision():
        basis = torch.linalg.qr(times(times(signs(SKETCH))))[0]
        at = times(basis)
        exact = float((at * times(at)).sum())
        probes = signs(PROBES)
        probes = probes - basis @ (basis.T @ probes)
        at = times(probes)
        rest = float((at * times(at)).sum()) / PROBES
    return exact + rest
