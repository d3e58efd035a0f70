"""What is known of every tensor of a watched pass, and the few operations on axes that rules are written with."""

from collections.abc import Iterable, Mapping, Sequence
from weakref import ref

from torch import Tensor, nn

from repana.extraction.axes._labels import (
    CONSTANT,
    CONTRACTED,
    MAYBE_SAMPLE,
    MIXED,
    MOVED,
    NORMED,
    NOT_SAMPLE,
    PRODUCED,
    REORDERED,
    SAMPLE,
    UNKNOWN,
    Axis,
    Factor,
    Labels,
    Traced,
    size_of,
    step_of,
)


class Book:
    """Tensors are keys by identity and held weakly: the watched pass keeps no activation alive."""

    def __init__(self, weights: Iterable[Tensor] = ()) -> None:
        self._weights = {id(t) for t in weights}  # parameters and buffers of the model
        self.labels = Labels()
        self.size = 0  # samples in the pass
        self.entered: dict[str, Traced] = {}  # the inputs by name
        self.used: set[int] = set()  # labels of input axes that an operation has read
        self.packed: dict[int, tuple[Axis, Axis]] = {}  # of a packed axis, the samples and the steps it was made of
        self.order_at_stake = False  # an operation may have put samples into another order
        self._tensors: dict[int, tuple[ref[Tensor], Traced]] = {}  # by identity, which a later tensor may inherit
        self._nodes = 0
        self._storages = 0
        self._slices: dict[tuple[int, int, int], int] = {}  # label, start, step -> label of the slice
        self._written: dict[int, int] = {}  # memory -> node of the last write into it

    @property
    def doubtful(self) -> str:
        """The input taken for the samples that stood over positions of another input, if there is one."""
        names = (name for label in self.labels.over_positions for name, _ in self.labels.origins(((label, 1),)))
        return next(names, "")

    # --- tensors ------------------------------------------------------------------------------------------------------

    def enter(
        self, named: Mapping[str, Tensor], size: int, axis: int, *, late: Iterable[str], never: Iterable[str]
    ) -> None:
        """Label the inputs. The first of the batch's size along `axis` holds the samples, others may; `late` inputs
        are not the first, and `never` hold none."""
        self.size, late, never, found = size, set(late), set(never), False
        for name in sorted(named, key=lambda name: name in late):
            t = named[name]
            if t.is_nested:
                self.entered[name] = self.put(t, [((self.labels.new(SAMPLE), size),)], live=True)
                found = True
                continue
            at = axis if t.ndim > axis and t.shape[axis] == size else 0
            axes: list[Axis] = []
            for i, n in enumerate(t.shape):
                label = self.labels.new(0, [(name, i)])
                if i == at and n == size and n > 1 and name not in never:
                    first = not found and name not in late
                    found = found or first
                    self.labels.mark(((label, n),), SAMPLE if first else MAYBE_SAMPLE)
                axes.append(((label, n),) if n > 1 else ())
            self.entered[name] = self.put(t, axes, live=True)

    def seen(self, t: Tensor) -> Traced | None:
        held = self._tensors.get(id(t))
        return held[1] if held is not None and held[0]() is t else None

    def known(self, t: Tensor) -> Traced:
        """What is known of a tensor; one that the pass has not made is a parameter, a buffer or a constant."""
        found = self.seen(t)
        if found is None:
            found = self.put(t, [] if t.is_nested else [self.constant(n) for n in t.shape], live=False)
            found.raw, found.learned = True, isinstance(t, nn.Parameter)
            found.foreign = id(t) not in self._weights and not found.learned
        return found

    def put(
        self,
        t: Tensor,
        axes: Iterable[Axis],
        *,
        live: bool,
        parents: Sequence[Traced] = (),
        passing: bool = False,
        adds: bool = False,
        view: bool = False,
        storage: int | None = None,
    ) -> Traced:
        """Note a tensor, new or written to. `passing`: the same up to its form; `adds`: a sum of its parents."""
        self._nodes += 1
        same = bit = 1 << self._nodes
        plus = 0
        for p in parents if passing or adds else ():
            plus |= p.plus | (p.same if adds else 0)
            same |= 0 if adds else p.same
        if storage is None:
            self._storages += 1
            storage = self._storages
        form = bit | (parents[0].view if view and parents else 0)
        found = Traced(list(axes), live, self._nodes, same, plus, form, storage=storage)
        self._tensors[id(t)] = (ref(t), found)
        return found

    def write(self, storage: int) -> None:
        self._written[storage] = self._nodes

    def written_after(self, traced: Traced) -> bool:
        """Whether memory of the tensor was written to after it was noted."""
        return self._written.get(traced.storage, 0) > traced.node

    # --- axes ---------------------------------------------------------------------------------------------------------

    def constant(self, n: int) -> Axis:
        return () if n == 1 else ((self.labels.new(CONSTANT), n),)

    def unknown(self, n: int) -> Axis:
        return () if n == 1 else ((UNKNOWN, n),)

    def tidy(self, axis: Axis) -> Axis:
        """Neighbouring factors of one label are one factor; in another order than they were split, a reordered one."""
        out: list[tuple[int, int]] = []
        for factor in axis:
            label, n = factor
            if n > 1 and out and self.labels.find(out[-1][0]) == self.labels.find(label):
                in_order = step_of(out[-1]) == step_of(factor) * n
                whole = Factor(label, out[-1][1] * n, step_of(factor))
                out[-1:] = [whole] if in_order else self.shuffled((whole,))
            elif n > 1:
                out.append(factor)
        return tuple(out)

    def resized(self, axis: Axis, n: int) -> Axis:
        """The axis after slicing, pooling or padding: one factor of the same label, or of the mixture of several."""
        if size_of(axis) == n:
            return axis
        self.touch(axis)
        if n == 1:
            return ()
        return ((self.labels.mixture([axis]), n),) if axis else self.constant(n)

    def touch(self, axis: Axis) -> None:
        """An operation took apart, chose from or wrote into this axis; of samples that puts their order at stake."""
        self.order_at_stake = self.order_at_stake or self.labels.has(axis, SAMPLE | MAYBE_SAMPLE | REORDERED)

    def moved(self, axis: Axis) -> Axis:
        """The same positions in other places, so that no mask of the input stands over them any more."""
        if not self.labels.origins(axis) or self.labels.has(axis, SAMPLE | MAYBE_SAMPLE | MOVED):
            return axis
        if self.steps_and_samples(axis) is not None:
            return axis  # packed rows are put together step by step
        return ((self.labels.new(MOVED, self.labels.origins(axis)), size_of(axis)),)

    def shuffled(self, axis: Axis) -> Axis:
        """An axis whose entries were put into another order; of samples that ends what rows are known to be of."""
        if not axis or not self.labels.has(axis, SAMPLE | MAYBE_SAMPLE | REORDERED):
            return self.moved(axis)
        self.touch(axis)
        return ((self.labels.new(REORDERED), size_of(axis)),)

    def sliced(self, of: Traced, axis: Axis, start: int, step: int = 1) -> Axis:
        """Positions, or places of a fresh buffer, from `start` on: the same slice of the same axis has the same label,
        so that what is written back to where it was read has not moved."""
        labels = self.labels
        if not (start or step != 1) or not (labels.origins(axis) or not (of.live or of.raw or of.learned)):
            return axis
        if len(axis) != 1 or labels.has(axis, SAMPLE | MAYBE_SAMPLE | REORDERED | PRODUCED | NORMED):
            return axis
        key = (labels.find(axis[0][0]), start, step)
        if key[0] == UNKNOWN or not (labels.origins(axis) or labels.rank(axis) == 1):
            return axis
        if key not in self._slices:
            self._slices[key] = labels.new(MOVED, labels.origins(axis))
        return ((self._slices[key], axis[0][1]),)

    def place_of(self, axis: Axis) -> tuple[int, int]:
        """Start and step of the slice that an axis is; (0, 1) of one that is none."""
        root = self.labels.find(axis[0][0]) if len(axis) == 1 else UNKNOWN
        found = (key for key, label in self._slices.items() if self.labels.find(label) == root)
        return next(((start, step) for _, start, step in found), (0, 1))

    def whole_of(self, axis: Axis) -> Axis:
        """The axis that a slice was taken from, with the size of the slice; another axis as it is."""
        root = self.labels.find(axis[0][0]) if len(axis) == 1 else UNKNOWN
        found = (whole for (whole, _, _), label in self._slices.items() if self.labels.find(label) == root)
        return next((((whole, axis[0][1]),) for whole in found), axis)

    def sharing(self, storage: int) -> list[Traced]:
        """What is known of the tensors of one memory."""
        return [k for held, k in self._tensors.values() if k.storage == storage and held() is not None]

    def steps_and_samples(self, axis: Axis) -> tuple[Axis, Axis] | None:
        """Of a packed axis, the steps and the samples that it was made of."""
        root = self.labels.find(axis[0][0]) if len(axis) == 1 else None
        found = [pair for label, pair in self.packed.items() if self.labels.find(label) == root]
        return (found[0][1], found[0][0]) if found else None

    def broadcast(self, operands: Sequence[Sequence[Axis]], shape: Sequence[int]) -> list[Axis]:
        """Axes of an elementwise result, aligned at the right: of the operands' labels the one of the highest rank."""
        out = []
        for j in range(-len(shape), 0):
            met = [axes[j] for axes in operands if len(axes) >= -j and axes[j] and size_of(axes[j]) == shape[j]]
            self.labels.meet(met)
            out.append(max(met, key=self.labels.rank) if met and shape[j] > 1 else self.constant(shape[j]))
        return out

    def contract(self, x: Traced, w: Traced, xi: int, wi: int) -> None:
        """Note what summing axis xi of x against axis wi of w shows, where one of them is weights."""
        for data, weights, i, j in ((x, w, xi, wi), (w, x, wi, xi)):
            if data.live and weights.live and not self.labels.has(data.axes[i], SAMPLE):
                self.labels.mark(data.axes[i], NOT_SAMPLE)  # what is summed over is not one row a sample
            if not data.live or weights.live or not (weights.raw or len(weights.axes) == 2):
                continue
            if len(self.labels.roots(data.axes[i])) == 1:
                self.labels.mark(data.axes[i], CONTRACTED)
            free = [axis for n, axis in enumerate(weights.axes) if n != j % len(weights.axes)]
            if not free:
                continue
            mixed = self.labels.origins(data.axes[i]) or self.labels.has(data.axes[i], MIXED)
            self.labels.mark(free[-1], PRODUCED | (MIXED if mixed else 0))

    def scaled(self, axes: list[Axis], factor: Traced) -> None:
        """Multiplication by a learned vector marks the axis along which it varies."""
        wide = [i for i, axis in enumerate(factor.axes) if axis]
        if not factor.learned or factor.live or len(wide) != 1:
            return
        j = wide[0] - len(factor.axes)
        if len(axes) >= -j and len(self.labels.roots(axes[j])) == 1:
            self.labels.mark(axes[j], NORMED)

    def regrouped(self, axes: Sequence[Axis], shape: Sequence[int]) -> list[Axis] | None:
        """The axes after a reshape: factors in the same order, one split where sizes divide.

        A stretch of axes that does not line up with the factors keeps a label only if it has just one.
        """
        factors: list[tuple[int, int]] = [f for axis in axes for f in axis]
        out: list[Axis] = []
        i = 0
        while i < len(shape):
            expected, got, j = shape[i], [], i + 1
            while size_of(got) != expected:
                factor = factors.pop(0) if factors else (UNKNOWN, 0)
                label, n = factor
                if not n:
                    return None
                rest = expected // size_of(got) if expected % size_of(got) == 0 else 0
                if rest and rest < n and n % rest == 0 and j == i + 1:
                    step, inner = step_of(factor), n // rest
                    got.append(Factor(label, rest, step * inner))
                    factors.insert(0, Factor(label, inner, step))
                else:
                    got.append(factor)
                while expected % size_of(got) and j < len(shape):  # does not line up: take more axes
                    expected, j = expected * shape[j], j + 1
            if j == i + 1:
                out.append(tuple(got))
            else:
                label = self.labels.mixture([tuple(got)]) if len(self.labels.roots(tuple(got))) == 1 else UNKNOWN
                out += [((label, m),) if m > 1 else () for m in shape[i:j]]
            i = j
        return out
