"""Spectra: the eigenvalues of layers with their power law, and the singular values of class means."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

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
    width: _style.Width = _style.COLUMN,
) -> Axes:
    """Draw the eigenvalues of layers' covariances as shares of their variance, by rank, both axes logarithmic.

    One curve a layer, dark for the first, by default up to ten over the depth. With `fits` (by default for up to four
    layers) dotted lines show the power laws over the ranks of their fit, which the legend names. A small panel has the
    exponents of the layers from input to output. Returns the Axes, with one line a layer before those.
    """
    chosen = layers or layers_with_array(report, "spectrum.eigenvalues", run, split)
    width = _style.in_inches(width)
    with _style.drawing():
        ax, own = axes_of(ax, width)
        names = _layers.short_names(_layers.typed(chosen, _layers.kinds_of(report, run)), LETTERS)
        laws: list[tuple[int, float, np.ndarray, np.ndarray]] = []
        fits = len(chosen) <= MOST_FITS if fits is None else fits
        for i, layer in enumerate(chosen):
            values = report.array("spectrum.eigenvalues", layer, run=run, split=split)
            first, last, alpha, intercept = report.array("spectrum.power_law", layer, run=run, split=split)
            total, kept = values.sum(), values[values > 0]
            if not total > 0:
                continue
            label, colour = _style.legend_name(names[i]), _style.depth_colour(i, len(chosen))
            style = _style.LINES[i % len(_style.LINES)]
            rank = np.arange(1, len(kept) + 1)
            ax.plot(rank, kept / total, color=colour, linestyle=style if len(chosen) > 1 else "-", label=label)
            if np.isfinite(alpha):
                ends = np.array([first, last])
                laws.append((i, float(alpha), ends, np.exp(intercept) * ends**-alpha / total))
        for i, _, ends, shares in laws if fits else ():
            ax.plot(ends, shares, ":", color=_style.depth_colour(i, len(chosen)), linewidth=_style.thin())
        if laws and fits:
            ax.plot([], [], ":", color=_style.GREY, label=_window([ends for _, _, ends, _ in laws]))
        ax.set_xscale("log")
        ax.set_yscale("log")
        for axis in (ax.xaxis, ax.yaxis):
            _style.decades(axis)
        ax.set_xlabel("principal component, by rank")
        ax.set_ylabel("share of variance")
        _style.title(ax, "Eigenvalues of the covariance", _style.which(report, run, split))
        if laws:
            _exponents(
                ax, [(i, alpha) for i, alpha, _, _ in laws], len(chosen), _ranks([ends for _, _, ends, _ in laws])
            )
        below(ax, own, width)
    return ax


def _window(ends: list[np.ndarray]) -> str:
    """What the dotted lines are, with the ranks that they were fitted over where these are the same."""
    ranks = _ranks(ends)
    return f"power law fitted over {ranks}" if ranks else "power law over the ranks of its fit"


def _ranks(ends: list[np.ndarray]) -> str:
    """The window that all fits share, or nothing."""
    windows = {(int(first), int(last)) for first, last in ends}
    return "ranks {} to {}".format(*windows.pop()) if len(windows) == 1 else ""


def _exponents(ax: Axes, alphas: list[tuple[int, float]], layers: int, ranks: str) -> None:
    """A small panel in the corner that falling curves leave free: the exponent of every layer, in its colour."""
    small = ax.inset_axes((0.14, 0.12, 0.3, 0.3))
    for i, alpha in alphas:
        small.plot([i], [alpha], "o", color=_style.depth_colour(i, layers), markersize=2.5)
        if len(alphas) <= MOST_FITS:
            small.annotate(f"{alpha:.2f}", (i, alpha), (0, 3), textcoords="offset points", ha="center", size="x-small")
    small.set_ylim(0, 1.4 * max(alpha for _, alpha in alphas))
    small.set_xlim(-0.6, layers - 0.4)
    small.set_xticks([])
    small.tick_params(labelsize="x-small")
    small.yaxis.set_major_locator(MaxNLocator(2))
    small.set_xlabel("layer", size="x-small", labelpad=1)
    small.set_title(f"exponent \u03b1{f', {ranks}' if ranks else ''}", size="x-small", pad=2)


PANELS = (
    Panel(
        "Spectrum",
        spectrum,
        "Share of variance in each principal component ({run}, {split}). The small panel has the exponents of power "
        "laws fitted to the curves.",
        analyzer="spectrum",
    ),
)
