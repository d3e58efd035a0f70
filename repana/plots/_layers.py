"""The axis of layers: names that never overlap, and where one block of the network ends and the next begins."""

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from repana._numbers import evenly
from repana._results import Report
from repana.plots import _style

MOST_LETTERS, MOST_UPRIGHT = 16, 24
MOST_NAMES = 12  # on an axis that lies
TILT = 40  # degrees
LETTER = 0.62  # width of a letter, and
LINE = 1.25  # height of a line, in font sizes
TILTED = 1.1  # the same of tilted names, which only touch at their ends


def name_layers(
    ax: Axes,
    layers: Sequence[str],
    *,
    vertical: bool = False,
    room: float | None = None,
    kinds: Mapping[str, str] | None = None,
) -> str:
    """Label an axis with layers at 0, 1, 2, ...: all names flat where they fit, else tilted, else every few of them.

    Layers of numbered blocks whose names do not fit are named by the number of the block, at its first layer. The
    first and the last are always named; of more than twelve some are. `room`: the inches of the axis, where the caller
    knows better. `kinds`: the class of every module, which stands after a name that is a number. Returns what the
    names are: "layer", "encoder.layers (block)", or "layer (\u2026 is encoder.)" where they share a beginning.
    """
    axis = ax.yaxis if vertical else ax.xaxis
    room = float(inches(ax, vertical) if room is None else room)
    size = mpl.rcParams["ytick.labelsize" if vertical else "xtick.labelsize"] / 72
    names = short_names(typed(layers, kinds or {}), MOST_UPRIGHT if vertical else MOST_LETTERS)
    shown, flat = _fitting(names, range(len(names)), size, room, vertical)
    what = "layer"
    if not vertical and (len(shown) < len(names) or any("\u2026" in name for name in names)):
        found = _blocks(layers)
        if found is not None:
            what, names = f"{found[0]} (block)" if found[0] else "block", found[1]
            shown, flat = _fitting(names, [i for i, name in enumerate(names) if name], size, room, vertical)
    start = _beginning(layers, [names[i] for i in shown]) if what == "layer" else ""
    what += f" (\u2026 is {start})" if start else ""
    axis.set_major_locator(FixedLocator(shown))
    axis.set_minor_locator(NullLocator())
    texts = [_style.literal(names[i]) for i in shown]
    if vertical:
        ax.set_yticklabels(texts)
    elif flat:
        ax.set_xticklabels(texts)
    else:
        ax.set_xticklabels(texts, rotation=TILT, ha="right", rotation_mode="anchor")
    return what


def spread(layers: Sequence[str], most: int) -> list[str]:
    """At most so many layers, evenly over the depth, the first and the last among them."""
    return [layers[i] for i in evenly(len(layers), most)]


def typed(layers: Sequence[str], kinds: Mapping[str, str]) -> list[str]:
    """Names of layers, the class of the module after those that are numbers: "3 Conv2d".

    Not where all numbered modules are of one class, such as the blocks of an encoder, and not inside a block.
    """
    numbered = [layer for layer in layers if layer.rpartition(".")[2].isdigit() and layer in kinds]
    if len({kinds[layer] for layer in numbered}) < 2:
        return list(layers)
    return [f"{layer} {kinds[layer]}" if layer in numbered else layer for layer in layers]


def kinds_of(report: Report, run: str | None = None) -> Mapping[str, str]:
    """The class of the module of every layer, where the report knows it."""
    return report.about(run).get("kinds", {})


def _beginning(layers: Sequence[str], names: Sequence[str]) -> str:
    """What the names that begin with an ellipsis have lost, if they have all lost the same."""
    ends = [name.strip("\u2026") for name in names if name.startswith("\u2026")]
    lost = {layer[: layer.index(end)] for end in ends for layer in layers if end in layer}
    return lost.pop() if len(lost) == 1 else ""


def _fitting(
    names: Sequence[str], places: Sequence[int], size: float, room: float, vertical: bool
) -> tuple[list[int], bool]:
    """The places whose names fit without an overlap, the first and the last among them, and whether they lie flat."""
    apart = room / max(len(names), 1)  # inches between two layers
    gap = min((b - a for a, b in zip(places, places[1:])), default=len(names)) * apart
    widest = max((len(names[i]) for i in places), default=1) * LETTER * size + size
    flat = vertical or widest <= gap or all(names[i].isdigit() for i in places)
    need = size * LINE if vertical else widest if flat else size * TILTED / math.sin(math.radians(TILT))
    need = max(need, (places[-1] + 1 - places[0]) * apart / MOST_NAMES) if places and not vertical else need
    shown: list[int] = []
    for i in places:
        if not shown or (i - shown[-1]) * apart >= need * 0.999:
            shown.append(i)
    if shown and shown[-1] != places[-1]:
        close = len(shown) > 1 and (places[-1] - shown[-1]) * apart < need
        shown = [*(shown[:-1] if close else shown), places[-1]]
    return shown, flat


def _blocks(layers: Sequence[str]) -> tuple[str, list[str]] | None:
    """Where most layers stand in three or more numbered blocks: what these are the blocks of, and for every layer the
    number of the block that it begins, its own name outside the blocks, or nothing."""
    split = [re.fullmatch(r"((?:[^.\d][^.]*\.)*)(\d+)(?:[.:|@\[].*)?", layer) for layer in layers]
    owners = Counter(found[1] for found in split if found)
    owner, count = owners.most_common(1)[0] if owners else ("", 0)
    numbers = {found[2] for found in split if found and found[1] == owner}
    if len(numbers) < 3 or count < 0.6 * len(layers):
        return None
    names, seen = [], set()
    for layer, found in zip(layers, split):
        if found is None or found[1] != owner:
            names.append(_style.tail(layer.rpartition(".")[2], MOST_LETTERS))
        else:
            names.append("" if found[2] in seen else found[2])
            seen.add(found[2])
    return owner.removesuffix("."), names


def band(ax: Axes) -> float:
    """Inches that the names below an axis take."""
    texts = [label for label in ax.get_xticklabels() if label.get_text()]
    size = mpl.rcParams["xtick.labelsize"] / 72
    longest = max((len(label.get_text()) for label in texts), default=0) * LETTER * size
    tilt = math.radians(texts[0].get_rotation()) if texts else 0.0
    return longest * math.sin(tilt) + size * LINE


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
        lambda i, name: _style.tail(name, most),
        lambda i, name: _style.shortened(name, most),
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
