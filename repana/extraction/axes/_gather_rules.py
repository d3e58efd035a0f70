"""How labels of axes pass through gathering by index and scattering into groups."""

from collections.abc import Iterable

import torch
from torch import Tensor

from repana.extraction.axes._book import Book
from repana.extraction.axes._labels import MAYBE_SAMPLE, REORDERED, SAMPLE, UNKNOWN, Axis, Traced, size_of
from repana.extraction.axes._shape_rules import Args, Found, Options, Outs

GROUPING = ("index_add", "scatter_add", "scatter_reduce")


def ranked(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    """`sort` and `argsort`: the axis is the first argument behind the tensor, the last one by default."""
    return _reordered(book, args[0], outs, [kwargs.get("dim", args[1] if len(args) > 1 else -1)])


def topk(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    return _reordered(book, args[0], outs, [kwargs.get("dim", args[2] if len(args) > 2 else -1)])


def flip(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    return _reordered(book, args[0], outs, args[1])


def roll(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    dims = kwargs.get("dims", args[2] if len(args) > 2 else ())
    return _reordered(book, args[0], outs, dims or range(args[0].ndim))


def _reordered(book: Book, x: Tensor, outs: Outs, dims: Iterable[int]) -> Found:
    """Entries of an axis that holds samples are then those of other samples."""
    moved = {d % max(x.ndim, 1) for d in dims}
    axes = book.known(x).axes
    found: Found = []
    for out in outs:
        kept = [book.resized(axis, n) for axis, n in zip(axes, out.shape)]
        found.append([book.shuffled(axis) if i in moved else axis for i, axis in enumerate(kept)])
    return found


def channels(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    """`channel_shuffle`: the second axis."""
    return _reordered(book, args[0], outs, [1])


def _chosen(book: Book, axis: Axis, index: Tensor, n: int) -> Axis:
    """An axis from which an index takes entries: the index's own where data made it, else the axis as it was.

    Constants that take all samples in order leave them in their places; any other order is settled by values.
    """
    labels, known = book.labels, book.known(index)
    own: Axis = known.axes[0] if known.axes else ()
    in_order = not known.live and index.numel() == n and _counts(index.flatten())
    if in_order and n == size_of(axis):
        return axis
    book.touch(axis)
    if known.live and not labels.has(own, REORDERED):
        return book.moved(own)
    if n == 1 or in_order:
        return book.resized(axis, n)
    if labels.has(axis, SAMPLE | MAYBE_SAMPLE | REORDERED):
        return ((labels.new(REORDERED), n),)
    return book.moved(own if known.live else book.resized(axis, n))


def _counts(index: Tensor) -> bool:
    """Whether an index is 0, 1, 2, ..."""
    if index.dtype not in (torch.int64, torch.int32):
        return False
    return torch.equal(index, torch.arange(len(index), device=index.device, dtype=index.dtype))


def index(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    x, given, out = book.known(args[0]), args[1], outs[0]
    used = [n for n, i in enumerate(given) if i is not None]
    if any(given[n].dtype in (torch.bool, torch.uint8) for n in used):  # what is left of several axes is one
        i, many = used[0], given[used[0]].ndim
        merged = tuple(f for axis in x.axes[i : i + many] for f in axis)
        book.touch(merged)
        packed = book.labels.new(0, book.labels.origins(merged))
        kept: Axis = ((packed, out.shape[i]),) if out.shape[i] > 1 else ()
        return [[*x.axes[:i], kept, *x.axes[i + many :]]]
    indices = [book.known(given[n]) for n in used]
    shape = torch.broadcast_shapes(*(given[n].shape for n in used))
    if len(used) == 1:
        _indexes(book, indices[0], x.axes[used[0]])
    new = []
    for j in range(-len(shape), 0):
        vary = [(n, k) for n, k in zip(used, indices) if len(k.axes) >= -j and k.axes[j]]
        single = len(used) == 1 and len(shape) == 1
        if len(vary) == 1 and (single or not vary[0][1].live):
            n = vary[0][0]
            new.append(_chosen(book, x.axes[n], given[n], shape[j]))
        else:
            new.append(max((k.axes[j] for _, k in vary), key=book.labels.rank) if vary else book.constant(shape[j]))
    at = used[0] if used == list(range(used[0], used[-1] + 1)) else 0
    rest = [axis for n, axis in enumerate(x.axes) if n not in used]
    return [[*rest[:at], *new, *rest[at:]]]


def index_select(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    axes, i = list(book.known(args[0]).axes), book.known(args[2])
    d = args[1] % len(axes)
    _indexes(book, i, axes[d])
    axes[d] = _chosen(book, axes[d], args[2], outs[0].shape[d])
    return [axes]


def gather(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    x, i, d = book.known(args[0]), book.known(args[2]), args[1] % outs[0].ndim
    axes = [max(pair, key=book.labels.rank) for pair in zip(x.axes, i.axes)]
    axes[d] = book.shuffled(book.resized(x.axes[d], outs[0].shape[d]))
    return [axes]


def grid_sampler(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    """Samples and channels of the input, places of the grid."""
    x, grid = book.known(args[0]), book.known(args[1])
    samples = book.broadcast([x.axes[:1], grid.axes[:1]], outs[0].shape[:1])
    return [[*samples, x.axes[1], *grid.axes[1:-1]]]


def written(book: Book, name: str, args: Args, given: list[Traced]) -> None:
    """Something live was written into a fresh buffer: its axes become those of what was written."""
    for axis in (*given[0].axes, *given[-1].axes) if name != "copy" else ():
        book.touch(axis)
    into, source = given[0], _source(name, given)
    index = book.known(args[2]) if name in GROUPING and isinstance(args[2], Tensor) else None
    if index is not None and args[1] == 0:
        _grouped(book, into, source, index)
    parts = [_unpacked(book, i, axis) for i, axis in enumerate(source.axes)]
    for a, b in zip(into.axes[::-1], parts[::-1]):
        fresh = len(a) == 1 and book.labels.rank(a) == 1 and a[0][1] == size_of(b)
        grouped = index is not None and args[1] == 0 and a is into.axes[0]
        placed = book.place_of(a) == book.place_of(b)  # of the same slice of both, the wholes stand for one another
        if fresh and b and placed and not grouped and UNKNOWN not in book.labels.roots(b):
            book.labels.union(book.labels.mixture([book.whole_of(b)]), book.whole_of(a)[0][0])
    for k in (into, into.base):
        if k is not None:
            k.live = True


def misplaced(book: Book, name: str, args: Args, given: list[Traced]) -> dict[int, Axis]:
    """Axes (counted from the last) of a tensor written to where entries left their places, and what they hold."""
    into, source = given[0], given[-1]
    axes: dict[int, Axis] = {}
    if not source.live or (name == "scatter" and not (len(args) > 3 and isinstance(args[3], Tensor))):
        return axes
    if name == "copy":
        for k, (a, b) in enumerate(zip(into.axes[::-1], source.axes[::-1]), 1):
            if b and book.place_of(a) != book.place_of(b) and (book.labels.origins(b) or book.labels.origins(a)):
                axes[-k] = b
    elif name in ("index_copy", "scatter"):
        d = args[1] % max(len(into.axes), 1) - len(into.axes)
        in_order = name == "index_copy" and args[2].ndim == 1 and _counts(args[2])
        axes |= {} if in_order or len(source.axes) < -d else {d: source.axes[d]}
    elif name in ("index_put", "_index_put_impl"):
        indices = [i for i in args[1] if i is not None]
        numbers = all(i.dtype in (torch.int64, torch.int32) for i in indices)
        if numbers and len(indices) == 1 and indices[0].ndim == 1 and not _counts(indices[0]):
            d = next(k for k, i in enumerate(args[1]) if i is not None) - len(into.axes)
            axes |= {d: source.axes[d]} if len(source.axes) >= -d else {}
    elif name == "masked_scatter" and not into.live:
        axes |= {k - len(into.axes): axis for k, axis in enumerate(source.axes)}
    held = {d: book.whole_of(axis) for d, axis in axes.items()}
    facts = SAMPLE | MAYBE_SAMPLE | REORDERED
    return {d: book.shuffled(a) for d, a in held.items() if book.labels.origins(a) or book.labels.has(a, facts)}


def leave(book: Book, into: Traced, axes: dict[int, Axis]) -> None:
    """Everything that shares the memory written to holds entries in other places."""
    labels = book.labels
    for d, other in axes.items():
        own = into.axes[d]
        roots = labels.roots(book.whole_of(own)) | labels.roots(own)
        for k in book.sharing(into.storage):
            for j, axis in enumerate(k.axes):
                if len(axis) == 1 and len(other) == 1 and labels.roots(axis) <= roots:
                    k.axes[j] = ((other[0][0], size_of(axis)),)


def _source(name: str, given: list[Traced]) -> Traced:
    return given[-1] if name in ("index_put", "_index_put_impl", "copy") else [k for k in given if k.live][-1]


def _unpacked(book: Book, place: int, axis: Axis) -> Axis:
    """Of packed rows that stand as steps and samples, the one or the other; other axes as they are."""
    found = book.steps_and_samples(axis)
    if found is None:
        return axis
    steps, samples = found
    return tuple((label, size_of(axis)) for label, _ in (steps if place == 0 else samples))


def grouped(book: Book, args: Args, into: Traced, given: list[Traced]) -> None:
    """Rows were added up into groups of a buffer that is live already."""
    for axis in into.axes[:1]:
        book.touch(axis)
    if args[1] == 0 and isinstance(args[2], Tensor):
        _grouped(book, into, given[-1], book.known(args[2]))


def _indexes(book: Book, index: Traced, axis: Axis) -> None:
    """The values of an input are places along this axis, as an edge list names nodes."""
    names = {name for name, _ in book.labels.origins(index.axes[-1] if index.axes else ())}
    if index.live and len(names) == 1 and len(axis) == 1:
        book.labels.indexed.setdefault(next(iter(names)), axis[0])


def _grouped(book: Book, into: Traced, source: Traced, index: Traced) -> None:
    """Into the rows that an input indexes elsewhere, as edges into nodes; or into as many groups as samples."""
    labels = book.labels
    names = {name for name, _ in labels.origins(index.axes[0])} if index.axes else set()
    if len(names) != 1 or not into.axes or not into.axes[0]:
        return
    name, target = next(iter(names)), into.axes[0]
    known = labels.indexed.get(name)
    if known is not None and known[1] == size_of(target) and len(target) == 1 and labels.rank(target) == 1:
        labels.union(known[0], target[0][0])
    if known is not None and labels.origins((known,)):
        return  # edges into nodes: nodes are no groups of samples
    if size_of(target) == book.size:
        labels.mark(target, MAYBE_SAMPLE)
        if source.axes and source.axes[0]:
            labels.groups[labels.find(source.axes[0][0][0])] = name


RULES = {
    "sort": ranked, "argsort": ranked, "topk": topk, "flip": flip, "roll": roll,
    "channel_shuffle": channels, "native_channel_shuffle": channels,
    "index": index, "index_select": index_select, "gather": gather, "grid_sampler_2d": grid_sampler,
    "grid_sampler_3d": grid_sampler, "grid_sampler": grid_sampler,
}  # fmt: skip
