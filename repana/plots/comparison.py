"""Figures of comparisons: the matrix of layers with its null and floors, drift over depth, what is left of the
forgotten, samples in front of the classifier, and the line between two networks."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from repana import _report_refusals
from repana._numbers import evenly, short
from repana._results import Report
from repana.comparison._barrier import Barrier
from repana.comparison._robustness import HeadGeometry
from repana.comparison._table import FLOORS
from repana.plots import _layers, _style
from repana.plots._curves import axes_of, below, layered
from repana.plots._panels import Panel
from repana.plots.depth import depth_profile

NARROW = 4.5  # inches, below which one panel stands on the other
MOST_VALUES = 14  # layers whose cells have room for a number
DARK = 0.62  # of the colour scale, from which numbers are white
SIGNIFICANT = 0.05  # p from which a value is not told apart from its null
MODELS = ("original", "unlearned", "retrained")
MOST_ARROWS = 150
DRIFT = ("drift.cka", "drift.residual_share", "drift.r2_forward", "drift.r2_backward", "drift.knn", "drift.total")


def default_figure(report: Report, *quantities: str, ax: Any = None, **options: Any) -> list[Axes]:
    """The figure of a report: of a comparison its own, else the depth profile, of the quantities named."""
    _style.check_report(report)
    kind = report.about().get("compared", "") if len(report.runs) == 1 else ""
    if kind == "similarity":
        return layer_similarity(report, *quantities, ax=ax, **options)
    if kind == "unlearning" and not quantities:
        return unlearning_depth(report, ax=ax, **options)
    if kind == "drift" and not quantities:
        return drift_depth(report, ax=ax, **options)
    return depth_profile(report, *quantities, ax=ax, **options)


def panel_of(report: Report) -> Panel | None:
    """The panel of a report that is one comparison."""
    kind = report.about().get("compared", "") if len(report.runs) == 1 else ""
    return next((panel for panel in PANELS if kind and panel.analyzer == kind), None)


def layer_similarity(
    report: Report,
    measure: str | None = None,
    *,
    ax: Sequence[Axes] | None = None,
    run: str | None = None,
    split: str | None = None,
    width: _style.Width = _style.PAGE,
) -> list[Axes]:
    """Draw the similarity of all pairs of layers, and beside it that of layers of like place.

    At the left rows are layers of the first network and columns those of the second, from the lower left on, coloured
    from 0 to 1 (values below 0 as 0; numbers where there are at most 14 layers). A ring marks the most similar layer of
    each row, hatching a value whose p is 0.05 or more. At the right the pairs of like place with their
    intervals, in grey the null with its range, and dashed the floors: the same with random weights, and with another
    seed. `measure`: by default the first. `ax`: two Axes. Returns both, with the matrix in the image of the first.

    Raises InputError for a report that is no similarity, or a measure that it does not hold.
    """
    _style.check_report(report)
    about = _about(report, "similarity", run)
    name = measure or about["measures"][0]
    found = {part: report.array(f"similarity.{name}{part}", "", run=run, split=split)
             for part in ("", ".low", ".high", ".null", ".null_sd", ".p")}  # fmt: skip
    first, second = about["layers_a"], about["layers_b"]
    width = _style.in_inches(width)
    with _style.drawing() as scale:
        narrow = width < NARROW
        side = max(1.9, min((1.0 if narrow else 0.52) * width, 0.9 + 0.32 * max(len(first), len(second))))
        own = ax is None
        if ax is None and narrow:
            left, right = _style.plate(width, side + 2.4).subplots(2, 1, height_ratios=[side, 1.9])
        elif ax is None:
            left, right = _style.plate(width, min(side + 0.5, 4.2)).subplots(1, 2, width_ratios=[1.05, 1.0])
        else:
            left, right = ax[0], ax[1]
        title = report.quantity("similarity", name).label
        _matrix(left, found, first, second, about, title, scale)
        _like_places(right, report, name, found, about, run, split, title)
        below(right, own, width)
    return [left, right]


def drift_depth(
    report: Report,
    *quantities: str,
    ax: Any = None,
    runs: Sequence[str] | None = None,
    width: _style.Width | None = None,
) -> list[Axes]:
    """Draw what changed over depth: debiased CKA, residual share, R^2 both ways, shared neighbours and total change, or
    the quantities named, each with its interval. Returns the Axes.

    Raises InputError for a report that is no drift.
    """
    _style.check_report(report)
    _about(report, "drift", None if runs is None else runs[0])
    return depth_profile(report, *(quantities or DRIFT), ax=ax, runs=runs, width=width)


def robustness_depth(
    report: Report, quantity: str = "cka", *, ax: Any = None, width: _style.Width = _style.COLUMN
) -> Axes:
    """Draw a quantity of the drift from clean samples over depth, a line a severity, dark for the first, with
    intervals. Returns the Axes, with one line a severity.

    Raises InputError for a report that is no drift.
    """
    _style.check_report(report)
    _about(report, "drift", None)
    width = _style.in_inches(width)
    with _style.drawing():
        ax, own = axes_of(ax, width)
        layers = report.layers
        for i, run in enumerate(report.runs):
            rows = {r.layer: r for r in report.select(f"drift.{quantity}", run=run)}
            x = np.array([k for k, layer in enumerate(layers) if layer in rows], float)
            value, low, high = (
                np.array([getattr(rows[y], f) for y in layers if y in rows]) for f in ("value", "low", "high")
            )
            colour = _style.depth_colour(i, len(report.runs))
            style, mark = _style.LINES[i % len(_style.LINES)], _style.MARKERS[i % len(_style.MARKERS)]
            ax.plot(x, value, color=colour, linestyle=style, marker=mark, label=_style.legend_name(run))
            ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        layered(ax, layers)
        ax.set_ylabel(report.quantity("drift", quantity).label)
        _style.title(ax, "Against clean samples, by severity")
        _style.guides(ax)
        below(ax, own, width)
    return ax


def unlearning_depth(
    report: Report,
    *,
    ax: Sequence[Axes] | None = None,
    run: str | None = None,
    split: str | None = None,
    width: _style.Width = _style.PAGE,
) -> list[Axes]:
    """Draw the residual knowledge of the forget set over depth. At the left, the recall of forgotten samples by a
    linear probe in every network; what matters is the gap between the unlearned and the retrained one. At the right,
    how much nearer each layer is to the original than to the retrained network, on forgotten and on retained samples:
    above 0 it is still the original's. `ax`: two Axes. Returns both.

    Raises InputError for a report that is no unlearning.
    """
    _style.check_report(report)
    about = _about(report, "unlearning", run)
    width = _style.in_inches(width)
    with _style.drawing():
        own = ax is None
        left, right = (_style.grid(2, width, 2.2) if ax is None else list(ax))[:2]
        layers = [r.layer for r in report.select("unlearning.recovery", run=run, split=split)]
        for i, model in enumerate(MODELS):
            name = f"recall_{model}"
            if any(r.quantity == name for r in report.of_run(run or report.runs[0])):
                _line(left, report, f"unlearning.{name}", i, model, run, split)
        kinds = ("closeness_forget", "closeness_retain") if about["reference"] == "retrained" else ("cka_original",)
        words = {
            "closeness_forget": "forgotten samples",
            "closeness_retain": "retained samples",
            "cka_original": "all samples",
        }
        for i, name in enumerate(kinds):
            _line(right, report, f"unlearning.{name}", i + 3, words[name], run, split)
        if len(kinds) > 1:
            right.axhline(0, color=_style.GREY, linewidth=_style.thin(), zorder=0)
        left.set_ylabel("recall of forgotten samples")
        left.set_ylim(None, 1.02)
        right.set_ylabel("CKA to original less to retrained" if len(kinds) > 1 else "CKA with the original")
        for panel, text in ((left, "Linear probe"), (right, "Still the original's?")):
            layered(panel, layers)
            _style.guides(panel)
            _style.title(panel, text, _style.which(report, run, split))
            panel.legend(frameon=False)
        if own:
            _style.letters([left, right])
    return [left, right]


def head_plane(
    found: HeadGeometry, *, ax: Axes | None = None, most: int = MOST_ARROWS, width: _style.Width = _style.COLUMN
) -> Axes:
    """Draw samples in front of the classifier, by the length of their features and the angle to the weight of their
    class: an arrow from before to after, blue where the sample is still right, red where it no longer is, grey where it
    never was. Of many samples every few. Returns the Axes.
    """
    width = _style.in_inches(width)
    with _style.drawing():
        ax, own = axes_of(ax, width)
        n = len(found.labels)
        at = evenly(n, most)
        x, y = found.norm_before.numpy()[at], found.angle_before.numpy()[at]
        u, v = found.norm_after.numpy()[at] - x, found.angle_after.numpy()[at] - y
        right, still = found.margin_before.numpy()[at] > 0, found.margin_after.numpy()[at] > 0
        kinds = (
            ("stays right", right & still, _style.COLOURS[0]),
            ("becomes wrong", right & ~still, _style.COLOURS[1]),
            ("becomes right", ~right & still, _style.COLOURS[2]),
            ("stays wrong", ~right & ~still, _style.GREY),
        )
        for label, chosen, colour in kinds:
            if chosen.any():
                ax.quiver(
                    x[chosen],
                    y[chosen],
                    u[chosen],
                    v[chosen],
                    color=colour,
                    angles="xy",
                    scale_units="xy",
                    scale=1,
                    width=0.004,
                    label=f"{label} ({int(chosen.sum())})",
                )
        ends_x, ends_y = np.concatenate([x, x + u]), np.concatenate([y, y + v])
        for low, high, setter in ((ends_x.min(), ends_x.max(), ax.set_xlim), (ends_y.min(), ends_y.max(), ax.set_ylim)):
            room = 0.05 * (high - low) or 1.0
            setter(low - room, high + room)
        ax.set_xlabel("length of features |h|")
        ax.set_ylabel("angle to own class (degrees)")
        _style.title(ax, "In front of the classifier")
        _style.guides(ax, "both")
        below(ax, own, width)
    return ax


def barrier_curve(found: Barrier, *, ax: Sequence[Axes] | None = None, width: _style.Width = _style.PAGE) -> list[Axes]:
    """Draw loss and accuracy along the straight line between two networks, with and without their units matched, each
    with its interval. `ax`: two Axes. Returns both.
    """
    width = _style.in_inches(width)
    with _style.drawing():
        own = ax is None
        axes = (_style.grid(2, width, 2.0) if ax is None else list(ax))[:2]
        curves = (
            ("as they are", found.loss, found.accuracy),
            ("units matched", found.matched_loss, found.matched_accuracy),
        )
        t = found.points.numpy()
        for i, (label, loss, accuracy) in enumerate(curves):
            if loss is None or accuracy is None:
                continue
            for panel, values in zip(axes, (loss.numpy(), accuracy.numpy())):
                panel.plot(
                    t,
                    values[:, 0],
                    color=_style.COLOURS[i],
                    linestyle=_style.LINES[i],
                    marker=_style.MARKERS[i],
                    label=label,
                )
                panel.fill_between(t, values[:, 1], values[:, 2], color=_style.COLOURS[i], alpha=0.15, linewidth=0)
        for panel, words in zip(axes, ("cross-entropy (nats)", "accuracy")):
            panel.set_xlabel("place on the line, from a to b")
            panel.set_ylabel(words)
            _style.guides(panel)
        axes[0].set_ylim(0, None)
        _style.title(axes[0], "Loss between the two networks")
        _style.title(axes[1], "Accuracy between them")
        axes[0].legend(frameon=False)
        if own:
            _style.letters(axes)
    return axes


def _about(report: Report, analyzer: str, run: str | None) -> Any:
    about = report.about(run).get("settings", {}).get(analyzer)
    if not about:
        raise _report_refusals.no_comparison(analyzer, run or (report.runs[0] if report.runs else ""))
    return about


def _matrix(
    ax: Axes, found: dict[str, np.ndarray], first: list[str], second: list[str], about: Any, title: str, scale: float
) -> None:
    """Layers by layers, from the lower left."""
    values = found[""]
    ax.imshow(np.clip(values, 0, 1), cmap=mpl.colormaps[_style.SEQUENTIAL].with_extremes(bad="white"), vmin=0, vmax=1.0,
              origin="lower", interpolation="nearest", aspect="auto")  # fmt: skip
    room = _layers.inches(ax)
    numbers = max(values.shape) <= MOST_VALUES and room > 0.24 * scale * values.shape[1]
    size = mpl.rcParams["font.size"] * 0.7
    for i, j in np.ndindex(*values.shape):
        value = values[i, j]
        if np.isnan(value):
            _style.hatch(ax, j, i)
            continue
        if found[".p"][i, j] >= SIGNIFICANT and not _style.plain():
            ax.add_patch(
                Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, hatch=_style.HATCH, linewidth=0, edgecolor=_style.GREY)
            )
        if numbers:
            text = (
                f"{float(value):.2f}".replace("0.", ".", 1).replace("-", "\u2212")
                if abs(value) < 0.995
                else short(round(float(value), 2))
            )
            ax.text(j, i, text, ha="center", va="center", fontsize=size, color="white" if value > DARK else "black")
    itself = about["itself"]
    for i in range(len(values)):
        line = np.where(np.isnan(values[i]), -np.inf, values[i])
        if itself:
            line[i] = -np.inf
        j = int(line.argmax())
        if np.isfinite(line[j]):
            ax.add_patch(
                Rectangle((j - 0.44, i - 0.44), 0.88, 0.88, fill=False, linewidth=1.1, edgecolor=_style.COLOURS[1])
            )
    what = _layers.name_layers(ax, second)
    _layers.name_layers(ax, first, vertical=True)
    ax.tick_params(length=0)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    wide, tall = _layers.inches(ax), _layers.inches(ax, vertical=True)
    letter = _layers.LETTER * mpl.rcParams["axes.labelsize"] / 72
    ax.set_xlabel(_style.literal(_style.shortened(f"{what} of {about['b']}", int(wide / letter))))
    ax.set_ylabel(_style.literal(_style.shortened(f"layer of {about['a']}", int(tall / letter))))
    _style.title(ax, title)


def _like_places(
    ax: Axes,
    report: Report,
    name: str,
    found: dict[str, np.ndarray],
    about: Any,
    run: str | None,
    split: str | None,
    title: str,
) -> None:
    """Pairs of like place, with intervals, null and floors."""
    pairs = [tuple(p) for p in about["pairs"]]
    first, second = about["layers_a"], about["layers_b"]
    x = np.arange(len(pairs))

    def along(matrix: np.ndarray) -> np.ndarray:
        return np.array([matrix[i, j] for i, j in pairs])

    value, low, high, null, sd = (along(found[part]) for part in ("", ".low", ".high", ".null", ".null_sd"))
    if np.isfinite(null).any():
        ax.fill_between(x, null - 1.96 * sd, null + 1.96 * sd, color=_style.GREY, alpha=0.25, linewidth=0)
        ax.plot(x, null, color=_style.GREY, linewidth=_style.thin(), label="samples paired at random")
    for k, floor in enumerate(about["floors"]):
        matrix = report.array(f"similarity.{name}_{floor}", "", run=run, split=split)
        ax.plot(
            x,
            along(matrix) if about["itself"] or floor != "other_seed" else np.array([matrix[j, j] for _, j in pairs]),
            linestyle=_style.LINES[k + 1],
            marker=_style.MARKERS[k + 1],
            color=_style.COLOURS[k + 1],
            label=FLOORS[floor],
        )
    label = "next layer" if about["itself"] else _style.legend_name(f"{about['a']} and {about['b']}")
    ax.plot(x, value, color=_style.COLOURS[0], marker="o", label=label, zorder=3)
    ax.fill_between(x, low, high, color=_style.COLOURS[0], alpha=0.2, linewidth=0)
    same = about["itself"] or all(first[i] == second[j] for i, j in pairs)
    layered(ax, [first[i] if same or first[i] == second[j] else f"{first[i]} ~ {second[j]}" for i, j in pairs])
    ax.set_ylabel(title)
    ax.set_ylim(min(0.0, float(np.nanmin(value)) - 0.02) if np.isfinite(value).any() else 0, 1.03)
    _style.guides(ax)
    _style.title(
        ax, "Each layer and the next" if about["itself"] else "Same layers" if same else "Layers of like place"
    )


def _line(ax: Axes, report: Report, name: str, i: int, label: str, run: str | None, split: str | None) -> None:
    rows = report.select(name, run=run, split=split)
    x = np.arange(len(rows))
    value, low, high = (np.array([getattr(r, f) for r in rows]) for f in ("value", "low", "high"))
    colour = _style.COLOURS[i]
    style, mark = _style.LINES[i % len(_style.LINES)], _style.MARKERS[i % len(_style.MARKERS)]
    ax.plot(x, value, color=colour, linestyle=style, marker=mark, label=label)
    ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


PANELS = (
    Panel(
        "Similarity of layers",
        layer_similarity,
        "All pairs of layers, coloured from 0 to 1, and layers of like place with their intervals ({run}). Rings: "
        "most similar "
        "layer of each row. Hatched: not above a random pairing of the samples. Grey: that pairing; dashed: the same "
        "with "
        "random weights or another seed, where they were compared.",
        "similarity",
    ),
    Panel(
        "Residual knowledge of the forget set",
        unlearning_depth,
        "Recall of forgotten samples by a linear probe in every network, and how much nearer each layer is to the "
        "original than "
        "to the retrained network ({run}). Bands are intervals.",
        "unlearning",
    ),
)
