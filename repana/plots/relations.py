"""Linear relations between layers, over the layer that they begin at."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from repana import _report_refusals
from repana._estimate import Estimate
from repana.plots import _style
from repana.plots._curves import layered
from repana.probes import Relation

CLASSES = {
    "accuracy": "directions of the relation",
    "mean_difference": "difference of means",
    "linear_probe": "linear probe",
}
EDITS = {"edit_causality": "through the inverse", "causality": "along the directions"}
MAPS = {"r2": "mean Jacobian", "r2_least_squares": "least squares"}


def relation_depth(
    found: Mapping[str, Relation], *, ax: Sequence[Axes] | None = None, width: _style.Width = _style.PAGE
) -> list[Axes]:
    """Draw `repana.probes.relation` of several earlier layers and one later one: the accuracy of directions beside
    those of the difference of means and of a linear probe; the share of answers that edits change, dashed for random
    directions; and R2 of the map beside that of least squares. Bars are intervals.

    `ax`: three Axes. Returns them.
    """
    if not found:
        raise _report_refusals.nothing_to_draw("relation")
    width = _style.in_inches(width)
    names, parts = list(found), list(found.values())
    with _style.drawing():
        own = list(ax) if ax is not None else _style.grid(3, width, 2.6)
        for axes, curves, title in zip(own, (CLASSES, EDITS, MAPS), ("Accuracy", "Edited answers", "R²")):
            for i, (quantity, label) in enumerate(curves.items()):
                _curve(axes, [getattr(p, quantity) for p in parts], i, len(curves), label, null=curves is EDITS)
            layered(axes, names)
            _style.title(axes, title)
            _style.guides(axes)
            axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.24))
        if np.isfinite([p.r2.value for p in parts]).all():
            own[2].set_ylim(max(-1.0, min(0.0, *(p.r2.value for p in parts)) - 0.05), 1.05)
    return own[:3]


def _curve(axes: Axes, values: Sequence[Estimate], i: int, count: int, label: str, *, null: bool) -> None:
    """One quantity over the layers."""
    x = np.arange(len(values)) + 0.06 * (i - (count - 1) / 2)
    y = np.array([e.value for e in values])
    reach = np.array([[e.value - e.low, e.high - e.value] for e in values]).T
    axes.errorbar(
        x, y, np.nan_to_num(reach).clip(0), color=_style.COLOURS[i], marker=_style.MARKERS[i],
        linestyle=_style.LINES[i], elinewidth=_style.thin(), label=label, zorder=3,
    )  # fmt: skip
    if null:
        text = "random directions" if i == 0 else None
        axes.plot(x, [e.null for e in values], ":", color=_style.COLOURS[i], linewidth=_style.thin(), label=text)
