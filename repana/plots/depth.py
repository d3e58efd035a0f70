"""The depth profile: one small panel per quantity, layers from input to logits."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from repana import _report_refusals
from repana._estimate import Flag
from repana._finding import ALPHA, split_name, without_shared
from repana._quantity import Quantity
from repana._results import Report, Row, penultimate
from repana.plots import _layers, _style
from repana.plots._curves import MOST_MARKERS
from repana.plots._errors import ERRORLESS, as_errors, error, error_axis, error_name, hollow, mark_errorless
from repana.statistics.permutation import adjusted

NULL, PAIRED = "shuffled labels", "samples paired at random"
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
LEAST = 0.75  # inches of a row at least
CURVES = 8  # runs and splits that are told apart one by one; more are thin lines with their median
MEDIAN, SINGLE = "median of {} runs", "single runs"
INFINITE, PENULTIMATE = "infinite", "penultimate layer"
DECADES = 1.3  # a positive quantity that spans more is drawn on a log axis


def depth_profile(
    report: Report,
    *quantities: str,
    ax: Axes | Sequence[Axes] | None = None,
    runs: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    width: _style.Width | None = None,
    height: float | None = None,
) -> list[Axes]:
    """Draw quantities over depth, one panel per quantity; without names, six that tell most (`overview`).

    A line and an interval band for every run and split: of several runs, a colour a run and a line style a split; of
    more than eight curves, a thin line a run and the median of each split. In grey the shuffled-label null of the first
    curve (label permutation or closed form), with the range that holds 95% of permuted values. Dotted, for distances
    from a simplex frame, what an exact one gives on as many samples. Shares are in percent, dimensions start at 0.
    Accuracies that all exceed 80% are drawn as errors on a log axis, and a layer without errors as an open triangle at
    1/(2n). A hollow mark is a value that is not significant (p after Holm over the layers at least 0.05). Positive
    quantities that span more than 1.3 decades have a log axis. Infinite values are open marks on the edge, undefined
    ones are counted; a panel without a single finite value says why. Thin vertical lines part the blocks of a network.

    `ax`: one Axes per quantity, to draw into a figure of your own. `width`, `height`: inches on paper, by default 5.5
    (6.75 with names) and as much as rows, names and legend need, at most 170 mm. Returns the Axes.

    Raises InputError where so many rows do not fit into 170 mm and no `height` is given.
    """
    _style.check_report(report)
    names = quantities or overview(report)
    width = _style.in_inches(width or (_style.PAGE if quantities else WIDTH))
    rows = {name: _curves(report, name, runs, splits) for name in names}
    for name, curves in rows.items():
        if not any(r.layer for found in curves.values() for r in found):
            raise _report_refusals.no_depth(name)
        rows[name] = {
            key: tuple(r for r in found if r.layer) for key, found in curves.items()
        }  # none of the whole network
    looks = _looks(list(dict.fromkeys(key for curves in rows.values() for key in curves)), report)
    with _style.drawing() as scale:
        own = _grid(len(names), width, 1.7 if quantities else PANEL, height) if ax is None else []
        axes = own or ([ax] if isinstance(ax, Axes) else list(ax or []))
        if len(axes) != len(names):
            raise ValueError(f"{len(names)} quantities and {len(axes)} axes; give one Axes per quantity")
        what, kinds = "layer", _layers.kinds_of(report)
        for panel, name in zip(axes, names):
            what = _panel(
                panel, report.named(name), rows[name], report.layers, kinds, looks, _null_name(report, rows[name])
            )
        for panel in axes:
            _mark_penultimate(panel, report)
        _explain(axes[0], looks)
        if own:
            _share_names(own)
        lines = _legend(axes)
        if ax is None:
            figure = _style.figure_of(axes)
            figure.supxlabel(what if "." in what else what.capitalize(), fontsize=mpl.rcParams["axes.labelsize"])
            if height is None:
                grown = figure.get_figheight() + (lines - 1) * _layers.LINE * mpl.rcParams["legend.fontsize"] / 72
                figure.set_figheight(min(grown + _layers.band(axes[-1]) - 0.3 * scale, _style.TALLEST * scale))
    return axes


def overview(report: Report) -> tuple[str, ...]:
    """The quantities of the default figure: at most six, those that need no labels where there are none."""
    here = {f"{r.analyzer}.{r.quantity}" for r in report.rows if r.layer and Flag.TRIVIAL not in r.flags}
    for chosen in (OVERVIEW, UNLABELLED):
        found = tuple(name for name in chosen if name in here)
        if len(found) > 2:
            return found
    return report.headline[:6]


def _grid(panels: int, width: float, row: float, height: float | None) -> list[Axes]:
    """Axes of a new figure: one column up to three panels in a paper's column, where more stand in two."""
    columns = (1 if panels <= 3 else 2) if width <= _style.COLUMN + 1 else None
    down = -(-panels // (columns or (2 if panels == 4 else min(panels, 3))))
    if height is None:
        room = (_style.TALLEST - 0.5) / down
        if room < LEAST:
            raise _report_refusals.too_tall(panels, down, _style.TALLEST, 0.5 + down * row)
        row = min(row, room)
    else:
        row = (height - 0.5) / down
    return _style.grid(panels, width, row, columns)


@dataclass(frozen=True)
class Look:
    """How the curve of a run and split is drawn."""

    colour: Any
    marker: str | None
    line: Any
    label: str = ""  # in the legend, if it stands there by itself
    single: bool = True  # with its interval and marks; else a thin line among many


def _looks(keys: Sequence[tuple[str, str]], report: Report) -> dict[tuple[str, str], Look]:
    """The look of every curve, the same in all panels."""
    runs, splits = (list(dict.fromkeys(key[i] for key in keys)) for i in (0, 1))
    names = dict(zip(runs, without_shared(runs)))
    looks = {}
    for i, (run, split) in enumerate(keys):
        r, s = runs.index(run), splits.index(split)
        if len(keys) > CURVES:
            looks[run, split] = Look(_style.COLOURS[s % 10], None, _style.LINES[s % 4], single=False)
        elif len(runs) > 1 and len(splits) > 1:
            looks[run, split] = Look(_style.COLOURS[r], _style.MARKERS[s], _style.LINES[s % 4])
        else:
            shown = split_name(split)
            label = shown if len(runs) == 1 else names[run] if len(report.splits) == 1 else f"{names[run]}, {shown}"
            looks[run, split] = Look(_style.COLOURS[i], _style.MARKERS[i], _style.LINES[i % 4], label)
    return looks


def _null_name(report: Report, curves: Mapping[tuple[str, str], tuple[Row, ...]]) -> str:
    """What the null of the first curve that has one is called."""
    runs = (run for (run, _), rows in curves.items() if any(math.isfinite(r.null) for r in rows))
    return report.null_name(next(runs, None))


def _explain(ax: Axes, looks: Mapping[tuple[str, str], Look]) -> None:
    """What the legend says where curves have no names of their own: a colour a run, a line a split."""
    if any(look.label for look in looks.values()):
        return
    runs, splits = (list(dict.fromkeys(key[i] for key in looks)) for i in (0, 1))
    if len(looks) > CURVES:
        ax.plot([], [], color=_style.GREY, linewidth=_style.thin() / 2, label=SINGLE)
        return
    for run, name in zip(runs, without_shared(runs)):
        colour = next(look.colour for key, look in looks.items() if key[0] == run)
        ax.plot([], [], color=colour, label=_style.legend_name(name))
    for split in splits:
        look = next(look for key, look in looks.items() if key[1] == split)
        ax.plot([], [], color=_style.GREY, marker=look.marker, linestyle=look.line, label=split_name(split))


def _mark_penultimate(ax: Axes, report: Report) -> None:
    """A light grey column behind the input of the classifier, where it is known; the legend names it once."""
    last = penultimate(report)
    if last.endswith(":in") and last in report.layers:
        at = report.layers.index(last)
        ax.axvspan(at - 0.5, at + 0.5, color=_style.GREY, alpha=0.1, linewidth=0, zorder=-3, label=PENULTIMATE)


def _share_names(axes: Sequence[Axes]) -> None:
    """Names of layers under the lowest panel of each column alone, and a bold letter before every title."""
    lowest: dict[int, Axes] = {}
    for ax in axes:
        spec = ax.get_subplotspec()
        assert spec is not None
        lowest[spec.colspan.start] = ax
    _style.letters(axes)
    for ax in axes:
        if ax not in lowest.values():
            ax.tick_params(labelbottom=False)


def _curves(
    report: Report, name: str, runs: Sequence[str] | None, splits: Sequence[str] | None
) -> dict[tuple[str, str], tuple[Row, ...]]:
    full = report.qualified(name)
    requested = [
        (run, split)
        for run in (runs or report.runs)
        for split in (splits or report.splits)
        if any(r.split == split and f"{r.analyzer}.{r.quantity}" == full for r in report.of_run(run))
    ]
    return {(run, split): report.select(full, run=run, split=split) for run, split in requested}


def _panel(
    ax: Axes,
    line: Quantity,
    curves: dict[tuple[str, str], tuple[Row, ...]],
    layers: tuple[str, ...],
    kinds: Mapping[str, str],
    looks: Mapping[tuple[str, str], Look],
    null: str,
) -> str:
    """Draw a quantity; what its axis of layers names."""
    everything = [r for rows in curves.values() for r in rows]
    errors = as_errors(everything, line)
    log = errors or wants_log(everything, line)
    place = {layer: i for i, layer in enumerate(layers)}
    drawn: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for i, ((run, split), rows) in enumerate(curves.items()):
        shown = [error(r) for r in rows] if errors else rows
        x = np.array([place[r.layer] for r in shown], float)
        before = set(ax.get_children())
        drawn.setdefault(split, []).append((x, _curve(ax, x, shown, looks[run, split], log, len(layers))))
        if errors:
            mark_errorless(ax, x, rows, looks[run, split].colour)
        made = [artist for artist in ax.get_children() if artist not in before]
        for k, artist in enumerate(made):
            artist.set_gid(f"curve{list(looks).index((run, split))}-{line.name}-{k}")  # the page shows and hides it
        if i == 0:
            _null(ax, x, shown, null)
            _floor(ax, x, shown)
    if not all(looks[key].single for key in curves):
        for split, lines in drawn.items():
            look = next(looks[key] for key in curves if key[1] == split)
            _median(ax, split, lines, look, several=len(drawn) > 1)
    what = _decorate(ax, line, layers, kinds, log, errors)
    undefined = sum(math.isnan(r.value) for r in everything)
    if not any(math.isfinite(r.value) for r in everything):
        say_empty(ax, everything)
    elif undefined:
        text = f"{undefined} of {len(everything)} undefined"
        ax.text(0.02, 0.02, text, transform=ax.transAxes, color=_style.GREY, fontsize=6 / 8 * mpl.rcParams["font.size"])
    return what


def _curve(ax: Axes, x: np.ndarray, rows: Sequence[Row], look: Look, log: bool, layers: int) -> np.ndarray:
    """The line of a run and split with its interval and marks; its values, NaN where there is nothing to draw."""
    value, low, high = (np.array([getattr(r, f) for r in rows]) for f in ("value", "low", "high"))
    finite = np.isfinite(value) & ((value > 0) | (not log))
    shown = np.where(finite, value, np.nan)
    if not look.single:
        ax.plot(x, shown, color=look.colour, linestyle=look.line, linewidth=_style.thin() / 2, alpha=0.4, zorder=2)
        return shown
    marker = look.marker if layers <= MOST_MARKERS else None
    style = {"color": look.colour, "linestyle": look.line, "zorder": 3}
    ax.plot(x, shown, marker=marker, label=_style.legend_name(look.label) if look.label else None, **style)
    p = adjusted(rows)
    unclear = finite & np.array([p.get(r.layer, 0.0) >= ALPHA for r in rows])
    if unclear.any():
        hollow(ax, x[unclear], value[unclear], look.marker, look.colour, UNCLEAR)
    bounded = finite & np.isfinite(low) & np.isfinite(high)
    alone = _isolated(bounded)
    if log and finite.any():
        low = np.maximum(low, value[finite].min() / 10)
    if alone.any():
        ax.vlines(x[alone], low[alone], high[alone], color=look.colour, linewidth=_style.thin(), zorder=2)
    lower, upper = np.where(bounded, low, np.nan), np.where(bounded, high, np.nan)
    ax.fill_between(x, lower, upper, color=look.colour, alpha=0.18, linewidth=0, zorder=2)
    for beyond, mark, edge in ((value == np.inf, "^", 1.0), (value == -np.inf, "v", 0.0)):
        if beyond.any():
            at = np.full(beyond.sum(), edge)
            hollow(ax, x[beyond], at, mark, look.colour, INFINITE, transform=ax.get_xaxis_transform(), clip_on=False)
    return shown


def _median(ax: Axes, split: str, lines: Sequence[tuple[np.ndarray, np.ndarray]], look: Look, several: bool) -> None:
    """The median over the runs at each layer that any of them has."""
    found: dict[float, list[float]] = {}
    for x, y in lines:
        for at, value in zip(x, y):
            if not math.isnan(value):
                found.setdefault(at, []).append(value)
    at = sorted(found)
    label = MEDIAN.format(len(lines))
    label = f"{split_name(split)}, {label}" if several else label
    ax.plot(at, [np.median(found[i]) for i in at], color=look.colour, linestyle=look.line, label=label, zorder=3)


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


def _null(ax: Axes, x: np.ndarray, rows: Sequence[Row], name: str) -> None:
    """What the quantity would be without any relation between features and labels, or between samples."""
    null, low, high = (np.array([getattr(r, f) for r in rows]) for f in ("null", "null_low", "null_high"))
    if _reference(ax, x, null, _style.GREY, name, "-", _style.thin()):
        ax.fill_between(x, low, high, color=_style.GREY, alpha=0.15, linewidth=0, zorder=0)


def _floor(ax: Axes, x: np.ndarray, rows: Sequence[Row]) -> None:
    """What a quantity that is 0 in truth gives on as many samples."""
    _reference(ax, x, np.array([r.floor for r in rows]), _style.GREY, FLOOR, ":", _style.thin())


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


def _decorate(
    ax: Axes, line: Quantity, layers: tuple[str, ...], kinds: Mapping[str, str], log: bool, errors: bool
) -> str:
    ax.set_title(_style.wrapped(ax, error_name(line.label) if errors else line.label), pad=4)
    ax.set_ylabel("" if line.unit in ("", "share") else line.unit, labelpad=4)
    ax.set_xlim(-0.4, len(layers) - 0.6)
    if errors:
        error_axis(ax)
    elif log:
        ax.set_yscale("log")
        _style.decades(ax.yaxis, widen=True)
    else:
        ax.yaxis.set_major_locator(MaxNLocator(5))
        if line.unit == "share":
            ax.set_ylim(-0.03, 1.03)
            ax.yaxis.set_major_formatter(PercentFormatter(1.0, 0))
        elif line.unit == "dimensions":
            ax.set_ylim(bottom=0)
    what = _layers.name_layers(ax, layers, kinds=kinds)
    _layers.mark_blocks(ax, layers)
    _style.guides(ax)
    return what


def _legend(axes: Sequence[Axes]) -> int:
    """One legend for all panels, above them where the figure is ours; its rows, 1 where there is none."""
    handles: dict[str, Artist] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    figure = _style.figure_of(axes)
    if len(handles) < 2:
        return 1
    order = sorted(
        handles,
        key=lambda label: label.startswith((SINGLE, NULL, PAIRED, FLOOR, UNCLEAR, INFINITE, ERRORLESS, PENULTIMATE)),
    )
    if len(figure.axes) != len(axes):
        axes[0].legend([handles[k] for k in order], order, frameon=False)
        return 1
    room = figure.get_figwidth() * 72 / mpl.rcParams["legend.fontsize"]  # in font sizes
    lengths = [0.6 * len(label) + 5 for label in order]
    across = len(order) if sum(lengths) <= room else max(1, int(room / max(lengths)))
    rows = -(-len(order) // across)
    across = -(-len(order) // rows)
    figure.legend([handles[k] for k in order], order, loc="outside upper center", ncols=across, frameon=False)
    return rows
