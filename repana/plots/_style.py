"""The house style: widths of a paper's columns, colours told apart in grey and by the colour-blind, embedded fonts."""

import io
import sys
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLUMN, PAGE = 3.25, 6.75  # inches
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe & Ito
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES = ("-", "--", "-.", ":")
GREY = "#6e6e6e"
RC: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "repana",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica", "sans-serif"],
}


def style():
    """A context in which figures look like ours; outside it nothing changes."""
    return mpl.rc_context(RC)


def grid(panels: int, width: float = PAGE, height: float = 1.7) -> list[Axes]:
    """Empty small multiples, three in a row on a page's width."""
    columns = min(panels, 3 if width > COLUMN + 1 else 1)
    rows = -(-panels // columns)
    figure = Figure(figsize=(width, height * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for spare in axes[panels:]:
        spare.remove()
    return axes[:panels]


def figure_of(axes: Sequence[Axes]) -> Figure:
    """The whole figure that the axes stand in."""
    figure = axes[0].get_figure(root=True)
    assert isinstance(figure, Figure)
    return figure


def shortened(name: str, most: int) -> str:
    """A layer name of at most so many characters, cut in the middle."""
    if len(name) <= most:
        return name
    left = (most - 1) // 2
    return name[:left] + "\u2026" + name[len(name) - (most - 1 - left) :]


def in_notebook() -> None:
    """Let a notebook show figures that were made without pyplot, as pyplot's own figures are shown."""
    if "ipykernel" not in sys.modules:
        return
    shell: Any = sys.modules["IPython"].get_ipython()  # ipykernel has loaded it
    if shell is None:
        return
    formatter = shell.display_formatter.formatters["image/png"]
    try:
        formatter.lookup_by_type(Figure)
    except KeyError:
        formatter.for_type(Figure, _png)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
