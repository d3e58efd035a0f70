"""What a network would answer at every layer: agreement, divergence and accuracy by depth, settling, and patience."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from repana._estimate import Estimate
from repana.plots import _style
from repana.probes import Exits

HEIGHT = 1.75


def exit_depth(found: Exits, *, ax: Sequence[Axes] | None = None, width: _style.Width = _style.PAGE) -> list[Axes]:
    """Draw `repana.probes.exits` in five panels, or six where there are labels.

    Over the layers, 0 the input of the first block: agreement with the final answer, KL(final || layer) on a
    logarithmic axis, and entropy, with their intervals as bands; dashed, the best constant answer. With a tuned lens KL
    also of the logit lens and of the shift alone. Then accuracy by depth, the share of the commonest label dashed; the
    share of answers that settle at each layer; and patience, accuracy over the mean depth of leaving after 1, 2, ...
    equal answers, beside a fixed layer (dashed) and the same exits of other rows (dotted). `ax`:
    five Axes, or six. Returns the Axes.
    """
    labelled = bool(np.isfinite([e.value for e in found.accuracy.values()]).any())
    width = _style.in_inches(width)
    with _style.drawing():
        axes = list(ax or _style.grid(5 + labelled, width, HEIGHT, columns=3))
        panels = iter(axes)
        _curve(next(panels), found.agreement, "Agreement with the end", share=True)
        _divergence(next(panels), found)
        _curve(next(panels), found.entropy, "Entropy, nats")
        if labelled:
            _curve(next(panels), found.accuracy, "Accuracy", share=True)
        _settling(next(panels), found)
        _patience(next(panels), found, labelled)
    return axes


def _axis(ax: Axes, layers: int) -> None:
    ax.set_xlim(-0.3, layers - 0.7)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.set_xlabel("layer")
    _style.guides(ax)


def _curve(ax: Axes, values: Mapping[str, Estimate], words: str, share: bool = False) -> None:
    x = np.arange(len(values))
    _line(ax, x, list(values.values()), _style.COLOURS[0], "o")
    null = next(iter(values.values())).null
    if np.isfinite(null):
        ax.axhline(null, color=_style.GREY, linestyle="--", linewidth=_style.thin(), zorder=1)
    if share:
        ax.set_ylim(-0.02, 1.04)
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, 0))
    _axis(ax, len(x))
    _style.title(ax, words)


def _line(ax: Axes, x: np.ndarray, values: list[Estimate], colour: str, marker: str, label: str = "") -> None:
    value, low, high = (np.array([getattr(e, f) for e in values]) for f in ("value", "low", "high"))
    ax.plot(x, value, color=colour, marker=marker, label=label or "_value", zorder=3)
    ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def _divergence(ax: Axes, found: Exits) -> None:
    """Without the last layer, whose KL is 0."""
    layers = found.layers[:-1]
    x = np.arange(len(layers))
    if found.lens_kl:
        names = (("logit", "logit lens", 1), ("shift", "shift alone", 2), ("lens", "fitted map", 0))
        for name, label, i in names:
            values = [found.lens_kl[layer][name] for layer in layers]
            _line(ax, x, values, _style.COLOURS[i], _style.MARKERS[i], label)
        ax.legend(frameon=False)
    else:
        _line(ax, x, [found.kl[layer] for layer in layers], _style.COLOURS[0], "o")
    ax.axhline(found.kl[layers[0]].null, color=_style.GREY, linestyle="--", linewidth=_style.thin(), zorder=1)
    ax.set_yscale("log")
    _style.decades(ax.yaxis, widen=True)
    _axis(ax, len(found.layers))
    _style.title(ax, "KL(end || layer), nats")


def _settling(ax: Axes, found: Exits) -> None:
    count = found.settle_counts.double().numpy()
    ax.bar(np.arange(len(count)), count / count.sum(), color=_style.COLOURS[0], width=0.8)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, 0))
    _axis(ax, len(count))
    _style.title(ax, "Answers settle at layer")


def _patience(ax: Axes, found: Exits, labelled: bool) -> None:
    points = found.patience
    x = [p.layers for p in points]
    ax.plot(x, [p.accuracy for p in points], color=_style.COLOURS[0], marker="o", label="patience", zorder=3)
    ax.plot(x, [p.static for p in points], "--", color=_style.GREY, label="fixed layer")
    ax.plot(x, [p.null for p in points], ":", color=_style.GREY, label="shuffled exits")
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, 0))
    ax.set_xlabel("blocks run, mean")
    ax.legend(frameon=False)
    _style.guides(ax)
    _style.title(ax, "Accuracy with patience" if labelled else "Agreement with patience")
