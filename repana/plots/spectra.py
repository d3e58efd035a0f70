"""Spectra: the eigenvalues of layers with their power law, and the singular values of class means."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from repana._results import Report
from repana.plots import _layers, _style
from repana.plots._curves import LETTERS, axes_of, below, layers_with_array
from repana.plots._panels import Panel

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
    chosen = layers or layers_with_array(report, "spectrum.eigenvalues", run, split)
    with _style.drawing():
        ax, own = axes_of(ax, width)
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


PANELS = (
    Panel(
        "Spectrum",
        spectrum,
        "Share of the variance of {run}, {split}, in each principal component, by rank; dotted, the power "
        "law fitted over its window.",
    ),
)
