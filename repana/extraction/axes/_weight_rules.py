"""How labels of axes pass through products, convolutions, norms, attention and recurrent layers, and what these
show."""

from repana.extraction.axes._book import Book
from repana.extraction.axes._labels import CONTRACTED, MIXED, NORMED, PRODUCED, SAMPLE, Axis, size_of
from repana.extraction.axes._shape_rules import Args, Found, Options, Outs


def mm(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    x, w = book.known(args[0]), book.known(args[1])
    book.contract(x, w, 1, 0)
    return [[x.axes[0], w.axes[1]]]


def addmm(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    return mm(book, args[1:], kwargs, outs)


def mv(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    x, w = book.known(args[0]), book.known(args[1])
    book.contract(x, w, 1, 0)
    return [[x.axes[0]]]


def bmm(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    x, w = book.known(args[0]), book.known(args[1])
    book.contract(x, w, 2, 1)
    outer = book.broadcast([x.axes[:1], w.axes[:1]], outs[0].shape[:1])
    return [[*outer, x.axes[1], w.axes[2]]]


def baddbmm(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    (product,) = bmm(book, args[1:], kwargs, outs)
    assert product is not None
    return [book.broadcast([product, book.known(args[0]).axes], outs[0].shape)]


def grouped_mm(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    """Rows of experts, each with its matrix."""
    x, w = book.known(args[0]), book.known(args[1])
    book.contract(x, w, 1, 1)
    return [[x.axes[0], w.axes[-1]]]


def convolution(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    x, w, transposed, groups = book.known(args[0]), book.known(args[1]), args[6], args[8]
    out, labels = outs[0], book.labels
    if len(labels.roots(x.axes[1])) == 1 and groups == 1:
        labels.mark(x.axes[1], CONTRACTED)
    n = out.shape[1]
    made: Axis = ((labels.mixture([w.axes[1]]), n),) if transposed and w.axes[1] else w.axes[0]
    made = () if n == 1 else made if size_of(made) == n else book.constant(n)
    if not w.live:
        read = labels.origins(x.axes[1]) or labels.has(x.axes[1], MIXED)
        others = any(labels.has(axis, PRODUCED | NORMED) for axis in x.axes[2:])
        labels.mark(made, PRODUCED | (MIXED if read and others else 0))  # over tokens, if others are features
    positions = [book.resized(axis, m) for axis, m in zip(x.axes[2:], out.shape[2:])]
    if not transposed:
        positions = [_in_place(book, axis, args, k) for k, axis in enumerate(positions)]
    return [[x.axes[0], made, *positions]]


def _in_place(book: Book, axis: Axis, args: Args, k: int) -> Axis:
    """Positions after a convolution: where the window over a padded or cut axis takes in the position that it stands
    for, as behind causal padding, they are in their places again."""
    start, step = book.place_of(axis)
    stride, padding, dilation = (a[k] if len(a) > k else a[0] for a in args[3:6])
    first = start - padding  # of the window at position 0
    if not start or step != 1 or stride != 1 or not first <= 0 <= first + (args[1].shape[2 + k] - 1) * dilation:
        return axis
    return book.whole_of(axis)


def embedding(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    w, index = book.known(args[0]), book.known(args[1])
    book.labels.mark(w.axes[1], PRODUCED)
    return [[*index.axes, w.axes[1]]]


def embedding_bag(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    """One row for each bag: as many as offsets (the last of which may be the end)."""
    w, offsets = book.known(args[0]), book.known(args[2])
    book.labels.mark(w.axes[1], PRODUCED)
    rows = outs[0].shape[0]
    bags = offsets.axes[0] if args[2].shape[0] == rows else book.constant(rows)
    return [[bags, w.axes[1]]]


def layer_norm(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    x, labels = book.known(args[0]), book.labels
    if len(args[1]) == 1 and x.axes[-1]:
        if len(labels.roots(x.axes[-1])) > 1 and not labels.has(x.axes[-1], SAMPLE):
            x.axes[-1] = ((labels.new(NORMED), args[1][0]),)  # what was merged is now one set of features
        labels.mark(x.axes[-1], NORMED)
    return [x.axes]


def channel_norm(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    """Batch and group normalisation: by the second axis."""
    x = book.known(args[0])
    book.labels.mark(x.axes[1][-1:], NORMED)
    return [x.axes]


def attention(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    """Scaled dot products: queries' positions, values' features; the bias shows which mask stands over which keys."""
    q, k, v = (book.known(x) for x in args[:3])
    mask = kwargs.get("attn_mask", kwargs.get("attn_bias", args[3] if len(args) > 3 else None))
    if hasattr(mask, "ndim") and mask.ndim > 1:
        bias = book.known(mask).axes
        book.broadcast([bias[:-2], q.axes[:-2]], outs[0].shape[:-2])
        book.labels.meet([bias[-1], k.axes[-2]])
        book.labels.meet([bias[-2], q.axes[-2]])
    outer = book.broadcast([x.axes[:-2] for x in (q, k, v)], outs[0].shape[:-2])
    return [[*outer, q.axes[-2], v.axes[-1]]]


def recurrent(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    """oneDNN's recurrent layer, time first: the sequence, then states of one step."""
    x = book.known(args[0])
    units: Axis = ((book.labels.new(PRODUCED), outs[0].shape[-1]),)
    book.labels.mark(x.axes[-1], CONTRACTED)
    states: Found = [[*[()] * (out.ndim - 2), x.axes[1], units] for out in outs[1:3]]
    return [[*x.axes[:2], units], *states]


def cudnn_recurrent(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    x, batch_first = book.known(args[0]), bool(args[10])
    book.labels.mark(x.axes[-1], CONTRACTED)
    width, state = outs[0].shape[-1], outs[1].shape
    made = book.labels.new(PRODUCED)
    units: Axis = ((made, width),)
    if len(x.axes) < 3:  # packed: the states' samples are in no axis of the input
        return [[x.axes[0], units]]
    samples = x.axes[0 if batch_first else 1]
    states: Found = [[book.constant(state[0]), samples, ((made, state[-1]),)] for _ in outs[1:3]]
    return [[*x.axes[:2], units], *states]


def cell(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    """A fused recurrent cell: every output is shaped as the last state."""
    state = next(a for a in reversed(args[:3]) if a is not None and a.ndim == 2)
    return [list(book.known(state).axes) for out in outs if out.shape == state.shape]


def pack(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    """`pack_padded_sequence` (time first inside): samples and steps become one axis."""
    x, first = book.known(args[0]), bool(args[2])
    samples, steps = (x.axes[0], x.axes[1]) if first else (x.axes[1], x.axes[0])
    label = book.labels.new(0, book.labels.origins(steps))
    book.packed[label] = (samples, steps)
    return [[((label, outs[0].shape[0]),), *x.axes[2:]], [book.constant(outs[1].shape[0])]]


def pad(book: Book, args: Args, kwargs: Options, outs: Outs) -> Found:
    x, first = book.known(args[0]), bool(args[2])
    root = book.labels.find(x.axes[0][0][0])
    samples, steps = next(pair for label, pair in book.packed.items() if book.labels.find(label) == root)
    shape = outs[0].shape
    steps = book.resized(steps, shape[1 if first else 0])
    return [[*((samples, steps) if first else (steps, samples)), *x.axes[1:]], [samples]]


RULES = {
    "mm": mm, "addmm": addmm, "mv": mv, "bmm": bmm, "baddbmm": baddbmm, "_grouped_mm": grouped_mm,
    "convolution": convolution, "embedding": embedding, "_embedding_bag": embedding_bag,
    "_embedding_bag_forward_only": embedding_bag, "native_layer_norm": layer_norm,
    "_fused_rms_norm": layer_norm, "native_batch_norm": channel_norm, "native_group_norm": channel_norm,
    "_native_batch_norm_legit": channel_norm, "_native_batch_norm_legit_no_training": channel_norm,
    "_batch_norm_no_update": channel_norm, "_batch_norm_with_update": channel_norm,
    "cudnn_batch_norm": channel_norm, "_scaled_dot_product_flash_attention": attention,
    "_scaled_dot_product_efficient_attention": attention, "_scaled_dot_product_cudnn_attention": attention,
    "_scaled_dot_product_flash_attention_for_cpu": attention, "mkldnn_rnn_layer": recurrent,
    "_cudnn_rnn": cudnn_recurrent, "_thnn_fused_lstm_cell": cell, "_thnn_fused_gru_cell": cell,
    "_pack_padded_sequence": pack, "_pad_packed_sequence": pad,
}  # fmt: skip
