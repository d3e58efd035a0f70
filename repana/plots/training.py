"""A training over its layers: one quantity by layer and step, and when each layer has its final representation."""

import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import MaxNLocator

from repana import _report_refusals
from repana._results import Report
from repana.plots import _layers, _style
from repana.plots._panels import Panel
from repana.plots.depth import wants_log
from repana.plots.trajectory import mark_zero_error, series_of, whole_run

SETTLED = 0.95
USUAL = ("neural_collapse.nc1", "training.h0_entropy", "training.cka_first")
MOST_LAYERS, MOST_CURVES = 40, 10


def step_map(
    report: Report,
    quantity: str | None = None,
    *,
    series: str | None = None,
    split: str | None = None,
    ax: Axes | None = None,
    width: _style.Width = _style.PAGE,
) -> Axes:
    """Draw one quantity by layer (rows, the first below) and step (columns, as far apart as their steps).

    Each record colours the steps up to halfway to its neighbours. By default NC1, or without labels H0 separability;
    logarithmic where a positive quantity spans more than 1.3 decades. White: no value. `series`: of several trainings
    the name of one. The dashed line is the first record without training error.

    Raises InputError where fewer than two runs have a step, or none has the quantity.
    """
    runs = _series(report, series)
    group = series or next(iter(series_of(report)))
    here = {f"{r.analyzer}.{r.quantity}" for r in report.rows if r.layer and r.run in runs}
    name = report.qualified(quantity) if quantity else next((q for q in USUAL if q in here), next(iter(here), ""))
    analyzer, _, short = name.partition(".")
    rows = [r for r in report.rows if r.run in runs and (r.analyzer, r.quantity) == (analyzer, short) and r.layer]
    split = split or (rows[0].split if rows else None)
    rows = [r for r in rows if r.split == split]
    if not rows:
        what = quantity or "a quantity"
        raise _report_refusals.nothing_selected(what, "any", split or "any", report.runs, report.splits)
    layers = [layer for layer in report.layers if any(r.layer == layer for r in rows)]
    steps = [report.step(run) for run in runs]
    values = np.full((len(layers), len(runs)), np.nan)
    for r in rows:
        values[layers.index(r.layer), runs.index(r.run)] = r.value if math.isfinite(r.value) else np.nan
    line = report.quantity(analyzer, short)
    width = _style.in_inches(width)
    with _style.drawing():
        ax = _style.axes_or_new(ax, width, 0.9 + 0.16 * min(len(layers), MOST_LAYERS))
        known = values[np.isfinite(values)]
        log = wants_log([r for r in rows if math.isfinite(r.value)] or rows, line) and bool((known > 0).all())
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
        norm = LogNorm(low, high) if log and high > low else Normalize(low, high if high > low else low + 1)
        mesh = ax.pcolormesh(
            _edges(steps), np.arange(len(layers) + 1) - 0.5, np.ma.masked_invalid(values), norm=norm,
            cmap=mpl.colormaps[_style.DEPTHS].with_extremes(bad="white"), rasterized=False, linewidth=0,
        )  # fmt: skip
        every = max(1, -(-len(layers) // MOST_LAYERS))
        names = _layers.short_names(layers, _layers.MOST_LETTERS)
        ax.set_yticks(range(0, len(layers), every), [_style.literal(n) for n in names[::every]])
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        ax.set_xlabel("step")
        ax.tick_params(axis="y", length=0)
        bar = _style.figure_of(ax).colorbar(mesh, ax=ax, pad=0.02, aspect=18)
        bar.outline.set_visible(False)  # type: ignore[operator]
        bar.ax.tick_params(labelsize=mpl.rcParams["ytick.labelsize"])
        unit = "" if line.unit in ("", "share") else f" ({line.unit})"
        _style.title(ax, f"{line.label}{unit}")
        mark_zero_error(ax, report, group, named=False)
    return ax


def settling(
    report: Report,
    *,
    series: str | None = None,
    ax: Axes | None = None,
    width: _style.Width = _style.PAGE,
) -> Axes:
    """Draw debiased CKA of every layer with its last record over the steps, with intervals; a mark is where it is at
    least 0.95 for good.

    Of the records whose features were kept. `series`: of several trainings the name of one.

    Raises InputError for a report without the run "training" of a monitor.
    """
    group = series if series is not None else next(iter(series_of(report)))
    run = whole_run(report, group)
    layers = [r.layer for r in report.of_run(run) if r.quantity == "settled_step"]
    if not run or not layers:
        name = "dynamics.settled_step"
        raise _report_refusals.nothing_selected(name, run or "training", "all", report.runs, ("all",))
    kept = report.array("dynamics.kept_steps", "", run=run, split="all")
    settled = {r.layer: r.value for r in report.of_run(run) if r.quantity == "settled_step"}
    width = _style.in_inches(width)
    with _style.drawing():
        ax = _style.axes_or_new(ax, width, 2.4)
        names = dict(zip(layers, _layers.short_names(layers, _layers.MOST_LETTERS)))
        chosen = _layers.spread(layers, MOST_CURVES)
        for layer in chosen:
            curve = report.array("dynamics.cka_last", layer, run=run, split="all")
            x, colour = kept[: len(curve)], _style.depth_colour(layers.index(layer), len(layers))
            style = _style.LINES[layers.index(layer) % len(_style.LINES)]
            ax.plot(x, curve[:, 0], color=colour, linestyle=style, label=_style.legend_name(names[layer]))
            ax.fill_between(x, curve[:, 1], curve[:, 2], color=colour, alpha=0.15, linewidth=0)
            at = settled[layer]
            if math.isfinite(at) and at in x:
                ax.plot([at], [curve[list(x).index(at), 0]], "o", color=colour, zorder=4)
        ax.axhline(SETTLED, color=_style.GREY, linewidth=_style.thin(), linestyle=":")
        curves = [report.array("dynamics.cka_last", layer, run=run, split="all")[:, 0] for layer in chosen]
        least = min((float(c[np.isfinite(c)].min()) for c in curves if np.isfinite(c).any()), default=0.0)
        ax.set_ylim(min(0.0, least) - 0.02, 1.02)
        ax.set_xlabel("step")
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        _style.guides(ax)
        _style.title(ax, "CKA with the last record")
        mark_zero_error(ax, report, group, named=True, low=True)
        handles, labels = ax.get_legend_handles_labels()
        columns = min(6, len(chosen))
        _style.figure_of(ax).legend(handles, labels, loc="outside upper center", ncols=columns, frameon=False)
    return ax


def _series(report: Report, series: str | None) -> list[str]:
    found = series_of(report)
    if series is not None and series not in found:
        raise _report_refusals.nothing_selected("a series", series, "any", tuple(found), report.splits)
    return found[series] if series is not None else next(iter(found.values()))


def _edges(steps: Sequence[float]) -> np.ndarray:
    """Halfway between records; the outer ones as far as their neighbours."""
    x = np.asarray(steps, float)
    middle = (x[1:] + x[:-1]) / 2
    return np.concatenate([[x[0] - (middle[0] - x[0])], middle, [x[-1] + (x[-1] - middle[-1])]])


PANELS = (
    Panel(
        "Layers over training",
        step_map,
        "One quantity by layer, the first below, and step. Each record colours the steps up to halfway to its "
        "neighbours; dashed: the first record without training error.",
        "training",
    ),
    Panel(
        "Settling of layers",
        settling,
        "Debiased CKA of every layer with its last record. Bands are intervals; a mark is the record from which on it "
        "is at least 0.95, the dotted line.",
        "dynamics",
    ),
)
