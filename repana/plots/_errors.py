"""Accuracies near 100% as errors on a logarithmic axis, where they are told apart."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from repana._quantity import Quantity
from repana._results import Row
from repana.plots import _style

ERRORLESS = "no errors"
ACCURACY = re.compile("accuracy|probe", re.IGNORECASE)
GOOD = 0.8  # accuracies that all exceed this are drawn as errors


def as_errors(rows: Sequence[Row], line: Quantity) -> bool:
    """Whether a quantity is an accuracy that exceeds 80% everywhere, so that only errors tell layers apart."""
    values = [r.value for r in rows if math.isfinite(r.value)]
    return bool(values) and min(values) > GOOD and line.unit == "share" and ACCURACY.search(line.label) is not None


def error(r: Row) -> Row:
    """1 - a share of samples, with its interval and null; NaN where there are no errors."""
    return replace(
        r, value=1 - r.value if r.value < 1 else math.nan, low=1 - r.high, high=1 - r.low, null=1 - r.null,
        null_low=1 - r.null_high, null_high=1 - r.null_low, floor=math.nan,
    )  # fmt: skip


def mark_errorless(ax: Axes, x: np.ndarray, rows: Sequence[Row], colour: Any) -> None:
    """An open triangle at 1/(2n) for every layer without a single error."""
    none = np.array([r.value >= 1 for r in rows])
    if none.any():
        half = np.array([0.5 / max(r.n, 1) for r in rows])
        hollow(ax, x[none], half[none], "v", colour, ERRORLESS)


def error_axis(ax: Axes) -> None:
    """A logarithmic axis of errors in percent."""
    ax.set_yscale("log")
    _style.decades(ax.yaxis, widen=True)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}%"))


def error_name(label: str) -> str:
    """What 1 - an accuracy is called."""
    changed = label.replace("accuracy", "error").replace("Accuracy", "Error")
    return changed if changed != label else f"{label} error"


def hollow(ax: Axes, x: np.ndarray, y: np.ndarray, mark: Any, colour: Any, label: str, **options: Any) -> None:
    """Open marks, which stand in the legend once, in grey."""
    look = {"linestyle": "none", "marker": mark, "markerfacecolor": mpl.rcParams["axes.facecolor"]}
    ax.plot(x, y, markeredgecolor=colour, zorder=3.5, **look, **options)
    if label not in ax.get_legend_handles_labels()[1]:
        ax.plot([], [], markeredgecolor=_style.GREY, label=label, **look)
