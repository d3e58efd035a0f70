"""Which attention mask belongs to which axis of a layer: a mask belongs to a stream of positions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from repana.extraction.axes._labels import MOVED, Axis, Labels, Traced, size_of
from repana.extraction.axes._layout import Layout, positions_of


@dataclass(frozen=True)
class Masks:
    """`found`: key of the mask for each masked axis. `unfit`: masks of the stream of an axis, none or several of its
    length, with that axis and its length."""

    found: Mapping[int, str]
    unfit: tuple[tuple[str, ...], int, int] | None = None


def masks_of(labels: Labels, layout: Layout, axes: Sequence[Axis], masks: Mapping[str, Traced]) -> Masks:
    """By which inputs stood over each other in the pass; where no operation showed a mask, by name.

    By name: the mask `X_attention_mask` of positions that come from `X_input_ids` alone (or another input of that
    prefix). Equal length alone never attaches a mask.
    """
    stream = labels.stream
    found: dict[int, str] = {}
    unfit: tuple[tuple[str, ...], int, int] | None = None
    for axis, factors in positions_of(layout, axes).items():
        mine, size = {stream(label) for label, _ in factors}, size_of(factors)
        ours = [n for n, k in masks.items() if mine & {stream(label) for label, _ in k.axes[-1]} - {0}]
        if not ours:
            ours = _by_name(labels, factors, masks)
        moved = labels.has(factors, MOVED) or len(factors) > 1  # copies or parts of the positions, one behind the other
        fit = [n for n in ours if size_of(masks[n].axes[-1]) == size and not moved]
        if len(fit) == 1:
            found[axis] = fit[0]
        elif ours and size > 1:
            unfit = unfit or (tuple(ours), axis, size)
    return Masks(found, unfit)


def _by_name(labels: Labels, factors: Axis, masks: Mapping[str, Traced]) -> list[str]:
    names = {name for name, i in labels.origins(factors) if i == 1}
    if len(names) != 1:
        return []
    name = next(iter(names))
    for ids in ("input_ids", "inputs_embeds", "input_values", "input_features"):
        if name.endswith(ids):
            requested = name.removesuffix(ids) + "attention_mask"
            return [n for n in masks if n == requested]
    return []


def same_stream(labels: Labels, a: Sequence[Axis], b: Sequence[Axis]) -> bool:
    """Whether positions of one tensor stand in the stream of the last axis of the other."""
    stream = labels.stream
    last = {stream(label) for label, _ in b[-1]} - {0} if b else set()
    return any(last & {stream(label) for label, _ in axis} for axis in a)
