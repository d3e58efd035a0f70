"""Models whose weights lie on several processes: whole weights, whole features, or a refusal.

The only module that knows DTensor. Every process of a group runs the same batches and takes part in what is gathered.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from repana.extraction import _model_refusals
from repana.extraction._plan import Plan, Planned

EQUAL = 1e-3  # of its size, within which a projection of features is the same on two processes


def whole(tensor: Tensor) -> Tensor:
    """A tensor that is cut over processes as it is in one; all processes of the group take part."""
    full = getattr(tensor, "full_tensor", None)
    return full() if full is not None and _is_cut(tensor) else tensor


def is_sharded(model: nn.Module) -> bool:
    return any(True for _ in _cut_weights(model))


def _cut_weights(model: nn.Module) -> Iterator[tuple[str, str, Any]]:
    """Module, name and tensor of every weight that is a DTensor."""
    for name, module in model.named_modules():
        for key, weight in module._parameters.items():
            if weight is not None and _is_cut(weight):
                yield name, key, weight


def _is_cut(tensor: Tensor) -> bool:
    if type(tensor) is Tensor or "torch.distributed.tensor" not in sys.modules:  # whose import takes half a second
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor) or isinstance(getattr(tensor, "data", None), DTensor)


def _gathered_for_the_pass(model: nn.Module) -> set[str]:
    """Modules whose weights FSDP makes whole while they run."""
    from torch.distributed.fsdp import FSDPModule

    roots = [name for name, module in model.named_modules() if isinstance(module, FSDPModule)]
    return {n for n, _ in model.named_modules() if any(not r or n == r or n.startswith(f"{r}.") for r in roots)}


@dataclass(frozen=True)
class Shard:
    """A layer of which each process has some of the features."""

    mesh: Any
    width: int  # of the whole layer

    def gathered(self, x: Tensor) -> Tensor:
        """The features of all processes side by side."""
        parts = [torch.empty_like(x) for _ in range(self.mesh.size())]
        dist.all_gather(parts, x.contiguous(), group=self.mesh.get_group())
        return torch.cat(parts, 1)


def with_shards(planned: Plan, local: Mapping[str, Tensor], model: nn.Module) -> Plan:
    """The plan of a model that is cut over processes: widths are of whole layers, and what cannot be made whole is
    refused where it was named, and left out with a note elsewhere.

    `local` are the features of the probe batch on this process. A layer whose features differ between processes, though
    all ran the same batch, is cut there: that of a column-wise linear module is put together, others are not known.
    """
    outside = _gathered_for_the_pass(model)
    cut = [(name, key, weight) for name, key, weight in _cut_weights(model) if name not in outside]
    if not cut:
        return planned
    mesh = cut[0][2].device_mesh
    if mesh.ndim > 1 or any(weight.device_mesh != mesh for _, _, weight in cut):
        raise _model_refusals.several_meshes()
    weights = {(name, key): weight for name, key, weight in cut}
    alike = _alike(local, mesh)
    shards: dict[str, Shard] = {}
    kept: list[Planned] = []
    notes: list[str] = []
    for p in planned.layers:
        if alike[p.address]:
            kept.append(p)
            continue
        weight = weights.get((p.site.module, "weight"))
        if p.site.side == "out" and weight is not None and _columns(weight, p.width):
            shards[p.address] = Shard(mesh, weight.shape[0])
            kept.append(replace(p, width=weight.shape[0]))
            continue
        error = _model_refusals.cut_layer(p.address, p.width, _next_whole(p.site.module, weights))
        if not p.site.offered:
            raise error
        notes.append(f"RA130: left out {p.address!r}; each process has some of its features")
    if not kept:
        raise _model_refusals.nothing_whole()
    return replace(
        planned, layers=tuple(kept), notes=(*planned.notes, *notes), facts={**planned.facts, "shards": shards}
    )


def _columns(weight: Any, width: int) -> bool:
    """Whether a linear module's outputs are cut, and a process has so many."""
    from torch.distributed.tensor import Shard as Cut

    return weight.ndim == 2 and weight.placements == (Cut(0),) and weight.to_local().shape[0] == width


def _alike(local: Mapping[str, Tensor], mesh: Any) -> dict[str, bool]:
    """Whether all processes have the same features of each layer, by a random projection of them."""
    mine = {}
    for address, x in local.items():
        generator = torch.Generator().manual_seed(0)
        direction = torch.randn(x.shape[1], generator=generator, dtype=torch.float64)
        mine[address] = (x.shape[1], (x.double().cpu() @ direction).tolist())
    every: list[Any] = [None] * mesh.size()
    dist.all_gather_object(every, mine, group=mesh.get_group())
    return {address: all(_same(mine[address], other.get(address)) for other in every) for address in mine}


def _same(mine: tuple[int, list[float]], other: Any) -> bool:
    if other is None or other[0] != mine[0] or len(other[1]) != len(mine[1]):
        return False
    size = max(map(abs, mine[1]), default=0.0) + 1e-30
    return all(abs(a - b) <= EQUAL * size for a, b in zip(mine[1], other[1]))


def _next_whole(module: str, weights: Mapping[tuple[str, str], Any]) -> str:
    """The next row-wise module, behind which features are whole again."""
    from torch.distributed.tensor import Shard as Cut

    behind = module == ""
    for (name, key), weight in weights.items():
        behind |= name.rpartition(".")[0] == module.rpartition(".")[0]
        if behind and key == "weight" and name != module and Cut(1) in weight.placements:
            return name
    return ""
