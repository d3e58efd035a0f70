"""What a profile will take: for every analyzer and width the counts of its cost, and the bytes that it needs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from repana._cost import Cost, Size
from repana._measure import is_summary, reads_of
from repana._selection import Selection, read_later
from repana._table import Analyzer

FLOAT = 4  # bytes of a recorded feature


@dataclass(frozen=True)
class Planned:
    """One analyzer on the layers of one width, or across all layers: its `cost` is that of one of them, with the
    summaries that it is the first to read; None where it is not known, as of a function of the user's own."""

    analyzer: str
    layers: tuple[str, ...]
    size: Size
    cost: Cost | None
    refused: str = ""

    @property
    def passes(self) -> float:
        """How often the features of a layer are read or written, in bytes."""
        cost = self.cost or Cost()
        return cost.bytes / (FLOAT * self.size.n * self.size.d)


def planned_of(selection: Selection, widths: Mapping[str, int], size: Size) -> list[Planned]:
    """The lines of the layers, in the order in which they are measured, one for each width; then those across them."""
    groups: dict[int, list[str]] = {}
    for layer, width in widths.items():
        groups.setdefault(width, []).append(layer)
    found = []
    by_width = {d: of_layer(selection, replace(size, d=d)) for d in groups}
    for i, analyzer in enumerate(selection.analyzers):
        found += [
            Planned(analyzer.name, tuple(names), replace(size, d=d), by_width[d][i]) for d, names in groups.items()
        ]
    for across in selection.across:
        if across.cost is None:
            continue
        found += [
            Planned(across.name, tuple(names), replace(size, d=d), across.cost(replace(size, d=d)))
            for d, names in groups.items()
        ]
    return found


def of_layer(selection: Selection, size: Size) -> list[Cost | None]:
    """The cost of every analyzer on one layer. Summaries count where they are first read, and their bytes as long as
    another will read them."""
    held: dict[Any, float] = {}
    found: list[Cost | None] = []
    for analyzer, later in zip(selection.analyzers, read_later(selection)):
        found.append(_with_summaries(analyzer, size, held))
        held = {kind: kept for kind, kept in held.items() if kind in later}
    return found


def _with_summaries(analyzer: Analyzer, size: Size, held: dict[Any, float]) -> Cost | None:
    total, peak, reads = Cost(), 0.0, []
    for kind in reads_of(analyzer.measure).values():
        if not is_summary(kind):
            continue
        for each in (*kind.made_of(size), kind):
            cost = each.cost(size)
            reads.append(cost.reads)
            if each in held:
                continue
            total = _added(total, cost)
            peak = max(peak, sum(held.values()) + cost.peak)
            held[each] = cost.kept
    if analyzer.cost is None:
        return None
    own = analyzer.cost(size)
    said = next((text for text in (own.reads, *reads) if text != Cost().reads), own.reads)
    return replace(_added(total, own), peak=max(peak, sum(held.values()) + own.peak), reads=said)


def _added(a: Cost, b: Cost) -> Cost:
    return replace(a, flop=a.flop + b.flop, bytes=a.bytes + b.bytes, calls=a.calls + b.calls)
