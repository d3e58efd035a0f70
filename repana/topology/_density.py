"""Which clusters of a layer survive when sparse points are dropped: H0 persistence over scale and density together."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform
from torch import Tensor

from repana import _check
from repana._estimate import NAN, Estimate, Flag, noted, shown
from repana._reads import reads
from repana.statistics.resampling import percentiles
from repana.summaries.distances import distances
from repana.summaries.subsample import Subsample
from repana.topology import _refusals
from repana.topology._persistence import HOMOLOGY_MEMORY, rips, rips_cost

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HALVES, DRAWS = 20, 20
SCALES = tuple(round(0.05 * i, 2) for i in range(31))  # of the median distance
ALPHA = 0.05
MIDDLE = 0.5  # the level of which findings speak
SURVIVES = 0.5  # of a level's longest edge, that a component must outlast


@shown
@dataclass(frozen=True)
class DensityPersistence:
    """Components of a layer by density and scale; see `density_persistence`. `surface` (m, r): components at level a of
    density and scale r; `signed` (m, r): births less deaths there; `clusters`, `entropy` (m,) by level; `levels` (m,)
    quantiles of density, `scales` (r,) of the median distance; `loops` (b, 2) of each level with `loops=True`: birth
    and death of H1 in median distances, longest first."""

    clusters: Estimate
    dense_clusters: Estimate
    stable_clusters: Estimate
    stable_levels: Estimate
    entropy: Estimate
    dense_entropy: Estimate
    surface: Int[Tensor, "m r"]
    signed: Int[Tensor, "m r"]
    clusters_by_level: Int[Tensor, " m"]
    entropy_by_level: Float[Tensor, " m"]
    levels: Float[Tensor, " m"]
    scales: Float[Tensor, " r"]
    loops: Sequence[Float[Tensor, "b 2"]] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def distance(self, other: "DensityPersistence") -> float:
        """The mean of |log H - log H'| over levels and scales, of two layers with as many samples on the same grids.

        Raises InputError for other grids or numbers of samples.
        """
        if self.surface.shape != other.surface.shape or self.settings["samples"] != other.settings["samples"]:
            raise _refusals.other_surface(self.settings["samples"], other.settings["samples"])
        if not (torch.equal(self.levels, other.levels) and torch.equal(self.scales, other.scales)):
            raise _refusals.other_surface(self.settings["samples"], other.settings["samples"])
        return float((self.surface.double().log() - other.surface.double().log()).abs().mean())

    def says(self) -> str:
        """How many clusters the dense half has, and how many all samples, in a sentence."""
        if not self.dense_entropy.p <= ALPHA:
            return "The denser half of the samples is not more clustered than a Gaussian cloud."
        text = f"The denser half of the samples falls into {int(self.dense_clusters.value)} clusters"
        if self.entropy.p <= ALPHA:
            return text + f", all of them into {int(self.clusters.value)}."
        return text + "; all together are not more clustered than a Gaussian cloud: sparse samples bridge them."

    def plot(self, **options: Any) -> "Figure":
        """Components by density and scale; see `repana.plots.density_surface`."""
        from importlib import import_module

        plots = import_module("repana.plots")
        return plots.figure_of(plots.density_surface(self, **options))


@reads
def density_persistence(
    subsample: Subsample,
    *,
    k: int = 10,
    levels: int | Sequence[float] = 10,
    scales: Sequence[float] = SCALES,
    normalize: str = "center+l2",
    tau: float = SURVIVES,
    loops: bool = False,
    memory: int = HOMOLOGY_MEMORY,
    level: float = 0.95,
) -> DensityPersistence:
    """Clusters by density and scale. Call as `density_persistence(features)`.

    With f_i the root mean square distance of sample i to its `k` nearest others (its codensity, large where it is
    lonely), H(a, r) is the number of components of the samples with f <= a, joined at distances <= r: H0 of the
    filtration by scale and density together.

    - `surface` (m, r): H at the quantiles `levels` of f (10: .1, .2, ... 1), where ties enter together, and at
      `scales`, fractions of the median distance (of the mean where that is 0). `signed`: its differences in both
      directions, births positive and deaths negative; a death may be given back at a later level, where a new sample
      bridges two clusters.
    - `clusters_by_level`: components of a level that outlast `tau` of its longest edge; `entropy_by_level`: the
      `h0_entropy` of each level.
    - `entropy`, `dense_entropy`: `h0_entropy` of all samples and of the denser half, higher where they are more
      clustered, or of more varied density; null and p: 20 Gaussian clouds of the same mean and covariance, normalised
      alike. `clusters`, `dense_clusters`: the counts of
      both; read them only where the entropy is above its null, as edges of a single cloud are all of like length, and
      many outlast half of the longest.
    - `stable_clusters`: the count that holds over the most levels in a row, and `stable_levels`, their share.
    - `loops`: H1 of the Vietoris-Rips filtration of each level, for itself: a hole that sparse
      samples fill is there in the dense ones alone. Without null or interval.

    One minimum spanning tree for each level. Invariant to rotation, translation and scale, not to the number of
    samples: `max_samples` of them, drawn by `seed`, in every layer. Interval: the range over 20 random halves.

    Raises InputError for NaN or infinite features, `k` not below the number of samples, levels or scales that are not
    ascending in (0, 1] and [0, inf), `tau` outside (0, 1), or loops beyond `memory` bytes (RA246).

    Sources: Chazal et al. 2011, doi:10.1007/s10208-011-9098-0 (distance to a measure); Carlsson & Zomorodian 2009,
    doi:10.1007/s00454-009-9176-0 (two parameters); Botnan et al. 2022, arXiv:2107.06800 (signed differences).

    >>> import torch
    >>> from repana.topology import density_persistence
    >>> x = torch.randn(90, 3, generator=torch.Generator().manual_seed(0))
    >>> x[:30, 0] += 20
    >>> x[30:60, 1] += 20
    >>> found = density_persistence(x, normalize="none")
    >>> float(found.dense_clusters), float(found.clusters)
    (3.0, 3.0)
    """
    _check.in_range(tau, "tau", 1e-6, 1 - 1e-6)
    count = _check.at_least(levels, "levels", 1) if isinstance(levels, Integral) else 0
    quantiles = _ascending([i / count for i in range(1, count + 1)] if count else levels, "levels")
    grid = _ascending(scales, "scales")
    x, dead = subsample.normalized(normalize)
    n = subsample.n
    if not 1 <= _check.whole(k, "k") < n:
        raise _refusals.neighbours_of_density(k, n)
    if loops:
        needed, seconds = rips_cost(n, 1)
        if needed > memory:
            raise _refusals.homology_too_large(n, needed, memory, len(quantiles) * seconds)
    note = Flag.CONSTANT.note(f"{dead} samples of zeros have no direction") if dead else ""
    note = noted(note, Flag.SUBSET.note(f"{n} of {subsample.seen} samples") if n < subsample.seen else "")
    between = distances(x).double().cpu().numpy()
    whole = _measured(between, k, quantiles, grid, tau)
    generator = np.random.default_rng(subsample.seed)
    halves = [np.sort(generator.permutation(n)[: n // 2]) for _ in range(HALVES)] if n >= 4 * (k + 1) else []
    parts = [_measured(between[np.ix_(h, h)], k, quantiles, grid, tau).numbers() for h in halves]
    clouds = _clouds(subsample, normalize, generator, k, quantiles, grid, tau)
    found = {
        name: _estimate(name, value, [p[name] for p in parts], clouds, n, level, note)
        for name, value in whole.numbers().items()
    }
    return DensityPersistence(
        **found,
        surface=torch.from_numpy(whole.surface),
        signed=torch.from_numpy(signed(whole.surface)),
        clusters_by_level=torch.from_numpy(whole.clusters),
        entropy_by_level=torch.from_numpy(whole.entropy),
        levels=torch.tensor(quantiles, dtype=torch.float64),
        scales=torch.tensor(grid, dtype=torch.float64),
        loops=_loops(between, k, quantiles) if loops else (),
        settings={
            "k": k, "normalize": normalize, "samples": n, "tau": tau, "level": level, "seed": subsample.seed,
        },
    )  # fmt: skip


@dataclass(frozen=True)
class _Measured:
    """Of one cloud: components by level and scale, clusters and entropy by level."""

    surface: Int[np.ndarray, "m r"]
    clusters: Int[np.ndarray, " m"]
    entropy: Float[np.ndarray, " m"]
    middle: int

    def numbers(self) -> dict[str, float]:
        longest, count = _longest_run(self.clusters)
        return {
            "clusters": float(self.clusters[-1]),
            "dense_clusters": float(self.clusters[self.middle]),
            "stable_clusters": float(count),
            "stable_levels": longest / len(self.clusters),
            "entropy": float(self.entropy[-1]),
            "dense_entropy": float(self.entropy[self.middle]),
        }


def _measured(
    between: Float[np.ndarray, "n n"], k: int, quantiles: Sequence[float], grid: Sequence[float], tau: float
) -> _Measured:
    density, unit = codensity(between, min(k, len(between) - 1)), median_distance(between)
    merged = merges(between, density, np.quantile(density, quantiles))
    middle = int(np.argmin(np.abs(np.asarray(quantiles) - MIDDLE)))
    return _Measured(
        components(merged, np.asarray(grid) * unit * (1 + 1e-12)),
        np.array([1 + int((e > tau * e[-1]).sum()) if len(e) and e[-1] > 0 else 1 for e in merged]),
        np.array([_entropy(e) for e in merged]),
        middle,
    )


def median_distance(between: Float[np.ndarray, "n n"]) -> float:
    """The median distance, or the mean where that is 0."""
    upper = squareform(between, checks=False)
    return float(np.median(upper)) or float(upper.mean())


def _loops(between: Float[np.ndarray, "n n"], k: int, quantiles: Sequence[float]) -> tuple[Tensor, ...]:
    """H1 of the samples up to each level, in units of the median distance of all."""
    density, unit = codensity(between, k), median_distance(between)
    found = []
    for a in np.quantile(density, quantiles):
        inside = _inside(density, float(a))
        bars = rips(between[np.ix_(inside, inside)], 1)[1] if len(inside) > 2 else np.empty((0, 2))
        found.append(torch.from_numpy(bars / (unit or 1.0)))
    return tuple(found)


def _inside(density: Float[np.ndarray, " n"], a: float) -> Int[np.ndarray, " i"]:
    """The samples up to a level; ties enter together."""
    return np.flatnonzero(density <= a * (1 + 1e-12))


def codensity(between: Float[np.ndarray, "n n"], k: int) -> Float[np.ndarray, " n"]:
    """The root mean square distance to the k nearest others."""
    nearest = np.partition(between + np.diag(np.full(len(between), np.inf)), k - 1, axis=1)[:, :k]
    return np.sqrt((nearest**2).mean(1))


def merges(
    between: Float[np.ndarray, "n n"], density: Float[np.ndarray, " n"], levels: Float[np.ndarray, " m"]
) -> list[np.ndarray]:
    """The ascending edges of the minimum spanning tree of the samples up to each level."""
    order = np.argsort(density, kind="stable")  # those of a level are then the first
    dense = between[order][:, order]
    found = []
    for a in levels:
        count = len(_inside(density, float(a)))
        part = squareform(dense[:count, :count], checks=False)
        found.append(np.sort(linkage(part, "single")[:, 2]) if count > 1 else np.empty(0))
    return found


def components(merged: Sequence[np.ndarray], scales: Float[np.ndarray, " r"]) -> Int[np.ndarray, "m r"]:
    """H(a, r): samples of a level less the edges of its tree up to r."""
    return np.array([len(e) + 1 - np.searchsorted(e, scales, side="right") for e in merged]).astype(np.int64)


def signed(surface: Int[np.ndarray, "m r"]) -> Int[np.ndarray, "m r"]:
    """The Moebius inversion: H(a, r) is the sum of all entries up to (a, r)."""
    rows = np.diff(surface, axis=0, prepend=0)
    return np.diff(rows, axis=1, prepend=0)


def _entropy(edges: Float[np.ndarray, " e"]) -> float:
    """`h0_entropy` of a tree."""
    n = len(edges) + 1
    if n < 4 or not edges[-1] > 0:
        return NAN
    w = edges[edges > 0] / edges.sum()
    return 1 + float((w * np.log(w)).sum()) / math.log(n - 1)


def _longest_run(counts: Int[np.ndarray, " m"]) -> tuple[int, int]:
    """How many levels in a row have the same count, at most, and which; of equal runs the later."""
    best, length = (0, int(counts[-1])), 0
    for i, count in enumerate(counts):
        length = length + 1 if i and count == counts[i - 1] else 1
        best = (length, int(count)) if length >= best[0] else best
    return best


def _clouds(
    subsample: Subsample,
    normalize: str,
    generator: np.random.Generator,
    k: int,
    quantiles: Sequence[float],
    grid: Sequence[float],
    tau: float,
) -> list[dict[str, float]]:
    """The numbers of Gaussian clouds of the same mean and covariance, normalised alike."""
    x = subsample.x.double().cpu()
    mean, n = x.mean(0), len(x)
    found = []
    for _ in range(DRAWS):
        drawn = torch.from_numpy(generator.standard_normal((n, n))) @ (x - mean) / math.sqrt(n) + mean
        cloud = distances(replace(subsample, x=drawn).normalized(normalize)[0]).double().numpy()
        found.append(_measured(cloud, k, quantiles, grid, tau).numbers())
    return found


def _estimate(
    name: str, value: float, halves: Sequence[float], clouds: Sequence[Mapping[str, float]], n: int, level: float,
    note: str,
) -> Estimate:  # fmt: skip
    low, high = (min(value, *halves), max(value, *halves)) if halves else (NAN, NAN)
    drawn = np.array([c[name] for c in clouds])
    null_low, null_high = percentiles(drawn, level)
    higher = name.endswith("entropy") and value == value
    p = (1 + int((drawn >= value).sum())) / (1 + len(drawn)) if higher else NAN
    return Estimate(
        value, low, high, n, note, null=float(np.median(drawn)), null_low=null_low, null_high=null_high, p=p,
        permutations=len(drawn),
    )  # fmt: skip


def _ascending(values: Any, name: str) -> list[float]:
    each = np.asarray(values) if not isinstance(values, Tensor) else values.numpy()
    if each.ndim != 1 or each.dtype.kind not in "iuf":
        raise _refusals.not_ascending(name, [values])
    found = [float(v) for v in each]
    top = 1.0 if name == "levels" else math.inf
    right = all(a < b for a, b in zip(found, found[1:])) and all(0 <= v <= top for v in found)
    if not found or not right or (name == "levels" and found[0] <= 0):
        raise _refusals.not_ascending(name, found)
    return found
