"""What the distances between labelled samples tell of each: its class, the others, its neighbours.

Of few samples, or of float64 features, everything is read from distances in float64, where near pairs are measured by
differences. Two that differ by less than their rounding are tied, and ties do not depend on the order of samples, or go
to the lowest index where one must be chosen. Many samples of float32 features take their neighbours from the exact
search, measured again in float64 where two are nearly as far, and sums over classes from products in float32.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from repana import _check
from repana._cost import Cost, Size, reading
from repana._typing import Features, Labels
from repana.summaries._linalg import power_of_two, scaled
from repana.summaries._summary import Layer, Summary
from repana.summaries.distances import BLOCK, EXACT, Distances, squared
from repana.summaries.neighbour_graph import SHARED, NeighbourGraph
from repana.summaries.neighbours import Neighbours
from repana.summaries.tree import Tree

MOST = 5_000  # samples, unless more are asked for
NEAREST = 10
TIED = 1e-9  # distances closer than this, relatively, are equal
CLOSE = 2e-6  # those of a list of neighbours that are measured again


@dataclass(frozen=True)
class NearestByClass:
    """`own`, `enemy`: the distance to the nearest other sample of the own class (infinite where there is none) and of
    another class, `own_at` and `enemy_at` their places. `inside`: how many others are nearer than `enemy`.
    """

    own: Float[Tensor, " n"]
    own_at: Int[Tensor, " n"]
    enemy: Float[Tensor, " n"]
    enemy_at: Int[Tensor, " n"]
    inside: Float[Tensor, " n"]

    @classmethod
    def unknown(cls, x: Float[Tensor, "n d"]) -> "NearestByClass":
        nothing, nowhere = x.new_full((len(x),), math.inf), torch.full((len(x),), -1, device=x.device)
        return cls(nothing, nowhere, nothing.clone(), nowhere.clone(), nothing.clone())


@dataclass(frozen=True)
class PairwiseDistances(Summary):
    """Labelled samples and what their distances tell. `x` in float64, divided by a power of two; codes from 0 on.

    `sums` (c, n): the sum of distances to the samples of each class. `nearest`: the place of the nearest other sample,
    the lowest of those as near. `same`: how many of the `k` nearest are of the own class, those tied at the k-th place
    counted in part. `near` and `reach`: the nearest samples, k or more, and their distances. `seen` samples were given,
    of which these were drawn.
    `distances`: of the same samples, some rows at a time. `between`: their squares and the rounding of these, where
    they are known.
    """

    labelled: ClassVar[bool] = True

    x: Float[Tensor, "n d"]
    codes: Int[Tensor, " n"]
    counts: Int[Tensor, " c"]
    sums: Float[Tensor, "c n"]
    nearest: Int[Tensor, " n"]
    same: Float[Tensor, " n"]
    near: Int[Tensor, "n m"]
    reach: Float[Tensor, "n m"]
    k: int
    seen: int
    seed: int
    distances: Distances
    between: tuple[Float[Tensor, "n n"], Float[Tensor, "n n"]] | None = None

    @property
    def n(self) -> int:
        return len(self.codes)

    @property
    def single(self) -> bool:
        """Whether they are float32 features."""
        return self.distances.single

    @property
    def known(self) -> tuple[Float[Tensor, "n n"], Float[Tensor, "n n"]]:
        """All squared distances in float64 and their rounding, for few samples."""
        return _joined(self.x) if self.between is None else self.between

    def squared(self) -> Float[Tensor, "n n"]:
        """All squared distances in float64, for few samples."""
        return self.known[0]

    @cached_property
    def by_class(self) -> NearestByClass:
        """The nearest samples of the own class and of the others: of few samples or float64 features from all
        distances, else from the lists of neighbours where these tell."""
        if self.distances.exact:
            everything = torch.arange(self.n, device=self.x.device)
            return self._settled(NearestByClass.unknown(self.x), everything)
        return self._of_lists_by_class()

    def _of_lists_by_class(self) -> NearestByClass:
        alike = self.codes[self.near] == self.codes[:, None]
        own_at, own = self._first_listed(alike)
        enemy_at, enemy = self._first_listed(~alike)
        inside = (self.reach < enemy[:, None] * (1 - TIED)).sum(1).to(self.x)
        found = NearestByClass(own, own_at, enemy, enemy_at, inside)
        whole = self.near.shape[1] == self.n - 1
        end = self.reach[:, -1] * (1 - TIED)  # others may be as far as the last of a list
        open_rows = (((own >= end) & (self.counts[self.codes] > 1)) | (enemy >= end)).nonzero()[:, 0]
        return self._settled(found, open_rows[:0] if whole else open_rows)

    def _first_listed(self, chosen: Bool[Tensor, "n m"]) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
        """Place and distance of the nearest listed sample that is chosen, the lowest of those as near; -1 and infinity
        where there is none."""
        distance = torch.where(chosen, self.reach, math.inf)
        least = distance.amin(1)
        place = torch.where(distance <= least[:, None] * (1 + TIED), self.near, self.n).amin(1)
        return torch.where(least.isfinite(), place, -1), least

    def _settled(self, found: NearestByClass, rows: Int[Tensor, " m"]) -> NearestByClass:
        """With some rows read from all of their distances."""
        for part, square, tie in _blocks(self.x, rows) if self.between is None else _whole(*self.between):
            square = _without_themselves(square, part)
            alike = self.codes[part, None] == self.codes
            found.own_at[part], own = _first(square.masked_fill(~alike, math.inf), tie)
            found.enemy_at[part], enemy = _first(square.masked_fill(alike, math.inf), tie)
            found.inside[part] = (square < enemy[:, None] - tie).sum(1).to(self.x)
            found.own[part], found.enemy[part] = own.sqrt(), enemy.sqrt()
        return found

    @cached_property
    def tree(self) -> Tree:
        """The minimum spanning tree of the same samples."""
        return Tree.of(self.x)

    @classmethod
    def cost(cls, size: Size) -> Cost:
        m, d, own = min(size.n, MOST), size.d, size.n > MOST
        sums = 8.0 * m * max(1, size.classes)
        return Cost(
            flop=(0.2 + 6.5 * own) * m**2 * d,
            bytes=(12 + 10 * own) * 8.0 * m**2 + 70 * 8 * m * d + 15 * sums,
            calls=1500,
            peak=8 * (4 * m * d + (1.1 if m > EXACT else 10.5) * m**2 + 0.3 * size.n * d) + 2.2 * sums + 2e6,
            kept=8.0 * (m * d + 128 * m) + sums,
            reads=reading(size.n, MOST, "a subset of {}"),
        )

    @classmethod
    def made_of(cls, size: Size) -> tuple[type[Summary], ...]:
        return (NeighbourGraph,) if EXACT < size.n <= MOST else ()

    @classmethod
    def of_layer(cls, layer: Layer) -> "PairwiseDistances":
        x, seed = layer.features, layer.settings.get("seed", 0)
        shared = _single(x) and Distances.many(len(x)) and len(x) <= MOST  # the lists of these very samples
        graph = layer.read(NeighbourGraph) if shared else None
        return cls._of(x, layer.labels, NEAREST, MOST, seed, graph)

    @classmethod
    def of(
        cls, features: Features, labels: Labels, *, k: int = NEAREST, max_samples: int = MOST, seed: int = 0
    ) -> "PairwiseDistances":
        """Of all samples, or of `max_samples` of them drawn by `seed`, every class in its share."""
        k, max_samples = _check.at_least(k, "k", 1), _check.at_least(max_samples, "max_samples", 2)
        return cls._of(features, labels, k, max_samples, seed, None)

    @classmethod
    def _of(
        cls, features: Features, labels: Labels, k: int, max_samples: int, seed: int, graph: NeighbourGraph | None
    ) -> "PairwiseDistances":
        """`graph`: of the same layer, whose lists are taken where it holds the same samples."""
        values, codes = torch.unique(labels.to(features.device), return_inverse=True)
        rows = drawn(codes, max_samples, seed)
        given, codes = features[rows], codes[rows]
        if len(codes) < 2:
            raise _check.too_few_samples("separability", len(codes), 2)
        x, unit = given.double(), power_of_two(given.double())
        x = scaled(x, unit)
        k, c, single = min(k, len(codes) - 1), len(values), _single(features)
        if not (single and Distances.many(len(codes))):
            listed = min(max(k, SHARED), len(codes) - 1)
            return cls._of_blocks(x, codes, c, _blocks(x), k, listed, len(features), seed, single)
        known = graph is not None and graph.neighbours.k >= k and torch.equal(graph.rows.to(rows.device), rows)
        lists = (
            graph.neighbours
            if graph is not None and known
            else Neighbours.of(given, codes, k=min(max(k, SHARED), len(codes) - 1))
        )
        return cls._of_lists(x, codes, c, _measured_again(x, lists, unit), k, len(features), seed)

    @classmethod
    def of_matrix(
        cls,
        x: Float[Tensor, "n d"],
        codes: Int[Tensor, " n"],
        classes: int,
        squared: Float[Tensor, "n n"],
        tie: Float[Tensor, "n n"],
        k: int,
    ) -> "PairwiseDistances":
        """From squared distances that are known, with their rounding."""
        k = min(k, len(x) - 1)
        found = cls._of_blocks(x, codes, classes, _whole(squared, tie), k, k, len(x), 0, False)
        return replace(found, between=(squared, tie))

    @classmethod
    def _of_blocks(
        cls,
        x: Tensor,
        codes: Tensor,
        classes: int,
        blocks: Iterator[tuple[Tensor, Tensor, Tensor]],
        k: int,
        listed: int,
        seen: int,
        seed: int,
        single: bool,
    ) -> "PairwiseDistances":
        """From squared distances in float64, some rows at a time."""
        n = len(x)
        sums = torch.zeros(classes, n, dtype=x.dtype, device=x.device)
        near = torch.empty(n, listed, dtype=torch.int64, device=x.device)
        reach = torch.empty(n, listed, dtype=x.dtype, device=x.device)
        nearest, same = torch.empty_like(codes), torch.empty_like(x[:, 0])
        for rows, square, tie in blocks:
            sums[:, rows] = sums.new_zeros(classes, len(rows)).index_add_(0, codes, square.sqrt().T.contiguous())
            square = _without_themselves(square, rows)
            nearest[rows], _ = _first(square, tie)
            found = torch.topk(square, listed, largest=False)
            near[rows], reach[rows] = found.indices, found.values.sqrt()
            same[rows] = _of_own_class(square, tie, found.values[:, k - 1 : k], codes, rows, k)
        counts = torch.bincount(codes, minlength=classes)
        return cls(x, codes, counts, sums, nearest, same, near, reach, k, seen, seed, Distances(x, single))

    @classmethod
    def _of_lists(
        cls, x: Tensor, codes: Tensor, classes: int, lists: tuple[Tensor, Tensor], k: int, seen: int, seed: int
    ) -> "PairwiseDistances":
        """From the nearest samples and their distances, and sums over classes of distances by products."""
        near, reach = lists
        alike = codes[near] == codes[:, None]
        tied = reach <= reach[:, :1] * (1 + TIED)
        nearest = torch.where(tied, near, len(x)).amin(1)
        last = reach[:, k - 1 : k]
        nearer, level = reach < last * (1 - TIED), (reach - last).abs() <= TIED * last
        share = (level & alike).sum(1).to(x) / level.sum(1)
        same = (nearer & alike).sum(1).to(x) + (k - nearer.sum(1)) * share
        beyond = (reach[:, -1] <= last[:, 0] * (1 + TIED)).nonzero()[:, 0]  # more may be tied than are listed
        for rows, square, tie in _blocks(x, beyond):
            square = _without_themselves(square, rows)
            nearest[rows], _ = _first(square, tie)
            top = torch.topk(square, k, largest=False).values[:, -1:]
            same[rows] = _of_own_class(square, tie, top, codes, rows, k)
        distances, sums = Distances(x, True), torch.zeros(classes, len(x), dtype=x.dtype, device=x.device)
        for part, block in distances.columns():
            sums[:, part] = torch.zeros(classes, block.shape[1], dtype=x.dtype, device=x.device).index_add_(
                0, codes, block.to(x.dtype)
            )
        counts = torch.bincount(codes, minlength=classes)
        return cls(x, codes, counts, sums, nearest, same, near, reach, k, seen, seed, distances)

    def relabelled(self, labels: Int[Tensor, "p n"]) -> Iterator[NearestByClass]:
        """The nearest by class under labels in other orders, from the lists where these tell."""
        for codes in labels:
            yield replace(self, codes=codes)._of_lists_by_class()

    def part(self, rows: Int[Tensor, " m"]) -> "PairwiseDistances":
        """Some of the samples, with their squared distances."""
        x, codes = self.x[rows], self.codes[rows]
        found = PairwiseDistances.of_matrix(x, codes, len(self.counts), *_joined(x), self.k)
        return replace(found, seen=self.seen, seed=self.seed, distances=Distances(x, self.single))


def _single(features: Features) -> bool:
    return features.dtype != torch.float64


def _blocks(
    x: Float[Tensor, "n d"], rows: Int[Tensor, " m"] | None = None
) -> Iterator[tuple[Int[Tensor, " b"], Float[Tensor, "b n"], Float[Tensor, "b n"]]]:
    """Rows, their squared distances to all in float64 (themselves at 0), and how far equal ones may be apart."""
    if rows is not None and not len(rows):
        return
    x = x - x.mean(0)
    every = torch.arange(len(x), device=x.device) if rows is None else rows
    for part in every.split(max(16, BLOCK // (8 * len(x)))):
        yield part, *squared(x, part)


def _joined(x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n n"], Float[Tensor, "n n"]]:
    """All squared distances in float64 and their rounding."""
    parts = list(_blocks(x))
    return torch.cat([square for _, square, _ in parts]), torch.cat([tie for _, _, tie in parts])


def _whole(
    square: Float[Tensor, "n n"], tie: Float[Tensor, "n n"]
) -> Iterator[tuple[Int[Tensor, " n"], Float[Tensor, "n n"], Float[Tensor, "n n"]]]:
    """The same of a matrix."""
    yield torch.arange(len(square), device=square.device), square, tie


def drawn(codes: Int[Tensor, " n"], most: int, seed: int) -> Int[Tensor, " m"]:
    """Places of at most so many samples, in order: every class in its share, and at least two of it where it has two.

    The first of a class in one order of all samples, so that a smaller draw is a part of a larger one.
    """
    everything = torch.arange(len(codes), device=codes.device)
    if len(codes) <= most:
        return everything
    order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(seed)).to(codes.device)
    by_class = order[codes[order].argsort(stable=True)]
    counts = torch.bincount(codes)
    start = counts.cumsum(0) - counts
    within = everything - start[codes[by_class]]  # the place of each inside its class
    quota = torch.maximum(counts * most // len(codes), counts.clamp_max(2))
    return by_class[within < quota[codes[by_class]]].sort().values


def _measured_again(
    x: Float[Tensor, "n d"], lists: Neighbours, unit: float
) -> tuple[Int[Tensor, "n m"], Float[Tensor, "n m"]]:
    """Places and distances of a search, in units of x; those nearly as far as the one before or behind them by
    differences in float64."""
    reach, near = lists.distances / unit, lists.indices
    close = reach[:, 1:] <= reach[:, :-1] * (1 + CLOSE)
    close = torch.nn.functional.pad(close, (0, 1)) | torch.nn.functional.pad(close, (1, 0))
    at = close.nonzero()
    if not len(at):
        return near, reach
    reach = reach.clone()
    for row, place in (part.unbind(1) for part in at.split(max(1, BLOCK // (8 * x.shape[1])))):
        reach[row, place] = torch.linalg.vector_norm(x[row] - x[near[row, place]], dim=1)
    order = reach.argsort(dim=1, stable=True)
    return near.gather(1, order), reach.gather(1, order)


def _without_themselves(square: Float[Tensor, "b n"], rows: Int[Tensor, " b"]) -> Float[Tensor, "b n"]:
    """A copy, infinite where a row meets itself."""
    square = square.clone()
    square[torch.arange(len(rows), device=rows.device), rows] = math.inf
    return square


def _first(square: Float[Tensor, "b n"], tie: Float[Tensor, "b n"]) -> tuple[Int[Tensor, " b"], Float[Tensor, " b"]]:
    """Place and squared distance of the nearest, the first of tied ones; -1 where all are infinite."""
    least = square.amin(1, keepdim=True)
    first = (square <= least + tie).int().argmax(1)
    known = least[:, 0].isfinite()
    return torch.where(known, first, -1), torch.where(known, square.gather(1, first[:, None])[:, 0], math.inf)


def _of_own_class(
    square: Float[Tensor, "b n"],
    tie: Float[Tensor, "b n"],
    last: Float[Tensor, "b 1"],
    codes: Int[Tensor, " n"],
    rows: Int[Tensor, " b"],
    k: int,
) -> Float[Tensor, " b"]:
    """How many of the k nearest are of the own class, where the k-th is as far as `last`; ties there count in part."""
    alike = codes[rows, None] == codes
    nearer, tied = square < last - tie, (square - last).abs() <= tie
    share = (tied & alike).sum(1).to(square) / tied.sum(1)
    return (nearer & alike).sum(1).to(square) + (k - nearer.sum(1)) * share
