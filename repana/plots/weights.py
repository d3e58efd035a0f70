"""What is read from the weights of many models, tensor by tensor."""

import numpy as np
from matplotlib.axes import Axes

from repana.plots import _style
from repana.plots._curves import axes_of, finished, layered
from repana.probes import WeightProbe

LABELS = {"leave_one_out": "one model left out", "leave_tree_out": "a whole tree left out"}


def weight_probe_depth(found: WeightProbe, *, ax: Axes | None = None, width: _style.Width = _style.COLUMN) -> Axes:
    """Draw `repana.probes.weight_probe`: the score of every tensor, in the order of the network, with one model left
    out and with whole trees left out, each with its interval; dashed the share of the most frequent class.

    Returns the Axes.
    """
    width = _style.in_inches(width)
    names, parts = list(found.layers), list(found.layers.values())
    with _style.drawing():
        ax, own = axes_of(ax, width)
        x = np.arange(len(names))
        for i, (name, label) in enumerate(LABELS.items()):
            estimates = [getattr(p, name) for p in parts]
            values = np.array([e.value for e in estimates])
            if not np.isfinite(values).any():
                continue
            reach = np.array([[e.value - e.low, e.high - e.value] for e in estimates]).T
            ax.errorbar(
                x + 0.08 * (2 * i - 1), values, np.nan_to_num(reach).clip(0), color=_style.COLOURS[i],
                marker=_style.MARKERS[i], linestyle=_style.LINES[i], elinewidth=_style.thin(), label=label, zorder=3,
            )  # fmt: skip
        chance = parts[0].chance.value  # of labels, alike for every tensor
        label = "most frequent class" if found.score == "accuracy" else "mean of the others"
        ax.axhline(chance, linestyle="--", color=_style.GREY, linewidth=_style.thin(), label=label)
        layered(ax, names)
        ax.set_ylabel(found.score)
        ax.set_title("What weights say of their models")
        finished(ax, own, width)
    return ax
