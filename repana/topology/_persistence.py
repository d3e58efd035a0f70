"""Topology of a layer: how far its samples cluster, without labels, and its persistent homology."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from repana import _check
from repana._estimate import NAN, Estimate, Flag, explained, noted, shown
from repana._reads import reads
from repana._renamed import renamed
from repana._typing import FeatureArray
from repana.statistics.intervals import replicates_with
from repana.summaries.distances import distances
from repana.summaries.forest import spanning_edges
from repana.summaries.subsample import Subsample
from repana.summaries.tree import Tree
from repana.topology import _refusals

HALVES = 20  # random halves of the samples, for intervals
HIGHEST = 16  # order of a Wasserstein distance that gudhi is asked for
TAIL = 0.99  # quantile of edges that one outlier does not move
SCALES = tuple(round(0.025 * i, 3) for i in range(61))  # of the median distance, for Betti curves
RIPS_BYTES, RIPS_SECONDS = 52.0, 2.8 / 2000**2.6  # of H1, a sample squared, and to the power 2.6: measured with gudhi
HOMOLOGY_MOST, HOMOLOGY_MEMORY = 1_000, 2**31
STATISTICS = ("entropy", "mean", "quantile")


@shown
@dataclass(frozen=True)
class H0Separability:
    """How far a layer's samples fall into clusters, without labels; see `h0_separability`."""

    h0_entropy: Estimate
    h0_mean: Estimate
    h0_quantile: Estimate
    clusters: Estimate
    gap_ratio: Estimate
    deaths: Float[Tensor, " e"] = field(default_factory=lambda: torch.empty(0))
    betti: Float[Tensor, "r 2"] = field(default_factory=lambda: torch.empty(0, 2))
    jackknife: Mapping[str, Float[Tensor, " g"]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, statistic: str) -> Estimate:
        """`found["entropy"]`: one of the family by its name."""
        _check.choice(statistic, "statistic", STATISTICS)
        return getattr(self, f"h0_{statistic}")


@reads
def h0_separability(
    subsample: Subsample, *, normalize: str = "center+l2", tau: float = 0.5, level: float = 0.95
) -> H0Separability:
    """Separability without labels, from H0 persistence. Call as `h0_separability(features)`; higher is more clustered.

    In the spirit of Ghalyan et al. 2023 and its revisions. With p_1 <= ... <= p_(n-1) the edges of the minimum spanning
    tree (the deaths of H0 of the Vietoris-Rips filtration, zeros kept, the infinite bar dropped) and q = p/max p:

    - `h0_entropy` 1 + sum w log w/log(n - 1), w = p/sum p: 1 less the normalised persistent entropy. In [0, 1]. The one
      to read: it moved with the accuracy in most trainings tried, and one outlier does not carry it off.
    - `h0_mean` 1 - mean q; (n - K)/(n - 1) for K collapsed classes. `h0_quantile` 1 - mean min(1, p/p_(99%)).
    - `clusters` 1 + #{q > tau}; `gap_ratio` p_(n-1)/p_(n-2).
    - `deaths` (n - 1,), of normalised features; `betti` (r, 2): fractions r of the median distance, and the number of
      components 1 + #{p > r median}. `jackknife`: each score over the random halves below, for `compare`.

    `normalize`: "center+l2" (features less their mean, then of length 1), "l2", "center" or "none". Options of the
    subset: `most` = 2000 samples drawn by `seed`, the same for every layer and checkpoint, as the score grows with n.
    Interval of `h0_entropy`: 20 random halves of the subset (delete-half jackknife, Student's t). The others depend on
    single edges, for which no error is known: theirs reaches over those halves and that spread, and covered the mean
    over fresh samples in some 80 of 100. Unitless. NaN where all samples are equal.

    What it cannot do, measured: it sees clusters, not classes. Far blobs with random labels score high; a gap that no
    cluster fills (a strip cut in two) scores nothing; without LayerNorm it can run against the accuracy (a plain ReLU
    net on the digits: rank correlation -0.1 to -0.5); raw features in many dimensions say nothing (0.0 at 768). The
    papers leave open: the exact statistic and its sign, whether features are centred, the size of the subset, and the
    rule of stopping. Where there are labels, take `separability`.

    Raises InputError for NaN or infinite features, fewer than 3 samples, or `tau` outside (0, 1).

    Sources: Ghalyan et al. 2023, arXiv:2305.15016v2; Gourgoulias et al. 2024, arXiv:2305.15016v4; persistent entropy:
    Rucco et al. 2016; H0 and trees: Robins 1999.

    >>> import torch
    >>> from repana import h0_separability
    >>> corners = torch.eye(4).repeat(25, 1)
    >>> round(float(h0_separability(corners, normalize="none").h0_mean), 4)  # (n - K)/(n - 1)
    0.9697
    """
    _check.in_range(tau, "tau", 1e-6, 1 - 1e-6)
    x, dead = subsample.normalized(normalize)
    n, deaths = subsample.n, Tree.of(x).lengths
    note = Flag.CONSTANT.note(f"{dead} samples of zeros have no direction") if dead else ""
    note = noted(note, Flag.SUBSET.note(f"{n} of {subsample.seen} samples") if n < subsample.seen else "")
    settings = {"normalize": normalize, "samples": n, "tau": tau, "level": level, "seed": subsample.seed}
    if not float(deaths[-1]) > 0:
        nothing = Estimate(NAN, n=n, note=Flag.CONSTANT.note("all samples are equal"))
        return H0Separability(nothing, nothing, nothing, nothing, nothing, deaths.cpu(), settings=settings)
    between = distances(x)
    values, halves = statistics(deaths, tau), _halves(between, tau, subsample.seed)
    low, high = torch.triu_indices(n, n, 1, device=between.device)
    median = float(between[low, high].median()) or float(between[low, high].mean())
    scales = torch.tensor(SCALES, dtype=torch.float64)
    counts = 1 + (deaths.cpu()[None] > scales[:, None] * median * (1 + 1e-12)).sum(1)
    unit = subsample.scale if not normalize.endswith("l2") else 1.0
    found = {
        name: _over_halves(value, [h[name] for h in halves], name, n, level, note) for name, value in values.items()
    }
    return H0Separability(
        **found,
        deaths=deaths.cpu() * unit,
        betti=torch.stack([scales, counts.double()], 1),
        jackknife={name: _deleted(value, [h[name] for h in halves], name) for name, value in values.items()},
        settings=settings,
    )


def statistics(deaths: Float[Tensor, " e"], tau: float) -> dict[str, float]:
    """Every score of ascending deaths, of which the last is above 0."""
    n, top = len(deaths) + 1, float(deaths[-1])
    w = deaths / deaths.sum()
    q, tail = deaths / top, float(deaths.quantile(TAIL)) if n < 2**24 else top
    second = float(deaths[-2]) if n > 2 else 0.0
    return {
        "h0_entropy": 1 + float(torch.special.xlogy(w, w).sum()) / math.log(n - 1) if n > 2 else NAN,
        "h0_mean": 1 - float(q.mean()),
        "h0_quantile": 1 - float((deaths / tail).clamp_max(1).mean()) if tail > 0 else 1 - float(q.mean()),
        "clusters": 1.0 + float((q > tau).sum()),
        "gap_ratio": top / second if second > 0 else math.inf,
    }


def _halves(between: Float[Tensor, "m m"], tau: float, seed: int) -> list[dict[str, float]]:
    """The scores of random halves, whose trees grow together."""
    n = len(between)
    if n < 8:
        return []
    generator = torch.Generator().manual_seed(seed)
    members = torch.stack([torch.randperm(n, generator=generator)[: n // 2] for _ in range(HALVES)])
    edges, _ = spanning_edges([between], torch.zeros(HALVES, dtype=torch.int64, device=between.device),
                              members.to(between.device))  # fmt: skip
    sorted_edges = edges.sort(1).values
    return [statistics(row, tau) for row in sorted_edges if float(row[-1]) > 0]


def _deleted(value: float, halves: Sequence[float], name: str) -> Float[Tensor, " g"]:
    """The spread over halves as that of a jackknife of as many groups, for differences of two runs."""
    known = torch.tensor(halves, dtype=torch.float64)
    if len(known) < 2 or not math.isfinite(value) or not bool(known.isfinite().all()):
        return torch.empty(0, dtype=torch.float64)
    known = known.log() if name == "gap_ratio" else known
    return replicates_with(value, -known, float(known.std()), log=name == "gap_ratio")


def _over_halves(value: float, halves: Sequence[float], name: str, n: int, level: float, note: str) -> Estimate:
    """Student's interval from the spread over halves: that of halves is the error of the whole (Shao & Wu 1989)."""
    known = np.asarray([h for h in halves if math.isfinite(h)])
    if len(known) < 2 or not math.isfinite(value):
        return explained(Estimate(value, n=n, note=note), "all edges of the tree but the longest have length 0")
    t = float(stats.t.ppf(0.5 + level / 2, len(known) - 1))
    log = name == "gap_ratio"
    spread = t * float((np.log(known) if log else known).std(ddof=1))
    least = 1.0 if name in ("clusters", "gap_ratio") else -math.inf if name == "h0_quantile" else 0.0
    most = math.inf if name in ("clusters", "gap_ratio") else 1.0
    low, high = (value * math.exp(-spread), value * math.exp(spread)) if log else (value - spread, value + spread)
    if name != "h0_entropy":
        low, high = min(low, float(known.min())), max(high, float(known.max()))
    return Estimate(value, max(low, least), min(high, most), n, note)


@dataclass(frozen=True)
class Persistence:
    """Persistent homology of one layer; see `persistence`. `diagrams[k]` (m, 2) holds birth and death of H_k."""

    diagrams: Mapping[int, Float[np.ndarray, "m 2"]]
    entropy: Mapping[int, float]
    total: Mapping[int, float]
    betti: Mapping[int, Float[np.ndarray, " r"]]
    scales: Float[np.ndarray, " r"]
    median: float
    settings: Mapping[str, Any] = field(default_factory=dict)

    def diagram(self, dimension: int) -> Float[np.ndarray, "m 2"]:
        if dimension not in self.diagrams:
            raise _refusals.no_diagram(dimension, sorted(self.diagrams))
        return self.diagrams[dimension]

    def landscape(self, dimension: int = 1, *, landscapes: int = 5, resolution: int = 100) -> Float[np.ndarray, "k r"]:
        """The first persistence landscapes at even scales (Bubenik 2015), by gudhi."""
        from gudhi.representations import Landscape

        made = Landscape(num_landscapes=landscapes, resolution=resolution).fit_transform([self.diagram(dimension)])
        return np.asarray(made[0]).reshape(landscapes, resolution)

    def image(self, dimension: int = 1, *, bandwidth: float | None = None, resolution: int = 20) -> np.ndarray:
        """The persistence image, weighted by persistence (Adams et al. 2017), by gudhi; `bandwidth` is by default a
        twentieth of the longest bar.
        """
        from gudhi.representations import PersistenceImage

        points = self.diagram(dimension)
        longest = float((points[:, 1] - points[:, 0]).max()) if len(points) else 1.0
        made = PersistenceImage(
            bandwidth=bandwidth or longest / 20, weight=lambda p: p[1], resolution=[resolution, resolution]
        )
        return np.asarray(made.fit_transform([points])[0]).reshape(resolution, resolution)

    def __repr__(self) -> str:
        parts = ", ".join(f"H{k}: {len(d)} bars" for k, d in self.diagrams.items())
        return f"Persistence({parts}; {self.settings['samples']} samples)"


@renamed(most="max_samples")
def persistence(
    features: FeatureArray,
    *,
    dimension: int = 1,
    max_samples: int = HOMOLOGY_MOST,
    choose: str = "random",
    normalize: str = "none",
    seed: int = 0,
    memory: int = HOMOLOGY_MEMORY,
) -> Persistence:
    """Persistent homology of the Vietoris-Rips filtration, H0 to H_`dimension`. Call on the features of a layer.

    - `diagrams[k]` (m, 2) birth and death in units of the features, longest first; H0 from the spanning tree, bars of
      length 0 kept and the infinite one dropped; higher ones by gudhi's Rips persistence, without simplex trees and
      edge collapse, which in many dimensions take hundreds of times longer.
    - `entropy[k]` -sum w log w/log m, w = length/sum of lengths: normalised persistent entropy, NaN below two bars.
      `total[k]` the sum of lengths. `betti[k]` the number of bars alive at `scales` = 0, 0.025, ..., 1.5 times the
      `median` distance, so that layers can be laid side by side.

    `max_samples` samples, by `choose`: "random", drawn by `seed` alone, the same for every layer and checkpoint, or
    "farthest", each the farthest from those before it, which keeps holes and outliers. `normalize` as in
    `h0_separability`. Work grows as n^2.6 for H1 and far faster above: what would take more than `memory` bytes is
    refused with the estimate before it starts.

    Raises InputError for NaN or infinite features, fewer than 3 samples, or a request above the memory.

    Sources: Edelsbrunner, Letscher & Zomorodian 2002, doi:10.1007/s00454-002-2885-2; Bauer 2021,
    doi:10.1007/s41468-021-00071-5 (Ripser, whose algorithm gudhi follows); Rucco et al. 2016 (entropy).

    >>> import math, torch
    >>> from repana import persistence
    >>> turn = 2 * math.pi * torch.arange(60) / 60
    >>> persistence(torch.stack([turn.cos(), turn.sin()], 1)).diagram(1).round(4).tolist()
    [[0.1047, 1.7321]]
    """
    _check.choice(choose, "choose", ("random", "farthest"))
    dimension, max_samples = _check.at_least(dimension, "dimension", 0), _check.at_least(max_samples, "max_samples", 3)
    x = _check.features_of(features)
    subsample = Subsample.of(x, max_samples=max_samples if choose == "random" else len(x), seed=seed)
    n = min(max_samples, subsample.n)
    if dimension > 0:
        needed, seconds = rips_cost(n, dimension)
        if needed > memory:
            raise _refusals.homology_too_large(n, needed, memory, seconds)
    points, _ = subsample.normalized(normalize)
    if n < len(points):
        points = points[_farthest(points, n)]
    unit = subsample.scale if not normalize.endswith("l2") else 1.0
    between = distances(points)
    tree, _ = spanning_edges([between], torch.zeros(1, dtype=torch.int64, device=x.device),
                             torch.arange(n, device=x.device)[None])  # fmt: skip
    zero = np.stack([np.zeros(n - 1), tree[0].sort(descending=True).values.cpu().numpy()], 1)
    found = {0: zero} | (rips(between.cpu().numpy(), dimension) if dimension > 0 else {})
    low, high = torch.triu_indices(n, n, 1, device=x.device)
    median = float(between[low, high].median())
    scales = np.asarray(SCALES) * median
    return Persistence(
        diagrams={k: d * unit for k, d in found.items()},
        entropy={k: _entropy(d) for k, d in found.items()},
        total={k: float((d[:, 1] - d[:, 0]).sum()) * unit for k, d in found.items()},
        betti={k: _alive(d, scales) + (k == 0) for k, d in found.items()},
        scales=np.asarray(SCALES),
        median=median * unit,
        settings={"samples": n, "seen": subsample.seen, "choose": choose, "normalize": normalize, "seed": seed},
    )


def rips_cost(n: int, dimension: int) -> tuple[int, float]:
    """Bytes and seconds that Rips persistence takes, about: of H1 as measured, n/6 times as much a dimension more."""
    more = max(1.0, n / 6) ** (dimension - 1)
    return int(RIPS_BYTES * n**2 * more), RIPS_SECONDS * n**2.6 * more


def rips(between: Float[np.ndarray, "n n"], dimension: int) -> dict[int, np.ndarray]:
    """Diagrams of H1 and up, longest bar first."""
    from gudhi.sklearn.rips_persistence import RipsPersistence

    dimensions = list(range(1, dimension + 1))
    engine = RipsPersistence(homology_dimensions=dimensions, input_type="lower distance matrix", num_collapses=0)
    made = engine.fit_transform([between])[0]
    found = {}
    for k, diagram in zip(dimensions, made):
        d = np.asarray(diagram, float).reshape(-1, 2)
        d = d[np.isfinite(d[:, 1])]
        found[k] = d[np.argsort(d[:, 0] - d[:, 1], kind="stable")]
    return found


def _farthest(x: Float[Tensor, "n d"], most: int) -> Tensor:
    """Places of samples, each the farthest from those before it, from the one nearest to the mean on."""
    first = int(torch.linalg.vector_norm(x - x.mean(0), dim=1).argmin())
    chosen, near = [first], torch.linalg.vector_norm(x - x[first], dim=1)
    while len(chosen) < most:
        chosen.append(int(near.argmax()))
        near = torch.minimum(near, torch.linalg.vector_norm(x - x[chosen[-1]], dim=1))
    return torch.tensor(chosen, device=x.device)


def _entropy(diagram: Float[np.ndarray, "m 2"]) -> float:
    lengths = diagram[:, 1] - diagram[:, 0]
    if len(lengths) < 2 or not lengths.sum() > 0:
        return NAN
    w = lengths[lengths > 0] / lengths.sum()
    return float(-(w * np.log(w)).sum() / math.log(len(lengths)))


def _alive(diagram: Float[np.ndarray, "m 2"], scales: Float[np.ndarray, " r"]) -> Float[np.ndarray, " r"]:
    return ((diagram[:, 0] <= scales[:, None]) & (scales[:, None] < diagram[:, 1])).sum(1).astype(float)


def diagram_distance(
    a: Persistence, b: Persistence, *, dimension: int = 1, kind: str = "bottleneck", order: float = 1.0
) -> Estimate:
    """The distance between the diagrams of two layers or checkpoints, by gudhi; in units of their features.

    "bottleneck": the least over matchings of the largest move (in the maximum norm), unmatched points going to the
    diagonal; "wasserstein": the least (sum of moves^order)^(1/order), to 1%, with `order` = inf the bottleneck.
    Normalise both alike where units differ.

    Raises InputError for a dimension that either lacks, or an order below 1.

    Source: Cohen-Steiner, Edelsbrunner & Harer 2007, doi:10.1007/s00454-006-1276-5.
    """
    import gudhi
    from gudhi.hera import wasserstein_distance

    _check.choice(kind, "kind", ("bottleneck", "wasserstein"))
    if not order >= 1:
        raise _refusals.at_least_one("order", order)
    first, second = (d[d[:, 1] > d[:, 0]] for d in (a.diagram(dimension), b.diagram(dimension)))
    if kind == "bottleneck" or order > HIGHEST:
        found = gudhi.bottleneck_distance(first, second, 0.0)  # type: ignore[attr-defined]
        if kind == "wasserstein" and 0 < found < math.inf and math.isfinite(order):
            found *= _least_sum(first / found, second / found, order)
    else:
        found = wasserstein_distance(first, second, order=order, internal_p=np.inf, delta=0.01)
    return Estimate(float(found), n=len(first) + len(second))


def _least_sum(a: np.ndarray, b: np.ndarray, order: float) -> float:
    """The Wasserstein distance of diagrams whose bottleneck distance is 1, by an exact assignment: gudhi's auction does
    not end for high orders."""
    from scipy.optimize import linear_sum_assignment

    n, m = len(a), len(b)
    moves = np.zeros((n + m, n + m))  # between points of the diagonal
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        moves[:n, :m] = np.nan_to_num(np.abs(a[:, None] - b[None]), nan=0.0, posinf=math.inf).max(2)  # inf to inf: 0
        moves[:n, m:] = (a[:, 1:] - a[:, :1]) / 2
        moves[n:, :m] = (b[:, 1] - b[:, 0])[None] / 2
        costs = np.minimum(moves**order, 1e6 * (n + m))  # all moves of the bottleneck matching cost 1 or less
    return float(costs[linear_sum_assignment(costs)].sum() ** (1 / order))


def rtd(
    a: FeatureArray,
    b: FeatureArray,
    *,
    size: int = 500,
    batches: int = 10,
    rows: Sequence[Any] | None = None,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Representation topology divergence of two layers or networks on the same samples: 0 where one is the other.

    Each matrix of distances D is divided by its 0.9-quantile (over all entries). On two copies of the samples with the
    distances [[0, D_a], [D_a, min(D_a, D_b)]] the lengths of the H1 bars are added up, and again with a and b
    exchanged; entries below 1e-6 of their mean count as 0. The value is half the sum of both, the mean over
    `batches` of `size` samples drawn by `seed`, or over the given `rows`. In units of the 0.9-quantile, from 0 on.
    Interval: Student's over batches.

    Raises InputError for NaN or infinite features, or different numbers of samples.

    Source: Barannikov et al. 2022, arXiv:2201.00058, and their code.

    >>> import torch
    >>> from repana import rtd
    >>> x = torch.rand(60, 3)
    >>> float(rtd(x, 2 * x, size=30, batches=2))
    0.0
    """
    x, y = _check.features_of(a), _check.features_of(b)
    if len(x) != len(y):
        raise _check.unlike_samples(len(x), len(y))
    n = len(x)
    _check.level_of(level)
    if rows is None:
        if n < 4:
            raise _check.too_few_samples("rtd", n, 4)
        size = min(_check.at_least(size, "size", 4), n)
        generator = torch.Generator().manual_seed(seed)
        count = _check.at_least(batches, "batches", 1)
        parts = [torch.randperm(n, generator=generator)[:size] for _ in range(count)]
    else:
        parts = [torch.as_tensor(part, dtype=torch.int64) for part in rows]
        if not parts or any(len(p) < 4 or int(p.min()) < 0 or int(p.max()) >= n for p in parts):
            raise _refusals.bad_rows(n)
    found = []
    for part in parts:
        first, second = (_relative(t[part.to(t.device)]) for t in (x, y))
        found.append((_barcode(first, second) + _barcode(second, first)) / 2)
    value = float(np.mean(found))
    if len(found) < 2:
        return Estimate(value, n=len(parts[0]), note=Flag.NO_INTERVAL.note("no interval: one batch"))
    half = float(stats.t.ppf(0.5 + level / 2, len(found) - 1)) * float(np.std(found, ddof=1)) / math.sqrt(len(found))
    return Estimate(value, max(0.0, value - half), value + half, len(parts[0]), f"{len(found)} batches")


def _relative(x: Float[Tensor, "n d"]) -> Float[np.ndarray, "n n"]:
    """Distances over their 0.9-quantile."""
    between = distances(x.double()).cpu().numpy()
    top = float(np.quantile(between, 0.9))
    return between / top if top > 0 else between


def _barcode(d: Float[np.ndarray, "n n"], e: Float[np.ndarray, "n n"]) -> float:
    """The sum of the H1 bars of the graph of both."""
    n = len(d)
    both = np.zeros((2 * n, 2 * n))
    both[n:, n:] = np.minimum(d, e)
    both[n:, :n] = d
    both[:n, n:] = d.T
    both[both < 1e-6 * both.mean()] = 0
    bars = rips(both, 1)[1]
    return float((bars[:, 1] - bars[:, 0]).sum())
