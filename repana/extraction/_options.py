"""What everything that records takes: where it runs, which layers, how batches and layers are read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from repana import _check
from repana.extraction import _refusals
from repana.extraction._batches import Intake
from repana.extraction._plan import Reading, check_mask
from repana.extraction._probe import SAMPLES, samples_choice
from repana.extraction._session import requested_device


@dataclass(frozen=True)
class Options:
    """What everything that records shares: where, which layers, how batches and layers are read."""

    layers: Any
    intake: Intake
    device: torch.device
    dtype: torch.dtype | None = None
    reading: Reading = field(default_factory=Reading)
    head: str | bool = "auto"
    logits: bool | None = None
    probe: int | str = SAMPLES
    seed: int = 0

    @classmethod
    def of(
        cls,
        model: nn.Module,
        layers: Any,
        *,
        pool: str | Mapping[str, str] = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
        forward: Any = None,
        labels: Any = None,
        mask: Any = None,
        layout: str | Mapping[str, str] | None = None,
        groups: str | None = None,
        batch_dim: int | None = None,
        class_names: Sequence[str] | None = None,
        head: str | bool = "auto",
        logits: bool | None = None,
        probe: int | str | None = None,
        seed: int = 0,
    ) -> "Options":
        if (
            not (labels is None or labels is False or isinstance(labels, (str, int)) or callable(labels))
            or labels is True
        ):
            raise _refusals.labels_choice(labels)
        if not (forward is None or isinstance(forward, str) or callable(forward)):
            raise _refusals.forward_choice(forward)
        check_mask(mask)
        pool = _as_text(pool)
        if not isinstance(pool, (str, Mapping)):
            raise _refusals.option_type("pool", pool, "a pooling, or a mapping from layers to poolings")
        if not isinstance(head, (str, bool)):
            raise _refusals.option_type("head", head, "the name of a module, 'auto' or False")
        if groups is not None and not isinstance(groups, str):
            raise _refusals.option_type("groups", groups, "the name of an input")
        if batch_dim is not None and _check.whole(batch_dim, "batch_dim") < 0:
            raise _refusals.option_type("batch_dim", batch_dim, "an axis of the first input, counted from 0")
        return cls(
            layers,
            Intake(model, forward, mask, labels, class_names, batch_dim),
            requested_device(model, device),
            requested_dtype(dtype),
            Reading(pool, mask, layout, groups, batch_dim),
            head,
            logits,
            samples_choice(probe),
            seed,
        )


def _as_text(pool: Any) -> Any:
    """Positions by number as they stand in addresses."""
    if isinstance(pool, Mapping):
        return {key: _as_text(value) for key, value in pool.items()}
    return str(pool) if isinstance(pool, int) and not isinstance(pool, bool) else pool


def requested_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """A floating-point type, also by its name."""
    found = getattr(torch, dtype.removeprefix("torch."), dtype) if isinstance(dtype, str) else dtype
    if found is not None and not (isinstance(found, torch.dtype) and found.is_floating_point):
        _check.choice(str(dtype), "dtype", ("float16", "bfloat16", "float32"))
    return found  # type: ignore[return-value]
