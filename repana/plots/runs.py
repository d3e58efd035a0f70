"""Many runs side by side: one line a run, one panel a quantity, read at one layer."""

import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from repana import _report_refusals
from repana._finding import split_name
from repana._quantity import Quantity
from repana._results import Report, Row, penultimate
from repana.plots import _layers, _style
from repana.plots.depth import NULL, say_empty, wants_log


def run_summary(
    report: Report,
    *quantities: str,
    layer: str | None = None,
    sort: bool = False,
    ax: Axes | Sequence[Axes] | None = None,
    width: _style.Width = _style.PAGE,
) -> list[Axes]:
    """Draw every run's value and interval of some quantities at one layer; without names, the headline quantities.

    `layer`: by default the input of the classifier, each run's own. Splits have their own colour and open marker, so
    that the interval is seen behind it; the value with shuffled labels is an upright tick. `sort`: runs in the order of
    the first quantity's values, the best above. Returns the Axes, one per quantity.
    """
    _style.check_report(report)
    names = quantities or report.headline
    runs = _sorted(report, names[0], layer) if sort else report.profiles
    width = _style.in_inches(width)
    with _style.drawing():
        own = [] if ax is not None else _grid(len(names), len(runs), width)
        axes = own or ([ax] if isinstance(ax, Axes) else list(ax or []))
        for k, (panel, name) in enumerate(zip(axes, names)):
            found = _points(report, name, layer)
            if not found:
                raise _report_refusals.no_array(name, layer or "", "", "", [], report.layers)
            _panel(panel, report.named(name), found, runs, [s for s in report.splits if any(k == s for _, k in found)])
            panel.tick_params(labelleft=k % _columns(len(names), width) == 0 or not own)
        if own:
            read = {layer or penultimate(report, run) for run in runs}
            where = _style.literal(next(iter(read))) if len(read) == 1 else "the input of each classifier"
            _style.figure_of(axes).supxlabel(f"at {where}", fontsize=mpl.rcParams["axes.labelsize"])
            pairs = sorted(zip(*axes[0].get_legend_handles_labels()), key=lambda pair: pair[1] == NULL)
            handles, labels = [h for h, _ in pairs], [name for _, name in pairs]
            if len(labels) > 1:
                figure = _style.figure_of(axes)
                figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    return axes


def _sorted(report: Report, name: str, layer: str | None) -> tuple[str, ...]:
    """Runs by a quantity of their first split, the best first (the lowest where no side is better)."""
    found, line = _points(report, name, layer), report.named(name)
    sign = -1 if line.better == "higher" else 1
    values = {run: next((r.value for (of, _), r in found.items() if of == run), math.nan) for run in report.profiles}
    return tuple(sorted(values, key=lambda run: (math.isnan(values[run]), sign * values[run])))


def _columns(panels: int, width: float) -> int:
    return min(panels, 4 if width > _style.COLUMN + 1 else 1)


def _grid(panels: int, runs: int, width: float) -> list[Axes]:
    return _style.grid(panels, width, 0.7 + 0.15 * runs, columns=_columns(panels, width))


def _points(report: Report, name: str, layer: str | None) -> dict[tuple[str, str], Row]:
    """The row of every run and split at the layer, where there is one."""
    full, found = report.qualified(name), dict[tuple[str, str], Row]()
    for run in report.profiles:
        at = layer or penultimate(report, run)
        rows = [r for r in report.of_run(run) if r.layer == at and f"{r.analyzer}.{r.quantity}" == full]
        found |= {(run, r.split): r for r in rows}
    return found


def _panel(
    ax: Axes, line: Quantity, found: dict[tuple[str, str], Row], runs: Sequence[str], splits: Sequence[str]
) -> None:
    for i, split in enumerate(splits):
        rows = [(y, found[run, split]) for y, run in enumerate(runs) if (run, split) in found]
        rows = [(y, r) for y, r in rows if math.isfinite(r.value)]
        value, low, high = (np.array([getattr(r, f) for _, r in rows]) for f in ("value", "low", "high"))
        y = np.array([place for place, _ in rows]) + 0.22 * (i - (len(splits) - 1) / 2)
        colour = _style.COLOURS[i]
        ax.plot(value, y, _style.MARKERS[i], color=colour, fillstyle="none", label=split_name(split), zorder=3)
        ax.hlines(y, low, high, color=colour, linewidth=_style.thin(), zorder=2)
        null = np.array([r.null for _, r in rows])
        ax.plot(null, y, "|", color=colour)
        if i == 0 and np.isfinite(null).any():
            ax.plot([], [], "|", color=_style.GREY, label=NULL)
    if not any(math.isfinite(r.value) for r in found.values()):
        say_empty(ax, list(found.values()), across=True)
    elif wants_log([r for r in found.values() if math.isfinite(r.value)], line):
        ax.set_xscale("log")
        _style.decades(ax.xaxis)
    elif line.unit == "share":
        ax.xaxis.set_major_formatter(PercentFormatter(1.0, 0))
    ax.set_ylim(len(runs) - 0.5, -0.5)
    _layers.name_layers(ax, runs, vertical=True)
    ax.set_title(_style.wrapped(ax, line.label))
    ax.set_xlabel("" if line.unit == "share" else line.unit)
    _style.guides(ax)
