"""Training, validation and test samples of a probe, in whole groups where rows depend on each other."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._estimate import Flag
from repana._typing import Features
from repana.statistics import _refusals
from repana.summaries.neighbours import Neighbours
from repana.summaries.resampling import by_first_row

SHARES = (0.6, 0.2, 0.2)
PARTS = ("train", "validation", "test")
FEWEST = 6  # samples that three parts can be made of
NEAR = 1e-3  # of the usual distance between rows: nearer than that is the same sample twice
LOOKED_AT = 4096  # test samples searched for near-duplicates
AROUND = (8, 64)  # neighbours that tell how near the nearest usually is, at least and at most
UNLIKELY, OFTEN = 1e-4, 0.1  # chance of a nearest neighbour as near, and the share of rows where that is no chance
ODD = 1e-3  # chance above which a row that is near is one of many, as in a collapsed class


@dataclass(frozen=True)
class Split:
    """Rows by their part, ascending. `group` (n,) numbers the groups where rows came in groups."""

    train: Int[Tensor, " a"]
    validation: Int[Tensor, " b"]
    test: Int[Tensor, " m"]
    group: Int[Tensor, " n"] | None = None
    seed: int = 0
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        codes: Int[Tensor, " n"] | None,
        n: int,
        *,
        groups: Any = None,
        seed: int = 0,
        shares: Iterable[float] = SHARES,
    ) -> "Split":
        """60, 20 and 20% of every class, drawn by the seed; with `groups` whole groups, as near to that as they go.

        Without `codes` (values, several labels) rows are drawn alike. Of a class of one sample that one is fitted on,
        of two the other is reported.
        """
        requested = _refusals.shares_of(tuple(shares))
        if n < FEWEST:
            raise _check.too_few_samples("a probe splits its rows in three and", n, FEWEST)
        strata = np.zeros(n, np.int64) if codes is None else by_first_row(codes).numpy()
        random = np.random.default_rng(seed)
        group = None if groups is None else _check.groups_of(groups, n)
        part = parts_of_rows(strata, group, requested, random)
        rows = _parts([part == k for k in range(3)], group)
        notes = []
        if codes is not None:
            known = np.unique(strata)
            for name, at in zip(PARTS, rows):
                missing = len(known) - len(np.unique(strata[at.numpy()]))
                if missing:
                    notes.append(Flag.MISSING_CLASSES.note(f"{missing} of {len(known)} classes have no {name} row"))
        numbers = None if group is None else torch.from_numpy(group)
        return cls(rows[0], rows[1], rows[2], numbers, seed, tuple(notes))

    @classmethod
    def folds(cls, codes: Int[Tensor, " n"], folds: int, *, groups: Any = None, seed: int = 0) -> list["Split"]:
        """As many splits as folds: each fold is reported once, the next one selects, all others are fitted on.

        Scores of several folds share their rows: compare them by `corrected_difference`.
        """
        n = len(codes)
        _check.at_least(folds, "folds", 3)
        group = None if groups is None else _check.groups_of(groups, n)
        part = parts_of_rows(by_first_row(codes).numpy(), group, (1 / folds,) * folds, np.random.default_rng(seed))
        numbers = None if group is None else torch.from_numpy(group)
        found = []
        for f in range(folds):
            test, validation = part == f, part == (f + 1) % folds
            rows = _parts([~test & ~validation, validation, test], group)
            found.append(cls(rows[0], rows[1], rows[2], numbers, seed))
        return found

    @cached_property
    def fingerprint(self) -> str:
        """The same for the same rows in the same parts."""
        text = hashlib.sha256()
        for rows in (self.train, self.validation, self.test):
            text.update(rows.numpy().tobytes() + b"|")
        return text.hexdigest()[:16]

    @property
    def n(self) -> int:
        return len(self.train) + len(self.validation) + len(self.test)

    @cached_property
    def train_and_validation(self) -> Int[Tensor, " t"]:
        """The training and validation splits, on which the chosen probe is fitted again."""
        return torch.cat([self.train, self.validation]).sort().values

    def shuffled(self, count: int, seed: int) -> list[Int[Tensor, " n"]]:
        """Orders of all rows in which the training and validation splits have changed places and the test split
        stays."""
        both, generator, found = self.train_and_validation, torch.Generator().manual_seed(seed + 1), []
        for _ in range(count):
            order = torch.arange(self.n)
            order[both] = both[torch.randperm(len(both), generator=generator)]
            found.append(order)
        return found

    @cached_property
    def part(self) -> Int[Tensor, " n"]:
        """0, 1, 2 by row."""
        found = torch.empty(self.n, dtype=torch.int64)
        for k, rows in enumerate((self.train, self.validation, self.test)):
            found[rows] = k
        return found

    @cached_property
    def test_group(self) -> Int[Tensor, " m"] | None:
        return None if self.group is None else self.group[self.test]

    def straddling(self, features: Features, codes: Int[Tensor, " n"] | None = None) -> int:
        """How many test samples have a near-duplicate among the rows that a probe may look at. 0 where all rows are one
        point.

        A near-duplicate is nearer than 1e-3 of the root mean square distance between rows, and nearer than the
        neighbours behind it explain (a chance of 1 in 1000). Where a tenth of the rows has one that is so near with a
        chance of 1e-4 these count too, at any distance: copies with noise, frames of one video. Classes of few rows
        look the same when they collapse: in these, up to 16 rows, only the distance is asked.
        """
        at = self.test[:LOOKED_AT].to(features.device)
        bank = features[self.train_and_validation.to(features.device)]
        usual = float((2 * bank.double().var(0, correction=0).sum()).sqrt())
        if not len(at) or usual == 0:
            return 0
        seen = None if codes is None else codes[self.train_and_validation.to(codes.device)]
        usual_class = len(bank) if seen is None else int(seen.unique(return_counts=True)[1].median())
        k = min(usual_class // 2, AROUND[1])
        k = k if k >= AROUND[0] else 1
        distances = Neighbours.of(features[at], k=k, bank=bank).distances
        near = distances[:, 0] <= NEAR * usual
        if k > 1:
            chance = chance_of_nearest(distances)
            near = near & (chance < ODD)
            nearer = chance < UNLIKELY
            near = near | nearer if int(nearer.sum()) >= OFTEN * len(at) else near
        return int(near.sum())


def chance_of_nearest(distances: Float[Tensor, "m k"]) -> Float[Tensor, " m"]:
    """The chance that the nearest of k neighbours lies as near, given the k-th, among samples of one density.

    1 - (1 - (r_1/r_k)^d)^(k - 1) for neighbours that are uniform in a ball of dimension d, that of the outer half of
    the row's neighbours, which a few copies leave alone, or that of all rows if it is smaller: there the expected sum
    of log(r_k/r_j), j from m = k/2 on, is sum_{i=m}^{k-1} (i - m + 1)/i / d.
    """
    k = distances.shape[1]
    last, outer = distances[:, -1:], distances[:, k // 2 - 1 : -1]
    logs = torch.where(outer > 0, last / outer, 1.0).log().sum(1)
    expected = sum((i - k // 2 + 1) / i for i in range(k // 2, k))
    d = torch.minimum(expected / logs, expected / logs.mean())
    ratio = torch.where(last > 0, distances[:, :1] / last, 1.0)[:, 0]
    return torch.where(logs > 0, 1 - (1 - ratio**d) ** (k - 1), 1.0)


def _parts(inside: list[np.ndarray], group: np.ndarray | None) -> list[Int[Tensor, " _"]]:
    """The rows of each part; none may be empty."""
    for name, rows in zip(PARTS, inside):
        if not rows.any():
            raise _refusals.empty_part(name, len(rows), None if group is None else int(group.max()) + 1)
    return [torch.from_numpy(np.flatnonzero(rows)) for rows in inside]


def split_of(
    codes: Int[Tensor, " n"] | None, n: int, *, groups: Any = None, seed: int = 0, split: Split | None = None
) -> Split:
    """The split that was given, looked at, with the groups that came beside it; or a new one."""
    if split is None:
        return Split.of(codes, n, groups=groups, seed=seed)
    parts = (split.train, split.validation, split.test)
    together = torch.cat(parts)
    if split.n != n or not torch.equal(together.sort().values, torch.arange(n)):
        raise _refusals.split_of_others(split.n, n)
    for name, at in zip(PARTS, parts):
        if not len(at):
            raise _refusals.empty_part(name, n, None)
    if groups is None:
        return split
    group = torch.from_numpy(_check.groups_of(groups, n))
    known = [set(group[at].tolist()) for at in parts]
    if known[0] & known[1] or known[0] & known[2] or known[1] & known[2]:
        raise _refusals.groups_straddle()
    return replace(split, group=group)


def parts_of_rows(
    strata: np.ndarray, group: np.ndarray | None, shares: tuple[float, ...], random: np.random.Generator
) -> np.ndarray:
    """The part of every row: its share of every stratum, in whole groups where there are some."""
    if group is None:
        return _by_rows(strata, shares, random)
    return _by_groups(strata, group, shares, random)


def _by_rows(strata: np.ndarray, shares: tuple[float, ...], random: np.random.Generator) -> np.ndarray:
    """Part of every row; inside a class the parts get their shares, rounded so that each gets one where it can."""
    part, parts = np.empty(len(strata), np.int64), len(shares)
    carry = np.zeros(parts)
    first = (0, parts - 1, *range(1, parts - 1))  # what is fitted on and what is reported come first
    for value in random.permutation(np.unique(strata)):
        rows = random.permutation(np.flatnonzero(strata == value))
        exact = len(rows) * np.asarray(shares)
        counts = np.floor(exact).astype(int)
        left = exact - counts + 1e-9 * random.random(parts) + carry / len(strata)
        for k in np.argsort(-left)[: len(rows) - counts.sum()]:
            counts[k] += 1
        for k in first[: len(rows)]:
            if not counts[k]:
                counts[int(np.argmax(counts))] -= 1
                counts[k] += 1
        carry += exact - counts
        part[rows] = np.repeat(np.arange(parts), counts)
    return part


def _by_groups(
    strata: np.ndarray, group: np.ndarray, shares: tuple[float, ...], random: np.random.Generator
) -> np.ndarray:
    """Whole groups, the largest first, each to the part whose classes it brings nearest to their shares."""
    values, codes = np.unique(strata, return_inverse=True)
    g, c, parts = int(group.max()) + 1, len(values), len(shares)
    if g < parts:
        raise _check.too_few_groups(g, parts)
    table = np.zeros((g, c))
    np.add.at(table, (group, codes), 1)
    requested = np.asarray(shares)[:, None] * table.sum(0)
    have, held, of_group = np.zeros((parts, c)), np.zeros(parts, int), np.empty(g, np.int64)
    shuffled = random.permutation(g)
    order = shuffled[np.argsort(-table[shuffled].sum(1), kind="stable")]
    weight = 1 / np.maximum(table.sum(0), 1)
    for left, one in zip(range(g, 0, -1), order):
        gain = (((requested - have) ** 2 - (requested - have - table[one]) ** 2) * weight).sum(1)
        empty = held == 0
        if empty.sum() >= left:  # the last groups go where there is none yet
            gain[~empty] = -np.inf
        k = int(np.argmax(gain))
        have[k] += table[one]
        held[k] += 1
        of_group[one] = k
    return of_group[group]
