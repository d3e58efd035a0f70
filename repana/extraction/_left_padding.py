"""Whether positions of texts that are padded on the left are numbered from their first word."""

import inspect
from dataclasses import replace

import torch

from repana.extraction._batch_masks import MASK
from repana.extraction._batches import Batch, Forward
from repana.extraction._plan import Planned
from repana.extraction._pooling import CHECKING
from repana.extraction._probe import Trace
from repana.extraction._taps import Taps

PLACES = "position_ids"
TOLERANCE, TOLERANCE_HALF = 1e-4, 2e-2  # of the features' size


def left_padding(taps: Taps, planned: tuple[Planned, ...], trace: Trace, forward: Forward | None) -> list[str]:
    """A note where numbering positions from the first real one would move features: a model with a table of positions
    reads others than it was trained with."""
    batch = trace.batch
    mask = batch.masks.get(MASK)
    if callable(forward) or mask is None or not batch.kwargs or PLACES in batch.kwargs:
        return []
    function = trace.model.forward if forward is None else getattr(trace.model, forward)
    if PLACES not in inspect.signature(function).parameters or bool(mask[:, 0].all()):
        return []
    numbered = _numbered(batch, mask)
    try:
        before, after = taps.read(batch, CHECKING)[0], taps.read(numbered, CHECKING)[0]
    except Exception:
        return []  # a model that takes no such numbers
    tolerance = TOLERANCE_HALF if trace.half else TOLERANCE
    moved = {
        p.address: float((after[p.address] - before[p.address]).abs().max() / before[p.address].abs().max())
        for p in planned
        if before[p.address].shape == after[p.address].shape and float(before[p.address].abs().max()) > 0
    }
    worst = max(moved, key=lambda name: moved[name], default="")
    if not worst or moved[worst] <= tolerance:
        return []
    return [
        f"texts are padded on the left and the batch has no {PLACES!r}: positions are counted from the padding on, "
        f"which moves features (in {worst!r} by {moved[worst]:.1g} of their size); give {PLACES} = "
        "(attention_mask.cumsum(1) - 1).clamp(min=0)"
    ]


def _numbered(batch: Batch, mask: torch.Tensor) -> Batch:
    places = (mask.long().cumsum(1) - 1).clamp_min(0)
    return replace(batch, kwargs={**batch.kwargs, PLACES: places})
