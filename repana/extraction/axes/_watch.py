"""Follows labelled axes through the operations of one forward pass.

An operation has one of three outcomes: a rule gives the axes; no tensor came in, so the axes are constants; or they are
unknown, and the operation's name is kept for the notes. Nothing is guessed from sizes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from repana.extraction.axes import _gather_rules, _shape_rules, _weight_rules
from repana.extraction.axes import _operations as ops
from repana.extraction.axes._book import Book
from repana.extraction.axes._labels import Axis, Traced, size_of

RULES = {**_shape_rules.RULES, **_weight_rules.RULES, **_gather_rules.RULES}


def tensors_in(tree: Any) -> list[Tensor]:
    """The tensors among the arguments or results of an operation."""
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, (list, tuple)):
        return [t for value in tree for t in tensors_in(value)]
    return []


@dataclass(frozen=True)
class _Kind:
    """What an operation's schema says; read once, since each reading of a schema costs as much as a small operation."""

    name: str  # without "aten::" and the underscore of operations in place
    whole: str
    writes: bool  # into one of its arguments
    viewing: bool  # what comes out is a view of the first tensor that goes in
    pointwise: bool


@cache
def _kind(func: OpOverload) -> _Kind:
    schema = func._schema
    name = schema.name.split("::")[-1]
    return _Kind(
        name if name.endswith("__") else name.rstrip("_"),
        schema.name,
        schema.is_mutable,
        bool(schema.returns) and schema.returns[0].alias_info is not None,
        torch.Tag.pointwise in func.tags,
    )


@dataclass(frozen=True)
class _Operation:
    """One operation that ran: the tensors that went in, what was known of them then, and what came out."""

    name: str
    kind: _Kind
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    given: list[Tensor]
    before: list[Traced]
    outs: list[Tensor]


class AxisWatch(TorchDispatchMode):
    """A mode under which every operation is run as it is and its tensors are noted in a `Book`."""

    supports_higher_order_operators = True

    def __init__(self, book: Book) -> None:
        super().__init__()
        self.book = book
        self.without_rule: Counter[str] = Counter()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch imports its compiler, in seconds, to keep it out of such a mode; sessions see to that themselves."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not isinstance(func, OpOverload):
            out = func(*args, **kwargs)
            self._unknown(str(func), tensors_in(args), tensors_in(out))
            return out
        kind = _kind(func)
        if torch.is_inference_mode_enabled() and kind.whole != "aten::detach":
            with self:
                out = func.decompose(*args, **kwargs)  # in inference mode composite operations come whole
            if out is not NotImplemented:
                return out
        given = [*tensors_in(args), *tensors_in(list(kwargs.values()))]
        before = [self.book.known(t) for t in given]
        self._use(before)
        out = func(*args, **kwargs)
        outs = tensors_in(out)
        if outs:
            self._note(_Operation(kind.name, kind, args, kwargs, given, before, outs))
        if kind.writes:
            self._write(func, args, kwargs)
        return out

    # --- one operation ------------------------------------------------------------------------------------------------

    def _note(self, op: _Operation) -> None:
        name, before = op.name, op.before
        made = name.startswith("new_") or name.endswith("_like")  # takes only the shape
        live = [] if made else [k for k in before if k.live]
        found = self._axes(op, live)
        adds = name in ops.ADDING and len({k.node for k in live}) > 1
        passing = name in ops.PASSING and len(live) == 1 and not adds
        viewed = op.kind.viewing and bool(before)
        for out, axes in zip(op.outs, found):
            if out.is_nested:
                axes = []
            elif axes is None or len(axes) != out.ndim or any(size_of(a) != n for a, n in zip(axes, out.shape)):
                axes = [self.book.unknown(n) if live else self.book.constant(n) for n in out.shape]
            old = self.book.seen(out)
            storage = old.storage if old is not None else before[0].storage if viewed else None
            noted = self.book.put(
                out, [self.book.tidy(a) for a in axes], live=bool(live), parents=live, passing=passing, adds=adds,
                view=name in ops.VIEWING, storage=storage,
            )  # fmt: skip
            noted.foreign = not made and any(k.foreign for k in before)
            if before and not live:
                noted.raw = before[0].raw and (name in ops.VIEWING or name in ops.BUFFER_VIEWING or name == "_to_copy")
                noted.learned = not made and any(k.learned for k in before)
            if before and name in ops.BUFFER_VIEWING and not before[0].live:
                noted.base = before[0].base or before[0]

    def _axes(self, op: _Operation, live: list[Traced]) -> Sequence[list[Axis] | None]:
        """Axes of every tensor that came out; None where they are unknown."""
        name, args, given, before, outs = op.name, op.args, op.given, op.before, op.outs
        book, rule = self.book, RULES.get(name)
        nothing: list[list[Axis] | None] = [None] * len(outs)
        if any(t.is_nested for t in (*given, *outs)):
            return nothing
        if rule is not None:
            try:
                found = rule(book, args, op.kwargs, outs)
                return [*found, *nothing[len(found) :]]
            except (LookupError, TypeError, ValueError, AttributeError, StopIteration, AssertionError):
                if live:
                    self.without_rule[name] += 1
                return nothing
        if not given or name.startswith("new_"):
            return [[book.constant(n) for n in out.shape] for out in outs]
        if name in ops.ALIKE and isinstance(args[0], Tensor):
            if name in ops.RUNNING:
                book.touch(before[0].axes[args[1] % max(given[0].ndim, 1)])
            left = _gather_rules.misplaced(book, name, args, before) if name in ops.PLACING else {}
            if name in ops.WRITING and live and not before[0].live:
                _gather_rules.written(book, name, args, before)
            elif name in _gather_rules.GROUPING and live:
                _gather_rules.grouped(book, args, before[0], before)
            if op.kind.writes:
                _gather_rules.leave(book, before[0], left)
            axes = [*before[0].axes]
            for d, axis in left.items():
                axes[d] = axis
            return [book.broadcast([axes], out.shape) for out in outs]
        if op.kind.pointwise or name in ops.ELEMENTWISE:
            return [self._elementwise(name, before, out) for out in outs]
        if name in ops.RESIZING and outs[0].ndim == given[0].ndim:
            return [[book.resized(axis, n) for axis, n in zip(before[0].axes, out.shape)] for out in outs]
        if name in ops.REDUCING:
            return [_reduced(before[0], args, op.kwargs, out) for out in outs]
        if live:
            self.without_rule[name] += 1
        return nothing

    def _elementwise(self, name: str, before: list[Traced], out: Tensor) -> list[Axis]:
        axes = self.book.broadcast([k.axes for k in before], out.shape)
        for k in before if name in ops.SCALING else ():
            self.book.scaled(axes, k)
        return axes

    # --- bookkeeping --------------------------------------------------------------------------------------------------

    def _use(self, before: list[Traced]) -> None:
        for k in before:
            if k.live:
                for axis in k.axes:
                    self.book.used.update(label for label, _ in axis)

    def _unknown(self, name: str, given: list[Tensor], outs: list[Tensor]) -> None:
        before = [self.book.known(t) for t in given]
        self._use(before)
        live = [k for k in before if k.live]
        if live:
            self.without_rule[name] += 1
        for out in outs:
            axes = [] if out.is_nested else [self.book.unknown(n) for n in out.shape]
            noted = self.book.put(out, axes, live=bool(live), parents=live)
            noted.foreign = any(k.foreign for k in before)

    def _write(self, func: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        for k, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                for t in tensors_in(args[k] if k < len(args) else kwargs.get(argument.name)):
                    self.book.write(self.book.known(t).storage)


def _reduced(k: Traced, args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor) -> list[Axis]:
    lists = [a for a in args[1:] if isinstance(a, (list, tuple))]
    dims = kwargs.get("dim", lists[0] if lists else args[1] if len(args) > 1 else None)
    dims = [dims] if isinstance(dims, int) and not isinstance(dims, bool) else dims
    gone = {d % len(k.axes) for d in (dims if isinstance(dims, (list, tuple)) and dims else range(len(k.axes)))}
    if out.ndim == len(k.axes):
        return [() if i in gone else axis for i, axis in enumerate(k.axes)]
    return [axis for i, axis in enumerate(k.axes) if i not in gone]
