"""Intrinsic dimension against scale: a plateau is a dimension, a slope is none."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from repana._results import Report
from repana.plots import _layers, _style
from repana.plots._curves import LETTERS, below, opened, spread


def dimension_scale(
    report: Report,
    *layers: str,
    ax: Axes | None = None,
    run: str | None = None,
    split: str | None = None,
    width: float = _style.COLUMN,
) -> Axes:
    """Draw the GRIDE estimate over the neighbour that sets its scale, one curve a layer with its interval band.

    By default up to ten layers over the depth, dark for the first. Where a curve is flat the layer has that dimension
    over those scales; where it falls, the finer scale is noise or the sample is small. Returns the Axes.
    """
    chosen = layers or spread(report, "dimension.scale", run, split)
    with _style.drawing():
        ax, own = opened(ax, width)
        names = _layers.short_names(chosen, LETTERS)
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
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(FixedLocator(sorted(ticks)))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, place: f"{v:g}"))
        ax.set_ylim(bottom=0)
        ax.set_xlabel("scale (neighbour)")
        ax.set_ylabel("estimated dimension")
        ax.set_title(f"GRIDE{_style.which(report, run, split)}")
        ax.grid(axis="y", color=_style.FAINT, linewidth=0.4, zorder=-1)
        below(ax, own, width)
    return ax
