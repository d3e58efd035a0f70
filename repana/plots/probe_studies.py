"""Curves of probes that are no depth profiles: over labels, over complexity, and out of distribution."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from repana import _report_refusals
from repana.plots import _layers, _style
from repana.plots._curves import LETTERS, axes_of, below, finished
from repana.probes._information import MDL, Pareto
from repana.probes._ood import OODProbe
from repana.probes._sample_efficiency import SampleEfficiency

NAMES = {
    "naive_bayes": "naive Bayes",
    "nearest_mean": "nearest mean",
    "lda": "LDA",
    "linear": "logistic",
    "1nn": "nearest neighbour",
}


def sample_efficiency_curve(
    found: SampleEfficiency, *, ax: Axes | None = None, width: _style.Width = _style.COLUMN
) -> Axes:
    """Draw accuracy over the number of labels, one curve a probe with its interval over draws.

    An upright line is where the logistic probe overtakes naive Bayes. Returns the Axes.
    """
    width = _style.in_inches(width)
    with _style.drawing():
        ax, own = axes_of(ax, width)
        sizes = found.sizes.numpy()
        for i, name in enumerate(found.curves):
            value, low, high = found.mean(name).numpy().T
            colour = _style.colour(i, len(found.curves))
            marker, line = _style.MARKERS[i % len(_style.MARKERS)], _style.LINES[i % len(_style.LINES)]
            ax.plot(sizes, value, color=colour, marker=marker, linestyle=line, label=NAMES.get(name, name), zorder=3)
            ax.fill_between(sizes, low, high, color=colour, alpha=0.15, linewidth=0)
        if np.isfinite(found.crossing.value):
            ax.axvline(
                found.crossing.value,
                color=_style.GREY,
                linestyle=":",
                linewidth=_style.thin(),
                label="logistic overtakes naive Bayes",
            )
        ax.set_xscale("log")
        ax.set_xticks(sizes)
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, place: f"{v:g}"))
        ax.set_xlabel("training labels")
        ax.set_ylabel("accuracy")
        ax.set_title("Accuracy with few labels")
        finished(ax, own, width)
    return ax


def mdl_curve(found: Mapping[str, MDL] | MDL, *, ax: Axes | None = None, width: _style.Width = _style.COLUMN) -> Axes:
    """Draw the bits that the next label costs over the number of labels known, one curve a layer, dark for the first.

    Dotted: the cost without features, the entropy of the classes. The area below a curve is the code length.
    Returns the Axes.
    """
    results = {"": found} if isinstance(found, MDL) else dict(found)
    if not results:
        raise _report_refusals.nothing_to_draw("mdl")
    width = _style.in_inches(width)
    with _style.drawing():
        ax, own = axes_of(ax, width)
        names = _layers.short_names(list(results), LETTERS)
        for i, (name, one) in enumerate(zip(names, results.values())):
            rows, bits = one.curve.numpy().T
            colour = _style.depth_colour(i, len(results))
            marker, line = _style.MARKERS[i % len(_style.MARKERS)], _style.LINES[i % len(_style.LINES)]
            label = _style.legend_name(name) if name else None
            ax.plot(rows, bits, color=colour, marker=marker, linestyle=line, label=label, zorder=3)
        one = next(iter(results.values()))
        n = one.codelength.n
        ax.axhline(one.entropy / n, color=_style.GREY, linestyle=":", linewidth=_style.thin(), label="class entropy")
        ax.set_xscale("log")
        _style.decades(ax.xaxis)
        ax.set_ylim(bottom=0)
        ax.set_xlabel("labels known")
        ax.set_ylabel("bits per label")
        ax.set_title("Online code")
        finished(ax, own, width)
    return ax


def pareto_front(
    found: Mapping[str, Pareto] | Pareto, *, ax: Axes | None = None, width: _style.Width = _style.COLUMN
) -> Axes:
    """Draw accuracy over the effective dimension of the probe, one front a layer, dark for the first.

    Up and to the left is better: much read by simple probes. Returns the Axes.
    """
    results = {"": found} if isinstance(found, Pareto) else dict(found)
    if not results:
        raise _report_refusals.nothing_to_draw("pareto")
    width = _style.in_inches(width)
    with _style.drawing():
        ax, own = axes_of(ax, width)
        names = _layers.short_names(list(results), LETTERS)
        for i, (name, one) in enumerate(zip(names, results.values())):
            effective, _, accuracy, _ = one.curve[one.front].numpy().T
            colour = _style.depth_colour(i, len(results))
            line = _style.LINES[i % len(_style.LINES)]
            label = _style.legend_name(name) if name else None
            ax.step(
                [*effective, float(one.curve[-1, 0])],
                [*accuracy, accuracy[-1]],
                where="post",
                color=colour,
                linestyle=line,
                label=label,
                zorder=3,
            )
            ax.plot(effective, accuracy, color=colour, marker=_style.MARKERS[i % len(_style.MARKERS)], linestyle="none")
        ax.set_xscale("log")
        _style.decades(ax.xaxis)
        ax.set_ylim(0, 1.02)
        ax.set_xlabel("effective dimension of the probe")
        ax.set_ylabel("accuracy")
        ax.set_title("Accuracy and probe complexity")
        finished(ax, own, width)
    return ax


def ood_scatter(found: Mapping[str, OODProbe], *, ax: Axes | None = None, width: _style.Width = _style.COLUMN) -> Axes:
    """Draw out-of-distribution accuracy against in-distribution accuracy, one mark per layer, joined in order of depth.

    Dark for the first layer. On the diagonal there is no drop. Every mark carries both intervals. Returns the Axes.
    """
    if not found:
        raise _report_refusals.nothing_to_draw("ood_probe")
    names, results = _layers.short_names(list(found), LETTERS), list(found.values())
    width = _style.in_inches(width)
    with _style.drawing():
        ax, own = axes_of(ax, width, height=0.95 * width)
        x, y = ([getattr(r, f).value for r in results] for f in ("accuracy", "ood_accuracy"))
        ax.plot(x, y, color=_style.FAINT, zorder=1)
        for i, r in enumerate(results):
            a, b = r.accuracy, r.ood_accuracy
            ax.errorbar(
                [a.value],
                [b.value],
                xerr=[[a.value - a.low], [a.high - a.value]],
                yerr=[[b.value - b.low], [b.high - b.value]],
                color=_style.depth_colour(i, len(results)),
                marker=_style.MARKERS[i % len(_style.MARKERS)],
                linestyle="none",
                linewidth=_style.thin(),
                label=_style.legend_name(names[i]),
                zorder=3,
            )
        low = max(min(*x, *y) - 0.1, 0.0)
        ax.plot([low, 1], [low, 1], color=_style.GREY, linestyle=":", linewidth=_style.thin(), label="no drop")
        ax.set_xlim(low, 1.02)
        ax.set_ylim(low, 1.02)
        ax.set_xlabel("in-distribution accuracy")
        ax.set_ylabel("out-of-distribution accuracy")
        ax.set_title("In- and out-of-distribution accuracy")
        below(ax, own, width)
    return ax
