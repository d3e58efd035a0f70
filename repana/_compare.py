"""Two runs side by side: differences with intervals, paired where both were measured on the same samples."""

import html
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from scipy import stats

from repana import _check, _file_refusals, _report_refusals, _saved
from repana._estimate import LEVEL, NAN, span
from repana._files import PREFIX
from repana._numbers import naturally, number, percent
from repana._results import Report, Row, concat
from repana.errors import FileError

RULE_OF_THREE = 3.0  # over n bounds a share of which none of n is seen, at 95%

if TYPE_CHECKING:
    import pandas as pd

LINES = 10  # differences that a comparison shows of itself
ROUNDING = 1e-6  # of a value: an interval as narrow as that has no sampling error


@dataclass(frozen=True)
class Difference:
    """A quantity of run b less that of run a at one layer, or at two layers of the same relative depth."""

    quantity: str
    split: str
    layer: str
    other: str
    a: float
    b: float
    value: float
    low: float
    high: float
    paired: bool
    note: str = ""

    @property
    def clearness(self) -> tuple[bool, float]:
        """For sorting: the difference over the width of its interval; those without sampling error come first, by
        their relative change."""
        wide, size = self.high - self.low, abs(self.value)
        largest = max(abs(self.a), abs(self.b), 1e-300)
        return (True, size / wide) if wide > ROUNDING * largest else (False, size / largest)


@dataclass(frozen=True, repr=False)
class Comparison:
    """All differences between two runs. `frame()` is the table; `clear()` those whose interval leaves out zero."""

    a: str
    b: str
    differences: tuple[Difference, ...]
    aligned: str
    level: float = LEVEL

    def frame(self) -> "pd.DataFrame":
        import pandas as pd

        return pd.DataFrame([vars(d) for d in self.differences], columns=list(Difference.__dataclass_fields__))

    def clear(self) -> "Comparison":
        kept = tuple(d for d in self.differences if d.low > 0 or d.high < 0)
        return Comparison(self.a, self.b, kept, self.aligned, self.level)

    def __repr__(self) -> str:
        clear = self.clear().differences
        n = len(clear)
        paired = sum(d.paired for d in self.differences)
        return (
            f"Comparison({self.b} less {self.a}: {len(self.differences)} differences, {paired} paired"
            f"{'' if paired else ' (labels, their order or settings differ)'}, {n} with a "
            f"{percent(self.level)} interval that leaves out 0; layers aligned by {self.aligned})"
            + "".join(f"\n  {_line(d)}" for d in sorted(clear, key=lambda d: d.clearness, reverse=True)[:LINES])
            + (f"\n  ... and {n - LINES} more: .clear().frame()" if n > LINES else "")
        )

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>" + self.frame().to_html(index=False, border=0, float_format="%.4g")


def _line(d: Difference) -> str:
    where = " ".join(filter(None, (d.layer or "network", d.split)))
    return f"{d.quantity} {where}: {number(d.a)} \u2192 {number(d.b)}, {number(d.value)} {span(d.low, d.high)}"


def compare(
    report: Report,
    a: "str | Report | None" = None,
    b: str | None = None,
    *quantities: str,
    align: "str | Aligned" = "auto",
) -> Comparison:
    """Differences b - a of every quantity that both runs have, by layer; by default of the first and the
    last run. `compare(before, after)` takes two reports as well; of one name, the second is called "NAME (2)".

    `align`: "name" takes layers of the same address, "depth" those of the nearest relative depth (0 for the first
    layer, 1 for the last), "auto" names where every layer of the shorter run has its namesake, else depth. What
    `repana.similarity` gives of the two networks pairs layers along its monotone alignment.

    Where both runs have the same labels in the same order, the same seed and settings, their bootstrap (or jackknife)
    replicates were drawn alike (of neural collapse, Fisher's family, distances, dimension, topology, probes, the
    spectrum and the complexity of features), and the interval is that of the paired replicates: with s the standard
    error of b* - a* and q the normal quantile (Student's t for the jackknife), b - a -+ q s. Where values and
    replicates are positive, s is that of log b* - log a*, and the interval of the ratio r = b/a, r exp(-+q s), is
    carried to the difference by sqrt(ab) (sqrt(r) - 1/sqrt(r)), which is b - a at b/a and 0 at 1: skewed quantities
    keep their skew. Features that are equal differ by exactly 0 [0, 0] in every quantity.
    Elsewhere runs are taken as independent, and the intervals of the two values are combined as
    sqrt((b - l_b)^2 + (u_a - a)^2) below and sqrt((u_b - b)^2 + (a - l_a)^2) above. The level is that of the runs
    (of run a, where they differ: then only paired differences have an interval), not corrected for their number. Where
    features differ and no sample's share does, the interval is -+3/n.

    Raises InputError for an unknown run, or where the runs share no quantity.

    Sources: Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13; Zou & Donner 2008,
    doi:10.1002/sim.3095 (independent intervals); Kott 2001, Journal of Official Statistics 17, 521-526 (jackknife).
    """
    if isinstance(a, Report):
        if set(report.runs) & set(a.runs):
            a = a.renamed(f"{a.runs[0]} (2)")
        report, a = concat([report, a]), None
    if not hasattr(align, "alignment"):
        _check.choice(align, "align", ("auto", "name", "depth"))
    if len(report.runs) < 2:
        raise _report_refusals.one_run(report.runs)
    a, b = a or report.runs[0], b or report.runs[-1]
    for run in (a, b):
        if run not in report.runs:
            raise _report_refusals.nothing_selected("run", run, "any", report.runs, report.splits)
    left, right = (_by_place(report, run, quantities) for run in (a, b))
    pairs, aligned = _aligned(report, a, b, align)
    equal = cache(partial(_equal_layers, report))
    found = []
    for (quantity, split, layer), row in left.items():
        for mine, theirs in pairs:
            if mine == layer and (quantity, split, theirs) in right:
                found.append(_difference(report, row, right[quantity, split, theirs], equal))
    if not found:
        raise _report_refusals.nothing_shared(a, b)
    return Comparison(a, b, tuple(found), aligned, report.level(a))


def load_runs(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> Report:
    """Saved reports, or folders that hold some at any depth, as one report; of one name, they get their folder's.

    Among several, a report that is damaged or was not written to the end is left out and stands in `Report.failures`.
    Raises FileError where none can be read.
    """
    folders: list[Path] = []
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    for path in map(Path, given):
        here = [path] if _saved.is_report(path) else _inside(path)
        if not here:
            raise _file_refusals.not_a_report(path, [_saved.PROVENANCE])
        folders += here
    found: dict[Path, Report] = {}
    failed: dict[Path, FileError] = {}
    for folder in folders:
        try:
            found[folder] = Report.load(folder)
        except FileError as error:
            failed[folder] = error
    if not found:
        raise next(iter(failed.values()))
    made = _joined(found)
    if not failed:
        return made
    lines = [*made.failures, *(f"{folder}: {error}" for folder, error in failed.items())]
    missing = [str(folder) for folder in failed]
    return replace(made, provenance={**made.provenance, "failures": lines, "missing_runs": missing})


def _inside(path: Path) -> list[Path]:
    """Folders at any depth that hold a report, or what is there of one."""
    if not path.is_dir():
        return []
    parents = {p.parent for name in (_saved.PROVENANCE, *_saved.REPLACED) for p in path.rglob(name)}
    parents = {p for p in parents if not any(_left(part) for part in p.relative_to(path).parts)}
    return sorted((p for p in parents if _saved.is_report(p) or _saved.begun(p)), key=lambda path: naturally(str(path)))


def _left(name: str) -> bool:
    """Whether a folder is of a timeline that was left, or of a writer that died."""
    return name == _saved.ABANDONED or name.startswith(PREFIX)


def _joined(found: Mapping[Path, Report]) -> Report:
    folders, reports = list(found), list(found.values())
    names = [run for report in reports for run in report.runs]
    if len(set(names)) == len(names):
        return concat(reports)
    root = Path(os.path.commonpath([f.resolve() for f in folders])) if len(folders) > 1 else folders[0].parent
    named = [f.resolve().relative_to(root).as_posix() for f in folders]
    short = [name.removesuffix("/report") for name in named]
    named = short if len(set(short)) == len(short) else named
    return concat(dict(zip(named, reports)))


def _by_place(report: Report, run: str, quantities: Sequence[str]) -> dict[tuple[str, str, str], Row]:
    for name in quantities:
        report.select(name, run=run)  # refuses what is not there
    requested = {report.qualified(name) for name in quantities}
    rows = {(f"{r.analyzer}.{r.quantity}", r.split, r.layer): r for r in report.of_run(run)}
    return {place: r for place, r in rows.items() if not requested or place[0] in requested}


@runtime_checkable
class Aligned(Protocol):
    """What pairs the layers of two networks, such as a `Similarity`."""

    def alignment(self) -> "pd.DataFrame": ...


def _aligned(report: Report, a: str, b: str, align: "str | Aligned") -> tuple[list[tuple[str, str]], str]:
    if not isinstance(align, str):
        path = align.alignment()
        return [("", ""), *zip(path["layer_a"], path["layer_b"])], "similarity"
    left, right = (tuple(dict.fromkeys(r.layer for r in report.of_run(run) if r.layer)) for run in (a, b))
    whole = [("", "")]
    shared = [layer for layer in left if layer in right]
    if align == "name" or (align == "auto" and len(shared) >= min(len(left), len(right))):
        return whole + [(layer, layer) for layer in shared], "name"
    places = np.linspace(0, 1, len(right)) if len(right) > 1 else np.zeros(1)
    depths = np.linspace(0, 1, len(left)) if len(left) > 1 else np.zeros(1)
    return whole + [
        (layer, right[int(np.abs(places - d).argmin())]) for layer, d in zip(left, depths)
    ], "relative depth"


def _difference(report: Report, x: Row, y: Row, equal: Callable[[str, str], bool]) -> Difference:
    value = y.value - x.value
    low = high = NAN
    paired, levels = _paired(report, x, y), (report.level(x.run), report.level(y.run))
    if paired is None and value == 0 and equal(_arrays_prefix(report, x), _arrays_prefix(report, y)):
        paired = (0.0, 0.0)
    if paired is not None:
        low, high = paired
    elif levels[0] == levels[1] and all(math.isfinite(v) for v in (x.low, x.high, y.low, y.high)):
        low = value - math.hypot(y.value - y.low, x.high - x.value)
        high = value + math.hypot(y.high - y.value, x.value - x.low)
    notes = dict.fromkeys(note for note in (x.note, y.note) if note)
    used = [report.about(r.run).get("settings", {}).get(x.analyzer, {}).get("convention") for r in (x, y)]
    if used[0] != used[1]:
        notes |= {f"conventions differ: {used[0]} and {used[1]}": None}
    if paired is None and levels[0] != levels[1]:
        notes |= {f"levels differ: {percent(levels[0])} and {percent(levels[1])}": None}
    return Difference(
        f"{x.analyzer}.{x.quantity}", x.split, x.layer, y.layer, x.value, y.value, value, low, high, paired is not None,
        "; ".join(notes),
    )  # fmt: skip


def _paired(report: Report, x: Row, y: Row) -> tuple[float, float] | None:
    """The interval from paired replicates, or None where they were not drawn alike."""
    prints = [report.about(row.run).get("splits", {}).get(row.split, {}).get("draws") for row in (x, y)]
    if None in prints or prints[0] != prints[1] or x.run == y.run:
        return None
    tail = 0.5 + report.level(x.run) / 2
    for kind in ("bootstrap", "jackknife"):
        name = f"{x.analyzer}.{kind}.{x.quantity}"
        found = [_replicates(report, name, row) for row in (x, y)]
        if found[0] is None or found[1] is None or len(found[0]) != len(found[1]):
            continue
        both = np.stack([found[0], found[1]])
        both = both[:, np.isfinite(both).all(0)]
        g = both.shape[1]
        if g < 2:
            return None
        positive = x.value > 0 and y.value > 0 and bool((both > 0).all())
        gap = np.diff(np.log(both) if positive else both, axis=0)
        half = NormalDist().inv_cdf(tail) * float(gap.std(ddof=1))
        if not half and not _same_features(report, x, y, kind):
            half = RULE_OF_THREE / min(x.n, y.n)  # of a share: no row tells the two apart, though features differ
        elif kind == "jackknife":
            half = float(stats.t.ppf(tail, g - 1)) * (g - 1) / math.sqrt(g) * float(gap.std(ddof=1))
        if not positive:
            return y.value - x.value - half, y.value - x.value + half
        middle, root = math.sqrt(x.value * y.value), 0.5 * math.log(y.value / x.value)
        low, high = (2 * middle * math.sinh(min(max(root + end / 2, -350.0), 350.0)) for end in (-half, half))
        return low, high
    return None


def _same_features(report: Report, x: Row, y: Row, kind: str) -> bool:
    """Whether every replicate of the analyzer is the same in both runs."""
    starts = [f"{_layer_prefix(report, row)}{row.analyzer}.{kind}." for row in (x, y)]
    names = [{k.removeprefix(start) for k in report.arrays if k.startswith(start)} for start in starts]
    shared = names[0] & names[1]
    return all(np.array_equal(*(report.arrays[start + k] for start in starts), equal_nan=True) for k in shared)


def _equal_layers(report: Report, mine: str, theirs: str) -> bool:
    """Whether all arrays of two layers (or of two networks) are the same to the last digit."""
    left, right = ({k[len(at) :]: v for k, v in report.arrays.items() if k.startswith(at)} for at in (mine, theirs))
    fine = any(v.dtype.kind == "f" and bool((v != np.round(v)).any()) for v in left.values())  # more than counts
    return fine and left.keys() == right.keys() and all(np.array_equal(left[k], right[k], equal_nan=True) for k in left)


def _arrays_prefix(report: Report, row: Row) -> str:
    """Where the arrays of a row's layer are, or of a row of the whole network those of all layers."""
    return _layer_prefix(report, row) if row.layer else _layer_prefix(report, row).removesuffix("/")


def _replicates(report: Report, name: str, row: Row) -> np.ndarray | None:
    return report.arrays.get(_layer_prefix(report, row) + name)


def _layer_prefix(report: Report, row: Row) -> str:
    """Where the arrays of a row's layer are."""
    start = f"{row.run}/{row.split}" if "runs" in report.provenance else row.split
    return f"{start}/{row.layer}/"
