"""Whether a mask means what its name says: checked once, by what moves when the inputs at its zeros change."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from repana.extraction import _refusals
from repana.extraction._batch_masks import CONTENT, FUNCTION, MASK
from repana.extraction._batches import Batch
from repana.extraction._plan import Planned, masks_used
from repana.extraction._pooling import CHECKING
from repana.extraction._probe import Trace
from repana.extraction._taps import Taps
from repana.extraction._tree import mapped
from repana.extraction.axes._masks import same_stream

TOLERANCE, TOLERANCE_HALF = 1e-5, 1e-2  # of the features' size


def check_masks(
    taps: Taps,
    planned: tuple[Planned, ...],
    trace: Trace,
    everywhere: Callable[[], tuple[Taps, tuple[Planned, ...]]],
) -> list[str]:
    """Refuse a mask whose zeros are the real positions; a note where the network mixes padding into real positions.

    Inputs at the zeros of the mask are changed, then those at its ones, and where no layer asked for depends on either,
    `everywhere` gives all others. A mask is the right way round where the first
    change leaves the features of real positions as they were; it is inverted where only the second does. Where both
    move them, a mask by the name of "attention_mask" is taken at its name, with a note, and any other is refused.
    """
    keys = {key for key in masks_used(planned) if not key.startswith(FUNCTION)}  # a function is the user's word
    tolerance = TOLERANCE_HALF if trace.half else TOLERANCE
    notes: list[str] = []
    for key in sorted(keys):
        mask = trace.batch.masks.get(key)
        if mask is None:
            continue
        rows = mask.any(1) & ~mask.all(1)
        if not bool(rows.any()):
            continue
        at_zeros = _moved(taps, planned, trace, key, mask)
        at_ones = _moved(taps, planned, trace, key, ~mask)
        if at_zeros is None or at_ones is None:
            continue
        (name, size), (_, other) = at_zeros, at_ones
        if max(size, other) <= tolerance:  # no layer asked for looks at other positions; some other may
            more, layers = everywhere()
            at_zeros, at_ones = (_moved(more, layers, trace, key, real) for real in (mask, ~mask))
            if at_zeros is not None and at_ones is not None and at_ones[1] <= tolerance < at_zeros[1]:
                raise _refusals.mask_leaks(key, *at_zeros)
            continue
        if size > tolerance and (other <= tolerance or not key.endswith((MASK, CONTENT))):
            raise _refusals.mask_leaks(key, name, size)
        if size > tolerance:
            notes.append(
                f"RA126: in {name!r} padding moves the features of real positions (by {size:.1g} of their size): they "
                "depend on how a batch is padded"
            )
    return notes


def _moved(taps: Taps, planned: tuple[Planned, ...], trace: Trace, key: str, real: Tensor) -> tuple[str, float] | None:
    """The layer whose features of `real` positions move most, and by how much of their size."""
    rows = (real.any(1) & ~real.all(1)).nonzero()[:, 0]
    batch = replace(trace.batch, masks={**trace.batch.masks, key: real | ~real.any(1, keepdim=True)})
    changed = _changed(batch, trace, key, real)
    if changed is None:
        return None
    before, _ = taps.read(batch, CHECKING)
    try:
        after, _ = taps.read(changed, CHECKING)
    except Exception:
        return None  # a network that takes no such input, as one that counts its image tokens
    watched = [p.address for p in planned if key in p.pooling.masks.values() or p.pooling.kind == "vector"]
    shifts: Mapping[str, float] = {
        name: float((after[name] - before[name])[rows].abs().max() / before[name].abs().max().clamp_min(1e-30))
        for name in watched
        if len(before[name]) == batch.size
    }
    if not shifts:
        return None
    worst = max(shifts, key=lambda name: shifts[name])
    return worst, shifts[worst]


def _changed(batch: Batch, trace: Trace, key: str, real: Tensor) -> Batch | None:
    """The inputs of the mask's stream with other values where it is not real: those of the sample's first real
    position, or where these are the same already, of its last."""
    entered, labels = trace.book.entered, trace.book.labels
    if key not in entered:
        return None
    new: dict[int, Tensor] = {}
    for name, t in batch.inputs().items():
        known = entered.get(name)
        if (
            known is None
            or name == key
            or name in batch.masks
            or t.is_nested
            or tuple(t.shape[:2]) != tuple(real.shape)
        ):
            continue
        if not same_stream(labels, known.axes[1:2], entered[key].axes):
            continue
        new[id(t)] = _filled(t, real)
    if not new:
        return None
    raw, args, kwargs = mapped((batch.raw, batch.args, dict(batch.kwargs)), lambda t: new.get(id(t), t))
    return replace(batch, raw=raw, args=args, kwargs=kwargs)


def _filled(t: Tensor, real: Tensor) -> Tensor:
    rows = torch.arange(len(t), device=t.device)
    first = real.int().argmax(1)
    last = real.shape[1] - 1 - real.flip(1).int().argmax(1)
    shape = (*real.shape, *[1] * (t.ndim - 2))
    out = torch.where(real.reshape(shape), t, t[rows, first][:, None])
    return out if not torch.equal(out, t) else torch.where(real.reshape(shape), t, t[rows, last][:, None])
