"""One small forward pass that tells, of every module: calls, order, inputs, outputs, sample axis, changes in place."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from repana.extraction._batches import Batch, Forward, run
from repana.extraction._session import Session

SAMPLES = 3  # of the first batch; a second pass with one fewer shows which axis holds the samples

Path = tuple[str | int, ...]


@dataclass
class Leaf:
    """A tensor inside an input or an output."""

    path: Path
    shape: tuple[int, ...]
    dtype: torch.dtype
    nested: bool
    tensor: Tensor | None  # kept during the probe only
    version: int | None
    axis: int | None = 0  # of the samples; None where the size does not follow the samples
    per_sample: int = 1  # rows of that axis for each sample
    changed: bool = False  # written to after it was produced


@dataclass
class Call:
    """One call of a module. `start` and `end` number the events of the pass; `share` is the time done by its end."""

    start: int
    inputs: list[Leaf]
    end: int = -1
    outputs: list[Leaf] = field(default_factory=list)
    share: float = 0.0


@dataclass
class Trace:
    """What the probe saw: modules and their calls by name; the whole model is ''."""

    model: nn.Module
    modules: Mapping[str, nn.Module]
    calls: dict[str, list[Call]]
    batch: Batch
    seconds: float

    @property
    def root(self) -> Call:
        return self.calls[""][0]


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
            yield from leaves(getattr(tree, f.name), (*path, f.name))


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


def arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The inputs of a call as one tree: a single positional argument is itself, keywords have their names."""
    if len(args) == 1 and not kwargs:
        return args[0]
    return {**{str(i): value for i, value in enumerate(args)}, **kwargs}


def probe(session: Session, batch: Batch, forward: Forward | None) -> Trace:
    """Run the first few samples, then one fewer, and compare."""
    small = batch.first(SAMPLES) or batch
    trace = _pass(session, small, forward)
    fewer = small.first(small.size - 1)
    if fewer is not None:
        _find_axes(trace, _pass(session, fewer, forward), small.size, fewer.size)
    else:
        _guess_axes(trace, small.size)
    for call in (call for calls in trace.calls.values() for call in calls):
        for leaf in (*call.inputs, *call.outputs):
            leaf.changed = leaf.tensor is not None and leaf.version is not None and leaf.tensor._version != leaf.version
    return trace


def release(trace: Trace) -> None:
    """Let go of the activations of the probe."""
    for call in (call for calls in trace.calls.values() for call in calls):
        for leaf in (*call.inputs, *call.outputs):
            leaf.tensor = None


def _pass(session: Session, batch: Batch, forward: Forward | None) -> Trace:
    modules = dict(session.model.named_modules())
    calls: dict[str, list[Call]] = {name: [] for name in modules}
    names = {module: name for name, module in modules.items()}
    open_calls: list[tuple[str, Call]] = []
    events, began = 0, time.perf_counter()
    alive = True

    def before(module: nn.Module, args: Any, kwargs: Any) -> None:
        nonlocal events
        if not alive:
            return
        call = Call(events, _leaves_of(arguments(args, kwargs)))
        events += 1
        calls[names[module]].append(call)
        open_calls.append((names[module], call))

    def after(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        nonlocal events
        if not alive:
            return
        while open_calls:
            name, call = open_calls.pop()
            if name == names[module]:
                call.end, call.outputs = events, _leaves_of(output)
                call.share = time.perf_counter() - began
                events += 1
                break

    for module in modules.values():
        session.pre_hook(module, before)
        session.hook(module, after)
    try:
        run(session.model, batch, forward)
    finally:
        alive = False
    seconds = time.perf_counter() - began
    for call in (call for found in calls.values() for call in found):
        call.share /= seconds
    return Trace(session.model, modules, calls, batch, seconds)


def _leaves_of(tree: Any) -> list[Leaf]:
    found = []
    for path, tensor in leaves(tree):
        nested = bool(tensor.is_nested)
        shape = _nested_shape(tensor) if nested else tuple(tensor.shape)
        try:
            version = tensor._version
        except RuntimeError:  # an inference tensor
            version = None
        found.append(Leaf(path, shape, tensor.dtype, nested, tensor, version))
    return found


def _nested_shape(tensor: Tensor) -> tuple[int, ...]:
    """(samples, longest, width)."""
    parts = tensor.unbind()
    return (len(parts), max(len(p) for p in parts), *parts[0].shape[1:])


def _find_axes(trace: Trace, fewer: Trace, many: int, few: int) -> None:
    for name, calls in trace.calls.items():
        for call, other in zip(calls, fewer.calls[name]):
            call.share = other.share  # the first pass pays for warming up
            for mine, theirs in ((call.inputs, other.inputs), (call.outputs, other.outputs)):
                shapes = {leaf.path: leaf.shape for leaf in theirs}
                for leaf in mine:
                    _axis_of(leaf, shapes.get(leaf.path), many, few)


def _axis_of(leaf: Leaf, other: tuple[int, ...] | None, many: int, few: int) -> None:
    leaf.axis = None
    if other is None or len(other) != len(leaf.shape):
        return
    for axis, (a, b) in enumerate(zip(leaf.shape, other)):
        if a != b and a * few == b * many:
            leaf.axis, leaf.per_sample = axis, a // many
            return


def _guess_axes(trace: Trace, size: int) -> None:
    """With one sample there is nothing to compare: the first axis of that size holds the samples."""
    for call in (call for calls in trace.calls.values() for call in calls):
        for leaf in (*call.inputs, *call.outputs):
            leaf.axis = next((axis for axis, a in enumerate(leaf.shape) if a == size), None)
