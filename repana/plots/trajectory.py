"""Quantities over training: one line a layer, one column a series of checkpoints."""

import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from repana import _report_refusals
from repana._finding import split_name
from repana._numbers import evenly
from repana._quantity import Quantity
from repana._results import Report, Row
from repana.errors import RepanaError
from repana.plots import _layers, _style
from repana.plots.depth import say_empty, wants_log

LETTERS = 20  # of a layer in the legend
TICK = 0.4  # inches between ticks of the steps
MOST_NAMED = 8  # layers in the legend; of more, some


def trajectory(
    report: Report,
    *quantities: str,
    layers: Sequence[str] | None = None,
    split: str | None = None,
    ax: Sequence[Axes] | None = None,
    width: _style.Width = _style.PAGE,
) -> list[Axes]:
    """Draw quantities (rows) over the steps of training; without names, the headline quantities.

    Each run is a checkpoint, at the step that `profile(step=)` recorded or that its name ends with. Runs whose names
    agree up to the last slash are a series, drawn in a column of its own: "decay/epoch10", "decay/epoch20". Lines are
    layers, dark for the first, with their interval bands where there are at most eight; the panels of a row share
    their scale.

    `ax`: one Axes for each quantity and series, row by row. Returns the Axes in that order.

    Raises InputError where fewer than two runs have a step.
    """
    names = quantities or report.headline
    series = series_of(report)
    chosen = tuple(layers or report.layers)
    width = _style.in_inches(width)
    with _style.drawing():
        alone = len(series) == 1
        axes = list(ax or _style.grid(len(names) * len(series), width, 1.6, columns=None if alone else len(series)))
        for i, name in enumerate(names):
            found = {group: _by_layer(report, name, runs, chosen, split) for group, runs in series.items()}
            row = axes[i * len(series) : (i + 1) * len(series)]
            for panel, (group, lines) in zip(row, found.items()):
                _panel(panel, lines, chosen)
                letters = int(_layers.inches(panel) / (_layers.LETTER * mpl.rcParams["axes.titlesize"] / 72))
                group = group if i == 0 and not alone else ""
                panel.set_title(_style.literal(_style.tail(group, max(6, letters))))
            drawn = [r for lines in found.values() for rows in lines.values() for r in rows.values()]
            if not drawn:
                raise _report_refusals.nothing_selected(name, "any", split or "any", report.runs, report.splits)
            _share_scale(row, drawn, report.named(name), titled=alone)
            for panel, group in zip(row, found):
                mark_zero_error(panel, report, group, named=i == 0)
        if ax is None:
            figure = _style.figure_of(axes)
            said = [split_name(split or report.splits[0])] if len(report.splits) > 1 else []
            said += [group for group in series if group and alone]
            shown = f" ({_style.literal(', '.join(said))})" if said else ""
            figure.supxlabel(f"step{shown}", fontsize=mpl.rcParams["axes.labelsize"])
            named = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels())}
            labels = [
                label for label in map(_style.legend_name, _layers.short_names(chosen, LETTERS)) if label in named
            ]
            handles = [named[label] for label in labels]
            shown = evenly(len(labels), MOST_NAMED)
            figure.legend([handles[k] for k in shown], [labels[k] for k in shown], loc="outside upper center",
                          ncols=min(4 if width > _style.COLUMN + 1 else 2, len(shown)), frameon=False)  # fmt: skip
    return axes


def whole_run(report: Report, group: str) -> str:
    """The run that says what is read of a whole series of records; "" where there is none."""
    name = f"{group}/training" if group else "training"
    return name if report.about(name).get("compared") == "dynamics" else ""


def mark_zero_error(ax: Axes, report: Report, group: str, *, named: bool, low: bool = False) -> None:
    """An upright line at the first record without training error, where the report knows it."""
    run = whole_run(report, group)
    step = next((r.value for r in report.of_run(run) if r.quantity == "zero_error_step"), math.nan)
    if math.isfinite(step):
        ax.axvline(step, color=_style.GREY, linestyle=(0, (4, 2)), linewidth=_style.thin(), zorder=1)
        if named:
            place, side = (0.05, "bottom") if low else (0.98, "top")
            ax.annotate("zero training error", (step, place), xycoords=("data", "axes fraction"), xytext=(2, 0),
                        textcoords="offset points", va=side, color=_style.GREY,
                        fontsize=mpl.rcParams["xtick.labelsize"])  # fmt: skip


def series_of(report: Report) -> dict[str, list[str]]:
    """Runs by the part of their name before the last slash, each series in the order of its steps."""
    found: dict[str, list[str]] = {}
    for run in report.runs:
        if not math.isnan(report.step(run)):
            found.setdefault(run.rpartition("/")[0], []).append(run)
    found = {group: sorted(runs, key=report.step) for group, runs in found.items()}
    if not any(len({report.step(run) for run in runs}) > 1 for runs in found.values()):
        raise _report_refusals.no_steps(report.runs)
    return found


def is_training(report: Report) -> bool:
    """Whether some series of runs has more than one step."""
    try:
        return bool(series_of(report))
    except RepanaError:
        return False


def _by_layer(
    report: Report, name: str, runs: Sequence[str], layers: Sequence[str], split: str | None
) -> dict[str, dict[float, Row]]:
    analyzer, _, quantity_name = report.qualified(name).partition(".")
    split = split or next(r.split for r in report.rows if (r.analyzer, r.quantity) == (analyzer, quantity_name))
    rows: dict[str, dict[str, Row]] = {run: {} for run in runs}
    for r in report.rows:
        if r.run in rows and (r.split, r.analyzer, r.quantity) == (split, analyzer, quantity_name):
            rows[r.run][r.layer] = r
    return {
        layer: {report.step(run): rows[run][layer] for run in runs if layer in rows[run]}
        for layer in layers
        if any(layer in of_run for of_run in rows.values())
    }


def _panel(ax: Axes, lines: dict[str, dict[float, Row]], layers: Sequence[str]) -> None:
    short = _layers.short_names(layers, LETTERS)
    for layer, points in lines.items():
        i = layers.index(layer)
        x = np.array(list(points), float)
        value, low, high = (np.array([getattr(r, f) for r in points.values()]) for f in ("value", "low", "high"))
        colour = _style.depth_colour(i, len(layers))
        value = np.where(np.isfinite(value), value, np.nan)
        style = _style.LINES[i % len(_style.LINES)]
        ax.plot(x, value, linestyle=style, color=colour, label=_style.legend_name(short[i]))
        if len(lines) <= MOST_NAMED:
            ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def _share_scale(row: Sequence[Axes], rows: Sequence[Row], line: Quantity, titled: bool) -> None:
    """One scale for a quantity, which stands in the title where there is one series and at the axis else."""
    finite = [r.value for r in rows if math.isfinite(r.value)]
    log = wants_log([r for r in rows if math.isfinite(r.value)] or rows, line)
    ends = [
        v for r in rows if math.isfinite(r.value) for v in (r.low, r.high) if math.isfinite(v) and (v > 0 or not log)
    ]
    finite += ends if len({r.layer for r in rows}) <= MOST_NAMED else []
    unit = "" if line.unit in ("", "share") else line.unit
    for i, ax in enumerate(row):
        if titled:
            ax.set_title(_style.wrapped(ax, line.label))
            ax.set_ylabel(unit)
        else:
            ax.set_ylabel(line.label if i == 0 else "")
        if not finite:
            say_empty(ax, rows)
            continue
        if log:
            ax.set_yscale("log")
            _style.decades(ax.yaxis)
        elif line.unit == "share":
            ax.yaxis.set_major_formatter(PercentFormatter(1.0, 0))
        margin = 0.04 * (max(finite) - min(finite) or 1.0)
        ax.set_ylim(*(min(finite) / 1.2, max(finite) * 1.2) if log else (min(finite) - margin, max(finite) + margin))
        ax.tick_params(labelleft=i == 0)
        ax.xaxis.set_major_locator(MaxNLocator(max(1, min(5, int(_layers.inches(ax) / TICK))), integer=True))
        _style.guides(ax)
