"""The layout of one place: the user's word checked against sizes, else operations and sizes, else a refusal."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from repana.errors import ModelError
from repana.extraction import _refusals
from repana.extraction._addresses import Site
from repana.extraction._patterns import exact_or_first
from repana.extraction._probe import Leaf, Trace
from repana.extraction.axes import _layout as roles
from repana.extraction.axes._declared import declared, parsed
from repana.extraction.axes._labels import CONTRACTED, SAMPLE, size_of
from repana.extraction.axes._layout import Layout

POSITIONS = {1: ("t",), 2: ("h", "w"), 3: ("t", "h", "w")}


def layout_of(
    site: Site, leaf: Leaf, trace: Trace, option: str | Mapping[str, str] | None, batch_dim: int | None, groups: Any
) -> Layout:
    """What the axes hold; its `problem` says that the features are not known. Samples that are not known are
    refused."""
    text = _letters(option, site, leaf)
    if text is not None:
        shown = trace.shown(leaf)
        said = declared(text, str(site), leaf.shape, trace.batch.size, shown, trace.samples)
        return _checked(_groups(said, site, leaf, trace, groups), site, leaf, trace)
    found = trace.layout(leaf)
    if found.groups is not None:
        return found
    if found.sample is None and batch_dim is not None and leaf.traced is not None and len(leaf.shape) > batch_dim:
        forced = Layout(len(leaf.shape), batch_dim)
        found = roles.settle(
            roles.features_of(trace.book.labels, leaf.traced.axes, forced),
            leaf.shape, trace.batch.size, leaf.by_samples, leaf.by_length, certain=True,
        )  # fmt: skip
    if found.sample is None or found.kind_of_problem not in (None, roles.UNDECIDED):
        rows = _rows(site, leaf, trace, groups)
        if rows is not None:
            return rows
        raise refusal(site, leaf, trace, found)
    return found


def refusal(site: Site, leaf: Leaf, trace: Trace, found: Layout) -> ModelError:
    """Why a layout is not known, with the line to copy."""
    address, shape = str(site), trace.shown(leaf)
    if found.kind_of_problem == roles.CONTRADICTED:
        return _refusals.contradicted(address, shape, found.problem, letters(leaf, found)[0])
    if found.kind_of_problem == roles.MINOR_SAMPLES:
        return _refusals.minor_samples(address, shape, trace.samples, found.problem)
    if found.kind_of_problem == roles.UNDECIDED:
        return _refusals.undecided(address, shape, found.problem, letters(leaf, found))
    if leaf.traced is not None and not leaf.traced.live and not leaf.traced.foreign:
        return _refusals.independent(address, shape, trace.samples)
    return _refusals.no_samples(address, shape, trace.samples, found.problem, letters(leaf, found)[0])


def letters(leaf: Leaf, found: Layout) -> list[str]:
    """Layouts that the user may have meant: the features right behind the samples, or last."""
    ndim = len(leaf.shape)
    sample = found.sample if found.sample is not None else next(iter(sorted(leaf.by_samples or ())), 0)
    first = "(b w)" if len(found.merged) > 1 else "b"
    rest = [i for i in range(ndim) if i != sample]
    made = []
    for features in dict.fromkeys([rest[0], rest[-1]] if rest else []):
        free = iter(POSITIONS.get(ndim - 2, "stuvwxyz"))
        made.append(" ".join(first if i == sample else "c" if i == features else next(free) for i in range(ndim)))
    return made or [first]


# --- the user's word --------------------------------------------------------------------------------------------------


def _letters(option: str | Mapping[str, str] | None, site: Site, leaf: Leaf) -> str | None:
    if option is None:
        return None
    if isinstance(option, str):
        return option if len(parsed(option, "layout")) == len(leaf.shape) else None
    if not isinstance(option, Mapping):
        raise _refusals.layout_not_understood(option, "layout", "letters, or a mapping from layers to letters")
    found = exact_or_first(option, site)
    if found is not None and not isinstance(found, str):
        raise _refusals.layout_not_understood(found, str(site), "letters")
    return found


def _checked(layout: Layout, site: Site, leaf: Leaf, trace: Trace) -> Layout:
    """Sizes that changed with the samples contradict a layout that puts these elsewhere."""
    changed = leaf.by_samples
    if layout.groups is None and changed and changed != {layout.sample} and _certain(leaf, trace):
        sizes = roles.axes_of(changed)
        raise _refusals.layout_contradicted(layout.letters, str(site), trace.shown(leaf), layout.sample or 0, sizes)
    return layout


def _certain(leaf: Leaf, trace: Trace) -> bool:
    return any(trace.book.labels.has(axis, SAMPLE) for t in trace.book.entered.values() for axis in t.axes)


# --- rows that belong to samples --------------------------------------------------------------------------------------


def _groups(layout: Layout, site: Site, leaf: Leaf, trace: Trace, groups: Any) -> Layout:
    """Of a layout with n: which input says of every row its sample."""
    if layout.groups is None:
        return layout
    axis = leaf.traced.axes[layout.sample or 0] if leaf.traced is not None and leaf.traced.axes else ()
    name = groups if groups is not None else trace.book.labels.group_input(axis)
    if name is None:
        raise _refusals.no_groups(
            str(site), leaf.shape, trace.samples, _candidates(trace, leaf.shape[layout.sample or 0])
        )
    index_of(trace.batch.inputs(), name, leaf.shape[layout.sample or 0])
    return replace(layout, groups=name)


def _rows(site: Site, leaf: Leaf, trace: Trace, groups: Any) -> Layout | None:
    """Rows of an input of another length than the samples: by `groups=`, or refused with that line."""
    if len(leaf.shape) != 2 or leaf.traced is None or len(leaf.traced.axes) != 2:
        return None
    rows, labels = leaf.traced.axes[0], trace.book.labels
    from_rows = any(i == 0 for _, i in labels.origins(rows)) and not labels.has(rows, CONTRACTED)
    candidates = _candidates(trace, size_of(rows))
    if not from_rows or not candidates:
        return None
    if groups is None:
        raise _refusals.no_groups(str(site), leaf.shape, trace.samples, candidates)
    index_of(trace.batch.inputs(), groups, leaf.shape[0])
    return Layout(2, 0, features=(1,), groups=groups, evidence=roles.YOURS)


def _candidates(trace: Trace, rows: int) -> list[str]:
    """Inputs that can tell of so many rows which sample each belongs to."""
    named = trace.batch.inputs()
    whole = {n: t for n, t in named.items() if not t.is_nested and t.ndim == 1 and len(t) == rows}
    return [
        n for n, t in whole.items() if not t.is_floating_point() and 0 <= int(t.min()) <= int(t.max()) < trace.samples
    ]


def index_of(named: Mapping[str, Tensor], name: Any, rows: int) -> Tensor:
    """The input that tells of every row which sample it belongs to."""
    index = named.get(name)
    if index is None or index.ndim != 1 or len(index) != rows or index.is_floating_point():
        shape = None if index is None else tuple(index.shape)
        raise _refusals.groups_not_understood(name, rows, shape, list(named))
    return index.long()
