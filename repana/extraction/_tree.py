"""Trees of tensors: tuples, lists, mappings, dataclasses and batches with `to_dict`, walked and rebuilt."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Path = tuple[str | int, ...]


def leaves(tree: Any, path: Path = ()) -> Iterator[tuple[Path, Tensor]]:
    """Tensors with their way in: keys and attribute names as text, positions as numbers."""
    if isinstance(tree, Tensor):
        yield path, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from leaves(value, (*path, str(key)))
    elif isinstance(tree, (tuple, list)):
        for i, value in enumerate(tree):
            yield from leaves(value, (*path, i))
    elif is_dataclass(tree) and not isinstance(tree, type):
        for f in fields(tree):
            yield from leaves(getattr(tree, f.name, None), (*path, f.name))
    elif has_dict(tree):
        yield from leaves(fields_of(tree), path)


def inputs_in(tree: Any, path: Path = ()) -> Iterator[tuple[Path, Tensor]]:
    """As `leaves`, and the tensors that any other object holds as attributes: what a batch of its own kind brings."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from inputs_in(value, (*path, str(key)))
    elif isinstance(tree, (tuple, list)):
        for i, value in enumerate(tree):
            yield from inputs_in(value, (*path, i))
    elif isinstance(tree, Tensor) or is_dataclass(tree) or has_dict(tree):
        yield from leaves(tree, path)
    else:
        yield from (((*path, name), t) for name, t in fields_of(tree).items())


def has_dict(tree: Any) -> bool:
    """Whether a batch object says its tensors by `to_dict`, as those of graphs do; or holds them as attributes."""
    return callable(getattr(tree, "to_dict", None)) and not isinstance(tree, (type, nn.Module))


def fields_of(tree: Any) -> Mapping[str, Any]:
    """The tensors of any object by attribute: what `to_dict` says, or its own variables."""
    if has_dict(tree):
        return tree.to_dict()
    return {name: value for name, value in getattr(tree, "__dict__", {}).items() if isinstance(value, Tensor)}


def tensors_of(tree: Any) -> list[Tensor]:
    return [t for _, t in leaves(tree)]


def at(tree: Any, path: Path) -> Tensor | None:
    """The tensor at a path, or None."""
    for key in path:
        if isinstance(tree, Mapping):
            tree = next((value for name, value in tree.items() if str(name) == str(key)), None)
        elif isinstance(tree, (tuple, list)) and isinstance(key, int):
            tree = tree[key] if key < len(tree) else None
        else:
            tree = getattr(tree, str(key), None)
    return tree if isinstance(tree, Tensor) else None


def mapped(tree: Any, function: Callable[[Any], Any], kind: type = Tensor) -> Any:
    """The same tuples, lists and mappings with the function applied to every tensor; other objects as they are."""
    if isinstance(tree, kind):
        return function(tree)
    if isinstance(tree, Mapping):
        values = {key: mapped(value, function, kind) for key, value in tree.items()}
        return values if type(tree) is dict else _like(tree, values)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(mapped(value, function, kind) for value in tree))
    if isinstance(tree, (tuple, list)):
        return type(tree)(mapped(value, function, kind) for value in tree)
    return tree


def to_device(tree: Any, device: torch.device) -> Any:
    """The tree on a device; objects that know how to move themselves are asked to."""
    if isinstance(tree, Tensor):
        here = tree.to(device, non_blocking=True)
        return here.clone() if here.is_inference() else here  # an inference tensor takes part in no gradient
    if isinstance(tree, Mapping):
        values = {key: to_device(value, device) for key, value in tree.items()}
        return values if type(tree) is dict else _like(tree, values)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(to_device(value, device) for value in tree))
    if isinstance(tree, (tuple, list)):
        return type(tree)(to_device(value, device) for value in tree)
    if callable(getattr(tree, "to", None)) and not isinstance(tree, (type, nn.Module)):
        return tree.to(device)
    return tree


def arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The inputs of a call as one tree: a single positional argument is itself, keywords have their names."""
    if len(args) == 1 and not kwargs:
        return args[0]
    return {**{str(i): value for i, value in enumerate(args)}, **kwargs}


def is_empty(raw: Any) -> bool:
    """Whether a batch holds tensors or arrays and all of them have no row, as the last one of some loaders."""
    found: list[Any] = [t for t in tensors_of(raw) if not t.is_nested]
    mapped(raw, found.append, np.ndarray)
    found = [t for t in found if t.ndim]
    return bool(found) and all(len(t) == 0 for t in found)


def _like(mapping: Mapping[str, Any], values: dict[str, Any]) -> Any:
    try:
        return type(mapping)(values)  # type: ignore[call-arg]
    except Exception:
        return values
