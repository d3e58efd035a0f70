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
    MOST_NAMES,
    PAIRS,
    by_similarity,
    class_names,
    colour_bar,
    grid_of_pairs,
    hatch_unknown,
    name_classes,
)
from repana.plots._curves import axes_of, below, layers_with_array
from repana.plots._panels import Panel
from repana.plots.spectra import MOST_MARKED

MOST_ORDERED, BINS = 200, 60  # classes of a grid of cosines; bars of the histogram of more


def class_gram(
    report: Report,
    layer: str | None = None,
    *,
    ax: Axes | None = None,
    run: str | None = None,
    split: str | None = None,
    width: _style.Width = _style.COLUMN,
) -> Axes:
    """Draw the cosines between centred class means of a layer; without a name, of the classifier's input.

    Colours are deviations from -1/(c - 1), the cosine of a simplex equiangular tight frame, up to the largest; the
    diagonal is blank. From 21 classes on they are ordered by similarity (average linkage) and not named; above 200 the
    cosines are a histogram in which a line marks the simplex. Returns the Axes, with the deviations in its image.
    """
    layer = layer or penultimate(report, run)
    gram = report.array("neural_collapse.class_cosines", layer, run=run, split=split)
    names = class_names(report, len(gram), run, split)
    width, simplex = _style.in_inches(width), -1 / max(1, len(gram) - 1)
    with _style.drawing():
        ax = _style.axes_or_new(ax, width, (0.92 if len(gram) <= MOST_ORDERED else 0.7) * width)
        if len(gram) > MOST_ORDERED:
            _cosines(ax, gram, simplex)
        else:
            deviation = np.ma.masked_invalid(np.where(np.eye(len(gram), dtype=bool), np.nan, gram - simplex))
            order = by_similarity(gram) if len(gram) > MOST_NAMES else np.arange(len(gram))
            deviation = deviation[np.ix_(order, order)]
            most = float(np.abs(deviation).max()) if deviation.count() else 1.0
            image = ax.imshow(deviation, cmap=_style.SIGNED, vmin=-most, vmax=most, interpolation="nearest")
            name_classes(ax, names)
            hatch_unknown(ax, np.isnan(gram[np.ix_(order, order)]))
            sign = "+" if simplex < 0 else "\u2212"
            colour_bar(ax, image, f"cosine {sign} {short(abs(simplex))} (0: simplex)")
        _style.title(ax, "Cosines of class means", _style.at(report, layer, run, split))
    return ax


def _cosines(ax: Axes, gram: np.ndarray, simplex: float) -> None:
    """The cosines of all pairs as a histogram, where their grid would have cells too small to see."""
    pairs = gram[np.tril_indices(len(gram), -1)]
    ax.hist(pairs[np.isfinite(pairs)], BINS, color=_style.COLOURS[0])
    ax.axvline(simplex, color=_style.COLOURS[1], linestyle="--")
    ax.annotate(f"simplex: {short(simplex)}", (simplex, 1), (3, -2), xycoords=("data", "axes fraction"),
                textcoords="offset points", va="top", color=_style.COLOURS[1])  # fmt: skip
    ax.set_xlabel(f"cosine between means of {len(gram)} classes")
    ax.set_ylabel("pairs of classes")


def cdnv_grid(
    report: Report,
    layer: str | None = None,
    *,
    ax: Axes | None = None,
    run: str | None = None,
    split: str | None = None,
    pairs: int = PAIRS,
    width: _style.Width = _style.COLUMN,
) -> Axes:
    """Draw the class-distance normalised variance of every pair of classes, the closest pairs framed and named.

    Darker pairs overlap more. Pairs whose means coincide (infinite) are framed too; hatched ones are not known. From
    21 classes on the ten closest pairs are bars beside the grid. Returns the Axes, with the lower triangle of the grid,
    less its empty first row and last column, in its image. Raises InputError for two classes, which are one number.
    """
    layer = layer or penultimate(report, run)
    grid = report.array("neural_collapse.cdnv_grid", layer, run=run, split=split)
    names, which = class_names(report, len(grid), run, split), _style.at(report, layer, run, split)
    return grid_of_pairs(grid, names, ("CDNV of class pairs", which), "CDNV", ax, pairs, width, overlap=True)


def mean_spectrum(
    report: Report,
    *layers: str,
    ax: Axes | None = None,
    run: str | None = None,
    split: str | None = None,
    width: _style.Width = _style.COLUMN,
) -> Axes:
    """Draw the singular values of centred class means over their largest; one curve a layer, by default all up to ten.

    A simplex frame has c - 1 equal ones (the dashed line), means in a plane have two.
    Returns the Axes, with one line a layer.
    """
    chosen = layers or layers_with_array(report, "neural_collapse.mean_spectrum", run, split)
    width = _style.in_inches(width)
    with _style.drawing():
        ax, own = axes_of(ax, width)
        names = _layers.short_names(_layers.typed(chosen, _layers.kinds_of(report, run)), LETTERS)
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
        _style.title(ax, "Singular values of class means", _style.which(report, run, split))
        ax.set_xlim(0.7, longest + 0.3)
        below(ax, own, width)
    return ax


PANELS = (
    Panel(
        "Class means",
        class_gram,
        "Cosines between centred class means at the penultimate layer ({run}, {split}), as deviations from a simplex.",
        analyzer="neural_collapse",
        one_layer=True,
    ),
)
PAIRS_PANELS = (
    Panel(
        "Overlap of classes",
        cdnv_grid,
        "How much each pair of classes overlaps at the penultimate layer ({run}, {split}): the darker, the more. The "
        "closest pairs are framed.",
        analyzer="neural_collapse",
        one_layer=True,
    ),
)
