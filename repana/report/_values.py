"""The tables of a page: all values of a run and split, and the key numbers of many runs."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from repana import plots
from repana._finding import ALPHA, split_name
from repana._numbers import number, percent
from repana._results import Report, Row, penultimate
from repana.report._tables import interval
from repana.statistics.permutation import adjusted

BAR = 60  # percent of a cell that the bar of the largest value takes


@dataclass(frozen=True)
class Cell:
    text: str
    value: str  # for sorting
    detail: str
    unclear: bool = False
    bar: int = 0  # percent of the cell


@dataclass(frozen=True)
class Values:
    """All values of one run and split: a line a quantity, by analyzer, a column a layer."""

    title: str
    columns: tuple[str, ...]
    groups: tuple[tuple[str, tuple[tuple[str, str, tuple[Cell, ...]], ...]], ...]


def values_of(report: Report, run: str) -> Iterator[Values]:
    for split in report.splits:
        rows = [r for r in report.of_run(run) if r.split == split and r.layer]
        if not rows:
            continue
        columns = tuple(layer for layer in report.layers if any(r.layer == layer for r in rows))
        by_place = {(r.analyzer, r.quantity, r.layer): r for r in rows}
        usual = Counter(r.n for r in rows).most_common(1)[0][0]
        groups: dict[str, list[tuple[str, str, tuple[Cell, ...]]]] = {}
        for analyzer, name in dict.fromkeys((r.analyzer, r.quantity) for r in rows):
            line = [by_place.get((analyzer, name, layer)) for layer in columns]
            p, unit = adjusted([r for r in line if r is not None]), report.quantity(analyzer, name).unit
            null = "shuffled" if report.null_name(run) == "shuffled labels" else "null"
            cells = tuple(_cell(r, usual, p, unit, null) for r in line)
            groups.setdefault(analyzer, []).append((name, report.quantity(analyzer, name).label, cells))
        title = split_name(split) if len(report.runs) == 1 else f"{run}, {split_name(split)}"
        title += f" (n = {usual:,} unless said)"
        yield Values(title, columns, tuple((a, tuple(lines)) for a, lines in groups.items()))


def _cell(
    r: Row | None, usual: int = -1, p: Mapping[str, float] | None = None, unit: str = "", null: str = "shuffled"
) -> Cell:
    if r is None:
        return Cell("", "", "")
    parts = [
        interval(r),
        f"{null} {number(r.null)}" if r.null == r.null else "",
        f"n {r.n:,}" if r.n != usual else "",
        r.note,
    ]
    unclear = (p or {}).get(r.layer, 0.0) >= ALPHA
    shown = percent(r.value, 3) if unit == "share" and math.isfinite(r.value) else number(r.value)
    return Cell(shown, f"{r.value:.4g}", "; ".join(p for p in parts if p), unclear)


def runs_table(report: Report) -> Values:
    """Key numbers of every run at the input of its classifier."""
    names = plots.overview(report)
    last = {run: penultimate(report, run) for run in report.profiles}
    rows = {(r.run, f"{r.analyzer}.{r.quantity}", r.layer): r for r in reversed(report.rows)}
    columns = [[rows.get((run, name, last[run])) for run in report.profiles] for name in names]
    bars = [_bars(column) for column in columns]
    lines = tuple(
        (run, run, tuple(replace(_cell(column[i]), bar=bar[i]) for column, bar in zip(columns, bars)))
        for i, run in enumerate(report.profiles)
    )
    return Values("runs", tuple(report.named(name).label for name in names), (("", lines),))


def _bars(column: Sequence[Row | None]) -> list[int]:
    """The length of the bar of every value, from 0; on logarithms where values span a factor of 20."""
    values = [math.nan if r is None else r.value for r in column]
    finite = [v for v in values if math.isfinite(v)]
    if not finite or min(finite) < 0 or max(finite) == 0:
        return [0] * len(values)
    low, high = min(finite), max(finite)
    log = low > 0 and high / low > 20
    shares = [math.log(20 * v / low) / math.log(20 * high / low) if log and v > 0 else v / high for v in values]
    return [round(BAR * share) if math.isfinite(share) else 0 for share in shares]
