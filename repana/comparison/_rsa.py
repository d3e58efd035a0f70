"""Representational similarity analysis: the distances between samples in one layer against those in another."""

import math
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._ambient import settled
from repana._estimate import NAN, Estimate, Flag, noted
from repana._typing import FeatureArray, LabelArray
from repana.comparison import _refusals
from repana.comparison._cka import MEMORY, cka, with_null
from repana.comparison._inputs import JACKKNIFE, constant_note, dealt_out, groups_of, pair, paired_values
from repana.comparison._matrices import double_centred
from repana.comparison._resampled import interval_of
from repana.statistics.pairing import Pairing, PairSums, pairing, predicted
from repana.statistics.permutation import against
from repana.summaries.distances import distances

DISTANCES = ("euclidean", "sqeuclidean", "cosine", "correlation")
COMPARES = ("spearman", "pearson", "cosine", "tau_a", "whitened")
PERMUTATIONS = 19
DIRECT = 4e9  # samples squared times features, up to which distances are taken by differences
TIED = 2e-14  # of the largest squared length: squared distances closer than this may be equal
DIFFERENCES = 2**26  # bytes of differences at a time
MATRICES = 8  # (n, n) in float64 that are held at a time


@settled()
def rsa(
    a: FeatureArray,
    b: FeatureArray,
    *,
    distance: str = "euclidean",
    compare: str = "spearman",
    groups: LabelArray | None = None,
    jackknife: int = JACKKNIFE,
    permutations: int = PERMUTATIONS,
    level: float = 0.95,
    memory: int = MEMORY,
    seed: int = 0,
) -> Estimate:
    """Representational similarity of two layers on the same samples: agreement of their matrices of distances; higher
    is more similar.

    The distances of all pairs i < j in both layers, `distance`: "euclidean", "sqeuclidean", "cosine" (1 - cosine), or
    "correlation" (1 - correlation over the features of a sample; three features or more, and not unchanged by a
    translation), are compared by `compare`: "spearman" (correlation of mid-ranks), "pearson", "cosine", "tau_a"
    (concordant less discordant pairs of distances over all), or "whitened", the cosine of the double-centred matrices,
    which is the whitened cosine of Diedrichsen et al.; of "sqeuclidean" it is the biased linear CKA, and the debiased
    one stands beside it as `calibrated`. In [-1, 1].

    - Interval: `jackknife` groups of samples left out (whole `groups`), Student's t, on atanh.
    - Null: with `groups`, whole groups paired at random (see `cka`); else all pairings of the samples, exactly, with
      `p` by a Pearson type III distribution; of "tau_a" from `permutations`, of "whitened" the mean alone.

    Raises InputError for NaN or infinite features, different numbers of samples, fewer than 3, correlations of fewer
    than three features, or matrices above `memory`.

    Sources: Kriegeskorte et al. 2008, doi:10.3389/neuro.06.004.2008; Nili et al. 2014, doi:10.1371/journal.pcbi.1003553
    (tau_a); Diedrichsen et al. 2020, arXiv:2007.02789 (whitened).

    >>> import torch
    >>> from repana.comparison import rsa
    >>> x = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    >>> round(float(rsa(x, 3 * x + 1)), 6)
    1.0
    """
    _check.level_of(level)
    _check.choice(distance, "distance", DISTANCES)
    _check.choice(compare, "compare", COMPARES)
    x, y = pair(a, b, "rsa")
    n = len(x)
    if distance == "correlation":
        _refusals.enough_features(min(x.shape[1], y.shape[1]))
    _refusals.matrices_fit(n, MATRICES, memory)
    if any(bool((t == t[0]).all()) for t in (x, y)):
        widths = (x.shape[1], y.shape[1])
        return Estimate(NAN, n=n, note=constant_note(*widths, *widths))
    d, e = distance_matrix(x, distance), distance_matrix(y, distance)
    how = _Compared(d, e, compare)
    value = how.value()
    if math.isnan(value):
        return Estimate(NAN, n=n, note=Flag.CONSTANT.note("all distances of a layer are equal"))
    group = groups_of(groups, n)
    part = dealt_out(n, jackknife, group, seed) if jackknife else None
    deleted = None
    if part is not None:
        kept = [how.of((part != g).to(d.device)) for g in range(int(part.max()) + 1)]
        deleted = torch.tensor(kept, dtype=torch.float64)
    low, high = interval_of(value, deleted, level)
    few = Flag.NO_INTERVAL.note("no interval: samples were not left out") if deleted is None else ""
    found = Estimate(value, low, high, n, noted(few))
    if group is not None:
        drawn = paired_values(
            lambda p, q: _Compared(d[p][:, p], e[q][:, q], compare).value(), value, group, PERMUTATIONS, seed
        )
        found = with_null(found, predicted(drawn), level)
        return replace(found, calibrated=_calibrated(x, y, distance, compare, groups, level))
    if compare == "whitened":
        h, k = double_centred(d), double_centred(e)
        null = float(h.diagonal().sum() * k.diagonal().sum()) / ((n - 1) * float(h.norm() * k.norm()))
        near = _calibrated(x, y, distance, compare, groups, level)
        return Estimate(value, low, high, n, noted(few), null=null, calibrated=near)
    if compare != "tau_a":
        return with_null(found, how.null(), level)
    generator = torch.Generator().manual_seed(seed + 1)
    orders = [torch.randperm(n, generator=generator).to(d.device) for _ in range(permutations)]
    return against(found, [how.permuted(o) for o in orders], better="higher", level=level)


def _calibrated(x: Tensor, y: Tensor, distance: str, compare: str, groups: Any, level: float) -> Estimate | None:
    """The debiased CKA, of which the whitened cosine of squared distances is the biased one."""
    asked = compare == "whitened" and distance == "sqeuclidean" and len(x) > 3
    return cka(x, y, groups=groups, level=level) if asked else None


@settled()
def rdm_distortion(a: FeatureArray, b: FeatureArray, *, memory: int = MEMORY) -> Estimate:
    """Mean squared difference of the distances between samples in two layers, each over its mean; 0 where one layer is
    the other up to rotation, translation and scale; lower is more similar.

    mean over i < j of (D_ij/mean D - E_ij/mean E)^2 of Euclidean distances: an upper bound of the squared
    Gromov-Wasserstein discrepancy of the two spaces, at the pairing that the samples have. Null: the mean over all
    pairings, var(D/mean D) + var(E/mean E), exactly.

    Raises InputError for NaN or infinite features, different numbers of samples, fewer than 3, or matrices above
    `memory`.

    Source: Memoli 2011, doi:10.1007/s10208-011-9093-5 (Gromov-Wasserstein).

    >>> import torch
    >>> from repana.comparison import rdm_distortion
    >>> x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    >>> round(float(rdm_distortion(x, 5 * x)), 6)
    0.0
    """
    x, y = pair(a, b, "rdm_distortion")
    n = len(x)
    _refusals.matrices_fit(n, 4, memory)
    low, high = torch.triu_indices(n, n, 1, device=x.device)
    d, e = (distances(t.double())[low, high] for t in (x, y))
    if not float(d.sum()) > 0 or not float(e.sum()) > 0:
        return Estimate(NAN, n=n, note=Flag.CONSTANT.note("every feature is constant"))
    d, e = d / d.mean(), e / e.mean()
    null = float(d.var(correction=0) + e.var(correction=0))
    note = Flag.NO_INTERVAL.note("no interval")
    return Estimate(float((d - e).square().mean()), n=n, note=note, null=null)


def distance_matrix(x: Float[Tensor, "n d"], distance: str) -> Float[Tensor, "n n"]:
    """Distances of all pairs, in float64."""
    rows = x.double()
    if distance in ("euclidean", "sqeuclidean"):
        if len(rows) ** 2 * rows.shape[1] <= DIRECT:
            found = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
            return found if distance == "euclidean" else found.square_()
        found = _with_ties(rows, distances(rows).square_())
        return found.sqrt_() if distance == "euclidean" else found
    if distance == "correlation":
        rows = rows - rows.mean(1, keepdim=True)
    lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    _refusals.rows_of_length(lengths[:, 0], distance)
    # half the squared distance of rows of length 1: exact also where the cosine is near 1
    between = distances(rows / lengths).square_() / 2
    return between.fill_diagonal_(0)


def _with_ties(x: Float[Tensor, "n d"], squares: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """Squared distances of which those that rounding may have set apart are taken again by differences: distances that
    are equal, as those of whole numbers often are, share a rank."""
    low, high = torch.triu_indices(len(x), len(x), 1, device=x.device)
    values, order = squares[low, high].sort()
    near = values.diff() <= TIED * float((x - x.mean(0)).square().sum(1).max())
    close = torch.zeros(len(values), dtype=torch.bool, device=x.device)
    close[1:] |= near
    close[:-1] |= near
    at = order[close]
    for part in at.split(max(1, DIFFERENCES // (8 * x.shape[1]))):
        i, j = low[part], high[part]
        squares[i, j] = squares[j, i] = (x[i] - x[j]).square().sum(1)
    return squares


class Ranked:
    """The ranks of a layer's distances, centred and of length 1, of all samples or of some."""

    def __init__(self, d: Float[Tensor, "n n"]) -> None:
        n = len(d)
        self._low, self._high = torch.triu_indices(n, n, 1, device=d.device)
        self._codes, self._n = torch.unique(d[self._low, self._high], return_inverse=True)[1], n

    def values(self, kept: Tensor | None = None) -> Float[Tensor, " m"]:
        at = None
        if kept is not None:
            kept = kept.to(self._low.device)
            at = kept[self._low] & kept[self._high]
        ranks = _ranks(self._codes, at)
        ranks = ranks - ranks.mean()
        size = float(ranks.norm())
        return ranks / size if size > 0 else ranks * NAN

    @cached_property
    def _sums(self) -> PairSums:
        whole = torch.zeros(self._n, self._n, dtype=torch.float64, device=self._low.device)
        whole[self._low, self._high] = self.values()
        return PairSums.of(whole + whole.T, third=True)

    def at(self, rows: Int[Tensor, " m"]) -> "Ranked":
        """Of some samples, in that order."""
        whole = torch.zeros(self._n, self._n, dtype=torch.float64, device=self._low.device)
        whole[self._low, self._high] = self._codes.double()
        rows = rows.to(whole.device)
        return Ranked((whole + whole.T)[rows][:, rows])

    def null(self, other: "Ranked") -> Pairing:
        """Of the correlation with another layer's, over all pairings of the samples."""
        return pairing(self._sums, other._sums).scaled(0.5)


class _Compared:
    """Two matrices of distances, and their agreement over all pairs or over those of some samples."""

    def __init__(self, d: Float[Tensor, "n n"], e: Float[Tensor, "n n"], compare: str) -> None:
        self._d, self._e, self._compare, self._n = d, e, compare, len(d)
        self._low, self._high = torch.triu_indices(self._n, self._n, 1, device=d.device)

    @cached_property
    def _flat(self) -> tuple[Tensor, Tensor]:
        return self._d[self._low, self._high], self._e[self._low, self._high]

    @cached_property
    def _codes(self) -> tuple[Tensor, Tensor]:
        """The place of each distance among the distinct ones."""
        return tuple(torch.unique(values, return_inverse=True)[1] for values in self._flat)  # type: ignore[return-value]

    def value(self) -> float:
        return self._agreement(None)

    def of(self, kept: Tensor) -> float:
        """Among the samples that are kept."""
        if self._compare == "whitened":
            d, e = (double_centred(m[kept][:, kept]) for m in (self._d, self._e))
            return _ratio(float((d * e).sum()), float(d.norm() * e.norm()))
        return self._agreement(kept[self._low] & kept[self._high])

    def permuted(self, order: Int[Tensor, " n"]) -> float:
        other = _Compared(self._d, self._e[order][:, order], self._compare)
        return other.value()

    def null(self) -> Any:
        """Exact moments over all pairings."""
        first, second = self._flat
        if self._compare == "spearman":
            first, second = (_ranks(c, None) for c in self._codes)
        if self._compare != "cosine":
            first, second = first - first.mean(), second - second.mean()
        sums, squares = [], []
        for values in (first, second):
            whole = torch.zeros_like(self._d)
            whole[self._low, self._high] = values
            whole += whole.T.clone()
            sums.append(PairSums.of(whole, third=True))
            squares.append(2 * float(values.square().sum()))
        return pairing(*sums).scaled(1 / math.sqrt(squares[0] * squares[1]))

    def _agreement(self, at: Tensor | None) -> float:
        if self._compare == "whitened":
            d, e = double_centred(self._d), double_centred(self._e)
            return _ratio(float((d * e).sum()), float(d.norm() * e.norm()))
        if self._compare == "spearman":
            first, second = (_ranks(c, at) for c in self._codes)
        else:
            first, second = (v if at is None else v[at] for v in self._flat)
        if self._compare == "tau_a":
            return tau_a(first.cpu().numpy(), second.cpu().numpy())
        if self._compare != "cosine":
            first, second = first - first.mean(), second - second.mean()
        return _ratio(float(first @ second), float(first.norm() * second.norm()))


def _ranks(codes: Int[Tensor, " m"], at: Tensor | None) -> Float[Tensor, " k"]:
    """Mid-ranks among those at the places, from where each stands among the distinct values."""
    own = codes if at is None else codes[at]
    counts = torch.bincount(own)
    return (counts.cumsum(0).double() - (counts.double() - 1) / 2)[own]


def tau_a(x: np.ndarray, y: np.ndarray) -> float:
    """Kendall's tau-a: concordant less discordant pairs over all pairs, those with a tie among them."""
    from scipy import stats

    def untied(values: np.ndarray) -> float:
        counts = np.unique(values, return_counts=True)[1].astype(float)
        return total - float((counts * (counts - 1) / 2).sum())

    total = len(x) * (len(x) - 1) / 2
    size = math.sqrt(untied(x) * untied(y))
    found: Any = stats.kendalltau(x, y)
    return float(found.statistic) * size / total if size > 0 else NAN


def _ratio(inner: float, size: float) -> float:
    return min(max(inner / size, -1.0), 1.0) if size > 0 else NAN
