"""The heat map: layers by quantities, every quantity on its own scale, darker where it is better."""

import math
from collections import Counter
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from repana._finding import ALPHA
from repana._numbers import short
from repana._quantity import Quantity
from repana._results import Report, Row
from repana.plots import _layers, _style
from repana.plots.depth import wants_log
from repana.statistics.permutation import adjusted

MOST_VALUES = 12  # layers whose cells have room for a number
MOST_ROWS = 25
CELL = 0.42  # inches that a number needs
DARKEST = 1.25  # the shade at the end of the colours, beyond the best, which stays readable


def heat_map(
    report: Report,
    *quantities: str,
    ax: Axes | None = None,
    run: str | None = None,
    split: str | None = None,
    width: _style.Width = _style.PAGE,
) -> Axes:
    """Draw quantities (rows) over layers (columns); without names, the headline quantities of two layers or more.

    Each row has a scale of its own, from its worst (light) to its best (dark), logarithmic where a positive quantity
    spans more than 1.3 decades. A quantity without a better side is grey, from its lowest to its highest, and its name
    has no arrow. White lines part the families. The range stands at the right. A dot marks a value that is not
    significant against shuffled labels (p after Holm over the layers at least 0.05); hatching a value that is not
    finite, light grey a row of equal values, and white a missing one.

    Returns the Axes, with the (quantities, layers) shades in its image.
    """
    if not quantities:
        run = run or report.runs[0]
        split = split or next((r.split for r in report.rows if r.run == run and r.layer), None)
    names = quantities or _usual(report, run, split) or report.headline
    rows = [report.select(name, run=run, split=split) for name in names]
    layers = [layer for layer in report.layers if any(r.layer == layer for found in rows for r in found)]
    width = _style.in_inches(width)
    with _style.drawing() as scale:
        longest = max(map(len, _layers.short_names(layers, _layers.MOST_LETTERS)))
        ax = _style.axes_or_new(ax, width, 0.6 + 0.19 * len(names) + 0.7 * longest * _layers.LETTER * 6 / 72)
        wide = _style.figure_of(ax).get_figwidth() > _style.COLUMN * scale + 1
        lines = [report.quantity(found[0].analyzer, found[0].quantity) for found in rows]
        labels, ranges = [_label(line) for line in lines], [_range(found, line) for found, line in zip(rows, lines)]
        letter = _layers.LETTER * mpl.rcParams["ytick.labelsize"] / 72
        beside = max(map(len, labels)) + (max(map(len, ranges)) if wide else 0)
        room = max(0.5, _style.figure_of(ax).get_figwidth() - beside * letter - 0.4)
        numbers = len(layers) <= MOST_VALUES and bool(room > len(layers) * CELL * scale)
        everything = [r for found in rows for r in found if r.layer]
        shades = np.full((len(names), len(layers)), np.nan)
        dark = mpl.colormaps[_style.SEQUENTIAL]
        colours, dotted = dark.with_extremes(bad="white"), False
        for i, found in enumerate(rows):
            at = {r.layer: r for r in found}
            shade, p = shades_of(found, lines[i]), adjusted(found)
            dotted |= any(value >= ALPHA for value in p.values())
            for j, layer in enumerate(layers):
                if layer in at:
                    shades[i, j] = shade[layer]
                    if math.isfinite(at[layer].value) and math.isnan(shade[layer]):  # all layers alike
                        ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, color=_style.FAINT, linewidth=0))
                    _mark(ax, j, i, at[layer], shade[layer], numbers, unclear=p.get(layer, 0.0) >= ALPHA)
        ax.imshow(shades, cmap=colours, vmin=0, vmax=DARKEST, aspect="auto", interpolation="nearest")
        neutral = np.array([not line.better for line in lines])
        if neutral.any() and not neutral.all():
            grey = np.ma.masked_invalid(np.where(neutral[:, None], shades, np.nan))
            ax.imshow(grey, cmap="Greys", vmin=0, vmax=DARKEST, aspect="auto", interpolation="nearest")
        for i in range(1, len(rows)):
            if rows[i][0].analyzer != rows[i - 1][0].analyzer:
                ax.axhline(i - 0.5, color="white", linewidth=2.5)
        ax.set_yticks(range(len(names)), labels)
        right = ax.secondary_yaxis("right")
        right.set_yticks(range(len(names)), ranges if wide else [])
        right.tick_params(length=0)
        for side in ("left", "bottom", "right"):
            ax.spines[side].set_visible(False)
            right.spines[side].set_visible(False)
        ax.tick_params(length=0)
        what = _layers.name_layers(ax, layers, room=room, kinds=_layers.kinds_of(report, run))
        for place in _layers.boundaries(layers):
            ax.axvline(place, color="white", linewidth=1.5)
        ax.set_xlabel(f"{what}, input to output")
        sided = any(line.better for line in lines)
        told = "Blue: darker is better, grey: higher" if sided and neutral.any() else ""
        told = (told or f"Darker is {'better' if sided else 'higher'}") + (
            "; at the right, both ends" if wide and not sided else "; at the right, worst to best" if wide else ""
        )
        marks = ["\u2022 not significant"] if dotted else []
        marks += (
            ["grey: not finite" if _style.plain() else "hatched: not finite"]
            if not all(math.isfinite(r.value) for r in everything)
            else []
        )
        below = ", ".join([*marks, *filter(None, [_style.which(report, run, split)])])
        said = [told, below] if below else [told]
        free = _style.figure_of(ax).get_figwidth() - max(map(len, labels)) * letter - 0.3
        size = mpl.rcParams["axes.titlesize"]
        fits = len("    ".join(said)) * _layers.LETTER * size / 72 <= free
        ax.set_title(("    " if wide and fits else "\n").join(said), loc="left" if wide else "right")
    return ax


def shades_of(rows: Sequence[Row], line: Quantity) -> dict[str, float]:
    """0 for the worst, 1 for the best value of a quantity; NaN where it is not finite, or where all are alike."""
    finite = [r.value for r in rows if math.isfinite(r.value)]
    log = wants_log(rows, line)
    scaled = {r.layer: (math.log(r.value) if log else r.value) if math.isfinite(r.value) else math.nan for r in rows}
    if not finite:
        return scaled
    low, high = (min(v for v in scaled.values() if v == v), max(v for v in scaled.values() if v == v))
    if high == low:
        return dict.fromkeys(scaled, math.nan)
    up = {layer: (v - low) / (high - low) for layer, v in scaled.items()}
    return {layer: 1 - v for layer, v in up.items()} if line.better == "lower" else up


def _mark(ax: Axes, x: int, y: int, row: Row, shade: float, numbers: bool, *, unclear: bool) -> None:
    ink = _ink(shade)
    if not math.isfinite(row.value):
        _style.hatch(ax, x, y)
        return
    if numbers:
        text = short(row.value) + (" \u2022" if unclear else "")
        size = mpl.rcParams["font.size"] * 0.75
        ax.text(x, y, text, ha="center", va="center", color=ink, fontsize=size)
    elif unclear:
        ax.plot(x, y, ".", color=ink, markersize=mpl.rcParams["lines.markersize"] * 0.7)


def _ink(shade: float) -> str:
    """Black or white, whichever stands out more (relative luminance of WCAG 2)."""
    if math.isnan(shade):
        return "black"
    parts = np.array(mpl.colormaps[_style.SEQUENTIAL](shade / DARKEST)[:3])
    light = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)
    return "white" if 1.05 / (light + 0.05) > (light + 0.05) / 0.05 else "black"


def _label(line: Quantity) -> str:
    arrow = {"lower": " \u2193", "higher": " \u2191"}.get(line.better, "")
    return line.label + arrow


def _range(rows: Sequence[Row], line: Quantity) -> str:
    values = [r.value for r in rows if math.isfinite(r.value)]
    if not values:
        return "not finite"
    ends = (min(values), max(values))
    if ends[0] == ends[1]:
        return short(ends[0])
    if line.better == "lower":
        ends = ends[::-1]
    return f"{short(ends[0])} \u2192 {short(ends[1])}"


def _usual(report: Report, run: str | None, split: str | None) -> tuple[str, ...]:
    """The headline quantities that the run and split have of two layers or more, by family, at most 25."""
    layers = Counter(f"{r.analyzer}.{r.quantity}" for r in report.rows if (r.run, r.split) == (run, split) and r.layer)
    found = [name for name in report.headline if layers[name] > 1][:MOST_ROWS]
    order = list(dict.fromkeys(name.partition(".")[0] for name in found))
    return tuple(sorted(found, key=lambda name: order.index(name.partition(".")[0])))
