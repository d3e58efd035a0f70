"""The reference for the recorder: plain forward hooks that pool by layouts which were written down by hand.

A layout names the axes of a tensor: `b` samples, `c` features (twice: flattened together), `1` an axis that is dropped,
`(b w)` samples merged with something, `n` rows that belong to samples by an index, any other letter positions. "none"
is a tensor that does not depend on the samples, or of which no axis is in their order. Alternatives for other numbers
of axes stand after a bar. A mask is for the axes t.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

Rules = Mapping[str, str]


@cache
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile("".join({"*": ".*", "?": "."}.get(ch, re.escape(ch)) for ch in text))


def matches(pattern: str, address: str) -> bool:
    """Only `*` and `?` are special, since addresses have brackets."""
    return _pattern(pattern).fullmatch(address) is not None


def axes_of(layout: str) -> list[str]:
    """'(b w) t c' as ['(b w)', 't', 'c']."""
    return re.findall(r"\([^)]*\)|\S", layout)


def layout_of(addresses: Sequence[str], shape: tuple[int, ...], rules: Rules) -> str | None:
    """The first rule for one of these addresses that has so many axes; two axes are samples and features."""
    for pattern, layouts in rules.items():
        if any(matches(pattern, address) for address in addresses):
            for layout in layouts.split("|"):
                if len(axes_of(layout)) == len(shape) or layout == "none" and (layout == layouts or len(shape) > 2):
                    return layout
    return "b c" if len(shape) == 2 else None


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor in tuples, mappings and dataclasses, with its path as in an address."""
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}")
    elif isinstance(value, (tuple, list)):
        for i, item in enumerate(value):
            yield from leaves(item, f"{path}[{i}]")
    elif is_dataclass(value):
        for field in fields(value):
            yield from leaves(getattr(value, field.name), f"{path}.{field.name}")


def pooled(x: Tensor, layout: str, samples: int, mask: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
    """(b, d): the mean over positions, of real ones (axes t) where there is a mask; `rows` says whose a row is."""
    letters: list[str] = []
    sizes: list[int] = []
    for axis, size in zip(axes_of(layout), x.shape):
        inner = axis.strip("()").split()
        merged = len(inner) > 1
        letters += inner
        sizes += [(samples if letter == "b" else size // samples) if merged else size for letter in inner]
    x = x.float().reshape(sizes)
    positions = [i for i, letter in enumerate(letters) if letter not in "bnc1"]
    features = [i for i, letter in enumerate(letters) if letter == "c"]
    first = [i for i, letter in enumerate(letters) if letter in "bn"]
    dropped = [i for i, letter in enumerate(letters) if letter == "1"]
    if (
        len(first) != 1
        or any(sizes[i] != 1 for i in dropped)
        or (letters[first[0]] == "b" and sizes[first[0]] != samples)
    ):
        raise AssertionError(f"{layout!r} does not fit {tuple(x.shape)} for {samples} samples")
    x = x.permute(*first, *positions, *features, *dropped)
    weight = torch.ones(x.shape[: 1 + len(positions)])
    for axis in (i for i in positions if letters[i] == "t" and mask is not None):
        weight = weight * mask.float().reshape([samples] + [sizes[i] if i == axis else 1 for i in positions])
    x, weight = x.reshape(x.shape[0], weight[0].numel(), -1), weight.reshape(x.shape[0], -1, 1)
    x = torch.where(weight > 0, x * weight, 0.0).sum(1) / weight.sum(1)
    if letters[first[0]] == "n":
        total = torch.zeros(samples, x.shape[1]).index_add(0, rows, x)
        return total / torch.bincount(rows, minlength=samples)[:, None]
    return x


def _mask(batch: Any, key: str) -> Tensor | None:
    """Which positions are real; with a tilde, of a mask that says which are not."""
    if key.startswith("~"):
        return ~batch[key[1:]]
    return batch[key] if key else None


@dataclass
class Reference:
    """Pooled features by address; `none` are the addresses that do not depend on the samples."""

    features: dict[str, Tensor]
    none: set[str]
    shapes: dict[str, tuple[int, ...]]


def called(model: nn.Module, batch: Any, forward: Callable | str | None = None) -> Any:
    """The model on one batch: a tensor, (x, y), a mapping of arguments with "labels", or whatever `forward` takes."""
    if callable(forward):
        return forward(model, batch)
    given = batch[0] if isinstance(batch, tuple) else batch
    entry = getattr(model, forward) if forward else model
    if isinstance(given, Mapping):
        return entry(**{k: v for k, v in given.items() if k != "labels"})
    return entry(given)


def calibrate(model: nn.Module, batch: Any, forward: Callable | str | None = None) -> None:
    """Give batch norms the statistics of the batch: of untrained networks, deep features are else much the same."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    if norms:
        with torch.no_grad():
            called(model, batch, forward)
    model.eval()


def reference(
    model: nn.Module,
    batch: Any,
    layouts: Rules,
    masks: Rules,
    *,
    samples: int,
    rows: str = "",
    forward: Callable | str | None = None,
) -> Reference:
    """What every module gives, pooled inside of the hook, before anything can change it in place."""
    given = batch[0] if isinstance(batch, tuple) else batch
    outputs: dict[str, list[list[tuple[str, Tensor | None, tuple[int, ...]]]]] = {}
    names = {module: name for name, module in model.named_modules() if name}

    def vectors(name: str, call: int, value: Any) -> Iterator[tuple[str, Tensor | None, tuple[int, ...]]]:
        for path, x in leaves(value):
            addresses = name + path, f"{name}@{call}{path}"
            if not x.is_floating_point() or x.ndim < 2 or x.numel() == 0:
                continue
            layout = layout_of(addresses, tuple(x.shape), layouts)
            if layout is None:
                raise AssertionError(f"no layout is written down for {name}{path} {tuple(x.shape)}")
            try:
                key = next((key for pattern, key in masks.items() if any(matches(pattern, a) for a in addresses)), "")
                mask = _mask(given, key) if "t" in re.findall(r"\w", layout) else None
                index = given[rows] if rows else None
                yield path, None if layout == "none" else pooled(x, layout, samples, mask, index), tuple(x.shape)
            except (AssertionError, RuntimeError) as error:
                raise AssertionError(f"{name}{path} {tuple(x.shape)}, layout {layout!r}: {error}") from error

    def hook(module: nn.Module, args: Any, value: Any) -> None:
        name = names[module]
        calls = outputs.setdefault(name, [])
        calls.append(list(vectors(name, len(calls) + 1, value)))

    handles = [module.register_forward_hook(hook) for module in names]
    try:
        with torch.no_grad():
            called(model, batch, forward)
    finally:
        for handle in handles:
            handle.remove()
    found = Reference({}, set(), {})
    for name, calls in outputs.items():
        for k, call in enumerate(calls, 1):
            for path, x, shape in call:
                address = name + (f"@{k}" if len(calls) > 1 else "") + path
                found.shapes[address] = shape
                if x is None:
                    found.none.add(address)
                else:
                    found.features[address] = x
    return found
