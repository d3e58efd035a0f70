"""The same architecture without its training: what a layer gives by its architecture alone."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from repana import _check
from repana.extraction import _attribution_refusals
from repana.extraction._batches import Forward, Intake, run
from repana.extraction._data import stream
from repana.extraction._probe import probe
from repana.extraction._session import device_of, session, unwrap

WHOLE = (torch.int8, torch.uint8, torch.qint8, torch.quint8)


def reinitialised(
    model: nn.Module,
    data: Any = None,
    *,
    seed: int = 0,
    factory: Callable[[], nn.Module] | None = None,
    forward: Forward | None = None,
    batch_size: int = 64,
) -> nn.Module:
    """A copy of the model with the weights that it had before training: drawn again from the seed.

    `factory` makes a fresh model; without it, every module's `reset_parameters` is called on a copy (and
    `_init_weights` where the model has one, as in transformers), and parameters that no module resets are drawn from a
    normal distribution with their own mean and deviation. With `data`, running statistics of batch normalisation are
    estimated again in one pass over it, as averages over all batches: those of the trained weights would be wrong.

    The model itself, its mode and the random state are left as they are. The copy is in eval mode.

    Raises ModelError for a copy that cannot be made, InputError for data that is a one-shot iterator.

    >>> import torch
    >>> from repana import reinitialised
    >>> layer = torch.nn.Linear(2, 2)
    >>> bool((reinitialised(layer).weight == layer.weight).any())
    False
    """
    inner, _ = unwrap(model)
    devices = [device_of(inner)] if (device_of(inner) or torch.device("cpu")).type == "cuda" else []
    with torch.random.fork_rng(devices=[d.index or 0 for d in devices if d is not None]):
        torch.manual_seed(seed)
        if factory is not None:
            fresh = factory().to(device_of(inner) or torch.device("cpu"))
        else:
            try:
                fresh = copy.deepcopy(inner)
            except Exception as error:
                raise _attribution_refusals.no_copy(type(inner).__name__, str(error)) from error
            _reset(fresh)
            _refuse_packed(inner)
        fresh.eval()
        if data is not None and any(isinstance(m, _BatchNorm) and m.track_running_stats for m in fresh.modules()):
            running_statistics(fresh, data, forward, batch_size)
    return fresh.eval()


def _refuse_packed(model: nn.Module) -> None:
    """Refuses quantised modules, whose packed weights a copy would keep."""
    packed = [
        n for n, m in model.named_modules() if any(hasattr(m, name) for name in ("_packed_params", "_weight_bias"))
    ]
    kept = [n for n, p in model.named_parameters() if p.numel() > 1 and p.dtype in WHOLE]
    if packed or kept:
        raise _attribution_refusals.weights_kept(type(model).__name__, (packed or kept)[0])


@torch.no_grad()
def _reset(model: nn.Module) -> None:
    own: Any = getattr(model, "_init_weights", None)
    touched: set[int] = set()
    for module in model.modules():
        if callable(getattr(module, "reset_parameters", None)):
            module.reset_parameters()  # type: ignore[operator]
            touched |= {id(p) for p in module.parameters(recurse=False)}
    if own is not None:
        before = {id(p): p.clone() for p in model.parameters() if id(p) not in touched}
        model.apply(own)
        touched |= {id(p) for p in model.parameters() if id(p) in before and not torch.equal(p, before[id(p)])}
    for p in model.parameters():
        if id(p) not in touched and p.is_floating_point() and p.numel() > 1:
            mean, spread = float(p.mean()), float(p.std())
            p.copy_(mean + spread * torch.randn_like(p))


@torch.no_grad()
def running_statistics(model: nn.Module, data: Any, forward: Forward | None, batch_size: int) -> None:
    """Averages of batch statistics over the data, each batch alike."""
    if iter_once(data):
        raise _check.walked_once(type(data).__name__)
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    before = [m.momentum for m in norms]
    device = device_of(model) or torch.device("cpu")
    try:
        for m in norms:
            m.reset_running_stats()
            m.momentum = None  # type: ignore[assignment]
        first, raws, _ = stream(data, batch_size)
        with session(model, device, None) as live:
            intake = probe(live, Intake(model, forward, mask=False), first)[1] if norms else Intake(model, forward)
        for m in norms:
            m.train()
        for raw in raws if norms else ():
            batch = intake.unpack(raw)
            if batch.size > 1:  # one sample has no variance
                run(model, batch.to(device), forward)
    finally:
        for m, momentum in zip(norms, before):
            m.momentum = momentum
            m.eval()


def iter_once(data: Any) -> bool:
    """Whether walking through the data uses them up."""
    return hasattr(data, "__next__")
