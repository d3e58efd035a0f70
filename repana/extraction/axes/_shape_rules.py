"""How labels of axes pass through operations that only rearrange: one list of axes for each tensor that comes out.

Every rule is called as `rule(book, args, kwargs, outs)`; an axis list of another rank or size than the tensor's is
dropped by the caller, and so is a rule that raises: the axes are then unknown.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from repana.extraction.axes._book import Book
from repana.extraction.axes._labels import Axis, size_of

Args = Sequence[Any]
Options = Mapping[str, Any]
Outs = Sequence[Tensor]
Found = list[list[Axis] | None]


def view(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    axes = book.known(args[0]).axes
    return [axes if args[0].shape == outs[0].shape else book.regrouped(axes, tuple(outs[0].shape))]


def permute(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    axes = book.known(args[0]).axes
    return [[axes[d] for d in args[1]]]


def transpose(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    axes = list(book.known(args[0]).axes)
    axes[args[1]], axes[args[2]] = axes[args[2]], axes[args[1]]
    return [axes]


def t(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    return [book.known(args[0]).axes[::-1]]


def unsqueeze(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    axes = list(book.known(args[0]).axes)
    axes.insert(args[1] % outs[0].ndim, ())
    return [axes]


def squeeze(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    axes = book.known(args[0]).axes
    dims = range(len(axes)) if len(args) < 2 else [args[1]] if isinstance(args[1], int) else args[1]
    gone = {d % len(axes) for d in dims}
    return [[axis for i, axis in enumerate(axes) if i not in gone or args[0].shape[i] > 1]]


def expand(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    """Also `repeat`: copies are the major part of the axis."""
    axes = [()] * (outs[0].ndim - args[0].ndim) + book.known(args[0]).axes
    return [[book.constant(n // size_of(axis)) + axis for axis, n in zip(axes, outs[0].shape)]]


def select(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    axes = list(book.known(args[0]).axes)
    book.touch(axes.pop(args[1] if len(args) > 1 else kwargs.get("dim", 0)))
    return [axes]


def unbind(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    return select(book, args, kwargs, outs) * len(outs)


def split(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    x, found, start = book.known(args[0]), [], 0
    d = (args[2] if len(args) > 2 else kwargs.get("dim", 0)) % len(x.axes)
    for out in outs:
        axes = [book.resized(axis, n) for axis, n in zip(x.axes, out.shape)]
        axes[d] = book.sliced(x, axes[d], start)
        start += out.shape[d]
        found.append(axes)
    return found


def unfold(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    """Windows along one axis; what is inside a window is an axis of its own."""
    axes = list(book.known(args[0]).axes)
    d = args[1] % len(axes)
    window: Axis = ((book.labels.new(0, book.labels.origins(axes[d])), args[2]),) if args[2] > 1 else ()
    axes[d] = book.resized(axes[d], outs[0].shape[d])
    return [[*axes, window]]


def as_strided(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    """A reordering shows by equal sizes and strides; anything else is unknown."""
    x = args[0]
    pairs = [(n, s) for n, s in zip(x.shape, x.stride()) if n > 1]
    if len(set(pairs)) < len(pairs):
        return [None]
    mine = {(n, s): axis for axis, n, s in zip(book.known(x).axes, x.shape, x.stride()) if n > 1}
    return [[mine[n, s] if n > 1 else () for n, s in zip(args[1], args[2])]]


def cat(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    """Along the joined axis the labels of the highest rank stay, mixed where they differ."""
    shape = outs[0].shape
    parts = [book.known(x) for x in args[0] if x.numel()]
    d = (args[1] if len(args) > 1 else kwargs.get("dim", 0)) % len(shape)
    axes = book.broadcast([p.axes for p in parts], [1 if i == d else n for i, n in enumerate(shape)])
    top = max((book.labels.rank(p.axes[d]) for p in parts), default=0)
    kept = [p.axes[d] for p in parts if p.axes[d] and book.labels.rank(p.axes[d]) == top]
    joined: Axis = book.constant(shape[d]) if not kept else ((book.labels.mixture(kept), shape[d]),)
    book.touch(joined)
    axes[d] = book.moved(joined) if len(parts) > 1 else joined
    return [axes]


def slices(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    """A slice that does not begin at the front, or leaves entries out, moves what is left."""
    x, d = args[0], (args[1] if len(args) > 1 else kwargs.get("dim", 0)) % args[0].ndim
    axes = [book.resized(axis, n) for axis, n in zip(book.known(x).axes, outs[0].shape)]
    start = ((args[2] if len(args) > 2 else kwargs.get("start")) or 0) % max(x.shape[d], 1)
    step = args[4] if len(args) > 4 else kwargs.get("step", 1)
    axes[d] = book.sliced(book.known(x), axes[d], start, step)
    return [axes]


def pads(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    """Padding in front moves what comes behind; pairs of widths are given from the last axis on."""
    x = book.known(args[0])
    axes = [book.resized(axis, n) for axis, n in zip(x.axes, outs[0].shape)]
    for k, front in enumerate(args[1][::2]):
        d = len(axes) - 1 - k
        if front:
            book.touch(axes[d])
            axes[d] = book.moved(book.sliced(x, axes[d], -front))
    return [axes]


def stack(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    shape = outs[0].shape
    d = (args[1] if len(args) > 1 else kwargs.get("dim", 0)) % len(shape)
    axes = book.broadcast([book.known(x).axes for x in args[0]], [n for i, n in enumerate(shape) if i != d])
    axes.insert(d, book.constant(shape[d]))
    return [axes]


RULES = {
    "view": view, "_unsafe_view": view, "_reshape_alias": view, "permute": permute, "transpose": transpose, "t": t,
    "unsqueeze": unsqueeze, "squeeze": squeeze, "expand": expand, "repeat": expand, "select": select,
    "unbind": unbind, "split": split, "split_with_sizes": split, "unsafe_split": split,
    "unsafe_split_with_sizes": split, "chunk": split, "unfold": unfold, "as_strided": as_strided, "cat": cat,
    "stack": stack, "slice": slices, "narrow": slices, "constant_pad_nd": pads,
}  # fmt: skip
