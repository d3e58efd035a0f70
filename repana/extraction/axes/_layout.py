"""Which axis of a layer's tensor holds samples, features and positions, or why that is not known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from repana.extraction.axes._labels import (
    CONTRACTED,
    MAYBE_SAMPLE,
    MIXED,
    NORMED,
    NOT_SAMPLE,
    PRODUCED,
    REORDERED,
    SAMPLE,
    UNKNOWN,
    Axis,
    Labels,
)

OPS, BOTH, SIZES, YOURS = "ops", "ops+sizes", "sizes", "yours"  # kinds of evidence
NO_SAMPLES, SEVERAL_SAMPLES, MINOR_SAMPLES, UNDECIDED, CONTRADICTED = range(5)  # kinds of problems


@dataclass(frozen=True)
class Layout:
    """Roles of the axes of one tensor; `problem` says why they are not known, and then nothing may be pooled.

    The axis of the samples may hold more after (or, only where the user says so, before) them: `merged` are the parts
    of that axis with 0 in the place of the samples, so that (b w) is (0, w).
    """

    ndim: int
    sample: int | None = None
    merged: tuple[int, ...] = (0,)
    features: tuple[int, ...] = ()
    positions: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()  # of size one
    evidence: str = OPS
    problem: str = ""
    kind_of_problem: int | None = None
    letters: str = ""  # as the user gave them
    certain: bool = True  # the samples are those of the first input, and not only as many rows
    unproven: bool = False  # rows are as many as samples, but only values can tell whether they are in order
    groups: str | None = None  # the input that tells of every row which sample it belongs to

    @property
    def kind(self) -> str:
        count = len(self.positions) + len(self.merged) - 1
        return "vector" if count == 0 else "sequence" if count == 1 and len(self.merged) == 1 else "map"

    def __str__(self) -> str:
        """Letters, one for each axis: b, c, t or h w for positions, (b w) for merged axes, n for rows of groups."""
        if self.letters:
            return self.letters
        if self.sample is None or self.problem:
            return ""
        free = iter("hwuvxyz" if len(self.positions) > 1 else "txyz")
        first = "n" if self.groups else "b" if len(self.merged) == 1 else "(b w)"
        known = {self.sample: first} | dict.fromkeys(self.features, "c") | dict.fromkeys(self.dropped, "1")
        return " ".join(known.get(i) or next(free, "?") for i in range(self.ndim))


def score(labels: Labels, axis: Axis) -> int:
    """Evidence for features: made by weights 8 (2 where positions may have been mixed), normed 4, contracted 1."""
    facts = [labels.facts(root) for root in labels.roots(axis)]
    made = [2 if f & MIXED else 8 * bool(f & PRODUCED) for f in facts]
    return min(m + 4 * bool(f & NORMED) + bool(f & CONTRACTED) for m, f in zip(made, facts))


def decide(labels: Labels, axes: Sequence[Axis], size: int) -> Layout:
    """Roles by what the operations showed. `size` is the number of samples in the pass."""
    nothing = Layout(len(axes))
    samples = [i for i, axis in enumerate(axes) if labels.has(axis, SAMPLE)]
    samples = samples or [
        i
        for i, axis in enumerate(axes)
        if labels.has(axis, MAYBE_SAMPLE) and not labels.has(axis, CONTRACTED | NOT_SAMPLE)
    ]
    other = [i for i, axis in enumerate(axes) if labels.has(axis, REORDERED)]
    unproven = not samples and bool(other)
    samples = samples or other
    if not samples:
        grouped = _rows_of_groups(labels, axes)
        return grouped or replace(nothing, problem="no axis holds the samples", kind_of_problem=NO_SAMPLES)
    if len(samples) > 1:
        text = f"axes {listed(samples)} both hold samples"
        return replace(nothing, problem=text, kind_of_problem=SEVERAL_SAMPLES)
    i = samples[0]
    nothing = replace(nothing, sample=i, unproven=unproven)
    first, rest = axes[i][0], axes[i][1:]
    if not labels.facts(first[0]) & (SAMPLE | MAYBE_SAMPLE | REORDERED):
        text = f"axis {i} holds the samples behind something else"
        return replace(nothing, problem=text, kind_of_problem=MINOR_SAMPLES)
    if first[1] != size:
        text = f"axis {i} does not have one row for each sample"
        return replace(nothing, problem=text, kind_of_problem=NO_SAMPLES)
    found = replace(nothing, merged=(0, *(n for _, n in rest)))
    return features_of(labels, axes, found)


def _rows_of_groups(labels: Labels, axes: Sequence[Axis]) -> Layout | None:
    """Rows that a later operation gathered into samples, as the nodes of graphs."""
    if len(axes) < 2 or len(axes[0]) != 1:
        return None
    name = labels.group_input(axes[0])
    return None if name is None else features_of(labels, axes, Layout(len(axes), 0, groups=name))


def features_of(labels: Labels, axes: Sequence[Axis], found: Layout) -> Layout:
    """The axis of the highest score; several of one label are one axis that was split."""
    others = [j for j in range(len(axes)) if j != found.sample]
    if not others:
        return found
    if len(others) == 1 and len(found.merged) == 1:
        return replace(found, features=(others[0],))
    scores = {j: score(labels, axes[j]) for j in others if axes[j]}
    top = max(scores.values(), default=0)
    best = [j for j in scores if scores[j] == top and top]
    single = [j for j in others if not axes[j]]
    known = all(labels.origins(axes[j]) for j in scores) and (scores or len(found.merged) > 1)
    if not best and len(single) == 1 and known:
        best = single  # one unit: every other axis is known to be positions
    problem = ""
    rivals = {frozenset(labels.roots(axes[j])) for j in scores if scores[j] == top or scores[j] >= 8}
    if not best:
        problem = "no axis was made, normalised or contracted by weights"
    elif top and len(rivals) > 1:
        problem = "several axes were made by different weights"
    elif 0 < top < 8 and any(scores[j] >= (1 if top < 4 else 2) for j in scores if j not in best):
        problem = "weights mix axes of the input in both directions"
    elif top < 8 and any(UNKNOWN in labels.roots(axes[j]) for j in scores):
        problem = "nothing is known of an axis"
    if problem:
        return replace(found, problem=problem, kind_of_problem=UNDECIDED)
    positions = tuple(j for j in others if j not in best)
    return replace(found, features=tuple(best), positions=positions)


def settle(
    layout: Layout,
    shape: Sequence[int],
    size: int,
    by_samples: frozenset[int] | None,
    by_length: frozenset[int] | None,
    *,
    certain: bool,
) -> Layout:
    """The layout after a second look: `by_samples` are the axes that changed with the number of samples.

    Sizes that contradict the operations make a refusal; where operations are silent and sizes clear, they decide.
    `certain` is False where the second look could not have changed the layout's axis of samples.
    """
    if layout.problem:
        return _by_sizes(layout, shape, size, by_samples, by_length)
    length = by_length or frozenset()
    if by_samples is not None and certain and by_samples != {layout.sample} and layout.groups is None:
        text = f"operations show samples on axis {layout.sample}, sizes follow them on {axes_of(by_samples)}"
        return replace(layout, problem=text, kind_of_problem=CONTRADICTED)
    if length & {*layout.features, *([] if layout.sample is None else [layout.sample])}:
        text = f"operations show features on {axes_of(layout.features)}, sizes follow the length on {axes_of(length)}"
        return replace(layout, problem=text, kind_of_problem=CONTRADICTED)
    return replace(layout, evidence=BOTH) if by_samples and certain else layout


def _by_sizes(
    layout: Layout,
    shape: Sequence[int],
    size: int,
    by_samples: frozenset[int] | None,
    by_length: frozenset[int] | None,
) -> Layout:
    """By elimination: one axis followed the samples, all others but one the length."""
    length = by_length or frozenset()
    if layout.kind_of_problem in (SEVERAL_SAMPLES, MINOR_SAMPLES) or by_samples is None or len(by_samples) != 1:
        return layout
    sample = min(by_samples)
    if by_samples & length or (layout.sample is not None and sample != layout.sample):
        return layout
    if len(layout.merged) == 1 and shape[sample] != size:
        text = f"axis {sample} does not have one row for each sample"
        return replace(layout, problem=text, kind_of_problem=NO_SAMPLES)
    merged = layout.merged if layout.sample is not None else (0,)
    rest = set(range(layout.ndim)) - by_samples - length
    found = Layout(layout.ndim, sample, merged, tuple(rest), tuple(sorted(length)), evidence=SIZES, unproven=True)
    if layout.ndim == 1 or (len(rest) == 1 and (layout.ndim == 2 or by_length is not None)):
        return found
    return layout


def axes_of(axes: "frozenset[int] | Sequence[int]") -> str:
    found = sorted(axes)
    return "no axis" if not found else f"axis {found[0]}" if len(found) == 1 else f"axes {listed(found)}"


def listed(numbers: Sequence[int]) -> str:
    return " and ".join(map(str, numbers)) if len(numbers) < 3 else ", ".join(map(str, numbers))


def positions_of(layout: Layout, axes: Sequence[Axis]) -> Mapping[int, Axis]:
    """The factors of every position axis; parts merged with the samples count from the layout's rank on."""
    found = {j: axes[j] for j in layout.positions}
    if layout.sample is not None and not layout.letters:
        found |= {layout.ndim + k: (factor,) for k, factor in enumerate(axes[layout.sample][1:])}
    return found
