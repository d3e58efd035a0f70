"""The axis of layers: names that never overlap, and where one block of the network ends and the next begins."""

import os
import re
from collections.abc import Callable, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from repana.plots import _style

MOST_LETTERS, MOST_UPRIGHT = 16, 24
LETTER = 0.62  # width of a letter, and
LINE = 1.25  # height of a line, in font sizes


def name_layers(ax: Axes, layers: Sequence[str], *, vertical: bool = False, room: float | None = None) -> None:
    """Label an axis with layers at 0, 1, 2, ...: all names flat where they fit, else tilted, else every few of them.

    The first and the last are always named. `room`: the inches of the axis, where the caller knows better.
    """
    axis = ax.yaxis if vertical else ax.xaxis
    room = inches(ax, vertical) if room is None else room
    size = mpl.rcParams["ytick.labelsize" if vertical else "xtick.labelsize"] / 72
    names = short_names(layers, MOST_UPRIGHT if vertical else MOST_LETTERS)
    widest = max(map(len, names), default=1) * LETTER * size + size
    flat = vertical or len(names) * widest <= room
    need = size * LINE if vertical else widest if flat else size * LINE * 2**0.5
    step = max(1, -(-int(len(names) * need * 1000) // int(room * 1000)))
    shown = list(range(0, len(names), step))
    last = len(names) - 1
    if shown and shown[-1] != last:
        shown = [*shown[:-1], last] if last - shown[-1] < step else [*shown, last]
    axis.set_major_locator(FixedLocator(shown))
    axis.set_minor_locator(NullLocator())
    texts = [_style.literal(names[i]) for i in shown]
    if vertical:
        ax.set_yticklabels(texts)
    elif flat:
        ax.set_xticklabels(texts)
    else:
        ax.set_xticklabels(texts, rotation=45, ha="right", rotation_mode="anchor")


def short_names(layers: Sequence[str], most: int) -> list[str]:
    """Names of at most so many letters; of those that are longer, what they share at either end goes first."""
    long = [name for name in layers if len(name) > most]
    start, end = 0, 0
    if len(set(long)) > 1:
        shared = os.path.commonprefix(long)
        start = shared.rfind(".") + 1
        backwards = os.path.commonprefix([name[start:][::-1] for name in long])
        end = backwards.rfind(".") + 1
        widest = max(len(name) - start - end for name in long)
        while start and widest + start - (back := shared.rfind(".", 0, start - 1) + 1) + 2 <= most:
            widest, start = widest + start - back, back  # as much of the shared beginning as there is room for
    cut = [
        name
        if len(name) <= most
        else ("\u2026" if start else "") + name[start : len(name) - end] + ("\u2026" if end else "")
        for name in layers
    ]
    ways: tuple[Callable[[int, str], str], ...] = (
        lambda i, name: _style.shortened(name, most),
        lambda i, name: name if len(name) <= most else "\u2026" + name[len(name) - most + 1 :],
        lambda i, name: name if len(name) <= most else name[: most - 1] + "\u2026",
        lambda i, name: _style.shortened(f"{i + 1}: {name}", most),
    )
    names = cut
    for way in ways:  # the first that leaves different layers different names
        names = [way(i, name) for i, name in enumerate(cut)]
        if len(set(names)) == len(set(layers)):
            break
    return names


def inches(ax: Axes, vertical: bool = False) -> float:
    """Inches that the axis will have, before the layout is made."""
    figure = _style.figure_of(ax)
    spec = ax.get_subplotspec()
    rows, columns = (1, 1) if spec is None else spec.get_gridspec().get_geometry()
    if vertical:
        return 0.75 * figure.get_figheight() / rows
    return 0.8 * figure.get_figwidth() / columns - 0.15


def parent(layer: str) -> str:
    """The part of the network that a layer belongs to: what its address has before the last dot, or nothing."""
    name = re.split(r"[:|@\[]", layer)[0]
    return name.rpartition(".")[0]


def boundaries(layers: Sequence[str]) -> list[float]:
    """Places between layers of different parts of the network; none where every layer would be a part of its own."""
    parts = [parent(layer) for layer in layers]
    found = [i - 0.5 for i in range(1, len(parts)) if parts[i] != parts[i - 1]]
    return found if any(parts) and len(found) < len(parts) - 1 else []


def mark_blocks(ax: Axes, layers: Sequence[str]) -> None:
    """Thin lines where one block of the network ends and the next begins."""
    for place in boundaries(layers):
        ax.axvline(place, color=_style.FAINT, linewidth=0.6, zorder=-2, label="_block")
