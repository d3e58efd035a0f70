"""Whether samples have the same neighbours in two layers: mutual k nearest neighbours, and its relatives."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._ambient import settled
from repana._estimate import NAN, Estimate, Flag, shown
from repana._typing import FeatureArray, LabelArray
from repana.comparison._cka import with_null
from repana.comparison._inputs import JACKKNIFE, PAIRINGS, dealt_out, groups_of, pair, paired_values
from repana.comparison._resampled import estimated, permuted_values
from repana.statistics.pairing import Pairing, PairSums, pairing, predicted
from repana.summaries.neighbours import METRICS, TIED, Neighbours

SPARE = 40  # neighbours beyond k that are searched, which stand in for those of samples that are left out
PERMUTATIONS = 19
CHUNK = 2**24  # numbers of what is compared at a time


@dataclass(frozen=True)
class Lists:
    """The nearest neighbours of every sample of a layer, ties in a random order; `ties` samples had some at k."""

    indices: Int[Tensor, "n m"]
    k: int
    ties: int

    @property
    def n(self) -> int:
        return len(self.indices)

    @property
    def nearest(self) -> Int[Tensor, "n k"]:
        return self.indices[:, : self.k]

    @cached_property
    def sums(self) -> PairSums:
        """What the null of the overlap needs."""
        return PairSums.of_lists(self.nearest)

    @classmethod
    def of(cls, x: Float[Tensor, "n d"], k: int, metric: str, seed: int, spare: int = SPARE) -> "Lists":
        """Samples are searched in an order drawn by the seed, by which neighbours at one distance are taken."""
        n = len(x)
        if k > n - 1:
            raise _check.too_many_neighbours(k, n - 1)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).to(x.device)
        found = Neighbours.of(x[order], k=min(k + spare, n - 1), metric=metric)
        indices = torch.empty_like(found.indices)
        indices[order] = order[found.indices]
        ties = 0
        if found.k > k:
            last, beyond = found.distances[:, k - 1], found.distances[:, k]
            slack = 2 * TIED[torch.float64 if x.dtype == torch.float64 else torch.float32]
            size = torch.maximum(last.abs(), beyond.abs())
            ties = int(((last - beyond).abs() <= slack * size).sum())
        return cls(indices, k, ties)

    def without(self, part: Int[Tensor, " n"], g: int) -> Int[Tensor, "m k"]:
        """The nearest of the samples that are not in a part, for each of these; -1 where the lists have no more."""
        kept = (part != g).to(self.indices.device)
        own = self.indices[kept]
        return self._nearest_of(own, kept[own])

    def placed(self, rows: Int[Tensor, " m"]) -> Int[Tensor, "m k"]:
        """The nearest of some samples among these, by their places among these."""
        rows = rows.to(self.indices.device)
        place = torch.full((self.n,), -1, dtype=torch.int64, device=rows.device)
        place[rows] = torch.arange(len(rows), device=rows.device)
        own = place[self.indices[rows]]
        return self._nearest_of(own, own >= 0)

    def _nearest_of(self, own: Int[Tensor, "m s"], there: Tensor) -> Int[Tensor, "m k"]:
        """The first k of lists that are there; -1 where they have no more."""
        place = there.cumsum(1) - 1
        out = torch.full((len(own), self.k), -1, dtype=torch.int64, device=own.device)
        rows, columns = (there & (place < self.k)).nonzero(as_tuple=True)
        out[rows, place[rows, columns]] = own[rows, columns]
        return out


@shown
@dataclass(frozen=True)
class Neighbourhoods:
    """How far samples have the same neighbours in two layers, higher is more similar; see `neighbourhoods`."""

    NULL: ClassVar[str] = "samples paired at random"
    SIMILAR: ClassVar[str] = "higher is more similar"

    overlap: Estimate
    overlap_excess: Estimate
    jaccard: Estimate
    rank: Estimate
    second_order: Estimate
    per_sample: Float[Tensor, " n"]
    settings: Mapping[str, Any] = field(default_factory=dict)


@settled()
def neighbourhoods(
    a: FeatureArray,
    b: FeatureArray,
    *,
    k: int = 10,
    metric: str = "cosine",
    groups: LabelArray | None = None,
    jackknife: int = JACKKNIFE,
    permutations: int = PERMUTATIONS,
    level: float = 0.95,
    seed: int = 0,
) -> Neighbourhoods:
    """Agreement of the k nearest neighbours of every sample in two layers; higher is more similar.

    With N_a(i), N_b(i) the k nearest of the other samples, means over the samples of

    - `overlap`: |N_a & N_b|/k, mutual k nearest neighbours, in [0, 1]; `per_sample` (n,) has each. `overlap_excess`:
      (overlap - null)/(1 - null), 0 for unrelated layers and 1 for equal lists.
    - `jaccard`: |N_a & N_b|/|N_a | N_b|.
    - `rank`: sum over shared neighbours, with ranks p and q from 1, of 2/((1 + |p - q|)(p + q)), over H_m = 1 + ... +
      1/m of the m shared; 0 where none is.
    - `second_order`: the cosine between the cosine distances to N_a | N_b in one layer and in the other.

    `metric`: "cosine" (not unchanged by a translation), "euclidean", or "inner", which hubs dominate. All are
    unchanged by rotations and one scale. Samples at one distance, such as copies, are taken in a
    random order, another one for each layer, unless the layers are equal; the note counts the samples with a tie at k.

    - Interval: `jackknife` groups of samples left out, of which each list is filled up with its next ones;
      conservative: samples are in each other's lists, and it held the truth in 98 to 100 of 100 draws.
    - Null: of `overlap` over all pairings of the samples, exactly: mean k/(n - 1), with the spread that hubs give; of
      the others from `permutations`. With `groups` whole groups are paired at random (see `cka`): tokens of one text
      are each other's neighbours in any network.

    Raises InputError for NaN or infinite features, different numbers of samples, or no `k` other samples.

    Sources: Huh et al. 2024, arXiv:2405.07987 (overlap); Wang et al. 2022, arXiv:2111.11343, and Klabunde et al. 2025,
    arXiv:2408.00531 (jaccard, rank, second-order).

    >>> import torch
    >>> from repana.comparison import neighbourhoods
    >>> x = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    >>> float(neighbourhoods(x, 2 * x).overlap)
    1.0
    """
    _check.level_of(level)
    _check.choice(metric, "metric", METRICS)
    x, y = pair(a, b, "neighbourhoods")
    k, n = _check.at_least(k, "k", 1), len(x)
    settings = {
        "k": k,
        "metric": metric,
        "jackknife": jackknife,
        "permutations": permutations,
        "level": level,
        "seed": seed,
    }
    if any(bool((t == t[0]).all()) for t in (x, y)):
        nothing = Estimate(NAN, n=n, note=Flag.CONSTANT.note("every feature is constant"))
        empty = torch.full((n,), NAN, dtype=torch.float64)
        return Neighbourhoods(nothing, nothing, nothing, nothing, nothing, empty, settings)
    one = Lists.of(x, k, metric, seed)
    same = x.shape == y.shape and bool((x == y).all())
    other = one if same else Lists.of(y, k, metric, seed + 1)
    ties = one.ties + (0 if same else other.ties)
    note = Flag.TIES.note(f"{ties} lists end in a tie, broken at random") if ties and not same else ""
    hits = shared_counts(one.nearest, other.nearest)
    group = groups_of(groups, n)
    null = null_of_lists(one, other) if group is None else null_of_groups(one, other, group, seed)
    part = dealt_out(n, jackknife, group, seed) if jackknife else None
    kept = [] if part is None else [_left_out(one, other, part, g, x, y) for g in range(int(part.max()) + 1)]
    deleted = {name: torch.tensor([v[name] for v in kept], dtype=torch.float64) for name in kept[0]} if kept else {}
    own = hits.double() / k
    values = _means(one.nearest, other.nearest, hits) | {"second_order": _second_order(one, other, x, y)}

    def under(order: Int[Tensor, " n"]) -> dict[str, float]:
        moved = replace(other, indices=permuted_lists(other.nearest, order))
        found = _means(one.nearest, moved.nearest, shared_counts(one.nearest, moved.nearest))
        return found | {"second_order": _second_order(one, moved, x, y[order.to(y.device)])}

    names = list(values)

    def paired_by(first: Tensor, second: Tensor) -> np.ndarray:
        p, q = one.placed(first), other.placed(second)
        u, v = x[first.to(x.device)], y[second.to(y.device)]
        rows = torch.arange(len(first), device=x.device)
        found = _means(p, q, shared_counts(p, q)) | {"second_order": float(_second(p, q, rows, u, v).mean())}
        return np.array([found[name] for name in names])

    if group is None:
        permuted = permuted_values(under, n, permutations, seed)
    else:
        drawn = paired_values(paired_by, np.array([values[name] for name in names]), group, permutations, seed)
        permuted = {name: [float(d[place]) for d in drawn] for place, name in enumerate(names)}
    permuted.pop("overlap", None)
    made = estimated(values, deleted, permuted, n=n, level=level, better={}, scales=dict.fromkeys(values, "share"),
                     notes=dict.fromkeys(values, note))  # fmt: skip
    made["overlap"] = with_null(made["overlap"], null, level)
    return Neighbourhoods(
        **made,
        overlap_excess=excess(made["overlap"]),
        per_sample=own.cpu(),
        settings=settings,
    )


def shared_counts(a: Int[Tensor, "n k"], b: Int[Tensor, "n k"]) -> Int[Tensor, " n"]:
    """How many of two lists of a sample are the same; places of -1 are empty."""
    size = max(1, CHUNK // (a.shape[1] * b.shape[1]))
    parts = [
        ((p[:, :, None] == q[:, None]) & (p[:, :, None] >= 0)).sum((1, 2)) for p, q in zip(a.split(size), b.split(size))
    ]
    return torch.cat(parts)


def null_of_lists(one: Lists, other: Lists) -> Pairing:
    """The mean overlap under random pairings, exactly."""
    return pairing(one.sums, other.sums).scaled(1 / (one.n * one.k))


def null_of_groups(one: Lists, other: Lists, group: Int[Tensor, " n"], seed: int = 0) -> Pairing:
    """The mean overlap with whole groups paired at random."""

    def shared(p: Tensor, q: Tensor) -> float:
        return float(shared_counts(one.placed(p), other.placed(q)).double().mean()) / one.k

    value = float(shared_counts(one.nearest, other.nearest).double().mean()) / one.k
    return predicted(paired_values(shared, value, group, PAIRINGS, seed))


def permuted_lists(lists: Int[Tensor, "n k"], order: Int[Tensor, " n"]) -> Int[Tensor, "n k"]:
    """The lists of a layer whose samples stand in another order."""
    order = order.to(lists.device)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    return place[lists[order]]


def excess(overlap: Estimate) -> Estimate:
    """(overlap - null)/(1 - null), with its ends."""
    base = overlap.null

    def moved(value: float) -> float:
        return (value - base) / (1 - base) if base < 1 else math.nan

    return replace(
        overlap, value=moved(overlap.value), low=moved(overlap.low), high=moved(overlap.high), null=0.0,
        null_low=moved(overlap.null_low), null_high=moved(overlap.null_high),
    )  # fmt: skip


def _means(a: Int[Tensor, "n k"], b: Int[Tensor, "n k"], hits: Int[Tensor, " n"]) -> dict[str, float]:
    k = a.shape[1]
    shared = hits.double()
    return {
        "overlap": float(shared.mean()) / k,
        "jaccard": float((shared / (2 * k - shared)).mean()),
        "rank": float(_rank(a, b).mean()),
    }


def _rank(a: Int[Tensor, "n k"], b: Int[Tensor, "n k"]) -> Float[Tensor, " n"]:
    k = a.shape[1]
    places = torch.arange(1, k + 1, device=a.device).double()
    weight = 2 / ((1 + (places[:, None] - places).abs()) * (places[:, None] + places))
    harmonic = torch.cat([torch.ones(1).double(), (1 / torch.arange(1, k + 1).double()).cumsum(0)]).to(a.device)
    size, parts = max(1, CHUNK // (k * k)), []
    for p, q in zip(a.split(size), b.split(size)):
        same = (p[:, :, None] == q[:, None]) & (p[:, :, None] >= 0)
        parts.append((same * weight).sum((1, 2)) / harmonic[same.sum((1, 2))])
    return torch.cat(parts)


def _second_order(one: Lists, other: Lists, x: Tensor, y: Tensor) -> float:
    places = torch.arange(len(x), device=x.device)
    return float(_second(one.nearest, other.nearest, places, x, y).mean())


def _second(
    a: Int[Tensor, "m k"], b: Int[Tensor, "m k"], rows: Int[Tensor, " m"], x: Tensor, y: Tensor
) -> Float[Tensor, " m"]:
    """The cosine of the cosine distances to the union of two lists."""
    union = torch.cat([a, b], 1)
    again = (b[:, :, None] == a[:, None]).any(2)
    use = torch.cat([a >= 0, (b >= 0) & ~again], 1)
    units = [t.double() / torch.linalg.vector_norm(t.double(), dim=1, keepdim=True).clamp_min(1e-300) for t in (x, y)]
    size = max(1, CHUNK // (union.shape[1] * max(x.shape[1], y.shape[1])))
    parts = []
    for at in torch.arange(len(rows), device=rows.device).split(size):
        near = union[at].clamp_min(0)
        gone = [1 - torch.einsum("md,mkd->mk", u[rows[at]], u[near]) for u in units]
        p, q = (g.clamp_min(0) * use[at] for g in gone)
        both = p.norm(dim=1) * q.norm(dim=1)
        parts.append(torch.where(both > 0, (p * q).sum(1) / both, 1.0))
    return torch.cat(parts)


def _left_out(one: Lists, other: Lists, part: Tensor, g: int, x: Tensor, y: Tensor) -> dict[str, float]:
    """The measures without a part of the samples."""
    a, b = one.without(part, g), other.without(part, g)
    rows = (part != g).nonzero()[:, 0].to(x.device)
    return _means(a, b, shared_counts(a, b)) | {"second_order": float(_second(a, b, rows, x, y).mean())}
