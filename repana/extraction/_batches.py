"""Data in any usual form, as a stream of batches; a batch as what the model is called with, labels and mask."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from repana import _check

LABELS = ("labels", "label", "y", "target", "targets")
MASK = "attention_mask"
SPECIAL = "special_tokens_mask"  # of a tokenizer: 1 at tokens that are no part of the text
CONTENT = "content"  # the attention mask without special tokens
Forward = Callable[[nn.Module, Any], Any]


@dataclass(frozen=True)
class Batch:
    """One batch: the call `model(*args, **kwargs)`, or `forward(model, raw)`; labels on the host; mask (b, t)."""

    raw: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    labels: Tensor | None
    mask: Tensor | None
    size: int
    axis: int = 0  # of the samples, in the inputs

    def to(self, device: torch.device) -> "Batch":
        """The inputs and the mask on the device; labels stay on the host."""
        move = lambda t: t.to(device, non_blocking=True)  # noqa: E731
        mask = None if self.mask is None else move(self.mask)
        moved = mapped((self.raw, self.args, dict(self.kwargs)), move)
        return replace(self, raw=moved[0], args=moved[1], kwargs=moved[2], mask=mask)

    def first(self, count: int) -> "Batch | None":
        """The first samples alone, or None where the batch cannot be cut."""
        if count >= self.size or count < 1:
            return None
        cut_any = False

        def cut(t: Tensor) -> Tensor:
            nonlocal cut_any
            if t.ndim > self.axis and t.shape[self.axis] == self.size:
                cut_any = True
                return t.narrow(self.axis, 0, count)
            return t

        raw, args, kwargs = mapped((self.raw, self.args, dict(self.kwargs)), cut)
        if not cut_any:
            return None
        labels = None if self.labels is None else self.labels[:count]
        mask = None if self.mask is None else self.mask[:count]
        return replace(self, raw=raw, args=args, kwargs=kwargs, labels=labels, mask=mask, size=count)


def mapped(tree: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The same tuples, lists and mappings with the function applied to every tensor."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        values = {key: mapped(value, function) for key, value in tree.items()}
        return values if type(tree) is dict else _like(tree, values)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(mapped(value, function) for value in tree))
    if isinstance(tree, (tuple, list)):
        return type(tree)(mapped(value, function) for value in tree)
    return tree


def _like(mapping: Mapping[str, Any], values: dict[str, Any]) -> Any:
    try:
        return type(mapping)(values)  # type: ignore[call-arg]
    except Exception:
        return values


def stream(data: Any, batch_size: int) -> tuple[Any, Iterator[Any], int | None]:
    """The first batch, an iterator over all batches from the first on, and their number where it is known."""
    batches, count = _batches(data, batch_size)
    try:
        with torch.random.fork_rng(devices=[]):  # a DataLoader draws a seed when it is walked
            iterator = iter(batches)
            first = next(iterator)
    except StopIteration:
        raise _check.empty_data(data) from None
    return first, chain([first], iterator), count


def _batches(data: Any, batch_size: int) -> tuple[Iterable[Any], int | None]:
    if data is None:
        raise _check.no_data()
    if isinstance(data, np.ndarray):
        data = torch.from_numpy(data)
    arrays = (Tensor, np.ndarray)
    whole = isinstance(data, Tensor) or (
        isinstance(data, tuple) and bool(data) and all(isinstance(t, arrays) for t in data)
    )  # a tuple holds the arrays of a data set, a list holds batches
    if not whole and isinstance(data, Mapping) and data and all(isinstance(t, arrays) for t in data.values()):
        whole = True
    if whole:
        tree = mapped(_as_tensors(data), lambda t: t)
        sizes = {len(t) for t in _tensors(tree)}
        if len(sizes) != 1:
            raise _check.lengths_differ(sorted(sizes))
        n = sizes.pop()
        starts = range(0, n, batch_size)
        return (mapped(tree, lambda t, s=start: t[s : s + batch_size]) for start in starts), len(starts)
    if isinstance(data, Dataset) or (
        hasattr(data, "__getitem__") and hasattr(data, "__len__") and not _is_batches(data)
    ):
        loader = DataLoader(data, batch_size=batch_size)  # type: ignore[arg-type]
        return loader, None if isinstance(data, IterableDataset) else len(loader)
    if isinstance(data, Iterable):
        try:
            return data, len(data)  # type: ignore[arg-type]
        except TypeError:
            return data, None
    raise _check.data_not_understood(data)


def _is_batches(data: Any) -> bool:
    """A plain list or tuple of batches is walked as it is; a list of (x, label) samples is a dataset."""
    if not isinstance(data, (list, tuple)) or not data:
        return isinstance(data, (list, tuple, Mapping))
    first = data[0]
    is_sample = isinstance(first, (tuple, list)) and len(first) == 2 and np.ndim(first[1]) == 0
    return not is_sample


def _as_tensors(tree: Any) -> Any:
    if isinstance(tree, np.ndarray):
        if tree.dtype.kind not in "biufc":
            raise _check.not_numeric(str(tree.dtype))
        return torch.from_numpy(tree)
    if isinstance(tree, Mapping):
        return {key: _as_tensors(value) for key, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        return tuple(_as_tensors(value) for value in tree)
    return tree


def _tensors(tree: Any) -> list[Tensor]:
    found: list[Tensor] = []
    mapped(tree, lambda t: (found.append(t), t)[1])
    return found


def unpack(raw: Any, model: nn.Module, forward: Forward | None, mask: Any, names: Sequence[str] | None = None) -> Batch:
    """Find inputs, labels and mask in a batch: `x`, `(x, y)`, `(x,)`, a mapping, or `(mapping, y)`.

    `names` are those of the classes: labels that are names become their places.
    """
    inputs, labels = raw, None
    if isinstance(raw, (tuple, list)) and not hasattr(raw, "_fields"):
        if len(raw) == 2 and _is_label(raw[1]):
            inputs, labels = raw
        elif len(raw) == 1:
            inputs = raw[0]
        elif forward is None:
            raise _check.batch_not_understood(raw)
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if isinstance(inputs, Mapping):
        if labels is None:
            labels = next((inputs[name] for name in LABELS if inputs.get(name) is not None), None)
        args, kwargs = _call(inputs, model) if forward is None else ((), {})
    elif isinstance(inputs, Tensor):
        args = (inputs,)
    elif forward is None:
        raise _check.batch_not_understood(raw)
    host = _labels(labels, names)
    found = _mask(raw, inputs, mask)
    tensors = _tensors((args, kwargs)) or _tensors(inputs)
    axis = 0
    if host is not None:
        size = len(host)
        if tensors and tensors[0].shape[0] != size and tensors[0].ndim > 1 and tensors[0].shape[1] == size:
            axis = 1
        elif tensors and forward is None and tensors[0].shape[0] != size:
            raise _check.label_count(size, tuple(tensors[0].shape))
    elif tensors and tensors[0].ndim:
        size = tensors[0].shape[0]
    else:
        raise _check.batch_not_understood(raw)
    return Batch(raw if forward is not None else None, args, kwargs, host, found, size, axis)


def _is_label(value: Any) -> bool:
    if isinstance(value, (np.ndarray, Tensor)):
        return value.ndim <= 2
    return isinstance(value, Sequence) and not isinstance(value, str) and all(np.ndim(v) == 0 for v in value)


def _labels(labels: Any, names: Sequence[str] | None) -> Tensor | None:
    if labels is None:
        return None
    if not isinstance(labels, Tensor):
        labels = np.asarray(labels)
        if labels.dtype.kind in "US" and names is not None:
            place = {name: i for i, name in enumerate(names)}
            unknown = [str(name) for name in labels.flat if str(name) not in place]
            if unknown:
                raise _check.unnamed_class(unknown[0], names)
            labels = np.array([place[str(name)] for name in labels.flat]).reshape(labels.shape)
        if labels.dtype.kind not in "biuf":
            raise _check.not_numeric(str(labels.dtype))
    tensor = labels if isinstance(labels, Tensor) else torch.as_tensor(labels)
    tensor = tensor.detach()
    if tensor.ndim == 2 and tensor.shape[1] == 1:
        tensor = tensor[:, 0]
    host = tensor.cpu()
    if names is not None and host.numel() and not host.is_floating_point() and int(host.max()) >= len(names):
        raise _check.unnamed_class(int(host.max()), names)
    return host


def _mask(raw: Any, inputs: Any, mask: Any) -> Tensor | None:
    if mask is False:
        return None
    if callable(mask):
        found = mask(raw)
    elif mask == CONTENT:
        parts = [inputs.get(name) if isinstance(inputs, Mapping) else None for name in (MASK, SPECIAL)]
        if parts[1] is None:
            raise _check.no_mask_key(SPECIAL, list(inputs) if isinstance(inputs, Mapping) else [])
        real = torch.as_tensor(parts[1]) == 0
        found = real if parts[0] is None else torch.as_tensor(parts[0]).bool() & real
    else:
        name = MASK if mask is None else mask
        found = inputs.get(name) if isinstance(inputs, Mapping) else None
        if found is None and mask is not None:
            raise _check.no_mask_key(str(mask), list(inputs) if isinstance(inputs, Mapping) else [])
    return found if found is None else torch.as_tensor(found).bool()


def _call(inputs: Mapping[str, Any], model: nn.Module) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Keyword arguments that the model's forward takes; a model of one argument gets the mapping itself."""
    parameters = inspect.signature(model.forward).parameters
    named = {n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    everything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    offered = {key: value for key, value in inputs.items() if key not in LABELS}
    taken = {key: value for key, value in offered.items() if key in named}
    if not taken and everything:
        taken = {key: value for key, value in offered.items() if isinstance(value, Tensor)}
    if taken:
        return (), taken
    if len(parameters) == 1:
        return (dict(inputs),), {}
    raise _check.no_argument_taken(type(model).__name__, list(offered), sorted(named))


def run(model: nn.Module, batch: Batch, forward: Forward | None) -> Any:
    """One forward pass; an error of the model's own says with what it was called."""
    try:
        if forward is not None:
            return forward(model, batch.raw)
        return model(*batch.args, **batch.kwargs)
    except Exception as error:
        given = [
            f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}" for t in _tensors((batch.args, batch.kwargs))
        ]
        error.add_note(
            f"repana: {type(model).__name__} was called with {', '.join(given) or 'a batch of its own form'}."
        )
        raise
