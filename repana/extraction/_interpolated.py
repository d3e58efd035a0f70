"""Networks on the straight line between two of one architecture, with and without their units matched."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from repana.errors import RepanaError
from repana.extraction import _attribution_refusals
from repana.extraction._attribution import reading
from repana.extraction._batches import Intake
from repana.extraction._channels import Channels, called_with, channels
from repana.extraction._data import stream
from repana.extraction._reinitialised import running_statistics
from repana.extraction._session import session, unwrap

SWEEPS = 50  # over all groups, of which each is matched given the others


def matched_units(
    a: nn.Module, b: nn.Module, data: Any, *, forward: Any = None, batch_size: int = 64, seed: int = 0
) -> tuple[nn.Module, dict[str, Tensor]]:
    """A copy of b whose units stand in the order of those of a that their weights are most like, and the order of each
    group of units by the layers that make them.

    Channels that are summed with one another move together. In turn, every group takes the permutation P with the
    largest sum of <W_a, P W_b Q'> over the weights that it makes or reads, the others as they are, until none changes.

    Source: Ainsworth, Hayase & Srinivasa 2023, arXiv:2209.04836 (weight matching).
    """
    from scipy.optimize import linear_sum_assignment

    inner, other = unwrap(a)[0], unwrap(b)[0]
    first, _, _ = stream(data, batch_size)
    batch = Intake(inner, forward).unpack(first)
    few = batch.first(2) or batch
    with session(inner, torch.device("cpu"), None) as live:
        found = channels(inner, called_with(live, few, forward), fold=False)
    moved = copy.deepcopy(other)
    random = np.random.default_rng(seed)
    orders = {g: torch.arange(size) for g, size in found.sizes.items()}
    for _ in range(SWEEPS):
        changed = False
        for g in random.permutation(list(found.sizes)):
            gain = _gain(found, inner, moved, int(g))
            order = torch.from_numpy(linear_sum_assignment(gain.numpy(), maximize=True)[1])
            same = torch.arange(len(order))
            if float(gain[same, order].sum()) > float(gain.diagonal().sum()) * (1 + 1e-12) + 1e-12 and bool(
                (order != same).any()
            ):
                _permute(found, moved, int(g), order)
                orders[int(g)] = orders[int(g)][order]
                changed = True
        if not changed:
            break
    return moved, {" = ".join(found.layers[g]): order for g, order in orders.items()}


def _columns(found: Channels, name: str, w: Tensor) -> Tensor:
    """A weight with its columns by channel: (rows, channels, rest)."""
    return w.reshape(len(w), -1, found.flat.get(name, 1)) if w.ndim == 2 else w.flatten(2)


def _gain(found: Channels, a: nn.Module, b: nn.Module, group: int) -> Tensor:
    """<unit i of a, unit j of b> over all weights of a group."""
    size = found.sizes[group]
    gain = torch.zeros(size, size, dtype=torch.float64)
    for name, (rows, columns) in found.sides.items():
        one, two = (m.get_submodule(name) for m in (a, b))
        p, q = (_columns(found, name, m.weight.detach().double().cpu()) for m in (one, two))  # type: ignore[union-attr]
        if rows == group:
            gain += p.flatten(1) @ q.flatten(1).T
            if one.bias is not None:
                gain += torch.outer(one.bias.detach().double().cpu(), two.bias.detach().double().cpu())  # type: ignore[union-attr,arg-type]
        if columns == group:
            gain += p.transpose(0, 1).flatten(1) @ q.transpose(0, 1).flatten(1).T
    for name, of in found.norms.items():
        if of == group:
            one, two = (m.get_submodule(name) for m in (a, b))
            for part in ("weight", "bias"):
                p, q = getattr(one, part, None), getattr(two, part, None)
                if isinstance(p, Tensor) and isinstance(q, Tensor):
                    gain += torch.outer(p.detach().double().cpu(), q.detach().double().cpu())
    return gain


@torch.no_grad()
def _permute(found: Channels, model: nn.Module, group: int, order: Tensor) -> None:
    """Put the units of a group in another order, in every weight that makes or reads them."""
    for name, (rows, columns) in found.sides.items():
        module: Any = model.get_submodule(name)
        at = order.to(module.weight.device)
        if rows == group:
            module.weight.copy_(module.weight[at].clone())
            if module.bias is not None:
                module.bias.copy_(module.bias[at].clone())
        if columns == group:
            w = _columns(found, name, module.weight)
            module.weight.copy_(w[:, at].reshape(module.weight.shape).clone())
    for name, of in found.norms.items():
        if of == group:
            module = model.get_submodule(name)
            for part in ("weight", "bias", "running_mean", "running_var"):
                t = getattr(module, part, None)
                if isinstance(t, Tensor):
                    t.copy_(t[order.to(t.device)].clone())


def same_architecture(a: nn.Module, b: nn.Module) -> None:
    """Refuses two networks without the same parameters."""
    one, other = ({n: tuple(t.shape) for n, t in unwrap(m)[0].state_dict().items()} for m in (a, b))
    if one != other:
        unlike = [n for n in {**one, **other} if one.get(n) != other.get(n)]
        raise _attribution_refusals.other_architecture(unlike)


def on_the_line(
    a: nn.Module, b: nn.Module, points: Sequence[float], data: Any, *, repair: bool, forward: Any, batch_size: int
) -> Iterator[nn.Module]:
    """Copies with the weights (1 - t) a + t b. With `repair`, running statistics of batch normalisation are estimated
    again on the data, at the ends too: those of two networks do not mix."""
    one, other = ({n: t.detach() for n, t in unwrap(m)[0].state_dict().items()} for m in (a, b))
    for t in points:
        net = copy.deepcopy(unwrap(a)[0])
        net.load_state_dict({n: _mixed(one[n], other[n].to(one[n].device), t) for n in one})
        if repair and has_statistics(net):
            running_statistics(net, data, forward, batch_size)
        yield net.eval()


def has_statistics(model: nn.Module) -> bool:
    """Whether there is a batch normalisation with running statistics."""
    return any(isinstance(m, _BatchNorm) and m.track_running_stats for m in model.modules())


def _mixed(a: Tensor, b: Tensor, t: float) -> Tensor:
    if not a.is_floating_point():
        return a if t < 0.5 else b
    if t in (0.0, 1.0):
        return (a, b)[int(t)].clone()
    return torch.lerp(a.double(), b.double(), t).to(a.dtype)


def readable_layer(
    model: nn.Module, data: Any, *, forward: Any, labels: Any, device: Any, batch_size: int
) -> list[str] | str:
    """What `logits_and_labels` can hook: the input, or where that is none (tokens, several tensors) the layers of
    "auto"."""
    options: Mapping[str, Any] = {"forward": forward, "labels": labels, "device": device, "batch_size": batch_size}
    try:
        with reading(model, data, ["input"], mask=False, **options):
            return ["input"]
    except RepanaError:
        return "auto"


def logits_and_labels(
    model: nn.Module, data: Any, layers: list[str] | str, *, forward: Any, labels: Any, device: Any, batch_size: int
) -> tuple[Tensor, Tensor | None]:
    """What a network gives for every sample, in the order of the data. Nothing is pooled, so that no mask is asked
    for."""
    options: Mapping[str, Any] = {"forward": forward, "labels": labels, "device": device, "batch_size": batch_size}
    found, named = [], []
    with reading(model, data, layers, mask=False, **options) as (reader, batches), torch.no_grad():
        for batch in batches:
            found.append(reader.logits(batch).double().cpu())
            if batch.labels is not None:
                named.append(batch.labels)
    return torch.cat(found), torch.cat(named) if named else None
