"""The mask of one place: by the user's word, by which inputs met in the probe, by name; or the refusal to average."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from repana.extraction import _refusals
from repana.extraction._addresses import Site
from repana.extraction._batch_masks import CONTENT, FUNCTION, MASK, key_of
from repana.extraction._patterns import first_match
from repana.extraction._pooling import MEANS
from repana.extraction._probe import Leaf, Trace
from repana.extraction.axes._labels import MOVED, Axis, Traced, size_of
from repana.extraction.axes._layout import Layout, decide, positions_of
from repana.extraction.axes._masks import masks_of

OVER_POSITIONS = (*MEANS, "max", "last", "tokens", "steps")


@dataclass(frozen=True)
class Masking:
    """Keys of masks by position axis, and what to say of them."""

    keys: Mapping[int, str]
    notes: tuple[str, ...] = ()


def masking(site: Site, layout: Layout, leaf: Leaf, trace: Trace, choice: Any, method: str) -> Masking:
    """Raises where masks of another length belong to the positions, and where none came although padding is likely."""
    if (
        leaf.nested
        or not layout.positions
        and len(layout.merged) == 1
        or layout.groups is not None
        or leaf.traced is None
    ):
        return Masking({})
    by_layer, value = first_match(choice, site) if isinstance(choice, Mapping) else (False, choice)
    if value is False:
        return Masking({})
    places = positions_of(layout, leaf.traced.axes) if len(leaf.traced.axes) == layout.ndim else {}
    tokens = any(token_like(trace, axis) for axis in places.values()) or not places
    if value is not None and value is not True and (value != CONTENT or MASK not in trace.batch.masks):
        found = _named(site, layout, leaf, trace, key_of(value), places, by_layer=by_layer, tokens=tokens)
        if found is not None:
            return found
    else:
        found = _evident(site, layout, leaf, trace, places, method)
        if found.keys and value == CONTENT:
            found = Masking({axis: CONTENT for axis, key in found.keys.items() if key == MASK})
    keys = {} if found is None else found.keys
    if not keys and method in OVER_POSITIONS and value in (None, True, CONTENT):
        _refuse_lost(site, trace, places)
    if not keys and tokens and method in OVER_POSITIONS and max(map(size_of, places.values()), default=2) > 1:
        given = [key for key in trace.batch.masks if not key.startswith(FUNCTION)]
        if given and value in (None, True):
            long = max(places, key=lambda axis: size_of(places[axis]))
            raise _refusals.masks_unknown(str(site), long, size_of(places[long]), given[0])
        raise _refusals.no_mask(str(site), trace.shown(leaf), method)
    return found or Masking({})


def _refuse_lost(site: Site, trace: Trace, places: Mapping[int, Axis]) -> None:
    """Positions of a mask's length of which nothing tells where they come from may be the mask's: steps of a loop put
    together, tokens that weights mixed."""
    labels = trace.book.labels
    for axis, factors in places.items():
        fit = [key for key, mask in trace.batch.masks.items() if size_of(factors) == mask.shape[1] > 1]
        if fit and not labels.origins(factors):
            raise _refusals.masks_unknown(str(site), axis, size_of(factors), fit[0])


def token_like(trace: Trace, axis: Axis) -> bool:
    """Whether positions come from an input that may be padded: token ids, (b, t) signals and (b, t, d) sequences.

    Images, videos and (b, c, t) signals, whose channels the network takes first, are not.
    """
    return any(_may_be_padded(trace, name, i) for name, i in trace.book.labels.origins(axis))


def _may_be_padded(trace: Trace, name: str, i: int) -> bool:
    known = trace.book.entered.get(name)
    if known is None or len(known.axes) > 3 or not known.axes:
        return False
    if len(known.axes) < 3:
        return i == 1 or trace.batch.axis == 1
    layout = decide(trace.book.labels, known.axes, trace.batch.size)
    return bool(layout.problem) or not layout.features or i < layout.features[0]


def _evident(site: Site, layout: Layout, leaf: Leaf, trace: Trace, places: Mapping[int, Axis], method: str) -> Masking:
    assert leaf.traced is not None
    entered = {key: trace.book.entered[key] for key in trace.batch.masks if key in trace.book.entered}
    masks = masks_of(trace.book.labels, layout, leaf.traced.axes, entered) if places else None
    found = dict(masks.found) if masks else {}
    if masks is not None and masks.unfit is not None and method != "flatten":
        names, axis, size = masks.unfit
        lengths = {key: mask.shape[1] for key, mask in trace.batch.masks.items()}
        raise _refusals.masks_unfit(str(site), names, axis, size, lengths)
    if not found and places:
        found = _only_pair(site, trace, places, entered, method)
    if len(found) > 1:
        names = tuple(found.values())
        lengths = {key: mask.shape[1] for key, mask in trace.batch.masks.items()}
        raise _refusals.masks_unfit(str(site), names, next(iter(found)), lengths[names[0]], lengths)
    return Masking(found)


def _only_pair(
    site: Site, trace: Trace, places: Mapping[int, Axis], entered: Mapping[str, Traced], method: str
) -> dict[int, str]:
    """The only mask of the batch, that no operation read, belongs to the only input in its shape."""
    given = [key for key in trace.batch.masks if key != CONTENT and not key.startswith(FUNCTION)]
    if len(given) != 1:
        return {}
    (key,) = given
    mask, labels = trace.batch.masks[key], trace.book.labels
    if key in entered and any(label in trace.book.used for axis in entered[key].axes[1:] for label, _ in axis):
        return {}
    named = {n: t for n, t in trace.batch.inputs().items() if n != key and not t.is_nested}
    shaped = [n for n, t in named.items() if t.ndim > 1 and tuple(t.shape[:2]) == tuple(mask.shape)]
    if len(shaped) != 1:
        return {}
    mine = {axis: f for axis, f in places.items() if {*labels.origins(f)} == {(shaped[0], 1)}}
    odd = {axis: labels.has(f, MOVED) or size_of(f) not in (1, mask.shape[1]) for axis, f in mine.items()}
    long = {axis: size_of(f) for axis, f in mine.items() if odd[axis]}
    if long and method != "flatten":
        axis = next(iter(long))
        raise _refusals.masks_unfit(str(site), [key], axis, long[axis], {key: mask.shape[1]})
    return {axis: key for axis, f in mine.items() if size_of(f) == mask.shape[1]}


def _named(
    site: Site,
    layout: Layout,
    leaf: Leaf,
    trace: Trace,
    key: str,
    places: Mapping[int, Axis],
    *,
    by_layer: bool,
    tokens: bool,
) -> Masking | None:
    """The mask that the user names, for positions of its length; None where it is for other streams."""
    mask = trace.batch.masks.get(key)
    if mask is None or (not by_layer and not tokens):
        return Masking({}) if not tokens else None
    sizes = {axis: size_of(factors) for axis, factors in places.items()}
    if not places:  # nothing is known of the axes but what `layout=` says
        sizes = {axis: leaf.shape[axis] for axis in layout.positions}
    fit = [axis for axis, size in sizes.items() if size == mask.shape[1]]
    if len(fit) > 1:
        fit = [axis for axis in fit if axis in places and token_like(trace, places[axis])]
    if len(fit) != 1:
        long = max(sizes, key=lambda axis: sizes[axis])
        name = key if not key.startswith("a function") else "a function"
        raise _refusals.masks_unfit(str(site), [name], long, sizes[long], {name: mask.shape[1]})
    notes = ()
    entered = {k: trace.book.entered[k] for k in trace.batch.masks if k in trace.book.entered}
    assert leaf.traced is not None
    evident = masks_of(trace.book.labels, layout, leaf.traced.axes, entered).found if places else {}
    if not by_layer and fit[0] in evident and evident[fit[0]] != key and key in entered:
        notes = (f"the operations show the mask {evident[fit[0]]!r} over these positions, and `mask` says {key!r}",)
    return Masking({fit[0]: key}, notes)
