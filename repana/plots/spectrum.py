"""The singular values of class means by layer: flat where the means form a simplex."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from repana import _check
from repana._results import Report, penultimate
from repana.plots import _style

MOST_CURVES = 10


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
    chosen = layers or _spread(report, run, split)
    with _style.drawing():
        ax = _style.one(ax, width)
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
                marker=_style.MARKERS[i % len(_style.MARKERS)],
                label=_style.legend_name(_style.shortened(layer, 20)),
            )
        ax.axhline(1, color=_style.GREY, linestyle="--", linewidth=0.8, zorder=0, label="simplex")
        ax.set_yscale("log")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("singular value, by rank")
        ax.set_ylabel("size over the largest")
        ax.set_xlim(0.7, longest + 0.3)
        ax.legend(frameon=False, ncols=1 + (len(chosen) > 5))
    return ax


def _spread(report: Report, run: str | None, split: str | None) -> tuple[str, ...]:
    """Up to ten layers of the run that have a spectrum, evenly over the depth, the classifier's input among them."""
    start = f"{run or report.runs[0]}/" if "runs" in report.provenance else ""
    start += split or report.splits[0]
    all_layers = [
        layer for layer in report.layers if len(report.arrays.get(f"{start}/{layer}/neural_collapse.mean_spectrum", ()))
    ]
    if not all_layers:
        return report.layers[-1:]
    at = np.unique(np.linspace(0, len(all_layers) - 1, min(MOST_CURVES, len(all_layers))).round().astype(int))
    chosen = {all_layers[i] for i in at} | {penultimate(report, run)}
    return tuple(layer for layer in all_layers if layer in chosen)
