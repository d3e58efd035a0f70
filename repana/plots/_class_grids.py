"""Class by class: the cosines of class means, and the class-distance normalised variance with its closest pairs."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from repana import _check
from repana._numbers import short
from repana._results import Report, closest_pairs, penultimate
from repana.plots import _style
from repana.separation._class_divergences import MATRICES, ClassDivergences

MOST_NAMES = 14  # classes that are named on the axes
PAIRS = 3
LETTERS = 18  # of a name in a title or among the closest pairs


def class_gram(
    report: Report,
    layer: str | None = None,
    *,
    ax: Axes | None = None,
    run: str | None = None,
    split: str | None = None,
    width: float = _style.COLUMN,
) -> Axes:
    """Draw the cosines between centred class means of a layer; without a name, of the classifier's input.

    A simplex equiangular tight frame has -1/(c - 1) in every place off the diagonal; the title says so.
    Returns the Axes, with the (c, c) cosines in its image.
    """
    layer = layer or penultimate(report, run)
    gram = report.array("neural_collapse.class_cosines", layer, run=run, split=split)
    names = _names(report, len(gram), run, split)
    with _style.drawing():
        ax = _style.one(ax, width, 0.92 * width)
        image = ax.imshow(gram, cmap=_style.SIGNED, vmin=-1, vmax=1, interpolation="nearest")
        name_classes(ax, names)
        _hatch(ax, np.isnan(gram))
        at = _style.literal(_style.shortened(layer, LETTERS)) + _style.which(report, run, split)
        ax.set_title(f"class means at {at}\nsimplex: {short(-1 / (len(gram) - 1))} off the diagonal")
        colour_bar(ax, image, "cosine")
    return ax


def cdnv_grid(
    report: Report,
    layer: str | None = None,
    *,
    ax: Axes | None = None,
    run: str | None = None,
    split: str | None = None,
    pairs: int = PAIRS,
    width: float = _style.COLUMN,
) -> Axes:
    """Draw the class-distance normalised variance of every pair of classes, the closest pairs framed and named.

    Darker pairs overlap more. Pairs whose means coincide (infinite) are framed too; hatched ones are not known.
    Returns the Axes, with the lower triangle of the (c, c) grid in its image.
    """
    layer = layer or penultimate(report, run)
    grid = report.array("neural_collapse.cdnv_grid", layer, run=run, split=split)
    at = _style.literal(_style.shortened(layer, LETTERS)) + _style.which(report, run, split)
    return _pairs(grid, _names(report, len(grid), run, split), f"CDNV at {at}", "CDNV", ax, pairs, width, overlap=True)


def class_distances(
    found: ClassDivergences,
    kind: str = "bhattacharyya",
    *,
    names: Sequence[str] = (),
    ax: Axes | None = None,
    pairs: int = PAIRS,
    width: float = _style.COLUMN,
) -> Axes:
    """Draw a divergence between every pair of classes, the closest pairs framed and named.

    `kind`: a matrix of `class_divergences`; of "kl" the smaller of both directions. `names` of the classes, by default
    their labels. Darker pairs are closer; the title has the divergence that two halves of one class have, which is
    noise. Returns the Axes, with the lower triangle of the (c, c) grid in its image.
    """
    _check.choice(kind, "kind", MATRICES)
    grid = getattr(found, kind).numpy().astype(float)
    grid = np.minimum(grid, grid.T)
    called = [str(name) for name in names or found.classes]
    if len(called) != len(grid):
        raise _check.lengths_differ([len(called), len(grid)])
    noise = f"\nhalves of one class: {short(found.noise.value)}" if kind == "bhattacharyya" else ""
    title = f"{kind.replace('_', ' ').capitalize() if kind != 'kl' else 'KL'} between classes{noise}"
    return _pairs(grid, called, title, kind.replace("_", " "), ax, pairs, width, overlap=False)


def _pairs(
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
        ax = _style.one(ax, width, 0.92 * width + 0.15 * (pairs + 1))
        norm = LogNorm(finite.min(), max(finite.max(), finite.min() * 1.01)) if len(finite) else None
        shown = np.where(np.isinf(lower), finite.max() if len(finite) else 1.0, lower)
        colours = mpl.colormaps[_style.SEQUENTIAL]
        colours = (colours if overlap else colours.reversed()).with_extremes(bad="white")
        image = ax.imshow(np.ma.masked_invalid(shown), cmap=colours, norm=norm, interpolation="nearest")
        name_classes(ax, names)
        _hatch(ax, np.tril(np.isnan(grid), -1))
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


def _names(report: Report, c: int, run: str | None, split: str | None) -> Sequence[str]:
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


def _hatch(ax: Axes, unknown: np.ndarray) -> None:
    """Mark the cells whose value is not known."""
    for i, j in np.argwhere(unknown):
        _style.hatch(ax, j, i)


def colour_bar(ax: Axes, image: Any, label: str) -> Any:
    """The scale of an image, without a frame."""
    bar = _style.figure_of(ax).colorbar(image, ax=ax, shrink=0.8, pad=0.03)
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.set_label(label)
    return bar
