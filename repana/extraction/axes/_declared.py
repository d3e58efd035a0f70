"""`layout=`: the user's word on which axis is which, as letters; parsed, checked against sizes, and put into a
`Layout`.

b        the samples, once                    c        features; twice: flattened together
1        an axis of size one, dropped         n        rows that belong to samples by `groups=`
(b w)    merged axes, with b among them       others   positions
"""

import re
from collections.abc import Sequence

from repana.extraction import _refusals
from repana.extraction.axes._layout import YOURS, Layout

TOKEN = re.compile(r"\(([^()]*)\)|(\S+)")


def parsed(text: str, where: str) -> tuple[tuple[str, ...], ...]:
    """Letters of every axis; more than one where axes are merged."""
    found = [tuple((group or single).split()) for group, single in TOKEN.findall(text)]
    letters = [letter for axis in found for letter in axis]
    odd = [x for x in letters if len(x) != 1 or not (x.isalpha() or x == "1")]
    if not found or odd or any(not axis for axis in found) or text.count("(") != text.count(")"):
        raise _refusals.layout_not_understood(text, where, "one letter for each axis, and (b w) where axes are merged")
    if letters.count("b") + letters.count("n") != 1:
        raise _refusals.layout_not_understood(text, where, "b exactly once")
    if any(len(axis) > 1 and "b" not in axis for axis in found):
        raise _refusals.layout_not_understood(text, where, "b in every pair of brackets")
    return tuple(found)


def declared(text: str, where: str, shape: Sequence[int], samples: int, shown: Sequence[int], total: int) -> Layout:
    """The layout that letters say of a tensor of this shape, in a pass of so many samples.

    `shown` and `total` are the shape and the samples that the user has, for what is refused.
    """
    axes = parsed(text, where)
    if len(axes) != len(shape):
        raise _refusals.layout_does_not_fit(text, where, shown, f"{len(axes)} axes")
    at = next(i for i, axis in enumerate(axes) if "b" in axis or "n" in axis)
    merged = (0,)
    if "b" in axes[at]:
        others = len(axes[at]) - 1
        rest = shape[at] // samples
        if shape[at] % samples or others > 1 or (not others and rest != 1):
            raise _refusals.layout_does_not_fit(text, where, shown, f"{total} samples on axis {at}")
        merged = tuple(0 if x == "b" else rest for x in axes[at])
    for i, axis in enumerate(axes):
        if axis == ("1",) and shape[i] != 1:
            raise _refusals.layout_does_not_fit(text, where, shown, f"size 1 on axis {i}")
    features = tuple(i for i, axis in enumerate(axes) if axis == ("c",))
    dropped = tuple(i for i, axis in enumerate(axes) if axis == ("1",))
    positions = tuple(i for i in range(len(axes)) if i not in (at, *features, *dropped))
    letters = " ".join(axis[0] if len(axis) == 1 else f"({' '.join(axis)})" for axis in axes)
    rows = "n" in axes[at]
    if not features and len(axes) > 1 and positions:
        raise _refusals.layout_not_understood(text, where, "c for the features")
    return Layout(
        len(axes), at, merged, features, positions, dropped, YOURS, letters=letters, groups="" if rows else None
    )
