"""The depth profile: one small panel per quantity, layers from input to logits."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, PercentFormatter

from repana import _report_refusals
from repana._finding import ALPHA, split_name
from repana._quantity import Quantity
from repana._results import Report, Row
from repana.plots import _layers, _style
from repana.plots._curves import MOST_MARKERS
from repana.statistics.permutation import adjusted

NULL = "shuffled labels"
FLOOR = "exact simplex"
UNCLEAR = "not significant"
OVERVIEW = (
    "probing.linear_probe", "neural_collapse.nc1", "neural_collapse.etf_error", "dimension.two_nn",
    "spectrum.participation_ratio", "separability.silhouette",
)  # fmt: skip
UNLABELLED = (
    "dimension.two_nn", "spectrum.participation_ratio", "topology.h0_entropy", "spectrum.effective_rank",
    "spectrum.alpha",
)  # fmt: skip
WIDTH, PANEL = 5.5, 1.35  # inches of the default figure, and of a row of it
DECADES = 1.3  # a positive quantity that spans more is drawn on a log axis


def depth_profile(
    report: Report,
    *quantities: str,
    ax: Axes | Sequence[Axes] | None = None,
    runs: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    width: float | None = None,
) -> list[Axes]:
    """Draw quantities over depth, one panel per quantity; without names, six that tell most (`overview`).

    A line and an interval band for every run and split; in grey the shuffled-label null of the first curve (label
    permutation or closed form), with the range that holds 95% of permuted values. Dashed, for distances from a simplex
    frame, what an exact one gives on as many samples. Shares are in percent, dimensions start at 0. A hollow mark is a
    value that is not significant (p after Holm over the layers at least 0.05). Positive quantities that span more than
    1.3 decades have a log axis. Infinite values are marked on the edge; a panel without a single finite value says so,
    and why. Thin vertical lines part the blocks of the network.

    `ax`: one Axes per quantity, to draw into a figure of your own. Returns the Axes.
    """
    names = quantities or overview(report)
    width = width or (_style.PAGE if quantities else WIDTH)
    rows = {name: _curves(report, name, runs, splits) for name in names}
    for name, curves in rows.items():
        if not any(r.layer for found in curves.values() for r in found):
            raise _report_refusals.no_depth(name)
    with _style.drawing() as scale:
        own = _style.grid(len(names), width, PANEL if not quantities else 1.7) if ax is None else []
        axes = own or ([ax] if isinstance(ax, Axes) else list(ax or []))
        if len(axes) != len(names):
            raise ValueError(f"{len(names)} quantities and {len(axes)} axes; give one Axes per quantity")
        for panel, name in zip(axes, names):
            _panel(panel, report.named(name), rows[name], report.layers)
        if own:
            _share_names(own)
        _legend(axes)
        if ax is None:
            _style.figure_of(axes).supxlabel("Layer", fontsize=8 * scale)
    return axes


def overview(report: Report) -> tuple[str, ...]:
    """The quantities of the default figure: at most six, those that need no labels where there are none."""
    here = {f"{r.analyzer}.{r.quantity}" for r in report.rows if r.layer}
    for chosen in (OVERVIEW, UNLABELLED):
        found = tuple(name for name in chosen if name in here)
        if len(found) > 2:
            return found
    return report.headline[:6]


def _share_names(axes: Sequence[Axes]) -> None:
    """Names of layers under the lowest panel of each column alone, and a bold letter before every title."""
    lowest: dict[int, Axes] = {}
    for ax in axes:
        spec = ax.get_subplotspec()
        assert spec is not None
        lowest[spec.colspan.start] = ax
    for letter, ax in zip("abcdefghijklmnopqrstuvwxyz", axes):
        if ax not in lowest.values():
            ax.tick_params(labelbottom=False)
        if len(axes) > 1:
            ax.set_title(ax.get_title("left"), loc="center", pad=4)
            ax.set_title(letter, loc="left", pad=4, fontweight="bold")


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
        shown = split_name(split)
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
        if i == 0:
            _null(ax, x, rows)
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


def _null(ax: Axes, x: np.ndarray, rows: Sequence[Row]) -> None:
    """What the quantity would be without any relation between features and labels."""
    null, low, high = (np.array([getattr(r, f) for r in rows]) for f in ("null", "null_low", "null_high"))
    if _reference(ax, x, null, _style.GREY, NULL, "-", _style.thin()):
        ax.fill_between(x, low, high, color=_style.GREY, alpha=0.15, linewidth=0, zorder=0)


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
    ax.set_ylabel("" if line.unit in ("", "share") else line.unit, labelpad=4)
    ax.set_xlim(-0.4, len(layers) - 0.6)
    if log:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(numticks=6))
        _style.decades(ax.yaxis)
    else:
        ax.yaxis.set_major_locator(MaxNLocator(5))
        if line.unit == "share":
            ax.set_ylim(-0.03, 1.03)
            ax.yaxis.set_major_formatter(PercentFormatter(1.0, 0))
        elif line.unit == "dimensions":
            ax.set_ylim(bottom=0)
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
        room = figure.get_figwidth() * 72 / mpl.rcParams["legend.fontsize"]  # in font sizes
        lengths = [0.6 * len(label) + 5 for label in order]
        across = len(order) if sum(lengths) <= room else max(1, int(room / max(lengths)))
        figure.legend([handles[k] for k in order], order, loc="outside upper center", ncols=across, frameon=False)
    else:
        axes[0].legend([handles[k] for k in order], order, frameon=False)
