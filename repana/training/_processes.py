"""A training on several processes: who runs the probe set, who keeps the record, and what all agree on."""

import torch
import torch.distributed as dist
from torch import nn

from repana.extraction._session import unwrap
from repana.extraction._sharded import is_sharded


def _together() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def is_bystander(model: nn.Module) -> bool:
    """Whether this process leaves records to process 0, which has the whole model."""
    return _together() and dist.get_rank() != 0 and not is_cut(model)


def keeps(model: nn.Module) -> bool:
    """Whether this process writes what was recorded."""
    return not _together() or dist.get_rank() == 0


def shared(model: nn.Module, decision: bool) -> bool:
    """The decision of process 0, where all run the probe set: a forward pass of a sharded model needs every process."""
    return _broadcast(decision) if _together() and is_cut(model) else decision


def agreed(decision: bool) -> bool:
    """The decision of process 0, on all processes of the training."""
    return _broadcast(decision) if _together() else decision


def is_cut(model: nn.Module) -> bool:
    inner = unwrap(model)[0]
    if any(hasattr(p, "ds_id") for p in inner.parameters()):  # of DeepSpeed's ZeRO-3
        return True
    return is_sharded(inner) or any(type(m).__name__ == "FullyShardedDataParallel" for m in inner.modules())


def _broadcast(decision: bool) -> bool:
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    told = torch.tensor([int(decision)], device=device)
    dist.broadcast(told, 0)
    return bool(told.item())
