"""What grids of classes share: names, a colour bar, hatching, and the closest pairs in frames."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from repana import _report_refusals
from repana._numbers import short
from repana._results import Report, closest_pairs
from repana.plots import _style

MOST_NAMES = 20  # classes that are named on the axes, and whose closest pairs stand below
PAIRS, MOST_PAIRS = 3, 10  # closest pairs that are framed, and those that are bars where classes are many
LETTERS = 18  # of a name among the closest pairs
NAME = 28  # letters of the name of a class on an axis


def grid_of_pairs(
    grid: np.ndarray,
    names: Sequence[str],
    title: tuple[str, str],
    label: str,
    ax: Axes | None,
    pairs: int,
    width: _style.Width,
    *,
    overlap: bool,
) -> Axes:
    """The lower triangle of a grid, darker where classes are closer: where it is large (`overlap`), or small.

    The closest pairs are framed and named below, or, where classes are many, bars beside the grid.
    """
    if len(grid) < 3:
        raise _report_refusals.two_classes(label, float(grid[1, 0]) if len(grid) == 2 else float("nan"))
    many, width = len(grid) > MOST_NAMES, _style.in_inches(width)
    lower = np.where(np.tril(np.ones_like(grid, bool), -1), grid, np.nan)[1:, :-1]
    finite = lower[np.isfinite(lower) & (lower > 0)]
    with _style.drawing():
        own, bars = ax is None, None
        if ax is None and many:
            ax, bars = _with_bars(width)
        ax = _style.axes_or_new(ax, width, 0.92 * width + 0.14 * (pairs + 1))
        norm = LogNorm(finite.min(), max(finite.max(), finite.min() * 1.01)) if len(finite) else None
        shown = np.where(np.isinf(lower), finite.max() if len(finite) else 1.0, lower)
        colours = mpl.colormaps[_style.SEQUENTIAL]
        colours = (colours if overlap else colours.reversed()).with_extremes(bad="none")
        image = ax.imshow(np.ma.masked_invalid(shown), cmap=colours, norm=norm, interpolation="nearest")
        name_classes(ax, names[:-1], names[1:])
        hatch_unknown(ax, np.tril(np.isnan(grid), -1)[1:, :-1])
        closest = closest_pairs(grid if overlap else -grid, pairs)
        for i, j in closest:
            frame = Rectangle((j - 0.5, i - 1.5), 1, 1, fill=False, edgecolor=_style.COLOURS[1], linewidth=1.2)
            ax.add_patch(frame)
        if bars is not None:
            _bars(bars, grid, closest_pairs(grid if overlap else -grid, MOST_PAIRS), names, label)
        elif not many:
            lines = [f"{_pair(names, i, j)}: {short(grid[i, j])}" for i, j in closest]
            below = "\n".join(["Closest pairs" if lines else "No pair has a value", *lines])
            if own:
                _style.figure_of(ax).supxlabel(below, x=0.03, ha="left")
            else:
                ax.set_xlabel(f"class\n\n{below}", loc="left")
        _style.title(ax, *title)
        if len(finite):
            axis = colour_bar(ax, image, label).ax.yaxis
            axis.set_major_locator(_style.Decades())
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(lambda value, place: short(value)))
    return ax


def _with_bars(width: float) -> tuple[Axes, Axes]:
    """Axes of the grid and of the bars beside it, or below in a column."""
    wide = width > _style.COLUMN + 1
    figure = _style.plate(width, 0.5 * width if wide else 1.5 * width)
    ratios: dict[str, Any] = {"width_ratios": (3, 2)} if wide else {"height_ratios": (3, 2)}
    grid, bars = figure.subplots(1 if wide else 2, 2 if wide else 1, gridspec_kw=ratios).tolist()
    return grid, bars


def _bars(ax: Axes, grid: np.ndarray, closest: Sequence[tuple[int, int]], names: Sequence[str], label: str) -> None:
    """The closest pairs as bars, the closest above; infinite ones reach the edge."""
    values = np.array([grid[i, j] for i, j in closest], float)
    finite = values[np.isfinite(values)]
    end = 1.05 * (finite.max() if len(finite) else 1.0)
    ax.barh(range(len(values)), np.where(np.isfinite(values), values, end), color=_style.COLOURS[0])
    ax.set_yticks(range(len(values)), [_pair(names, i, j) for i, j in closest])
    ax.set_ylim(len(values) - 0.4, -0.6)
    ax.set_xlim(0, end)
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.set_xlabel(label)
    ax.set_title("Closest pairs")


def _pair(names: Sequence[str], i: int, j: int) -> str:
    a, b = (_style.literal(_style.shortened(str(names[k]), LETTERS)) for k in sorted((i, j)))
    return f"{a} and {b}"


def by_similarity(cosines: np.ndarray) -> np.ndarray:
    """An order of the classes in which similar ones are neighbours: the leaves of average linkage on 1 - cosine."""
    from scipy.cluster.hierarchy import leaves_list, linkage

    far = 1 - np.nan_to_num(cosines, nan=-1.0)
    return leaves_list(linkage(far[np.triu_indices(len(far), 1)], "average", optimal_ordering=True))


def class_names(report: Report, c: int, run: str | None, split: str | None) -> Sequence[str]:
    found = report.classes(run, split)
    return found if len(found) == c else [str(i) for i in range(c)]


def name_classes(ax: Axes, columns: Sequence[str], rows: Sequence[str] | None = None) -> None:
    """Label both axes with classes where they are few enough to be named, else with how many they are."""
    rows = columns if rows is None else rows
    ax.tick_params(length=0)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    ax.set_xlabel("class")
    ax.set_ylabel("class")
    if max(len(columns), len(rows)) > MOST_NAMES:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_xlabel(f"{len(columns)} classes")
        ax.set_ylabel(f"{len(rows)} classes")
        return
    across, down = ([_style.literal(_style.shortened(str(name), NAME)) for name in names] for names in (columns, rows))
    ax.set_xticks(range(len(across)), across, rotation=90 if max(map(len, across)) > 2 else 0)
    ax.set_yticks(range(len(down)), down)


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
