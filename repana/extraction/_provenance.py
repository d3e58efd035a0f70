"""Where a recording came from: the model and its weights, the data, the settings, the versions."""

import hashlib
import platform
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from repana._version import __version__
from repana.extraction._plan import Plan


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
        "depth_share": {p.address: round(p.share, 4) for p in planned.layers},
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


def weights_hash(model: nn.Module) -> str:
    """SHA-256 over names and bytes of all parameters and buffers, in name order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        if isinstance(tensor, Tensor):
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
