"""Intrinsic dimension by several estimators over depth, and over scales: a plateau is a dimension, a slope is none."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from repana import _report_refusals
from repana._results import Report
from repana.plots import _layers, _style
from repana.plots._curves import LETTERS, MOST_MARKERS, axes_of, finished, layered, layers_with_array
from repana.plots._panels import Panel

MOST_DECIMATED = 2  # layers with marks of decimation, unless it is asked for
ESTIMATORS = ("two_nn", "two_nn_calibrated", "mle", "gride_16")


def dimension_depth(
    report: Report,
    *quantities: str,
    ax: Axes | None = None,
    run: str | None = None,
    split: str | None = None,
    width: _style.Width = _style.COLUMN,
) -> Axes:
    """Draw several estimates of dimension over depth in one panel, each with its interval band.

    By default TwoNN, raw and calibrated, MLE and GRIDE (16, 32); any quantities in dimensions, such as
    "spectrum.participation_ratio_unbiased". Estimators that part say that the dimension depends on the scale, or that
    there are few samples for it. Returns the Axes, with one line a quantity.
    """
    chosen = quantities or tuple(f"dimension.{name}" for name in ESTIMATORS)
    place = {layer: i for i, layer in enumerate(report.layers)}
    width = _style.in_inches(width)
    with _style.drawing():
        ax, own = axes_of(ax, width)
        for i, name in enumerate(chosen):
            rows = report.select(name, run=run or report.runs[0], split=split or report.splits[0])
            known = report.quantity(rows[0].analyzer, rows[0].quantity)
            if known.unit != "dimensions":
                raise _report_refusals.not_dimensions(name, known.unit)
            x = np.array([place[r.layer] for r in rows], float)
            value, low, high = (np.array([getattr(r, f) for r in rows], float) for f in ("value", "low", "high"))
            colour = _style.colour(i, len(chosen))
            marker, line = _style.MARKERS[i % len(_style.MARKERS)], _style.LINES[i % len(_style.LINES)]
            marker = marker if len(place) <= MOST_MARKERS else None
            ax.plot(x, value, color=colour, marker=marker, linestyle=line, label=known.label, zorder=3)
            bounded = np.isfinite(low) & np.isfinite(high)
            lower, upper = (np.where(bounded, end, np.nan) for end in (low, high))
            ax.fill_between(x, lower, upper, color=colour, alpha=0.15, linewidth=0)
        ax.set_ylim(bottom=0)
        ax.set_ylabel("dimensions")
        _style.title(ax, "Intrinsic dimension", _style.which(report, run, split))
        layered(ax, report.layers, _layers.kinds_of(report, run))
        finished(ax, own, width)
    return ax


def _decimated(ax: Axes, curve: np.ndarray, colour: Any, marker: str) -> set[float]:
    """Open marks for parts of the samples, at the neighbour of all whose scale they have; and the ticks they need."""
    if not len(curve):
        return set()
    samples, _, value, low, high = curve.T
    at = 2 * 2 ** np.round(np.log2(samples[0] / samples))
    ax.errorbar(
        at,
        value,
        yerr=[value - low, high - value],
        color=colour,
        marker=marker,
        fillstyle="none",
        linestyle="none",
        linewidth=_style.thin(),
        zorder=2,
    )
    return set(at.tolist())


def dimension_scale(
    report: Report,
    *layers: str,
    ax: Axes | None = None,
    run: str | None = None,
    split: str | None = None,
    decimation: bool | None = None,
    width: _style.Width = _style.COLUMN,
) -> Axes:
    """Draw the GRIDE estimate over the neighbour that sets its scale, one curve a layer with its interval band.

    By default up to ten layers over the depth, dark for the first. Where a curve is flat the layer has that dimension
    over those scales; where it falls, the finer scale is noise or the sample is small. With `decimation` (by default
    for up to two layers) open marks show TwoNN of 1/m of the samples, whose second neighbour is on the scale of the
    2m-th of all. Returns the Axes.
    """
    chosen = layers or layers_with_array(report, "dimension.scale", run, split)
    width = _style.in_inches(width)
    with _style.drawing():
        ax, own = axes_of(ax, width)
        names = _layers.short_names(_layers.typed(chosen, _layers.kinds_of(report, run)), LETTERS)
        ticks: set[float] = set()
        for i, layer in enumerate(chosen):
            n1, _, value, low, high = report.array("dimension.scale", layer, run=run, split=split).T
            colour = _style.depth_colour(i, len(chosen))
            marker, line = _style.MARKERS[i % len(_style.MARKERS)], _style.LINES[i % len(_style.LINES)]
            label = _style.legend_name(names[i])
            ax.plot(2 * n1, value, color=colour, marker=marker, linestyle=line, label=label, zorder=3)
            known = np.isfinite(low)
            ax.fill_between(2 * n1[known], low[known], high[known], color=colour, alpha=0.15, linewidth=0)
            ticks |= set((2 * n1).tolist())
            if len(chosen) <= MOST_DECIMATED if decimation is None else decimation:
                ticks |= _decimated(
                    ax, report.array("dimension.decimation", layer, run=run, split=split), colour, marker
                )
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(FixedLocator(sorted(ticks)))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, place: f"{v:g}"))
        ax.set_ylim(bottom=0)
        ax.set_xlabel("scale (neighbour)")
        ax.set_ylabel("dimensions")
        both = any(line.get_fillstyle() == "none" for line in ax.lines)
        if both:
            ax.plot([], [], "o", color=_style.GREY, fillstyle="none", label="part of the samples")
        _style.title(ax, "Dimension by scale (GRIDE)", _style.which(report, run, split))
        finished(ax, own, width)
    return ax


PANELS = (
    Panel(
        "Estimators of dimension",
        dimension_depth,
        "Intrinsic dimension by estimators of different scale ({run}, {split}). Where they diverge, no single number "
        "describes the layer. The calibrated estimate is corrected for the size of the sample.",
        analyzer="dimension",
    ),
    Panel(
        "Dimension over scales",
        dimension_scale,
        "Intrinsic dimension over the neighbour that sets the scale ({run}, {split}). Where the curve is flat, the "
        "layer has that dimension; where it slopes, report the scale with the number.",
        analyzer="dimension",
    ),
)
