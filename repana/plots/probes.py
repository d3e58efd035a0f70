"""What probes read over depth, with what they must be held against."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, PercentFormatter

from repana import _report_refusals
from repana._results import Report, Row, penultimate
from repana.errors import InputError
from repana.plots import _layers, _style
from repana.plots._class_grids import colour_bar, name_classes
from repana.plots._curves import MOST_MARKERS, axes_of, finished, layered
from repana.plots._errors import as_errors, error, error_axis, mark_errorless
from repana.plots._panels import Panel
from repana.probes._controls import Selectivity
from repana.probes._protocol import Probe

PROBES = ("linear_probe", "lda_probe", "knn_probe")
SURE = 0.05  # of an adjusted p
DARK = 0.6  # of the colour scale, from which numbers are white
MOST_WRITTEN = 12  # classes whose confusions are written out


def probe_depth(
    report: Report,
    *probes: str,
    ax: Axes | None = None,
    run: str | None = None,
    split: str | None = None,
    width: _style.Width = _style.COLUMN,
) -> Axes:
    """Draw the accuracy of probes over depth with their baselines: chance, shuffled labels, re-initialised copies,
    random projections of the input, as far as the report has them (`probe_layers`).

    Curves carry their intervals; the grey bands are ranges over seeds or permutations. The layer selected on the
    validation split is ringed. By default the linear, the LDA and the kNN probe. Accuracies that all exceed 80% are
    drawn as errors on a logarithmic axis, a layer without errors as an open triangle at 1/(2n). The legend stands at
    the right, below in a column, and has the probes in the order of their last layer. Returns the Axes.
    """
    chosen = probes or tuple(f"probing.{name}" for name in PROBES)
    first = report.select(chosen[0], run=run, split=split)[0]
    run, split = run or first.run, split or first.split
    place = {layer: i for i, layer in enumerate(report.layers)}
    width = _style.in_inches(width)
    found = {name: report.select(name, run=run, split=split) for name in chosen}
    known = {name: report.quantity(rows[0].analyzer, rows[0].quantity) for name, rows in found.items()}
    for name, line in known.items():
        if line.unit != "share":
            raise _report_refusals.not_shares(name, line.unit)
    errors = all(as_errors(rows, known[name]) for name, rows in found.items())
    with _style.drawing():
        ax, own = axes_of(ax, width)
        _baselines(ax, report, run, split, place, errors)
        for i, (name, rows) in enumerate(found.items()):
            colour = _style.colour(i, len(chosen))
            x, value, low, high = _curve([error(r) for r in rows] if errors else rows, place)
            if errors:
                mark_errorless(ax, x, rows, colour)
            marker = _style.MARKERS[i % len(_style.MARKERS)] if len(place) <= MOST_MARKERS else None
            line = _style.LINES[i % len(_style.LINES)]
            ax.plot(x, value, color=colour, marker=marker, linestyle=line, label=known[name].label, zorder=4)
            ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0, zorder=2)
        best = _chosen(report, run, split)
        if best in place:
            at = [r.value for r in found[chosen[0]] if r.layer == best]
            at = [(1 - value or 0.5 / found[chosen[0]][0].n) if errors else value for value in at]
            ring: dict[str, Any] = {
                "marker": "o",
                "markersize": 8,
                "fillstyle": "none",
                "linestyle": "none",
                "clip_on": False,
                "zorder": 5,
            }
            if at:
                ax.plot([place[best]], at, color=_style.ink(), label="selected layer", **ring)
        if errors:
            error_axis(ax)
        else:
            ax.set_ylim(0, 1.02)
            ax.yaxis.set_major_formatter(PercentFormatter(1.0, 0))
        ax.set_ylabel("error" if errors else "accuracy")
        _style.title(ax, f"Probe {'error' if errors else 'accuracy'}", _style.which(report, run, split))
        layered(ax, report.layers, _layers.kinds_of(report, run))
        order = [known[name].label for name, rows in sorted(found.items(), key=lambda pair: -pair[1][-1].value)]
        finished(ax, own, width, beside=True, order=order[::-1] if errors else order)
    return ax


def layer_strip(
    report: Report, *, ax: Axes | None = None, run: str | None = None, split: str | None = None,
    width: _style.Width = _style.COLUMN,
) -> Axes:  # fmt: skip
    """Draw the difference in accuracy between the linear probe of each layer and of the selected layer, in points.

    Differences are paired on the test samples, with their intervals; a mark is filled where McNemar's exact p, after
    Holm over the layers, is below 0.05, and open where the difference is not significant. Layers without a probe are
    left out. Returns the Axes.
    """
    run, split = run or report.runs[0], split or report.splits[0]
    rows = report.select("layer_differences.difference", run=run, split=split)
    place = {r.layer: i for i, r in enumerate(rows)}
    p = {r.layer: r.value for r in report.select("layer_differences.p_adjusted", run=run, split=split)}
    best = _chosen(report, run, split)
    width = _style.in_inches(width)
    with _style.drawing():
        ax, own = axes_of(ax, width)
        ax.axhline(0, color=_style.GREY, linewidth=_style.thin(), zorder=1)
        labels: set[str] = set()
        style: dict[str, Any]
        for r in rows:
            if r.layer == best:
                kind, style = "selected layer", {"marker": "D", "color": _style.ink()}
            elif np.isfinite(p.get(r.layer, np.nan)) and p[r.layer] < SURE:
                kind = f"{'below' if r.value < 0 else 'above'}, significant (Holm, p < {SURE:g})"
                style = {"marker": "v" if r.value < 0 else "^", "color": _style.COLOURS[int(r.value < 0)]}
            else:
                kind, style = "not significant", {"marker": "o", "color": _style.GREY, "fillstyle": "none"}
            at, value = place[r.layer], 100 * r.value
            ends = [[value - 100 * r.low], [100 * r.high - value]]
            label = kind if kind not in labels else "_again"
            labels.add(kind)
            ax.errorbar([at], [value], yerr=ends, linestyle="none", linewidth=_style.thin(), label=label, **style)
        ax.set_ylabel("difference from\nselected layer (points)")
        _style.title(ax, "Probe accuracy by layer", _style.which(report, run, split))
        layered(ax, list(place), _layers.kinds_of(report, run))
        finished(ax, own, width)
    return ax


def confusion(
    source: Report | Probe,
    layer: str | None = None,
    *,
    ax: Axes | None = None,
    run: str | None = None,
    split: str | None = None,
    width: _style.Width = _style.COLUMN,
) -> Axes:
    """Draw how often the linear probe of a layer predicts one class for another, as shares of the true class.

    Of a report (by default at the classifier's input), or of one probe. The colours are those of errors alone, up to
    the largest; the diagonal is blank. Shares are written out for up to twelve classes; a class without test samples is
    hatched. Without a single error the title says so. Returns the Axes, with the (c, c) shares in its image.
    """
    if isinstance(source, Probe):
        counts = source.confusion.numpy().astype(float)
        names: Sequence[str] = source.classes or [str(i) for i in range(len(counts))]
        title, which = f"{source.settings.get('probe', '')} probe".replace("_", " ").strip().capitalize(), ""
    else:
        layer = layer or penultimate(source, run)
        counts = source.array("probing.confusion", layer, run=run, split=split).astype(float)
        found = source.classes(run, split)
        names = found if len(found) == len(counts) else [str(i) for i in range(len(counts))]
        title, which = "Linear probe", _style.at(source, layer, run, split)
    total = counts.sum(1, keepdims=True)
    shares = np.divide(counts, total, out=np.full_like(counts, np.nan), where=total > 0)
    width = _style.in_inches(width)
    with _style.drawing():
        ax = _style.axes_or_new(ax, width, 0.92 * width)
        errors = np.ma.masked_where(np.isnan(shares) | np.eye(len(shares), dtype=bool), shares)
        most = float(errors.max()) if errors.count() else 0.0
        image = ax.imshow(errors, cmap=_style.SEQUENTIAL, vmin=0, vmax=most or 1, interpolation="nearest")
        name_classes(ax, names)
        ax.set_xlabel("predicted class")
        ax.set_ylabel("true class")
        for i, j in np.argwhere(np.isnan(shares)):
            _style.hatch(ax, j, i)
        if len(counts) <= MOST_WRITTEN:
            for i, j in np.argwhere(counts > 0):
                ink = "white" if i != j and shares[i, j] > DARK * most else "black"
                ax.text(j, i, f"{100 * shares[i, j]:.0f}", ha="center", va="center", color=ink, size="x-small")
        said = "errors (%)" if most else f"no errors on {int(counts.sum()):,} test samples"
        if not most:
            _nothing_wrong(ax)
        _style.title(ax, f"{title}, {said}", which)
        if most:
            colour_bar(ax, image, "").ax.yaxis.set_major_formatter(FuncFormatter(lambda v, place: f"{100 * v:g}%"))
    return ax


def _nothing_wrong(ax: Axes) -> None:
    """Where all are right there is nothing to draw: the grid goes, the title says it."""
    for artist in (*ax.texts, *ax.images):
        artist.set_visible(False)
    ax.axis("off")


def selectivity_depth(
    found: Mapping[str, Selectivity], *, ax: Axes | None = None, width: _style.Width = _style.COLUMN
) -> Axes:
    """Draw the accuracy of a task and of its control over layers; what lies between them is the selectivity.

    `found` maps layers to `selectivity` results. Dotted: the control on types that were held out, which is chance.
    Returns the Axes.
    """
    names, results = list(found), list(found.values())
    if not names:
        raise _report_refusals.nothing_to_draw("selectivity")
    width = _style.in_inches(width)
    with _style.drawing():
        ax, own = axes_of(ax, width)
        x = np.arange(len(names))
        for i, (name, label) in enumerate((("task", "task"), ("control", "control, types seen"))):
            _band(ax, x, [getattr(r, name) for r in results], _style.COLOURS[i], label, _style.LINES[i], i)
        unseen = [r.unseen.value for r in results]
        ax.plot(x, unseen, color=_style.GREY, linestyle=":", label="control, types held out")
        for at, r in zip(x, results):
            ax.plot([at, at], [r.control.value, r.task.value], color=_style.FAINT, linewidth=3, zorder=0)
        ax.set_ylim(0, 1.02)
        ax.set_ylabel("accuracy")
        ax.set_title("Task and control")
        ax.set_xlim(-0.4, len(names) - 0.6)
        ax.set_xlabel(f"{_layers.name_layers(ax, names)}, input to output")
        finished(ax, own, width)
    return ax


def _curve(rows: Sequence[Row], place: Mapping[str, int]) -> tuple[np.ndarray, ...]:
    x = np.array([place[r.layer] for r in rows], float)
    value, low, high = (np.array([getattr(r, f) for r in rows], float) for f in ("value", "low", "high"))
    bounded = np.isfinite(value) & np.isfinite(low) & np.isfinite(high)
    return x, value, np.where(bounded, low, np.nan), np.where(bounded, high, np.nan)


def _band(ax: Axes, x: np.ndarray, found: Sequence[Any], colour: Any, label: str, line: Any, i: int) -> None:
    value, low, high = (np.array([getattr(e, name) for e in found]) for name in ("value", "low", "high"))
    marker = _style.MARKERS[i] if len(x) <= MOST_MARKERS else None
    ax.plot(x, value, color=colour, linestyle=line, marker=marker, label=label, zorder=3)
    ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def _baselines(ax: Axes, report: Report, run: str, split: str, place: Mapping[str, int], errors: bool) -> None:
    """Grey, each with its own line: what needs no training."""
    grey: dict[str, Any] = {"color": _style.GREY, "linewidth": _style.thin(), "zorder": 1}
    for name, label, line in (
        ("probe_baselines.reinitialised", "re-initialised", "--"),
        ("probe_baselines.random_projection", "random projection", "-."),
    ):
        rows = _rows(report, name, run, split)
        if rows:
            x, value, low, high = _curve([error(r) for r in rows] if errors else rows, place)
            ax.plot(x, value, linestyle=line, label=label, **grey)
            ax.fill_between(x, low, high, color=_style.GREY, alpha=0.2, linewidth=0, zorder=0)
    rows = _rows(report, "probing.linear_probe", run, split)
    known = [error(r) if errors else r for r in rows if np.isfinite(r.null)]
    if known:
        x = [place[r.layer] for r in known]
        ax.fill_between(
            x,
            [r.null_low for r in known],
            [r.null_high for r in known],
            color=_style.GREY,
            alpha=0.35,
            linewidth=0,
            label="shuffled labels",
            zorder=0,
        )
    chance = _rows(report, "probing.chance", run, split)
    if chance:
        ax.axhline(
            1 - chance[0].value if errors else chance[0].value, linestyle=":", label="most frequent class", **grey
        )


def _rows(report: Report, name: str, run: str, split: str) -> list[Row]:
    try:
        return list(report.select(name, run=run, split=split))
    except InputError:
        return []


def _chosen(report: Report, run: str, split: str) -> str:
    rows = _rows(report, "layer_choice.chosen_accuracy", run, split)
    return rows[0].label if rows else ""


PANELS = (
    Panel(
        "Probes",
        probe_depth,
        "Accuracy of probes, or their error where all exceed 80% ({run}, {split}). Probes are fitted, selected and "
        "tested on parts of this split. Baselines are grey.",
        analyzer="probing",
    ),
    Panel(
        "Layers compared",
        layer_strip,
        "Difference in accuracy between the linear probe of each layer and of the selected layer, paired on the test "
        "samples ({run}, {split}).",
        analyzer="probing",
    ),
)
CONFUSED = (
    Panel(
        "Confusion",
        confusion,
        "Errors of the linear probe at the penultimate layer ({run}, {split}), in percent of each true class.",
        one_layer=True,
        analyzer="probing",
    ),
)
