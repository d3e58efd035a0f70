"""What one pass over all distances between labelled samples tells of each: its class, the others, its neighbours.

Squared distances come from products of centred features in float64, those of near pairs from differences. Two that
differ by less than their rounding are tied, and ties do not depend on the order of samples, or go to the lowest index
where one must be chosen.
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
from repana._typing import Features, Labels
from repana.summaries._linalg import power_of_two, scaled
from repana.summaries._summary import Layer, Summary
from repana.summaries.forest import squared
from repana.summaries.tree import Tree

MOST = 5_000  # samples, unless more are asked for
NEAREST = 10
LISTED = 64  # nearest neighbours of every sample that are kept, for labels in another order
TIED = 1e-9  # distances closer than this, relatively, are equal
BLOCK = 2**26  # bytes of distances at a time


@dataclass(frozen=True)
class PairwiseDistances(Summary):
    """Labelled samples and what their distances tell. `x` in float64, divided by a power of two; codes from 0 on.

    `sums` (n, c): the sum of distances to the samples of each class. `own`, `enemy`: the distance to the nearest other
    sample of the own class (infinite where there is none) and of another class, `own_at` and `enemy_at` their places.
    `inside`: how many others are nearer than `enemy`. `same`: how many of the `k` nearest are of the own class, those
    tied at the k-th place counted in part. `near` and `reach`: the nearest neighbours and their distances. `seen`
    samples were given, of which these were drawn.
    """

    labelled: ClassVar[bool] = True

    x: Float[Tensor, "n d"]
    codes: Int[Tensor, " n"]
    counts: Int[Tensor, " c"]
    sums: Float[Tensor, "n c"]
    own: Float[Tensor, " n"]
    own_at: Int[Tensor, " n"]
    enemy: Float[Tensor, " n"]
    enemy_at: Int[Tensor, " n"]
    inside: Float[Tensor, " n"]
    same: Float[Tensor, " n"]
    near: Int[Tensor, "n m"]
    reach: Float[Tensor, "n m"]
    k: int
    seen: int
    seed: int = 0

    @property
    def n(self) -> int:
        return len(self.codes)

    @cached_property
    def nearest(self) -> Int[Tensor, " n"]:
        """The place of the nearest other sample, the lowest of those that are as near."""
        tied = self.reach <= self.reach[:, :1] * (1 + TIED)
        return torch.where(tied, self.near, self.n).amin(1)

    @cached_property
    def tree(self) -> Tree:
        """The minimum spanning tree of the same samples."""
        return Tree.of(self.x)

    @classmethod
    def of_layer(cls, layer: Layer) -> "PairwiseDistances":
        return cls.of(layer.features, layer.labels, seed=layer.settings.get("seed", 0))

    @classmethod
    def of(
        cls, features: Features, labels: Labels, *, k: int = NEAREST, max_samples: int = MOST, seed: int = 0
    ) -> "PairwiseDistances":
        """Of all samples, or of `max_samples` of them drawn by `seed`, every class in its share."""
        seen = len(features)
        k, max_samples = _check.at_least(k, "k", 1), _check.at_least(max_samples, "max_samples", 2)
        values, codes = torch.unique(labels.to(features.device), return_inverse=True)
        rows = drawn(codes, max_samples, seed)
        x, codes = features[rows].double(), codes[rows]
        if len(codes) < 2:
            raise _check.too_few_samples("separability", len(codes), 2)
        x = scaled(x, power_of_two(x))
        return cls._read(x, codes, len(values), _blocks(x), k, seen, seed)

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
        rows = torch.arange(len(x), device=x.device)
        return cls._read(x, codes, classes, iter([(rows, squared.clone(), tie)]), k, len(x), 0)

    @classmethod
    def _read(
        cls,
        x: Tensor,
        codes: Tensor,
        classes: int,
        blocks: Iterator[tuple[Tensor, Tensor, Tensor]],
        k: int,
        seen: int,
        seed: int,
    ) -> "PairwiseDistances":
        n = len(x)
        member = torch.nn.functional.one_hot(codes, classes).to(x)
        counts = member.sum(0).long()
        k, listed = min(k, n - 1), min(max(LISTED, k), n - 1)
        sums = torch.empty(n, classes, dtype=x.dtype, device=x.device)
        near = torch.empty(n, listed, dtype=torch.int64, device=x.device)
        reach = torch.empty(n, listed, dtype=x.dtype, device=x.device)
        own_at, enemy_at = (torch.empty(n, dtype=torch.int64, device=x.device) for _ in range(2))
        own, enemy, inside, same = (torch.empty(n, dtype=x.dtype, device=x.device) for _ in range(4))
        for rows, square, tie in blocks:
            here = torch.arange(len(rows), device=x.device)
            sums[rows] = square.sqrt() @ member
            square[here, rows] = math.inf
            alike = codes[rows, None] == codes
            own_at[rows], own[rows] = _nearest(square.masked_fill(~alike, math.inf), tie)
            enemy_at[rows], enemy[rows] = _nearest(square.masked_fill(alike, math.inf), tie)
            inside[rows] = (square < enemy[rows, None] - tie).sum(1).to(x)
            found = torch.topk(square, listed, largest=False)
            near[rows], reach[rows] = found.indices, found.values
            last = found.values[:, k - 1 : k]
            nearer, tied = square < last - tie, (square - last).abs() <= tie
            open_places = k - nearer.sum(1)
            share = (tied & alike).sum(1).to(x) / tied.sum(1)
            same[rows] = (nearer & alike).sum(1).to(x) + open_places * share
        own, enemy, reach = (t.sqrt_() for t in (own, enemy, reach))
        return cls(x, codes, counts, sums, own, own_at, enemy, enemy_at, inside, same, near, reach, k, seen, seed)

    def squared(self) -> tuple[Float[Tensor, "n n"], Float[Tensor, "n n"]]:
        """All squared distances and their rounding, for few samples."""
        parts = list(_blocks(self.x))
        return torch.cat([part[1] for part in parts]), torch.cat([part[2] for part in parts])

    def relabelled(self, labels: Int[Tensor, "p n"]) -> "list[PairwiseDistances]":
        """The same samples with their labels in other orders: one more pass for all, the rest from the kept lists."""
        c, several = len(self.counts), list(labels)
        if not several:
            return []
        members = torch.cat([torch.nn.functional.one_hot(codes, c) for codes in several], 1).to(self.x)
        sums = torch.empty(self.n, members.shape[1], dtype=self.x.dtype, device=self.x.device)
        for rows, square, _ in _blocks(self.x):
            sums[rows] = square.sqrt_() @ members
        return [self._with(codes, sums[:, i * c : (i + 1) * c]) for i, codes in enumerate(several)]

    def _with(self, codes: Int[Tensor, " n"], sums: Float[Tensor, "n c"]) -> "PairwiseDistances":
        alike = codes[self.near] == codes[:, None]
        own_at, own, _ = self._first(alike)
        enemy_at, enemy, inside = self._first(~alike)
        lacking = ((own_at < 0) & (self.counts[codes] > 1) | (enemy_at < 0)).nonzero()[:, 0]
        for rows, square, tie in _blocks(self.x, lacking):
            square[torch.arange(len(rows), device=rows.device), rows] = math.inf
            both = codes[rows, None] == codes
            own_at[rows], own[rows] = _nearest(square.masked_fill(~both, math.inf), tie)
            enemy_at[rows], enemy[rows] = _nearest(square.masked_fill(both, math.inf), tie)
            inside[rows] = (square < enemy[rows, None] - tie).sum(1).to(inside)
            own[rows], enemy[rows] = own[rows].sqrt(), enemy[rows].sqrt()
        same = alike[:, : self.k].sum(1).to(self.x)
        return replace(
            self,
            codes=codes,
            sums=sums,
            own=own,
            own_at=own_at,
            enemy=enemy,
            enemy_at=enemy_at,
            inside=inside,
            same=same,
        )

    def _first(self, chosen: Bool[Tensor, "n m"]) -> tuple[Tensor, Tensor, Tensor]:
        """Place and distance of the first listed neighbour that is chosen, and how many are listed before it."""
        at, known = chosen.int().argmax(1, keepdim=True), chosen.any(1)
        place = torch.where(known, self.near.gather(1, at)[:, 0], -1)
        return place, torch.where(known, self.reach.gather(1, at)[:, 0], math.inf), at[:, 0].to(self.x)

    def part(self, rows: Int[Tensor, " m"]) -> "tuple[PairwiseDistances, Float[Tensor, 'm m'], Float[Tensor, 'm m']]":
        """Some of the samples, their squared distances, and the rounding of these."""
        x = self.x[rows]
        parts = list(_blocks(x))
        square, tie = torch.cat([part[1] for part in parts]), torch.cat([part[2] for part in parts])
        return PairwiseDistances.of_matrix(x, self.codes[rows], len(self.counts), square, tie, self.k), square, tie


def _blocks(
    x: Float[Tensor, "n d"], rows: Int[Tensor, " m"] | None = None
) -> Iterator[tuple[Int[Tensor, " b"], Float[Tensor, "b n"], Float[Tensor, "b n"]]]:
    """Rows, their squared distances to all (themselves at 0), and how far equal ones may be apart."""
    x = x - x.mean(0)
    every = torch.arange(len(x), device=x.device) if rows is None else rows
    for part in every.split(max(16, BLOCK // (8 * len(x)))):
        if len(part):
            yield part, *squared(x, part)


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


def _nearest(square: Float[Tensor, "b n"], tie: Float[Tensor, "b n"]) -> tuple[Int[Tensor, " b"], Float[Tensor, " b"]]:
    """Place and squared distance of the nearest, the first of tied ones; -1 where all are infinite."""
    least = square.amin(1, keepdim=True)
    first = (square <= least + tie).int().argmax(1)
    known = least[:, 0].isfinite()
    return torch.where(known, first, -1), torch.where(known, square.gather(1, first[:, None])[:, 0], math.inf)
