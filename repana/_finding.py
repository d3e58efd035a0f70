"""A finding, and the view of one run that the functions which make findings read."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from repana._estimate import span
from repana._numbers import number
from repana._results import Report, Row, penultimate
from repana.statistics.permutation import adjusted

SEVERITIES = ("issue", "tip", "passed", "not applicable")
ISSUE, TIP, PASSED, ABSENT = SEVERITIES
ALPHA = 0.05  # of p adjusted over layers, from which a value is not distinguishable from its null
SHOWN = 4  # layers or values named in a sentence


@dataclass(frozen=True)
class Finding:
    """One sentence about a run with its evidence. `explanations()` has what its code means."""

    severity: str
    evidence: str
    layers: tuple[str, ...] = ()
    code: str = ""
    title: str = ""
    run: str = ""

    def filed(self, code: str, title: str, run: str) -> "Finding":
        return replace(self, code=code, title=title, run=run)

    def __str__(self) -> str:
        return f"{self.code} {self.severity}: {self.title}. {self.evidence}"


@dataclass(frozen=True)
class View:
    """One run of a report."""

    report: Report
    run: str

    @cached_property
    def _of_run(self) -> dict[tuple[str, str, str], list[Row]]:
        """The run's rows by split, analyzer and quantity."""
        found: dict[tuple[str, str, str], list[Row]] = {}
        for r in self.report.rows:
            if r.run == self.run:
                found.setdefault((r.split, r.analyzer, r.quantity), []).append(r)
        return found

    @cached_property
    def splits(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(split for split, _, _ in self._of_run))

    @cached_property
    def last(self) -> str:
        """The input of the classifier."""
        return penultimate(self.report, self.run)

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

    def at(self, name: str, layer: str | None = None, split: str | None = None) -> Row | None:
        """The row at one layer, by default at the input of the classifier."""
        requested = self.last if layer is None else layer
        return next((r for r in self.rows(name, split) if r.layer == requested), None)


def value(row: Row) -> str:
    """A value with its interval."""
    return f"{number(row.value)} {span(row.low, row.high)}".strip()


def null(row: Row) -> str:
    """The value without class structure, with its range."""
    known = not math.isnan(row.null_low) and row.null_low != row.null_high
    return f"{number(row.null)} {span(row.null_low, row.null_high)}" if known else number(row.null)


def listed(names: Sequence[str]) -> str:
    """a, b and 3 more."""
    shown = ", ".join(names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
