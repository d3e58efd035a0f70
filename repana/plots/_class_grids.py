"""What grids of classes share: names, a colour bar, hatching, and the closest pairs in frames."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from repana._numbers import short
from repana._results import Report, closest_pairs
from repana.plots import _style

MOST_NAMES = 14  # classes that are named on the axes
PAIRS = 3
LETTERS = 18  # of a name in a title or among the closest pairs


def grid_of_pairs(
    grid: np.ndarray,
    names: Sequence[str],
    title: str,
    label: str,
    ax: Axes | None,
    pairs: int,
    width: float,
    *,
    overlap: bool,
) -> Axes:
    """The lower triangle of a grid, darker where classes are closer: where it is large (`overlap`), or small."""
    lower = np.where(np.tril(np.ones_like(grid, bool), -1), grid, np.nan)
    finite = lower[np.isfinite(lower) & (lower > 0)]
    with _style.drawing():
        ax = _style.axes_or_new(ax, width, 0.92 * width + 0.15 * (pairs + 1))
        norm = LogNorm(finite.min(), max(finite.max(), finite.min() * 1.01)) if len(finite) else None
        shown = np.where(np.isinf(lower), finite.max() if len(finite) else 1.0, lower)
        colours = mpl.colormaps[_style.SEQUENTIAL]
        colours = (colours if overlap else colours.reversed()).with_extremes(bad="white")
        image = ax.imshow(np.ma.masked_invalid(shown), cmap=colours, norm=norm, interpolation="nearest")
        name_classes(ax, names)
        hatch_unknown(ax, np.tril(np.isnan(grid), -1))
        closest = closest_pairs(grid if overlap else -grid, pairs)
        for i, j in closest:
            frame = Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, edgecolor=_style.COLOURS[1], linewidth=1.2)
            ax.add_patch(frame)
        short_names = [_style.literal(_style.shortened(name, LETTERS)) for name in names]
        words = [f"{short_names[i]} and {short_names[j]}: {short(grid[i, j])}" for i, j in closest]
        ax.set_xlabel("\n".join(["class", "", "closest pairs" if words else "no pair has a value", *words]))
        ax.set_title(title)
        if len(finite):
            axis = colour_bar(ax, image, label).ax.yaxis
            axis.set_major_locator(MaxNLocator(5))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(lambda value, place: short(value)))
    return ax


def class_names(report: Report, c: int, run: str | None, split: str | None) -> Sequence[str]:
    found = report.classes(run, split)
    return found if len(found) == c else [str(i) for i in range(c)]


def name_classes(ax: Axes, names: Sequence[str]) -> None:
    """Label both axes with classes, every few of them where they are many."""
    c = len(names)
    step = max(1, -(-c // MOST_NAMES))
    shown = list(range(0, c, step))
    texts = [_style.literal(_style.shortened(names[i], 12)) for i in shown]
    wide = max(map(len, texts)) > 2
    ax.set_xticks(shown, texts, rotation=90 if wide else 0)
    ax.set_yticks(shown, texts)
    ax.tick_params(length=0)
    ax.set_xlabel("class")
    ax.set_ylabel("class")
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)


def hatch_unknown(ax: Axes, unknown: np.ndarray) -> None:
    """Mark the cells whose value is not known."""
    for i, j in np.argwhere(unknown):
        _style.hatch(ax, j, i)


def colour_bar(ax: Axes, image: Any, label: str) -> Any:
    """The scale of an image, without a frame."""
    bar = _style.figure_of(ax).colorbar(image, ax=ax, shrink=0.8, pad=0.03)
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.set_label(label)
    return bar
