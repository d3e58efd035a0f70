"""Whether row i of a layer is sample i: settled by values, where operations took the samples' axis apart.

Two passes with the samples in other orders, a swap of two and a cycle. Every reordering, fixed or by content, that
leaves rows in step with both is none at all, since these two orders generate all others.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from repana.extraction._plan import Planned
from repana.extraction._probe import Trace
from repana.extraction._taps import Taps
from repana.extraction.axes._labels import SAMPLE
from repana.extraction.axes._layout import SIZES

TOLERANCE, TOLERANCE_HALF = 1e-4, 2e-2  # of the features' size
LOGITS = ":logits"  # stands for the logits among the layers


@dataclass(frozen=True)
class Order:
    """Addresses whose rows are not in the samples' order; LOGITS among them stands for the logits."""

    broken: frozenset[str] = frozenset()


def at_stake(planned: tuple[Planned, ...], trace: Trace) -> bool:
    """Whether the order of rows has to be looked at: nothing took samples apart in most networks."""
    doubtful = any(p.pooling.layout.unproven or p.pooling.layout.evidence == SIZES for p in planned)
    return doubtful or trace.book.order_at_stake


def check_order(taps: Taps, planned: tuple[Planned, ...], trace: Trace) -> Order:
    """Layers whose rows do not follow their samples. Where nothing can be permuted, those that only sizes named."""
    unproven = frozenset(p.address for p in planned if p.pooling.layout.unproven)
    watched = [p.address for p in planned if p.pooling.layout.groups is None and p.pooling.layout.certain]
    holding = trace.holding()
    n = trace.batch.size
    named = any(trace.book.labels.has((place,), SAMPLE) for place in trace.book.labels.indexed.values())
    if not holding or n < 3 or named:  # an edge list names its nodes by number, and would have to be renumbered
        return Order(unproven)
    base = _values(taps, trace, None, holding)
    broken = _broken(taps, trace, base, holding, [*watched, LOGITS])
    others = [name for name in trace.as_long_as_samples() if name not in holding]
    if broken and others:  # as the images beside texts, which belong to the same samples
        again = _broken(taps, trace, base, [*holding, *others], list(broken))
        broken = broken if again is None else broken & again
    if broken is None:
        return Order(unproven)  # a network that reads the order of its batch
    if broken:
        again = _values(taps, trace, None, holding)
        random = {name for name in broken if not _same(base[name], again[name], trace)}
        broken = (broken - random) | (random & unproven)
    return Order(frozenset(broken))


def _broken(
    taps: Taps, trace: Trace, base: Mapping[str, Tensor], inputs: list[str], names: list[str]
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
        broken |= {name for name in names if not _follows(base, other, name, order, n, trace)}
    return broken


def _values(taps: Taps, trace: Trace, order: Tensor | None, holding: list[str]) -> Mapping[str, Tensor]:
    batch = trace.batch if order is None else trace.batch.permuted(order, holding)
    features, z = taps.read(batch, 0)
    return features if z is None else {**features, LOGITS: z}


def _follows(
    base: Mapping[str, Tensor], other: Mapping[str, Tensor], name: str, order: Tensor, n: int, trace: Trace
) -> bool:
    if name not in base or len(base[name]) % n or len(base[name]) != len(other[name]):
        return True  # tokens: as many for each sample as are real
    rows = [t.unflatten(0, (n, -1)) for t in (base[name], other[name])]
    return _same(rows[0][order.to(rows[0].device)], rows[1], trace)


def _same(a: Tensor, b: Tensor, trace: Trace) -> bool:
    half = any(p.dtype in (torch.float16, torch.bfloat16) for p in trace.model.parameters())
    scale = float(a.abs().max()) if a.numel() else 0.0
    return bool(((a - b).abs() <= (TOLERANCE_HALF if half else TOLERANCE) * scale).all())
