"""What one pass over all distances between labelled samples tells of each: its class, the others, its neighbours.

Squared distances come from products of centred features in float64. Two that differ by less than the rounding of such a
product are tied, and ties do not depend on the order of samples, or go to the lowest index where one must be chosen.
The distances that matter (to the nearest of the own class, and of another) are measured again by differences.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._typing import Features, Labels
from repana.summaries.neighbours import power_of_two, scaled
from repana.summaries.tree import Tree

MOST = 5_000  # samples, unless more are asked for
NEAREST = 10
ROUNDING = 4e-15  # of |x|^2 + max |x|^2: squared distances closer than this are tied
BLOCK = 2**26  # bytes of distances at a time


@dataclass(frozen=True)
class Pairs:
    """Labelled samples and what their distances tell. `x` in float64, divided by a power of two; codes from 0 on.

    `sums` (n, c): the sum of distances to the samples of each class. `own`, `enemy`: the distance to the nearest other
    sample of the own class (infinite where there is none) and of another class, `own_at` and `enemy_at` their places.
    `inside`: how many others are nearer than `enemy`. `same`: how many of the `k` nearest are of the own class, those
    tied at the k-th place counted in part. `seen` samples were given, of which these were drawn.
    """

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
    k: int
    seen: int
    seed: int = 0

    @property
    def n(self) -> int:
        return len(self.codes)

    @cached_property
    def tree(self) -> Tree:
        """The minimum spanning tree of the same samples."""
        return Tree.of(self.x)

    @classmethod
    def of(cls, features: Features, labels: Labels, *, k: int = NEAREST, most: int = MOST, seed: int = 0) -> "Pairs":
        """Of all samples, or of `most` of them drawn by `seed`, every class in its share."""
        seen = len(features)
        values, codes = torch.unique(labels.to(features.device), return_inverse=True)
        rows = drawn(codes, most, seed)
        x, codes = features[rows].double(), codes[rows]
        if len(codes) < 2:
            raise _check.too_few_samples("separability", len(codes), 2)
        x = scaled(x, power_of_two(x))
        return cls._read(x, codes, len(values), _blocks(x), k, seen, seed)

    @classmethod
    def of_matrix(
        cls, x: Float[Tensor, "n d"], codes: Int[Tensor, " n"], classes: int, squared: Float[Tensor, "n n"], k: int
    ) -> "Pairs":
        """From squared distances that are known."""
        rows = torch.arange(len(x), device=x.device)
        return cls._read(x, codes, classes, iter([(rows, squared.clone())]), k, len(x), 0)

    @classmethod
    def _read(
        cls,
        x: Tensor,
        codes: Tensor,
        classes: int,
        blocks: Iterator[tuple[Tensor, Tensor]],
        k: int,
        seen: int,
        seed: int,
    ) -> "Pairs":
        n, squares = len(x), (x - x.mean(0)).square().sum(1)
        member = torch.nn.functional.one_hot(codes, classes).to(x)
        counts = member.sum(0).long()
        k = min(k, n - 1)
        sums = torch.empty(n, classes, dtype=x.dtype, device=x.device)
        own_at, enemy_at = (torch.empty(n, dtype=torch.int64, device=x.device) for _ in range(2))
        inside, same = (torch.empty(n, dtype=x.dtype, device=x.device) for _ in range(2))
        for rows, square in blocks:
            here = torch.arange(len(rows), device=x.device)
            tie = ROUNDING * (squares[rows] + squares.max())[:, None]
            sums[rows] = square.sqrt() @ member
            square[here, rows] = math.inf
            alike = codes[rows, None] == codes
            own_at[rows] = _nearest(square.masked_fill(~alike, math.inf), tie)
            enemy_at[rows] = _nearest(square.masked_fill(alike, math.inf), tie)
            reach = square.gather(1, enemy_at[rows, None].clamp_min(0))
            inside[rows] = (square < reach - tie).sum(1).to(x)
            last = torch.topk(square, k, largest=False).values[:, -1:]
            nearer, tied = square < last - tie, (square - last).abs() <= tie
            open_places = k - nearer.sum(1)
            share = (tied & alike).sum(1) / tied.sum(1)
            same[rows] = (nearer & alike).sum(1).to(x) + open_places * share.to(x)
        own, enemy = (_measured(x, at) for at in (own_at, enemy_at))
        return cls(x, codes, counts, sums, own, own_at, enemy, enemy_at, inside, same, k, seen, seed)

    def squared(self) -> Float[Tensor, "n n"]:
        """All squared distances, for few samples."""
        return torch.cat([block for _, block in _blocks(self.x)])

    def part(self, rows: Int[Tensor, " m"]) -> "tuple[Pairs, Float[Tensor, 'm m']]":
        """Some of the samples, and their squared distances."""
        x = self.x[rows]
        squared = torch.cat([block for _, block in _blocks(x)])
        return Pairs.of_matrix(x, self.codes[rows], len(self.counts), squared, self.k), squared


def _blocks(x: Float[Tensor, "n d"]) -> Iterator[tuple[Int[Tensor, " b"], Float[Tensor, "b n"]]]:
    """Rows, and their squared distances to all, themselves at 0."""
    x = x - x.mean(0)
    squares = x.square().sum(1)
    for rows in torch.arange(len(x), device=x.device).split(max(16, BLOCK // (8 * len(x)))):
        found = torch.addmm(squares, x[rows], x.T, alpha=-2.0).add_(squares[rows, None]).clamp_min_(0)
        found[torch.arange(len(rows), device=x.device), rows] = 0
        yield rows, found


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


def _nearest(square: Float[Tensor, "b n"], tie: Float[Tensor, "b 1"]) -> Int[Tensor, " b"]:
    """The place of the smallest, the first of tied ones; -1 where all are infinite."""
    least = square.amin(1, keepdim=True)
    first = (square <= least + tie).int().argmax(1)
    return torch.where(least[:, 0].isfinite(), first, -1)


def _measured(x: Float[Tensor, "n d"], at: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    found = torch.full((len(x),), math.inf, dtype=x.dtype, device=x.device)
    known = (at >= 0).nonzero()[:, 0]
    for rows in known.split(max(1, BLOCK // (8 * x.shape[1]))):
        found[rows] = torch.linalg.vector_norm(x[rows] - x[at[rows]], dim=1)
    return found
