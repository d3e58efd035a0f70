"""Training, validation and test rows of a probe, in whole groups where rows depend on each other."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
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
LOOKED_AT = 4096  # test rows searched for near-duplicates


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
        """60, 20 and 20 % of every class, drawn by the seed; with `groups` whole groups, as near to that as they go.

        Without `codes` (values, several labels) rows are drawn alike. Of a class of one sample that one is fitted on,
        of two the other is reported.
        """
        wanted = _refusals.shares_of(tuple(shares))
        if n < FEWEST:
            raise _check.too_few_samples("a probe splits its rows in three and", n, FEWEST)
        strata = np.zeros(n, np.int64) if codes is None else by_first_row(codes).numpy()
        random = np.random.default_rng(seed)
        group = None if groups is None else _check.groups_of(groups, n)
        part = parted(strata, group, wanted, random)
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
        part = parted(by_first_row(codes).numpy(), group, (1 / folds,) * folds, np.random.default_rng(seed))
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
        """Training and validation rows, on which the chosen probe is fitted again."""
        return torch.cat([self.train, self.validation]).sort().values

    def shuffled(self, count: int, seed: int) -> list[Int[Tensor, " n"]]:
        """Orders of all rows in which the training and validation rows have changed places and the test rows stay."""
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

    def straddling(self, features: Features) -> int:
        """How many test rows have a near-duplicate among the rows that a probe may look at: nearer than 1e-3 of the
        root mean square distance between rows. 0 where all rows are one point.
        """
        at = self.test[:LOOKED_AT].to(features.device)
        bank = features[self.train_and_validation.to(features.device)]
        usual = float((2 * bank.double().var(0, correction=0).sum()).sqrt())
        if not len(at) or usual == 0:
            return 0
        return int((Neighbours.of(features[at], k=1, bank=bank).distances[:, 0] <= NEAR * usual).sum())


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


def parted(
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
    wanted = np.asarray(shares)[:, None] * table.sum(0)
    have, held, of_group = np.zeros((parts, c)), np.zeros(parts, int), np.empty(g, np.int64)
    shuffled = random.permutation(g)
    order = shuffled[np.argsort(-table[shuffled].sum(1), kind="stable")]
    weight = 1 / np.maximum(table.sum(0), 1)
    for left, one in zip(range(g, 0, -1), order):
        gain = (((wanted - have) ** 2 - (wanted - have - table[one]) ** 2) * weight).sum(1)
        empty = held == 0
        if empty.sum() >= left:  # the last groups go where there is none yet
            gain[~empty] = -np.inf
        k = int(np.argmax(gain))
        have[k] += table[one]
        held[k] += 1
        of_group[one] = k
    return of_group[group]
