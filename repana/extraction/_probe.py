"""One watched pass of a few samples: of every module its calls, order, inputs and outputs, and what each axis holds.

A second, plain pass with fewer samples confirms by sizes; a third with one position fewer is made only when a layer is
asked for about which the operations were silent.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from repana import _check
from repana.extraction import _refusals
from repana.extraction._batch_masks import means_padding
from repana.extraction._batches import Batch, Forward, Intake, run
from repana.extraction._session import Session, hookable, no_fast_path, own_forward
from repana.extraction._tree import Path, arguments, leaves, mapped
from repana.extraction.axes._book import Book
from repana.extraction.axes._labels import MAYBE_SAMPLE, NOT_SAMPLE, SAMPLE, Traced
from repana.extraction.axes._layout import NO_SAMPLES, Layout, decide, settle
from repana.extraction.axes._watch import AxisWatch

SAMPLES = 4  # of the first batch
NEGATIVE = -1e4  # of an additive mask

Change = frozenset[int]


@dataclass
class Leaf:
    """A tensor inside an input or an output."""

    path: Path
    shape: tuple[int, ...]
    dtype: torch.dtype
    nested: bool
    traced: Traced | None = None
    by_samples: Change | None = None  # axes whose size changed with fewer samples; None where that was not seen
    by_length: Change | None = None
    changed: bool = False  # written to after it was produced
    unreadable: str = ""  # a kind of tensor without values of its own


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
    """What the probe saw: modules and their calls by name; the whole model is ''. `outputs` are those of the call."""

    model: nn.Module
    modules: Mapping[str, nn.Module]
    calls: dict[str, list[Call]]
    batch: Batch  # of the probe
    samples: int  # in the user's batch
    labels: Tensor | None  # of the user's batch
    masks: Mapping[str, Tensor]  # of the user's batch
    outputs: list[Leaf]
    book: Book
    without_rule: Mapping[str, int]
    notes: list[str] = field(default_factory=list)
    by_forward: set[str] = field(default_factory=set)  # modules of which only children ran: called as m.forward(x)
    decided: dict[int, Layout] = field(default_factory=dict)  # by identity of the leaf
    parts: Mapping[str, nn.Module] = field(default_factory=dict)  # places inside modules that are read as modules
    by_lengths: Callable[[], None] | None = None  # the pass with one position fewer, until it was made

    @property
    def root(self) -> Call | None:
        return self.calls[""][0] if self.calls[""] else None

    @property
    def inputs(self) -> list[Leaf]:
        return self.root.inputs if self.root else []

    @property
    def half(self) -> bool:
        """Whether weights are in half precision, so that values are compared loosely."""
        return any(p.dtype in (torch.float16, torch.bfloat16) for p in self.model.parameters())

    def ran(self) -> list[str]:
        return [name for name in self.modules if name and self.calls[name]]

    def layout(self, leaf: Leaf) -> Layout:
        """Roles of the axes of a tensor by operations, confirmed or decided by sizes."""
        if id(leaf) not in self.decided:
            found = self._layout(leaf)
            if self.by_lengths is not None and _silent(leaf, found):
                look, self.by_lengths = self.by_lengths, None
                look()
                self.decided.clear()
                found = self._layout(leaf)
            self.decided[id(leaf)] = found
        return self.decided[id(leaf)]

    def _layout(self, leaf: Leaf) -> Layout:
        if leaf.nested:
            return Layout(len(leaf.shape), 0, features=tuple(range(2, len(leaf.shape))), positions=(1,))
        traced = leaf.traced
        axes = traced.axes if traced is not None else []
        if traced is not None and not traced.live and not traced.foreign:
            return Layout(len(leaf.shape), problem="it is computed from weights alone", kind_of_problem=NO_SAMPLES)
        if len(axes) != len(leaf.shape):
            found = Layout(len(leaf.shape), problem="nothing is known of its axes")
        else:
            found = decide(self.book.labels, axes, self.batch.size)
        certain = found.sample is not None and bool(axes) and self.book.labels.has(axes[found.sample], SAMPLE)
        found = settle(found, leaf.shape, self.batch.size, leaf.by_samples, leaf.by_length, certain=certain)
        return replace(found, certain=certain or found.unproven)

    def as_long_as_samples(self) -> list[str]:
        """Inputs with as many rows as samples that nothing shows to be something else."""
        labels, entered = self.book.labels, self.book.entered.items()
        first = {name: known.axes[self.batch.axis] for name, known in entered if len(known.axes) > self.batch.axis}
        return [n for n, axis in first.items() if labels.has(axis, MAYBE_SAMPLE) and not labels.has(axis, NOT_SAMPLE)]

    def holding(self) -> list[str]:
        """Inputs that hold the samples: by the operations, and masks, which have a row for each."""
        labels, masks = self.book.labels, self.batch.masks
        entered = self.book.entered.items()
        return [n for n, known in entered if n in masks or any(labels.has(axis, SAMPLE) for axis in known.axes)]

    def shown(self, leaf: Leaf) -> tuple[int, ...]:
        """The shape that the user's batch has, of which the probe saw a few samples."""
        few, many = self.batch.size, self.samples
        if few == many:
            return leaf.shape
        found = self.layout(leaf)
        axes = {found.sample} if found.sample is not None else leaf.by_samples or frozenset()
        return tuple(n // few * many if i in axes and n % few == 0 else n for i, n in enumerate(leaf.shape))


def probe(session: Session, intake: Intake, raw: Any, *, samples: int | str = SAMPLES) -> tuple[Trace, Intake]:
    """Watch the first samples of a batch, then fewer. The whole batch where it cannot be cut.

    Also finds whether a model of one argument takes the mapping or its only tensor: the intake that worked comes back.
    """
    batch = intake.unpack(raw).to(session.device)
    try:
        return _probe(session, batch, intake.forward, samples), intake
    except Exception as error:
        other = intake.other(raw)
        if other is None or isinstance(error, torch.OutOfMemoryError):
            raise
        return probe(session, other, raw, samples=samples)


def _probe(session: Session, batch: Batch, forward: Forward | None, samples: int | str) -> Trace:
    whole = batch.twice() if batch.size == 1 else batch
    few = None if samples == "batch" or isinstance(samples, str) else batch.first(samples)
    hooks, trace = Hooks(session), None
    if few is not None:
        try:
            trace = watched(hooks, few, forward)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception:
            trace = None  # the whole batch shows whether the model or the cut is to blame
        if trace is not None and (trace.book.doubtful or _never_over_samples(trace.book, few)):
            trace = None
    if trace is None:
        trace = watched(hooks, whole, forward)
        if trace.book.doubtful and _never_over_samples(trace.book, whole):  # as many positions as samples
            trace = watched(hooks, whole, forward, late=[trace.book.doubtful])
        if few is not None or (batch.size > SAMPLES and samples != "batch"):
            trace.notes.append("probed on a whole batch")
    trace.samples, trace.labels, trace.masks = batch.size, batch.labels, batch.masks
    taken = [n for n in _never_over_samples(trace.book, trace.batch) if not _holds_positions(trace, n)]
    if taken:
        trace.notes.append(
            f"{_check.listed(taken)}: as many rows as samples, and no operation brings the two together; layers made "
            "of these rows alone take them for samples"
        )
    _second_look(hooks, trace, batch if batch.size == 1 else trace.batch, forward)
    return trace


def _holds_positions(trace: Trace, name: str) -> bool:
    """Whether an input's first axis turned out to be one of positions, as position numbers are."""
    return any(trace.book.labels.has(axis, NOT_SAMPLE) for axis in trace.book.entered[name].axes)


def _never_over_samples(book: Book, batch: Batch) -> list[str]:
    """Inputs with as many rows as samples, read by the network, that never stood over the samples.

    A matrix may happen to have as many rows; masks have a row for each sample by what they are.
    """
    found = []
    for name, traced in book.entered.items():
        for axis in traced.axes:
            facts = book.labels.facts(axis[0][0]) if len(axis) == 1 else 0
            if facts & MAYBE_SAMPLE and not facts & SAMPLE and axis[0][0] in book.used and axis[0][1] == batch.size:
                found += [] if name in batch.masks else [name]
    return found


# --- passes -----------------------------------------------------------------------------------------------------------


class Hooks:
    """Hooks on every module that note calls in order, of one pass at a time."""

    def __init__(self, session: Session) -> None:
        self.modules = dict(session.model.named_modules())
        self.model, self.parts = session.model, session.parts
        self._names = {module: name for name, module in [*self.modules.items(), *self.parts.items()]}
        self._into: _Pass | None = None
        for module in self._names:
            if hookable(module):
                session.pre_hook(module, self._before)
                session.hook(module, self._after)

    def run(self, batch: Batch, forward: Forward | None, book: Book | None = None) -> "_Pass":
        """`outputs` are the tensors of what the call gave, or where it gave none, of what the model did."""
        self._into = seen = _Pass(self.modules, self.parts, book)
        began = seen.began
        try:
            seen.outputs = seen.leaves(run(self.model, batch, forward))
        finally:
            self._into = None
        seconds = time.perf_counter() - began
        for call in (call for found in seen.calls.values() for call in found):
            call.share /= seconds
        if not seen.outputs and seen.calls[""]:
            seen.outputs = seen.calls[""][0].outputs
        return seen

    def _before(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if self._into is not None:
            self._into.before(self._names[module], args, kwargs)

    def _after(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self._into is not None:
            self._into.after(self._names[module], output)


class _Pass:
    """The calls of one pass, by module."""

    def __init__(self, modules: Mapping[str, nn.Module], parts: Iterable[str], book: Book | None) -> None:
        self.modules = modules
        self.calls: dict[str, list[Call]] = {name: [] for name in [*modules, *parts]}
        self.outputs: list[Leaf] = []
        self.began = time.perf_counter()
        self._book = book
        self._open: list[tuple[str, Call]] = []
        self._events = 0

    def before(self, name: str, args: Any, kwargs: Any) -> None:
        call = Call(self._events, self.leaves(arguments(args, kwargs)))
        self._events += 1
        self.calls[name].append(call)
        self._open.append((name, call))

    def after(self, name: str, output: Any) -> None:
        while self._open:
            opened, call = self._open.pop()
            if opened == name:
                call.end, call.outputs = self._events, self.leaves(output)
                call.share = time.perf_counter() - self.began
                self._events += 1
                return

    def leaves(self, tree: Any) -> list[Leaf]:
        found = []
        for path, tensor in leaves(tree):
            nested = bool(tensor.is_nested)
            shape = _nested_shape(tensor) if nested else tuple(tensor.shape)
            traced = None if self._book is None else self._book.known(tensor)
            found.append(Leaf(path, shape, tensor.dtype, nested, traced, unreadable=_unreadable(tensor)))
        return found


def watched(hooks: Hooks, batch: Batch, forward: Forward | None, late: Sequence[str] = ()) -> Trace:
    """A pass under the watch; `late` inputs are not the first. Attention's fused path shows nothing and is switched
    off for it.
    """
    book = Book([*hooks.model.parameters(), *hooks.model.buffers()])
    watch = AxisWatch(book)
    batch = _with_padding(batch)
    with no_fast_path(), watch:
        book.enter(batch.inputs(), batch.size, batch.axis, late=[*batch.late(), *late], never=batch.single_items())
        seen = hooks.run(batch, forward, book)
    for leaf in _all_leaves(seen):
        leaf.changed = leaf.traced is not None and book.written_after(leaf.traced)
    trace = Trace(
        hooks.model, seen.modules, seen.calls, batch, batch.size, None, {}, seen.outputs, book, watch.without_rule
    )
    trace.by_forward, trace.parts = _by_forward(seen), hooks.parts
    return trace


def _by_forward(seen: _Pass) -> set[str]:
    """Modules with a forward of their own that were not called while something inside them was."""
    found = set()
    for name, module in seen.modules.items():
        if name and own_forward(module) and not seen.calls[name] and any(True for _ in module.children()):
            inside = [n for n in seen.modules if n.startswith(name + ".")]
            found |= {name} if any(seen.calls[n] for n in inside) else set()
    return found


def _with_padding(batch: Batch) -> Batch:
    """With one position masked where none is: some models drop a mask of ones, and it would be seen nowhere."""
    named = batch.inputs()
    new: dict[int, Tensor] = {}
    for key, real in batch.masks.items():
        t = named.get(key)
        if t is None or t.shape != real.shape or t.shape[1] < 2 or not bool(real.all()):
            continue
        copy = t.clone()
        padding: Any = means_padding(key) if t.dtype == torch.bool else 0 if bool(t.any()) else NEGATIVE
        copy[-1, -1] = padding
        new[id(t)] = copy
    if not new:
        return batch
    raw, args, kwargs = mapped((batch.raw, batch.args, dict(batch.kwargs)), lambda t: new.get(id(t), t))
    return replace(batch, raw=raw, args=args, kwargs=kwargs)


# --- second looks -----------------------------------------------------------------------------------------------------


def _second_look(hooks: Hooks, trace: Trace, batch: Batch, forward: Forward | None) -> None:
    """Sizes with fewer samples, as the recording will run; what did not run there is taken out of the calls."""
    holds = trace.holding()
    many = trace.batch.size
    counts = dict.fromkeys([1] if many == 2 else [min(many - 1, SAMPLES - 1), max(many // 2, 1)])
    tries: list[Batch] = [batch] if batch.size == 1 else []
    tries += [few for few in (batch.first(count, holds) for count in counts) if few is not None] if not tries else []
    for few in tries:
        try:
            seen = hooks.run(few, forward)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception:
            continue  # a model that needs an even number of samples, or more than these
        _compare(trace, seen, "by_samples", lambda a, b, few=few: a * few.size == b * many)
        _take_over(trace, seen)
        break
    else:
        if any(isinstance(m, (nn.MultiheadAttention, nn.TransformerEncoderLayer)) for m in trace.modules.values()):
            _take_over(trace, hooks.run(trace.batch, forward))
    trace.by_lengths = lambda: _shorter(hooks, trace, forward)


def _shorter(hooks: Hooks, trace: Trace, forward: Forward | None) -> None:
    """Which sizes follow the length of the inputs."""
    batch = trace.batch.shorter()
    if batch is None:
        return
    try:
        seen = hooks.run(batch, forward)
    except Exception:
        return  # a model for one length
    _compare(trace, seen, "by_length", lambda a, b: True)


def _compare(trace: Trace, seen: _Pass, name: str, scaled: Callable[[int, int], bool]) -> None:
    for mine, other in _pairs(trace, seen):
        if other is not None and len(mine.shape) == len(other.shape) and not other.nested:
            changed = {i for i, (a, b) in enumerate(zip(mine.shape, other.shape)) if a != b}
            if all(scaled(mine.shape[i], other.shape[i]) for i in changed):
                setattr(mine, name, frozenset(changed))


def _take_over(trace: Trace, seen: _Pass) -> None:
    """Times, nested tensors and what runs at all are those of a plain pass."""
    for name, calls in trace.calls.items():
        for call, other in zip(calls, seen.calls[name]):
            call.share = other.share  # the first pass pays for warming up
        if not seen.calls[name]:
            calls.clear()
    for mine, other in _pairs(trace, seen):
        mine.nested = mine.nested or (other is not None and other.nested)


def _silent(leaf: Leaf, found: Layout) -> bool:
    """Whether sizes could still decide a layer: its samples are known by sizes, its features by nothing."""
    numbers = leaf.dtype.is_floating_point or leaf.dtype.is_complex
    return bool(numbers and not leaf.nested and len(leaf.shape) > 2 and leaf.by_samples and found.problem)


def _pairs(mine: "Trace | _Pass", others: "Trace | _Pass") -> Iterable[tuple[Leaf, Leaf | None]]:
    """Leaves of two passes that stand at the same place."""
    sides = [(mine.outputs, others.outputs)]
    for name, found in mine.calls.items():
        for call, other in zip(found, others.calls[name]):
            sides += [(call.inputs, other.inputs), (call.outputs, other.outputs)]
    for left, right in sides:
        by_path = {leaf.path: leaf for leaf in right}
        for leaf in left:
            yield leaf, by_path.get(leaf.path)


def _all_leaves(seen: "Trace | _Pass") -> Iterable[Leaf]:
    yield from seen.outputs
    for call in (call for found in seen.calls.values() for call in found):
        yield from call.inputs
        yield from call.outputs


def _unreadable(tensor: Tensor) -> str:
    if tensor.device.type == "meta":
        return "a tensor on the meta device"
    return f"a {type(tensor).__name__}" if type(tensor).__name__ == "MaskedTensor" else ""


def _nested_shape(tensor: Tensor) -> tuple[int, ...]:
    """(samples, longest, width)."""
    parts = tensor.unbind()
    return (len(parts), max(len(p) for p in parts), *parts[0].shape[1:])


def samples_choice(value: Any) -> int | str:
    """The `probe=` argument."""
    if value is None:
        return SAMPLES
    if value == "batch":
        return value
    if isinstance(value, bool) or not isinstance(value, int) or value < 2:
        raise _refusals.probe_choice(value)
    return _check.at_least(value, "probe", 2)
