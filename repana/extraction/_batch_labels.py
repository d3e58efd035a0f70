"""Which part of a batch holds the labels: named by the user, by its key, or by its place; what is doubtful is
refused."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repana import _check
from repana.extraction import _data_refusals
from repana.extraction._batch_masks import LARGE
from repana.extraction._tree import fields_of, leaves

NAMES = ("labels", "label", "y", "target", "targets")
Choice = str | int | bool | Callable[[Any], Any] | None


def chosen_labels(raw: Any, inputs: Any, choice: str | int | Callable[[Any], Any]) -> Any:
    """What `labels=` says: a key of the mapping, the place in a tuple, or a function of the batch."""
    if callable(choice):
        return choice(raw)
    if isinstance(choice, int):
        if not isinstance(raw, (tuple, list)) or not -len(raw) <= choice < len(raw):
            raise _data_refusals.no_labels_entry(choice, raw)
        return raw[choice]
    for tree in (inputs, raw, *(raw if isinstance(raw, (tuple, list)) else ())):
        if isinstance(tree, Mapping) and choice in tree:
            return tree[choice]
        if not isinstance(tree, (Mapping, Tensor, tuple, list)) and choice in fields_of(tree):
            return fields_of(tree)[choice]
    keys = list(inputs) if isinstance(inputs, Mapping) else list(fields_of(inputs))
    raise _data_refusals.no_labels_key(str(choice), keys)


def named_labels(inputs: Any) -> Any:
    """Labels under one of the usual names of a mapping or of an object."""
    found = inputs if isinstance(inputs, Mapping) else fields_of(inputs)
    return next((found[name] for name in NAMES if found.get(name) is not None), None)


def second_is_label(first: Any, second: Any) -> bool:
    """Whether (first, second) is (inputs, labels). An array in the shape of token ids, or of the tokens of embeddings,
    may be a mask where it holds the values of one: refused."""
    if isinstance(second, (np.ndarray, Tensor)):
        if _may_be_mask(first, second):
            raise _data_refusals.mask_or_labels(tuple(second.shape))
        whole = not torch.as_tensor(second).is_floating_point()
        return second.ndim <= 2 or (whole and second.ndim >= 3)
    plain = (int, float, str, np.generic, Tensor)
    return isinstance(second, (list, tuple)) and all(isinstance(v, plain) and np.ndim(v) == 0 for v in second)


def _may_be_mask(first: Any, second: Any) -> bool:
    given = [t for _, t in leaves(first)]
    other = torch.as_tensor(second)
    if len(given) != 1 or given[0].is_nested or given[0].ndim < 2 or other.is_complex():
        return False
    tokens = tuple(given[0].shape)
    if given[0].is_floating_point() or given[0].is_complex():
        tokens = tokens[:2] if given[0].ndim == 3 else ()
    return tuple(other.shape) == tokens and bool(((other == 0) | (other == 1) | (other < -LARGE)).all())


def by_place(raw: Sequence[Any]) -> int | None:
    """The one entry behind the first that can be class labels: whole numbers, one a sample, some of them equal.

    A running index of the samples has no equal values, so (x, y, index) is told apart from it.
    """
    first = next((t for _, t in leaves(raw[0])), None)
    if first is None or not first.ndim:
        return None
    fit = []
    for place, value in enumerate(raw[1:], 1):
        if isinstance(value, (np.ndarray, Tensor)) and value.ndim == 1 and len(value) == len(first):
            numbers = torch.as_tensor(value)
            if not numbers.is_floating_point() and len(numbers) > 1 and len(numbers.unique()) < len(numbers):
                fit.append(place)
    return fit[0] if len(fit) == 1 else None


def codes(labels: Any, names: Sequence[str] | None) -> Tensor | None:
    """Labels as a tensor on the host; `names` are those of the classes, and labels that are names become their
    places."""
    if labels is None:
        return None
    if not isinstance(labels, Tensor):
        _check.refuse_masked(labels, "labels", "RA203")
        labels = np.asarray(labels)
        if labels.dtype.kind in "US" and names is not None:
            place = {name: i for i, name in enumerate(names)}
            unknown = [str(name) for name in labels.flat if str(name) not in place]
            if unknown:
                raise _data_refusals.unnamed_class(unknown[0], names)
            labels = np.array([place[str(name)] for name in labels.flat]).reshape(labels.shape)
        if labels.dtype.kind not in "biuf":
            raise _data_refusals.not_numeric(str(labels.dtype))
    tensor = labels if isinstance(labels, Tensor) else torch.as_tensor(labels)
    tensor = tensor.detach()
    if tensor.is_complex():
        raise _data_refusals.not_numeric(str(tensor.dtype))
    if tensor.dtype in (torch.uint16, torch.uint32, torch.uint64):
        tensor = tensor.to(torch.int64)
    if tensor.ndim == 2 and tensor.shape[1] == 1:
        tensor = tensor[:, 0]
    host = tensor.cpu()
    if names is not None and host.numel() and not host.is_floating_point() and int(host.max()) >= len(names):
        raise _data_refusals.unnamed_class(int(host.max()), names)
    return host


def of_positions(labels: Tensor | None, inputs: Mapping[str, Tensor]) -> bool:
    """Whether labels are those of tokens or pixels: whole numbers in the shape of token ids, or of a mask; or of maps.

    Others of two axes are several labels of each sample, unless rows become tokens.
    """
    if labels is None or labels.ndim < 2 or labels.is_floating_point():
        return False
    if labels.ndim > 2:
        return True
    ids = [t for t in inputs.values() if not t.is_nested and not t.is_floating_point() and not t.is_complex()]
    return any(tuple(t.shape) == tuple(labels.shape) for t in ids)
