"""What a profile will take: for every analyzer and width the counts of its cost, and the bytes that it needs."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from repana._cost import Cost, Size
from repana._measure import is_summary, reads_of
from repana._numbers import readable
from repana._selection import Selection, read_later
from repana._table import Across, Analyzer

FLOAT = 4  # bytes of a recorded feature


@dataclass(frozen=True)
class PlannedCost:
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


def planned_of(
    selection: Selection, widths: Mapping[str, int], size: Size, room: int | float = math.inf
) -> list[PlannedCost]:
    """The lines of the layers, in the order in which they are measured, one for each width; then those across them.
    What needs more than `room` bytes on a layer is refused."""
    groups: dict[int, list[str]] = {}
    for layer, width in widths.items():
        groups.setdefault(width, []).append(layer)
    found = []
    by_width = {d: of_layer(selection, replace(size, d=d), room) for d in groups}
    for i, analyzer in enumerate(selection.analyzers):
        for d, names in groups.items():
            cost = by_width[d][i]
            refused = cost is not None and cost.peak > room
            said = _said(cost.peak, room) if cost and refused else ""
            found.append(PlannedCost(analyzer.name, tuple(names), replace(size, d=d), cost, said))
    for across in selection.across:
        if across.cost is None:
            continue
        peak = across_peak(across, size, groups)
        said = _said(peak, room) if peak > room else ""  # of all layers, or of none
        found += [
            PlannedCost(across.name, tuple(names), replace(size, d=d), across.cost(replace(size, d=d)), said)
            for d, names in groups.items()
        ]
    return found


def across_peak(across: Across, size: Size, widths: Iterable[int]) -> int | float:
    """The bytes that what is read across layers needs at the peak, by its widest layer; 0 where that is not known."""
    return 0 if across.cost is None else max((across.cost(replace(size, d=d)).peak for d in widths), default=0)


def _said(peak: int | float, room: int | float) -> str:
    return f"{readable(peak)}, and {readable(max(room, 0))} can be used"


def of_layer(selection: Selection, size: Size, room: int | float = math.inf) -> list[Cost | None]:
    """The cost of every analyzer on one layer. Summaries count where they are first made, which is not by what is
    refused, and their bytes as long as another will read them."""
    held: set[Any] = set()
    found: list[Cost | None] = []
    for analyzer, later in zip(selection.analyzers, read_later(selection)):
        cost = cost_of(analyzer, size, held)
        found.append(cost)
        if cost is None or cost.peak <= room:
            held |= set(_summaries(analyzer, size))
        held &= later
    return found


def cost_of(analyzer: Analyzer, size: Size, held: Collection[Any]) -> Cost | None:
    """The cost of an analyzer, with the summaries that it must make, where some are held; these are in its peak."""
    kept, total, reads = held_bytes(held, size), Cost(), []
    peak = kept
    for kind in _summaries(analyzer, size):
        cost = kind.cost(size)
        reads.append(cost.reads)
        if kind not in held:
            total = replace(
                total, flop=total.flop + cost.flop, bytes=total.bytes + cost.bytes, calls=total.calls + cost.calls
            )
            peak, kept = max(peak, kept + cost.peak), kept + cost.kept
    if analyzer.cost is None:
        return None
    own = analyzer.cost(size)
    return Cost(
        total.flop + own.flop,
        total.bytes + own.bytes,
        total.calls + own.calls,
        max(peak, kept + own.peak),
        reads=next((text for text in (own.reads, *reads) if text != Cost().reads), own.reads),
    )


def held_bytes(held: Collection[Any], size: Size) -> int | float:
    """What summaries take that are held."""
    return sum(kind.cost(size).kept for kind in held)


def _summaries(analyzer: Analyzer, size: Size) -> list[Any]:
    """The summaries that an analyzer reads, in the order in which they are made."""
    kinds = [kind for kind in reads_of(analyzer.measure).values() if is_summary(kind)]
    return list(dict.fromkeys(each for kind in kinds for each in (*kind.made_of(size), kind)))
