"""Whether a model gives the same when its attention is read."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from repana.extraction import _attribution_refusals, _model_refusals
from repana.extraction._attention_tap import attention_tap
from repana.extraction._batches import Batch, run
from repana.extraction._session import Session, randomness, restore_randomness
from repana.extraction._tree import leaves

CLOSE = {torch.float64: 1e-6, torch.float32: 1e-4}  # of outputs at real positions, read and not read
ROUGH = 3e-2  # of other types


def compare_outputs(live: Session, batch: Batch, forward: Any) -> None:
    """Refuse a model that gives other outputs at real positions when its attention is read, and one that gives NaN."""
    state = randomness(live.device)
    own = run(live.model, batch, forward)
    restore_randomness(state)  # of a generation that samples
    with attention_tap(live):
        read = run(live.model, batch, forward)
    for (path, a), (_, b) in zip(leaves(own), leaves(read)):
        if not a.is_floating_point() or a.is_nested or a.shape != b.shape:
            continue
        if a.ndim == 3:
            real = real_by_shape(batch)(*a.shape[:2]).to(a.device)
            a, b = a[real], b[real]
        bad = int((~a.isfinite()).sum())
        if bad:
            raise _model_refusals.not_finite(".".join(map(str, path)) or "output", 0, bad, a.numel())
        size = float(a.double().abs().max().clamp_min(1e-12))
        moved = float((a.double() - b.double()).abs().max()) / size
        if moved > CLOSE.get(a.dtype, ROUGH):
            raise _attribution_refusals.attention_differs(moved)


def real_by_shape(batch: Batch) -> Callable[[int, int], Bool[Tensor, "b t"]]:
    """Positions that every mask of a shape calls real."""

    def real(texts: int, tokens: int) -> Tensor:
        found = torch.ones(texts, tokens, dtype=torch.bool)
        for mask in batch.masks.values():
            if tuple(mask.shape) == (texts, tokens):
                found &= mask.bool().cpu()
        return found

    return real
