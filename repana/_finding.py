"""A finding, and the view of one run that the functions which make findings read."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from repana._estimate import span
from repana._numbers import hundredths, number, percent
from repana._results import Report, Row, penultimate
from repana._rule import ABSENT as ABSENT
from repana._rule import CAUTION, CHECK, RESULT
from repana._rule import ISSUE as ISSUE
from repana._rule import KINDS as KINDS
from repana._rule import PASSED as PASSED
from repana._rule import SEVERITIES as SEVERITIES
from repana._rule import TIP as TIP
from repana._rule import Rule as Rule
from repana.statistics.permutation import ALPHA as ALPHA
from repana.statistics.permutation import adjusted, undecided

MARKS = {RESULT: "", CAUTION: "! ", CHECK: "\u2713 "}
SPLITS = {"train": "training", "held_out": "held-out"}  # in sentences
SHOWN = 4  # layers or values named in a sentence
DIGITS = 2  # of a number in a sentence


@dataclass(frozen=True)
class Finding:
    """One sentence about a run. `explanations()` has what its code means.

    `kind`: a "result" says what the network does; a "check" is a condition of validity, and one that does not hold is a
    "caution", which says which number is limited and in `action` what to do. `severity` is the outcome: "issue", "tip",
    "passed", "not applicable". `weight` orders findings of one kind, `figure` is the quantity whose figure shows it.
    """

    severity: str
    text: str
    layers: tuple[str, ...] = ()
    action: str = ""
    code: str = ""
    title: str = ""
    run: str = ""
    kind: str = CHECK
    weight: int = 0
    figure: str = ""

    def __str__(self) -> str:
        return f"{MARKS[self.kind]}{self.text} [{self.code}]"


@dataclass(frozen=True)
class View:
    """One run of a report."""

    report: Report
    run: str

    @cached_property
    def _of_run(self) -> dict[tuple[str, str, str], list[Row]]:
        """The run's rows by split, analyzer and quantity."""
        found: dict[tuple[str, str, str], list[Row]] = {}
        for r in self.report.of_run(self.run):
            found.setdefault((r.split, r.analyzer, r.quantity), []).append(r)
        return found

    @cached_property
    def splits(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(split for split, _, _ in self._of_run))

    @cached_property
    def last(self) -> str:
        """The input of the classifier."""
        return penultimate(self.report, self.run)

    def place(self, layer: str) -> str:
        """A layer in a sentence: the input of the classifier is the penultimate layer."""
        return "the penultimate layer" if layer == self.last and layer.endswith(":in") else layer

    def title(self, row: Row) -> str:
        """What the quantity of a row is called."""
        return self.report.quantity(row.analyzer, row.quantity).label

    def rows(self, name: str, split: str | None = None) -> tuple[Row, ...]:
        """The rows of `analyzer.quantity` by layer, none where it was not measured."""
        analyzer, _, requested = name.partition(".")
        split = split or self.splits[0]
        return tuple(sorted(self._of_run.get((split, analyzer, requested), ()), key=lambda r: r.depth))

    def p(self, name: str, split: str | None = None) -> dict[str, float]:
        """p of a quantity by layer, adjusted over the layers."""
        return adjusted(self.rows(name, split))

    def undecided(self, name: str, split: str | None = None) -> set[str]:
        """Layers that the permutations are too few to decide."""
        return undecided(self.rows(name, split))

    def at(self, name: str, layer: str | None = None, split: str | None = None) -> Row | None:
        """The row at one layer, by default at the input of the classifier."""
        requested = self.last if layer is None else layer
        return next((r for r in self.rows(name, split) if r.layer == requested), None)


def value(row: Row) -> str:
    """A value with its interval."""
    return f"{number(row.value, DIGITS)} {span(row.low, row.high, DIGITS)}".strip()


def share(row: Row) -> str:
    """A share in percent with its interval: 99.6% [97.9, 99.9]."""
    known = math.isfinite(row.low) and math.isfinite(row.high)
    ends = f" [{hundredths(row.low)}, {hundredths(row.high)}]" if known else ""
    return f"{hundredths(row.value)}%{ends}"


def fraction(part: float) -> str:
    """A small share as a power of ten, a larger one in percent."""
    return percent(part, 2) if part >= 1e-3 else f"{part:.0e}".replace("e-0", "e-")


def counted(layers: int, of: int | None = None) -> str:
    """All 7 layers, the only one, or 3 of 7 layers."""
    if of is not None and layers < of:
        return f"{layers} of {of} layers"
    return f"all {layers} layers" if layers > 1 else "the only layer"


def without_shared(names: Sequence[str]) -> list[str]:
    """Names without the beginning that all share, up to its last separator, where that is long."""
    shared = os.path.commonprefix(list(names)) if len(set(names)) > 1 else ""
    start = max(shared.rfind(mark) + 1 for mark in "-_/. ")
    return [f"\u2026{name[start:]}" for name in names] if start > 8 else list(names)


def split_name(split: str) -> str:
    """What a split is called in a sentence."""
    return SPLITS.get(split, split.replace("_", " "))


def listed(names: Sequence[str]) -> str:
    """a, b and 3 more."""
    shown = ", ".join(names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
