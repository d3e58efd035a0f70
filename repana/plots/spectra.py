"""Spectra: the eigenvalues of layers with their power law, and the singular values of class means."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator

from repana import _report_refusals
from repana._results import Report
from repana.plots import _layers, _style
from repana.plots._curves import LETTERS, below, opened, spread

MOST_FITS = 4  # layers whose power laws are drawn, unless it is asked for
MOST_MARKED = 20  # values of a curve, above which it has no markers


def spectrum(
    report: Report,
    *layers: str,
    ax: Axes | None = None,
    run: str | None = None,
    split: str | None = None,
    fits: bool | None = None,
    width: float = _style.COLUMN,
) -> Axes:
    """Draw the eigenvalues of layers' covariances as shares of their variance, by rank, both axes logarithmic.

    One curve a layer, dark for the first, by default up to ten over the depth, with the exponent of its power law in
    the legend. With `fits` (by default for up to four layers) dotted lines show the power laws over the ranks of their
    fit. Returns the Axes, with one line a layer before those.
    """
    chosen = layers or spread(report, "spectrum.eigenvalues", run, split)
    with _style.drawing():
        ax, own = opened(ax, width)
        names = _layers.short_names(chosen, LETTERS)
        fits = len(chosen) <= MOST_FITS if fits is None else fits
        for i, layer in enumerate(chosen):
            values = report.array("spectrum.eigenvalues", layer, run=run, split=split)
            first, last, alpha, intercept = report.array("spectrum.power_law", layer, run=run, split=split)
            total, kept = values.sum(), values[values > 0]
            if not total > 0:
                continue
            label, colour = _style.legend_name(names[i]), _style.depth_colour(i, len(chosen))
            fitted = np.isfinite(alpha)
            label += f", \u03b1 = {alpha:.2f}" if fitted else ""
            style = _style.LINES[i % len(_style.LINES)]
            rank = np.arange(1, len(kept) + 1)
            ax.plot(rank, kept / total, color=colour, linestyle=style if len(chosen) > 1 else "-", label=label)
            if fitted and fits:
                ends = np.array([first, last])
                ax.plot(ends, np.exp(intercept) * ends**-alpha / total, ":", color=colour, linewidth=_style.thin())
        if fits:
            ax.plot([], [], ":", color=_style.GREY, label="power law fitted")
        ax.set_xscale("log")
        ax.set_yscale("log")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(LogLocator(numticks=6))
            _style.decades(axis)
        ax.set_xlabel("principal component, by rank")
        ax.set_ylabel("share of variance")
        ax.set_title(f"eigenvalues of the covariance{_style.which(report, run, split)}")
        below(ax, own, width)
    return ax


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
    chosen = layers or spread(report, "neural_collapse.mean_spectrum", run, split)
    with _style.drawing():
        ax, own = opened(ax, width)
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
