"""The depth profile: one small panel per quantity, layers from input to logits."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator

from repana import _report_refusals
from repana._finding import ALPHA
from repana._quantity import Quantity
from repana._results import Report, Row
from repana.plots import _layers, _style
from repana.plots._curves import MOST_MARKERS
from repana.statistics.permutation import adjusted

NULL = "shuffled labels"
FLOOR = "exact simplex, as many samples"
UNCLEAR = "not distinguishable from shuffled labels"
MOST_NULLS = 4  # curves; of more, only the first shows its value with shuffled labels
DECADES = 1.3  # a positive quantity that spans more is drawn on a log axis


def depth_profile(
    report: Report,
    *quantities: str,
    ax: Axes | Sequence[Axes] | None = None,
    runs: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    width: float = _style.PAGE,
) -> list[Axes]:
    """Draw quantities over depth, one panel each; without names, the headline quantities of the report.

    A line and an interval band for every run and split; dotted, in the same colour, the shuffled-label null
    (label permutation or closed form), with the range that holds 95% of permuted values; of the first curve alone
    where there are more than four. Dashed, for distances from a simplex frame, what an exact one gives on as many
    samples. A hollow mark is a value that is not distinguishable from shuffled labels (p after Holm over the layers at
    least 0.05). Positive quantities that span more than 1.3 decades have a log axis. Infinite values are marked on the
    edge; a panel without a single finite value says so, and why. Thin vertical lines part the blocks of the network.

    `ax`: one Axes per quantity, to draw into a figure of your own. Returns the Axes.
    """
    names = quantities or report.headline
    rows = {name: _curves(report, name, runs, splits) for name in names}
    for name, curves in rows.items():
        if not any(r.layer for found in curves.values() for r in found):
            raise _report_refusals.no_depth(name)
    with _style.drawing() as scale:
        own = _style.grid(len(names), width) if ax is None else []
        axes = own or ([ax] if isinstance(ax, Axes) else list(ax or []))
        if len(axes) != len(names):
            raise ValueError(f"{len(names)} quantities and {len(axes)} axes; give one Axes per quantity")
        for panel, name in zip(axes, names):
            _panel(panel, report.named(name), rows[name], report.layers)
        _legend(axes)
        if ax is None:
            _style.figure_of(axes).supxlabel("layer, input to output", fontsize=8 * scale)
    return axes


def _curves(
    report: Report, name: str, runs: Sequence[str] | None, splits: Sequence[str] | None
) -> dict[tuple[str, str], tuple[Row, ...]]:
    full = report.qualified(name)
    requested = [
        (run, split)
        for run in (runs or report.runs)
        for split in (splits or report.splits)
        if any(r.run == run and r.split == split and f"{r.analyzer}.{r.quantity}" == full for r in report.rows)
    ]
    return {(run, split): report.select(full, run=run, split=split) for run, split in requested}


def _panel(ax: Axes, line: Quantity, curves: dict[tuple[str, str], tuple[Row, ...]], layers: tuple[str, ...]) -> None:
    place = {layer: i for i, layer in enumerate(layers)}
    runs = list(dict.fromkeys(run for run, _ in curves))
    log = wants_log([r for rows in curves.values() for r in rows], line)
    for i, ((run, split), rows) in enumerate(curves.items()):
        x = np.array([place[r.layer] for r in rows], float)
        value, low, high = (np.array([getattr(r, f) for r in rows]) for f in ("value", "low", "high"))
        finite = np.isfinite(value) & ((value > 0) | (not log))
        shown = split.replace("_", " ")
        label = _style.legend_name(shown if len(runs) == 1 else f"{run}, {shown}")
        colour = _style.colour(i, len(curves))
        ax.plot(
            x,
            np.where(finite, value, np.nan),
            color=colour,
            marker=_style.MARKERS[i % len(_style.MARKERS)] if len(layers) <= MOST_MARKERS else None,
            linestyle=_style.LINES[i % len(_style.LINES)],
            label=label,
            zorder=3,
        )
        p = adjusted(rows)
        unclear = finite & np.array([p.get(r.layer, 0.0) >= ALPHA for r in rows])
        if unclear.any():
            ax.plot(
                x[unclear],
                value[unclear],
                linestyle="none",
                marker=_style.MARKERS[i % len(_style.MARKERS)],
                markerfacecolor="white",
                markeredgecolor=colour,
                zorder=3.5,
            )
            if UNCLEAR not in ax.get_legend_handles_labels()[1]:
                mark = _style.MARKERS[0]
                ax.plot([], [], linestyle="none", marker=mark, mfc="white", mec=_style.GREY, label=UNCLEAR)
        bounded = finite & np.isfinite(low) & np.isfinite(high)
        alone = _isolated(bounded)
        if alone.any():
            ax.vlines(x[alone], low[alone], high[alone], color=colour, linewidth=_style.thin(), zorder=2)
        if log and finite.any():
            low = np.maximum(low, value[finite].min() / 10)
        lower, upper = np.where(bounded, low, np.nan), np.where(bounded, high, np.nan)
        ax.fill_between(x, lower, upper, color=colour, alpha=0.18, linewidth=0, zorder=2)
        beyond = ~finite & ~np.isnan(value)
        if beyond.any():
            top = ax.get_xaxis_transform()
            mark = "^" if (value[beyond] > 0).all() else "v"
            edge = 1.0 if mark == "^" else 0.0
            ax.plot(x[beyond], np.full(beyond.sum(), edge), mark, color=colour, transform=top, clip_on=False, zorder=4)
        every = len(curves) <= MOST_NULLS
        if every or i == 0:
            _null(ax, x, rows, colour, NULL if every else f"{NULL} ({label})")
            _floor(ax, x, rows, colour)
    _decorate(ax, line, layers, log)
    everything = [r for rows in curves.values() for r in rows]
    if not any(math.isfinite(r.value) for r in everything):
        say_empty(ax, everything)


def say_empty(ax: Axes, rows: Sequence[Row], *, across: bool = False) -> None:
    """Write that no value is finite, and the first reason that is known, into a panel that would be empty.

    Its axis of values, which lies `across` or upright, has no ticks.
    """
    kinds = "infinite" if any(math.isinf(r.value) for r in rows) else "NaN"
    reason = next((r.note for r in rows if r.note), "")
    letters = max(12, int(_layers.inches(ax) / (_layers.LETTER * mpl.rcParams["font.size"] / 72)))
    text = "\n".join([*textwrap.wrap(f"every value is {kinds}", letters), *textwrap.wrap(reason, letters)[:3]])
    (ax.set_xticks if across else ax.set_yticks)([])
    ax.text(0.5, 0.5, _style.literal(text), transform=ax.transAxes, ha="center", va="center", color=_style.GREY)


def _isolated(known: np.ndarray) -> np.ndarray:
    """Which points have no neighbour to be joined to, so that no line or band shows them."""
    return known & ~np.r_[False, known[:-1]] & ~np.r_[known[1:], False]


def _null(ax: Axes, x: np.ndarray, rows: Sequence[Row], colour: Any, name: str) -> None:
    """What the quantity would be without any relation between features and labels."""
    null, low, high = (np.array([getattr(r, f) for r in rows]) for f in ("null", "null_low", "null_high"))
    if _reference(ax, x, null, colour, name, ":", mpl.rcParams["lines.linewidth"]):
        ax.fill_between(x, low, high, color=colour, alpha=0.1, linewidth=0, zorder=0)


def _floor(ax: Axes, x: np.ndarray, rows: Sequence[Row], colour: Any) -> None:
    """What a quantity that is 0 in truth gives on as many samples."""
    _reference(ax, x, np.array([r.floor for r in rows]), colour, FLOOR, (0, (5, 2)), _style.thin())


def _reference(
    ax: Axes, x: np.ndarray, values: np.ndarray, colour: Any, name: str, line: Any, legend_width: float
) -> bool:
    """A thin line through the finite values, which stands in the legend once; False where there is none."""
    known = np.isfinite(values)
    if not known.any():
        return False
    if name not in ax.get_legend_handles_labels()[1]:
        ax.plot([], [], linestyle=line, color=_style.GREY, linewidth=legend_width, label=name)
    ax.plot(x, np.where(known, values, np.nan), linestyle=line, color=colour, linewidth=_style.thin(), zorder=1)
    alone = _isolated(known)
    if alone.any():
        ax.plot(x[alone], values[alone], "_", color=colour, markersize=8, zorder=1)
    return True


def wants_log(rows: Sequence[Row], line: Quantity) -> bool:
    """Whether a quantity is positive, no share, and spans more than 1.3 decades."""
    values = [v for r in rows for v in (r.value, r.null, r.floor) if math.isfinite(v)]
    positive = [v for v in values if v > 0]
    bounded = all(v <= 1 for v in values) and line.unit == "share"
    if len(positive) < max(1, len(values)) or bounded:
        return False
    return math.log10(max(positive) / min(positive)) > DECADES


def _decorate(ax: Axes, line: Quantity, layers: tuple[str, ...], log: bool) -> None:
    ax.set_title(line.label, loc="left", pad=4)
    ax.set_ylabel(line.unit or "no unit", labelpad=4)
    ax.set_xlim(-0.4, len(layers) - 0.6)
    if log:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(numticks=6))
        _style.decades(ax.yaxis)
    else:
        ax.yaxis.set_major_locator(MaxNLocator(5))
        if line.unit == "share":
            ax.set_ylim(-0.03, 1.03)
    _layers.name_layers(ax, layers)
    _layers.mark_blocks(ax, layers)
    ax.grid(axis="y", color=_style.FAINT, linewidth=0.4, zorder=-1)
    ax.set_axisbelow(True)


def _legend(axes: Sequence[Axes]) -> None:
    """One legend for all panels, above them where the figure is ours."""
    handles: dict[str, Artist] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    figure = _style.figure_of(axes)
    if len(handles) < 2:
        return
    order = sorted(handles, key=lambda label: label.startswith((NULL, FLOOR, UNCLEAR)))
    if len(figure.axes) == len(axes):
        across = max(
            1, int(figure.get_figwidth() / mpl.rcParams["legend.fontsize"] * 72 / (max(map(len, order)) * 0.6 + 5))
        )
        figure.legend([handles[k] for k in order], order, loc="outside upper center", ncols=across, frameon=False)
    else:
        axes[0].legend([handles[k] for k in order], order, frameon=False)
