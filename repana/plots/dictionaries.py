"""Dictionaries: how often their features are active, what they explain for how many, and how two of them match."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from repana import _check
from repana.features import DictionaryMatch, DictionaryQuality
from repana.plots import _style
from repana.plots._curves import axes_of, finished

HEIGHT = 2.2
BINS = np.arange(-6.0, 0.01, 0.25)  # of log10 density, as `dictionary_quality` counts


def dictionary(
    *found: DictionaryQuality,
    names: tuple[str, ...] = (),
    ax: Sequence[Axes] | None = None,
    width: _style.Width = _style.PAGE,
) -> list[Axes]:
    """Draw what `repana.features.dictionary_quality` found of one or several dictionaries of a layer.

    At the left how many features are active in which share of rows, on a logarithmic axis, and those that are never
    active at the far left. At the right what each explains of the layer over the mean number of active features, with
    its interval; beside it, with as many numbers a row, principal components (dash) and the layer's own largest units
    (cross). `names` name the dictionaries. `ax`: two Axes. Returns them. Raises InputError where there are not as many
    names as dictionaries.
    """
    if not found:
        raise _check.negative("found", 0)
    if names and len(names) != len(found):
        raise _check.lengths_differ([len(names), len(found)])
    names = names or tuple(f"dictionary {k + 1}" if len(found) > 1 else "dictionary" for k in range(len(found)))
    width = _style.in_inches(width)
    with _style.drawing():
        axes = list(ax or _style.grid(2, width, HEIGHT, columns=2))
        for i, (one, name) in enumerate(zip(found, names)):
            _density(axes[0], one, name, _style.colour(i, len(found)), len(found))
            _explained(axes[1], one, name, _style.colour(i, len(found)), _style.MARKERS[i % len(_style.MARKERS)])
        _finish_density(axes[0])
        axes[1].plot([], [], "_", color=_style.GREY, label="principal components")
        axes[1].plot([], [], "x", color=_style.GREY, label="largest units")
        if min(one.explained.value for one in found) < 0:
            axes[1].axhline(0, color=_style.GREY, linewidth=_style.thin(), zorder=1)
        axes[1].yaxis.set_major_formatter(PercentFormatter(1.0, 0))
        axes[1].set_xlabel("active features a row (L0)")
        axes[1].legend(frameon=False)
        _style.guides(axes[1])
        _style.title(axes[1], "Explained")
    return axes


def _density(ax: Axes, one: DictionaryQuality, name: str, colour: str, total: int) -> None:
    counts = one.histogram.numpy()
    style = {"alpha": 0.6 if total == 1 else 0.35, "color": colour}
    ax.bar(BINS[: len(counts) - 1] + 0.125, counts[1:], width=0.25, label=name, **style)
    ax.bar([BINS[0] - 0.6], counts[:1], width=0.5, hatch=_style.HATCH, edgecolor=colour, **style)


def _finish_density(ax: Axes) -> None:
    ticks = [BINS[0] - 0.6, -4, -2, 0]
    ax.set_xticks(ticks, ["never", *(_style.decade(10.0**t) for t in ticks[1:])])
    ax.set_xlabel("share of rows in which a feature is active")
    ax.set_ylabel("features")
    if len(ax.containers) > 2:
        ax.legend(frameon=False)
    _style.guides(ax)
    _style.title(ax, "Density of features")


def _explained(ax: Axes, one: DictionaryQuality, name: str, colour: str, marker: str) -> None:
    x, e = one.l0.value, one.explained
    ax.plot([x], [e.value], marker=marker, color=colour, linestyle="none", label=name, zorder=3)
    ax.plot([x, x], [e.low, e.high], color=colour, linewidth=2, alpha=0.5, zorder=2)
    ax.plot([x], [one.pca.value], "_", color=colour, markersize=9)
    ax.plot([x], [one.units.value], "x", color=colour)


def matching(found: DictionaryMatch, *, ax: Axes | None = None, width: _style.Width = _style.COLUMN) -> Axes:
    """Draw what `repana.features.match_dictionaries` found: for every feature of the first dictionary, sorted, the
    largest cosine with a feature of the second, over the band of random rotations of the second, which keep how crowded
    it is; dotted, the mean for independent directions. Returns the Axes."""
    width = _style.in_inches(width)
    with _style.drawing():
        ax, own = axes_of(ax, width)
        best = np.sort(found.best_ab.numpy())[::-1]
        x = np.arange(1, len(best) + 1) / len(best)
        if len(found.rotated):
            rotated = np.sort(found.rotated.numpy(), 1)[:, ::-1]
            ax.fill_between(x, rotated.min(0), rotated.max(0), color=_style.GREY, alpha=0.3, linewidth=0,
                            label="random rotations")  # fmt: skip
        ax.plot(x, best, color=_style.COLOURS[0], label="best cosine", zorder=3)
        ax.axhline(found.random.value, color=_style.GREY, linestyle=":", linewidth=_style.thin(), label="independent")
        ax.set_xlim(0, 1)
        lowest = min(float(best[-1]), float(found.rotated.min()) if len(found.rotated) else 0.0)
        ax.set_ylim(min(0.0, lowest), 1.02)
        ax.xaxis.set_major_formatter(PercentFormatter(1.0, 0))
        ax.set_xlabel("features of the first, the best matched first")
        ax.set_ylabel("largest cosine with the second")
        _style.title(ax, f"{100 * found.shared.value:.0f}% of matched pairs above .7")
        finished(ax, own, width)
    return ax
