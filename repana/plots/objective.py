"""How well training in random directions does, by their number."""

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from repana import _check
from repana.dimension._objective import ObjectiveDimension
from repana.plots import _style
from repana.plots._curves import axes_of, finished


def subspace_curve(
    *found: ObjectiveDimension,
    metric: str = "metric",
    names: tuple[str, ...] = (),
    ax: Axes | None = None,
    width: _style.Width = _style.COLUMN,
) -> Axes:
    """Draw the metric over the dimension of the random subspace, for one or several experiments.

    Mean over seeds with the range from the worst to the best, open where only some seeds were trained; dashed, the
    metric of full training; a cross where the target is reached, at the intrinsic dimension and its interval. `metric`
    names the axis, `names` the experiments, by default their projections. Returns the Axes, with one line an
    experiment. Raises InputError where there are not as many names as experiments.
    """
    if names and len(names) != len(found):
        raise _check.lengths_differ([len(names), len(found)])
    width = _style.in_inches(width)
    with _style.drawing():
        ax, own = axes_of(ax, width)
        for i, one in enumerate(found):
            curve, colour = one.curve(), _style.colour(i, len(found))
            label = names[i] if names else one.projection
            x, mean, least, most = (curve[c].to_numpy(float) for c in ("dimension", "metric", "least", "largest"))
            known = np.isfinite(mean)
            x, mean, least, most = x[known], mean[known], least[known], most[known]
            some = curve["seeds"].to_numpy()[known] < curve["seeds"].max()
            style = {
                "marker": _style.MARKERS[i % len(_style.MARKERS)],
                "linestyle": _style.LINES[i % len(_style.LINES)],
            }
            ax.plot(x, mean, color=colour, label=_style.legend_name(label), zorder=3, **style)
            inside = {"markersize": 0.6 * mpl.rcParams["lines.markersize"], "color": mpl.rcParams["axes.facecolor"]}
            ax.plot(x[some], mean[some], marker=style["marker"], linestyle="none", zorder=3.5, label="_some", **inside)
            ax.fill_between(x, least, most, color=colour, alpha=0.15, linewidth=0)
            ax.axhline(one.baseline.value, color=colour, linestyle="--", linewidth=_style.thin(), zorder=1)
            d = one.dimension
            if d.value > 0:
                ax.plot([d.value], [one.target], marker="x", markersize=7, color=colour, linestyle="none", zorder=5,
                        label=f"{label}: {_name(one)} = {d.value:.3g}")  # fmt: skip
                if d.high > d.low:
                    ax.plot([d.low, d.high], [one.target] * 2, color=colour, linewidth=3, alpha=0.5, zorder=4)
        ax.plot([], [], "--", color=_style.GREY, label="all parameters")
        ax.set_xscale("log")
        _style.decades(ax.xaxis)
        ax.set_xlabel("dimensions of the random subspace")
        ax.set_ylabel(metric)
        totals = {one.parameters for one in found}
        ax.set_title(f"Training in a random subspace{f' of {totals.pop():,} parameters' if len(totals) == 1 else ''}")
        finished(ax, own, width)
    return ax


def _name(one: ObjectiveDimension) -> str:
    return f"$d_{{int{100 * one.share:.0f}}}$"
