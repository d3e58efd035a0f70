"""Where a recording came from: the model and its weights, the data, the settings, the versions."""

import hashlib
import platform
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from repana._version import __version__
from repana.extraction._plan import Plan
from repana.extraction._sharded import whole
from repana.extraction._weights import held_tensor


def provenance_of(
    outer: nn.Module,
    model: nn.Module,
    planned: Plan,
    device: torch.device,
    dtype: torch.dtype | None,
    data: Any,
    seen: int,
    seed: int,
    taken: list[str],
) -> dict[str, Any]:
    return {
        "model": type(model).__name__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "weights_sha256": weights_hash(model),
        "unwrapped": taken,
        "data": type(getattr(data, "dataset", data)).__name__,
        "samples": seen,
        "layers": [p.address for p in planned.layers],
        "pooling": {p.address: p.pooling.method for p in planned.layers},
        "kinds": {p.address: p.kind for p in planned.layers if p.kind},
        "depth_share": {p.address: round(p.share, 4) for p in planned.layers},
        **({"labels_beyond": beyond} if (beyond := planned.facts["labels_beyond"]) else {}),
        "notes": [*planned.notes, *(f"{p.address}: {note}" for p in planned.layers for note in p.notes)],
        "head": None if planned.head is None else planned.head.module,
        "device": str(device),
        "autocast": None if dtype is None else str(dtype).removeprefix("torch."),
        "seed": seed,
        "versions": {
            "repana": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def weights_hash(model: nn.Module) -> str | None:
    """SHA-256 over names and bytes of all parameters and buffers, in name order; None where some cannot be read."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        held = tensor
        if isinstance(tensor, Tensor) and tensor.device.type == "meta":  # offloaded: where the hooks keep it
            owner, _, key = name.rpartition(".")
            held = held_tensor(model.get_submodule(owner), key)
            if held is None:
                return None
        if isinstance(held, Tensor):
            held = whole(held)
            digest.update(held.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
