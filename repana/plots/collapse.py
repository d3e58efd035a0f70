"""Figures of neural collapse: cosines of class means, CDNV of class pairs, singular values of the means."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from repana import _report_refusals
from repana._numbers import short
from repana._results import Report, penultimate
from repana.plots import _layers, _style
from repana.plots._class_grids import (
    LETTERS,
    PAIRS,
    class_names,
    colour_bar,
    grid_of_pairs,
    hatch_unknown,
    name_classes,
)
from repana.plots._curves import axes_of, below, layers_with_array
from repana.plots._panels import Panel
from repana.plots.spectra import MOST_MARKED


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
    names = class_names(report, len(gram), run, split)
    with _style.drawing():
        ax = _style.axes_or_new(ax, width, 0.92 * width)
        image = ax.imshow(gram, cmap=_style.SIGNED, vmin=-1, vmax=1, interpolation="nearest")
        name_classes(ax, names)
        hatch_unknown(ax, np.isnan(gram))
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
    return grid_of_pairs(
        grid, class_names(report, len(grid), run, split), f"CDNV at {at}", "CDNV", ax, pairs, width, overlap=True
    )


def mean_spectrum(
    report: Report,
    *layers: str,
    ax: Axes | None = None,
    run: str | None = None,
    split: str | None = None,
    width: float = _style.COLUMN,
) -> Axes:
    """Draw the singular values of centred class means over their largest; one curve a layer, by default all up to ten.

    A simplex frame has c - 1 equal ones (the dashed line), means in a plane have two.
    Returns the Axes, with one line a layer.
    """
    chosen = layers or layers_with_array(report, "neural_collapse.mean_spectrum", run, split)
    with _style.drawing():
        ax, own = axes_of(ax, width)
        names = _layers.short_names(chosen, LETTERS)
        longest = 1
        for i, layer in enumerate(chosen):
            values = report.array("neural_collapse.mean_spectrum", layer, run=run, split=split)
            if not len(values):
                raise _report_refusals.no_array(
                    "mean_spectrum", layer, run or report.runs[0], split or "", [], report.layers
                )
            longest = max(longest, len(values))
            ax.plot(
                np.arange(1, len(values) + 1),
                values / values[0],
                color=_style.depth_colour(i, len(chosen)),
                marker=_style.MARKERS[i % len(_style.MARKERS)] if len(values) <= MOST_MARKED else None,
                linestyle="-" if len(values) <= MOST_MARKED else _style.LINES[i % len(_style.LINES)],
                label=_style.legend_name(names[i]),
            )
        ax.axhline(1, color=_style.GREY, linestyle="--", linewidth=_style.thin(), zorder=0, label="simplex")
        ax.set_yscale("log")
        _style.decades(ax.yaxis)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("singular value, by rank")
        ax.set_ylabel("size over the largest")
        ax.set_title(f"centred class means{_style.which(report, run, split)}")
        ax.set_xlim(0.7, longest + 0.3)
        below(ax, own, width)
    return ax


PANELS = (
    Panel(
        "Class means",
        class_gram,
        "Cosines between centred class means of {run}, {split}, at the input of the classifier.",
        one_layer=True,
    ),
    Panel(
        "Class pairs",
        cdnv_grid,
        "How far each pair of classes of {run}, {split}, overlaps there; the closest pairs are framed.",
        one_layer=True,
    ),
)
