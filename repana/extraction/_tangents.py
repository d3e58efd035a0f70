"""What parameters do to the outputs of a live model, sample by sample: what went into each module, and the gradient of
the outputs at what came out.

Rows do not interact in evaluation mode, so one backward pass for a direction of the outputs gives the gradients of all
samples of a batch; no gradient of a parameter is formed here.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from repana.extraction import _attribution_refusals
from repana.extraction._attention_heads import is_matrix
from repana.extraction._attribution import Reader
from repana.extraction._batches import Batch
from repana.extraction._session import hookable

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
INTERACTION = 1e-4  # of the outputs, by which those of one sample may differ beside others

Directions = Callable[[Tensor, Batch], Float[Tensor, "r b c"]]


@dataclass
class Called:
    """One call of a module in one batch: what went in, and the gradients (r, ...) at what came out by direction."""

    given: Tensor
    gradients: Tensor


@dataclass
class Tangents:
    """Calls of every module by batch, gradients of `loose` parameters (r, n, p), and the outputs (n, c)."""

    calls: dict[str, list[list[Called]]]
    loose: dict[str, Float[Tensor, "r n p"]]
    outputs: Float[Tensor, "n c"]


@dataclass(frozen=True)
class Owned:
    """The parameters of a network that count, by how their gradients are had: by what goes in and out of `modules`, or
    one sample after the other (`loose`)."""

    modules: dict[str, nn.Module] = field(default_factory=dict)
    loose: dict[str, nn.Parameter] = field(default_factory=dict)
    frozen: bool = False  # whether those that do not train count too

    @classmethod
    def of(cls, model: nn.Module, *, frozen: bool) -> "Owned":
        """Parameters that stand in several modules are loose: their gradients add up before any product."""
        owners: dict[int, list[tuple[str, str]]] = {}
        for name, module in model.named_modules():
            for own, p in module.named_parameters(recurse=False):
                owners.setdefault(id(p), []).append((name, own))
        modules: dict[str, nn.Module] = {}
        loose: dict[str, nn.Parameter] = {}
        for name, module in model.named_modules():
            own = {n: p for n, p in module.named_parameters(recurse=False) if frozen or p.requires_grad}
            if not own:
                continue
            shared = any(len(owners[id(p)]) > 1 for p in own.values())
            if is_known(module) and not shared and hookable(module):
                modules[name] = module
                continue
            for n, p in own.items():
                if owners[id(p)][0] == (name, n):
                    loose[f"{name}.{n}" if name else n] = p
        return cls(modules, loose, frozen)


def is_known(module: nn.Module) -> bool:
    """Whether the gradients of a module's parameters follow from what goes in and the gradient at what comes out."""
    if isinstance(module, CONVOLUTIONS):
        return module.padding_mode == "zeros"
    if isinstance(module, nn.Embedding):
        return module.max_norm is None and not module.scale_grad_by_freq
    if isinstance(module, NORMS[:3]) and module.running_mean is None:
        return False  # statistics of the batch: samples depend on each other
    return isinstance(module, NORMS) or (is_matrix(module) and type(module).__name__ in ("Linear", "Conv1D"))


def tangents(
    reader: Reader,
    batches: Sequence[Batch],
    modules: Mapping[str, nn.Module],
    loose: Mapping[str, nn.Parameter],
    directions: Directions,
) -> Tangents:
    """One walk over the batches for some of the modules and parameters. The model's parameters get no gradients."""
    made = Tangents({name: [] for name in modules}, {}, torch.empty(0, 0))
    outputs = []
    parts: dict[str, list[Tensor]] = {name: [] for name in loose}
    with ExitStack() as stack:
        for p in loose.values():
            stack.callback(p.requires_grad_, p.requires_grad)
            p.requires_grad_(True)
        for batch in batches:
            z = _one_batch(reader, batch, modules, made, directions)
            outputs.append(z.detach())
            for name, rows in _loose(reader, batch, loose, directions).items():
                parts[name].append(rows)
    made.outputs = torch.cat(outputs)
    made.loose = {name: torch.cat(rows, 1) for name, rows in parts.items()}
    return made


def one_direction(
    reader: Reader, batch: Batch, owned: Owned, weights: Float[Tensor, "b c"]
) -> tuple[dict[str, list[Called]], dict[str, Tensor]]:
    """Of one combination of the outputs, summed over the samples of a batch: calls of every module, and the gradients
    of all their parameters by autograd, by name; none of those that the outputs do not depend on."""
    parameters = {
        f"{name}.{own}" if name else own: p
        for name, module in owned.modules.items()
        for own, p in module.named_parameters(recurse=False)
    }
    with ExitStack() as stack:
        for p in parameters.values():
            stack.callback(p.requires_grad_, p.requires_grad)
            p.requires_grad_(True)
        held, z = _walked(reader, batch, owned.modules)
        places = [out for calls in held.values() for _, out in calls]
        slopes = _gradients((z * weights.to(z)).sum(), [*parameters.values(), *places])
    known = {name: _dense(g) for name, g in zip(parameters, slopes) if g is not None}
    rest = iter(slopes[len(parameters) :])
    calls = {
        name: [Called(given, _or_zeros(next(rest), out)[None]) for given, out in pairs] for name, pairs in held.items()
    }
    return calls, known


def _gradients(total: Tensor, inputs: Sequence[Tensor], **options: Any) -> tuple[Tensor | None, ...]:
    """None for each input that the sum does not depend on."""
    if not inputs or not total.requires_grad:
        return (None,) * len(inputs)
    return torch.autograd.grad(total, inputs, allow_unused=True, **options)


def _dense(gradient: Tensor) -> Tensor:
    return gradient.detach() if gradient.layout == torch.strided else gradient.detach().to_dense()


def _or_zeros(slope: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if slope is None else slope.detach()


def _walked(
    reader: Reader, batch: Batch, modules: Mapping[str, nn.Module]
) -> tuple[dict[str, list[tuple[Tensor, Tensor]]], Tensor]:
    """What went into every call of every module and what came out, and the outputs of the network."""
    held: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in modules}

    def keep(name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Tensor:
        given = args[0] if args else next(iter(kwargs.values()))
        out = output if output.requires_grad else output.detach().requires_grad_()
        held[name].append((given.detach().clone(), out))
        return out.clone()  # what changes it in place later changes the copy

    with ExitStack() as stack:
        for name, module in modules.items():
            stack.callback(module.register_forward_hook(partial(keep, name), with_kwargs=True).remove)
        return held, reader.logits(batch)


def _one_batch(
    reader: Reader, batch: Batch, modules: Mapping[str, nn.Module], made: Tangents, directions: Directions
) -> Tensor:
    held, z = _walked(reader, batch, modules)
    places = [out for calls in held.values() for _, out in calls]
    rows: list[tuple[Tensor | None, ...]] = []
    weights = directions(z.detach(), batch)
    for number, w in enumerate(weights):
        last = number == len(weights) - 1
        rows.append(_gradients((z * w.to(z)).sum(), places, retain_graph=not last))
    at = 0
    for name, calls in held.items():
        found = []
        for given, out in calls:
            slopes = torch.stack([_or_zeros(row[at], out) for row in rows], 1)  # directions lie together
            found.append(Called(given, slopes.transpose(0, 1)))
            at += 1
        made.calls[name].append(found)
    return z.detach()


def _loose(
    reader: Reader, batch: Batch, loose: Mapping[str, nn.Parameter], directions: Directions
) -> dict[str, Float[Tensor, "r b p"]]:
    """Gradients of single parameters, one sample after the other."""
    if not loose:
        return {}
    rows: dict[str, list[Tensor]] = {name: [] for name in loose}
    whole = directions(torch.zeros(batch.size, reader.logits(batch).shape[1]), batch)
    for i, one in enumerate(singles(batch)):
        z = reader.logits(one)
        found = []
        for k in range(len(whole)):
            grads = _gradients((z * whole[k, i : i + 1].to(z)).sum(), list(loose.values()), retain_graph=True)
            found.append([torch.zeros_like(p) if g is None else _dense(g) for g, p in zip(grads, loose.values())])
        for at, name in enumerate(loose):
            rows[name].append(torch.stack([g[at].flatten() for g in found]))
    return {name: torch.stack(parts, 1) for name, parts in rows.items()}


def singles(batch: Batch) -> Iterator[Batch]:
    """Every sample as a batch of its own."""
    names = list(batch.inputs())
    for i in range(batch.size):
        one = batch.permuted(torch.tensor([i]), names)
        yield replace(one, size=1, labels=None if batch.labels is None else batch.labels[i : i + 1])


def refuse_interaction(reader: Reader, batch: Batch, z: Tensor) -> None:
    """Refuse a network whose outputs of a sample alone are not those beside others."""
    with torch.no_grad():
        try:
            alone = reader.logits(next(singles(batch)))
        except ValueError as error:  # statistics of one sample
            raise _attribution_refusals.samples_interact(math.inf) from error
    moved = float((alone[0] - z[0]).abs().max() / z.abs().max().clamp_min(1e-30))
    if moved > INTERACTION:
        raise _attribution_refusals.samples_interact(moved)
