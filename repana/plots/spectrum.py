"""Spectra: the eigenvalues of layers with their power law, and the singular values of class means."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from repana import _check
from repana._results import Report, penultimate
from repana.plots import _layers, _style

MOST_CURVES = 10
MOST_MARKED = 20  # values of a curve, above which it has no markers
LETTERS = 20


def spectrum(
    report: Report,
    *layers: str,
    ax: Axes | None = None,
    run: str | None = None,
    split: str | None = None,
    width: float = _style.COLUMN,
) -> Axes:
    """Draw the eigenvalues of layers' covariances as shares of their variance, by rank, both axes logarithmic.

    One curve a layer, dark for the first, by default up to ten over the depth; dashed, the power law that was fitted,
    over the ranks of its fit, with its exponent in the legend. Returns the Axes, whose solid lines are the spectra.
    """
    chosen = layers or spread(report, "spectrum.eigenvalues", run, split)
    with _style.drawing():
        ax, own = _style.one(ax, width, 0.64 * width if width <= _style.COLUMN else 2.4), ax is None
        names = _layers.short_names(chosen, LETTERS)
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
            if fitted:
                ends = np.array([first, last])
                ax.plot(ends, np.exp(intercept) * ends**-alpha / total, ":", color=colour, linewidth=_style.thin())
        ax.plot([], [], ":", color=_style.GREY, label="power law fitted")
        ax.set_xscale("log")
        ax.set_yscale("log")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(LogLocator(numticks=6))
            axis.set_major_formatter(FuncFormatter(_style.decade))
            axis.set_minor_formatter(NullFormatter())
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
        ax, own = _style.one(ax, width, 0.64 * width if width <= _style.COLUMN else 2.4), ax is None
        names = _layers.short_names(chosen, LETTERS)
        longest = 1
        for i, layer in enumerate(chosen):
            values = report.array("neural_collapse.mean_spectrum", layer, run=run, split=split)
            if not len(values):
                raise _check.no_array("mean_spectrum", layer, run or report.runs[0], split or "", [], report.layers)
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
        ax.yaxis.set_major_formatter(FuncFormatter(_style.decade))
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("singular value, by rank")
        ax.set_ylabel("size over the largest")
        ax.set_title(f"centred class means{_style.which(report, run, split)}")
        ax.set_xlim(0.7, longest + 0.3)
        below(ax, own, width)
    return ax


def below(ax: Axes, own: bool, width: float) -> None:
    """The legend, below the axes where the figure is ours, which grows by its rows."""
    handles, labels = ax.get_legend_handles_labels()
    if own:
        columns = max(1, min(len(labels), int(width / (max(map(len, labels)) * 0.055 + 0.4))))
        figure, rows = _style.figure_of(ax), -(-len(labels) // columns)
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
        figure.set_figheight(figure.get_figheight() + rows * 1.45 * mpl.rcParams["legend.fontsize"] / 72)
    else:
        ax.legend(frameon=False, ncols=1 + (len(labels) > 5))


def spread(report: Report, name: str, run: str | None, split: str | None) -> Sequence[str]:
    """Up to ten layers of the run that have the array, evenly over the depth, the classifier's input among them."""
    start = f"{run or report.runs[0]}/" if "runs" in report.provenance else ""
    start += split or report.splits[0]
    all_layers = [layer for layer in report.layers if len(report.arrays.get(f"{start}/{layer}/{name}", ()))]
    if not all_layers:
        return report.layers[-1:]
    at = np.unique(np.linspace(0, len(all_layers) - 1, min(MOST_CURVES, len(all_layers))).round().astype(int))
    last = penultimate(report, run)
    if last in all_layers and all_layers.index(last) not in at:
        at[np.abs(at - all_layers.index(last)).argmin()] = all_layers.index(last)
    return tuple(all_layers[i] for i in at)
