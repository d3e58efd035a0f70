"""Whether row i of a layer is sample i: settled by values, where operations took the samples' axis apart.

Two passes with the samples in other orders, a swap of two and a cycle. Every reordering, fixed or by content, that
leaves rows in step with both is none at all, since these two orders generate all others.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from repana.extraction._batch_masks import FOUND
from repana.extraction._plan import Planned
from repana.extraction._probe import Trace
from repana.extraction._taps import Taps
from repana.extraction.axes._labels import SAMPLE
from repana.extraction.axes._layout import SIZES

TOLERANCE, TOLERANCE_HALF = 1e-4, 2e-2  # of the features' size
LOGITS = ":logits"  # stands for the logits among the layers


def at_stake(planned: tuple[Planned, ...], trace: Trace) -> bool:
    """Whether the order of rows has to be looked at: nothing took samples apart in most networks."""
    doubtful = any(p.pooling.layout.unproven or p.pooling.layout.evidence == SIZES for p in planned)
    return doubtful or trace.book.order_at_stake


def check_order(taps: Taps, planned: tuple[Planned, ...], trace: Trace) -> frozenset[str]:
    """Addresses of layers whose rows do not follow their samples; LOGITS among them stands for the logits.

    Where nothing can be permuted, those whose order the operations leave open.
    """
    unproven = frozenset(p.address for p in planned if p.pooling.layout.unproven)
    n = trace.batch.size
    watched = [p for p in planned if p.pooling.layout.groups is None and p.pooling.layout.certain]
    watched = [p for p in watched if not any(key.startswith(FOUND) for key in p.pooling.masks.values())]
    rows = {p.address: _rows(p, trace) for p in watched} | {LOGITS: [1] * n}
    holding = trace.holding()
    named = any(trace.book.labels.has((place,), SAMPLE) for place in trace.book.labels.indexed.values())
    if not holding or n < 3 or named:  # an edge list names its nodes by number, and would have to be renumbered
        return unproven
    base = _values(taps, trace, None, holding)
    broken = _broken(taps, trace, base, holding, rows)
    others = [name for name in trace.as_long_as_samples() if name not in holding]
    if broken and others:  # as the images beside texts, which belong to the same samples
        together = _broken(taps, trace, base, [*holding, *others], {name: rows[name] for name in broken})
        broken = broken if together is None else broken & together
    if broken is None:
        return unproven  # a network that reads the order of its batch
    if broken:
        again = _values(taps, trace, None, holding)
        random = {name for name in broken if not _same(base[name], again[name], trace)}
        broken = (broken - random) | (random & unproven)
    return frozenset(broken)


def _rows(p: Planned, trace: Trace) -> list[int]:
    """How many rows of the layer each sample has: one, or as many as it has real tokens."""
    key = next(iter(p.pooling.masks.values()), None)
    if p.rows == 1:
        return [1] * trace.batch.size
    return [p.rows] * trace.batch.size if key is None else trace.batch.masks[key].sum(1).tolist()


def _broken(
    taps: Taps, trace: Trace, base: Mapping[str, Tensor], inputs: list[str], rows: Mapping[str, list[int]]
) -> set[str] | None:
    """Those whose rows do not follow these inputs into two other orders; None where the network does not run then."""
    n = trace.batch.size
    swap, cycle = torch.arange(n), torch.arange(n).roll(1)
    swap[:2] = torch.tensor([1, 0])
    broken: set[str] = set()
    for order in (swap, cycle):
        try:
            other = _values(taps, trace, order, inputs)
        except Exception:
            return None
        for name in base.keys() & rows.keys():
            parts = base[name].split(rows[name])
            if not _same(torch.cat([parts[i] for i in order.tolist()]), other[name], trace):
                broken.add(name)
    return broken


def _values(taps: Taps, trace: Trace, order: Tensor | None, holding: list[str]) -> Mapping[str, Tensor]:
    batch = trace.batch if order is None else trace.batch.permuted(order, holding)
    features, z = taps.read(batch, 0)
    return features if z is None else {**features, LOGITS: z}


def _same(a: Tensor, b: Tensor, trace: Trace) -> bool:
    scale = float(a.abs().max()) if a.numel() else 0.0
    return a.shape == b.shape and bool(((a - b).abs() <= (TOLERANCE_HALF if trace.half else TOLERANCE) * scale).all())
