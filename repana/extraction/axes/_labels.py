"""Labels of tensor axes and what is known of each: a union-find with facts.

An axis is a tuple of factors `(label, size)`, major first, so that an axis that was merged (`batch x windows`) still
tells its parts. An axis of size one has no factors. Facts belong to labels and hold for the whole pass: evidence that
comes late counts for tensors that came before.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

SAMPLE = 1  # holds the samples of the first input
MAYBE_SAMPLE = 2  # first axis, of the batch's size, of another input
PRODUCED = 4  # output axis of weights: a linear map, a convolution, an embedding, a recurrent layer
MIXED = 8  # produced out of an axis of an input: features, or positions that were mixed
NORMED = 16  # normalised, or multiplied by a learned vector
CONTRACTED = 32  # summed over by weights
CONSTANT = 64  # of a parameter or a constant
REORDERED = 256  # samples in another order: sorted, flipped, permuted
MOVED = 512  # positions that no longer stand where their input has them: flipped, shifted, chosen
NOT_SAMPLE = 128  # may have held samples, but stood over positions of an input
UNKNOWN = 0  # the label of an axis of which nothing is known


class Factor(tuple[int, int]):
    """A label and a size. `step` tells how far apart the entries lie on the axis that the factor was split from."""

    step: int

    def __new__(cls, label: int, size: int, step: int = 1) -> "Factor":
        made = super().__new__(cls, (label, size))
        made.step = step
        return made


Axis = tuple[tuple[int, int], ...]
Origin = tuple[str, int]  # input and axis of it


def step_of(factor: tuple[int, int]) -> int:
    return factor.step if isinstance(factor, Factor) else 1


def size_of(axis: Iterable[tuple[int, int]]) -> int:
    return math.prod(n for _, n in axis)


class Labels:
    """The labels of one watched pass."""

    def __init__(self) -> None:
        self._parent = [UNKNOWN]
        self._facts = [0]
        self._origins: list[frozenset[Origin]] = [frozenset()]
        self._mixtures: dict[frozenset[int], int] = {}
        self._met: set[tuple[int, int]] = set()
        self.over_positions: set[int] = set()  # labels of samples that stood over positions of another input
        self.groups: dict[int, str] = {}  # rows of this label were gathered into groups by that input
        self.indexed: dict[str, tuple[int, int]] = {}  # values of that input index the axis of this label and size

    def new(self, facts: int = 0, origins: Iterable[Origin] = ()) -> int:
        self._parent.append(len(self._parent))
        self._facts.append(facts)
        self._origins.append(frozenset(origins))
        return len(self._parent) - 1

    def find(self, label: int) -> int:
        while self._parent[label] != label:
            label = self._parent[label]
        return label

    def union(self, a: int, b: int) -> None:
        """From now on both are one label, with the facts of both."""
        a, b = self.find(a), self.find(b)
        if a != b and UNKNOWN not in (a, b):
            self._parent[b] = a
            self._facts[a] |= self._facts[b] & ~CONSTANT
            self._origins[a] |= self._origins[b]

    def roots(self, axis: Axis) -> set[int]:
        return {self.find(label) for label, _ in axis}

    def facts(self, label: int) -> int:
        return self._facts[self.find(label)]

    def mark(self, axis: Axis, fact: int) -> None:
        for root in self.roots(axis) - {UNKNOWN}:
            self._facts[root] |= fact

    def has(self, axis: Axis, fact: int) -> bool:
        return any(self._facts[root] & fact for root in self.roots(axis))

    def origins(self, axis: Axis) -> frozenset[Origin]:
        """Axes of the inputs that the entries come from."""
        return frozenset().union(*(self._origins[root] for root in self.roots(axis)))

    def group_input(self, axis: Axis) -> str | None:
        """The input by whose values the rows of this axis were gathered into groups, as nodes into graphs."""
        roots = self.roots(axis)
        return next((name for label, name in self.groups.items() if self.find(label) in roots), None)

    def rank(self, axis: Axis) -> int:
        """Of several labels for one axis an elementwise operation keeps the highest: samples, positions, features."""
        if not axis:
            return 0
        if self.has(axis, SAMPLE):
            return 7
        if self.origins(axis):
            return 5 if self.has(axis, MOVED) else 6
        if self.has(axis, REORDERED):
            return 4
        if UNKNOWN in self.roots(axis):
            return 2
        return 3 if self.has(axis, PRODUCED | NORMED) else 1

    def mixture(self, axes: Iterable[Axis]) -> int:
        """One label for what several became, as after a concatenation or a resize of merged axes."""
        roots = frozenset().union(*map(self.roots, axes))
        if len(roots) == 1:
            return next(iter(roots))
        if not roots or UNKNOWN in roots:
            return UNKNOWN
        if roots not in self._mixtures:
            shared = -1
            for root in roots:
                shared &= self._facts[root]
            self._mixtures[roots] = self.new(shared, frozenset().union(*(self._origins[root] for root in roots)))
        return self._mixtures[roots]

    def meet(self, axes: Iterable[Axis]) -> None:
        """Axes that stood over each other: positions that belong together; samples of other inputs are samples."""
        single = [self.find(axis[0][0]) for axis in axes if len(axis) == 1]
        for a, b in zip(single, single[1:]):
            if a == b:
                continue
            kinds = self._facts[a] & (SAMPLE | MAYBE_SAMPLE), self._facts[b] & (SAMPLE | MAYBE_SAMPLE)
            if MAYBE_SAMPLE in kinds and (kinds[0] | kinds[1]) & SAMPLE:
                self.union(a, b)
            elif SAMPLE in kinds and 0 in kinds:
                first, other = (a, b) if kinds[0] else (b, a)
                names = {name for name, _ in self._origins[first]}
                if any(i and name not in names for name, i in self._origins[other]):
                    self.over_positions.add(first)
            elif self._origins[a] and self._origins[b] and not (kinds[0] | kinds[1]) & SAMPLE:
                self._met.add((a, b))
                if bool(kinds[0]) != bool(kinds[1]):
                    self._facts[a if kinds[0] else b] |= NOT_SAMPLE

    @cached_property
    def stream(self) -> Callable[[int], int]:
        """A function from a label to its stream: the labels that ever stood over each other. For after the pass."""
        top: dict[int, int] = {}

        def of(label: int) -> int:
            label = self.find(label)
            while top.get(label, label) != label:
                label = top[label]
            return label

        for a, b in self._met:
            top[of(a)] = of(b)
        return of


@dataclass
class Traced:
    """What is known of one tensor of the watched pass. `same`, `plus` and `view` are bit sets of earlier tensors."""

    axes: list[Axis]
    live: bool  # depends on an input
    node: int = 0
    same: int = 0  # equal to these up to norms, activations and reshapes
    plus: int = 0  # one of these plus, or beside, something
    view: int = 0  # only another form of these
    foreign: bool = False  # made of a tensor that no operation and no weight gave: perhaps computed outside torch
    raw: bool = False  # a parameter or constant, or a form of one: in a product, weights
    learned: bool = False  # computed from parameters alone
    base: "Traced | None" = None  # of a view of a buffer, the buffer
    storage: int = 0  # tensors that share memory share this number
