"""Attention heads: every head of every layer, and all heads over depth beside uniform attention."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from repana import _check
from repana.heads import Attention
from repana.plots import _style

DEFAULT = ("entropy_share", "distance_share", "sink")
TITLES = {
    "entropy": "Entropy, nats", "entropy_share": "Entropy, share of uniform", "top_mass": "Mass of the largest",
    "distance": "Distance, tokens", "distance_share": "Distance, over uniform", "sink": "On the first token",
    "sink_parameter": "On sinks that are parameters",
    "previous": "On the token in front", "rank": "Effective rank", "stable_rank": "Stable rank",
    "write": "Written, norm", "share": "Share of what is written",
}  # fmt: skip


def head_maps(
    found: Attention, *quantities: str, ax: Sequence[Axes] | None = None, width: _style.Width = _style.PAGE
) -> list[Axes]:
    """Draw `repana.heads.attention`: for each quantity a heat map of layers by heads, and below it all heads as points
    over the layers with their mean, dashed the same of uniform attention.

    `quantities`: up to three, by default the entropy and the distance over those of uniform attention, and the share on
    the first token. `ax`: two Axes for each. Returns them, those of the heat maps first. Raises InputError for an
    unknown quantity.
    """
    names = quantities or DEFAULT
    for name in names:
        _check.choice(name, "quantities", TITLES)
    _check.in_range(len(names), "quantities", 1, 3)
    width = _style.in_inches(width)
    rows = len(found.layers)
    with _style.drawing():
        own = ax or _style.grid(2 * len(names), width, 1.2 + 0.12 * min(rows, 12), columns=len(names))
        axes = list(own)
        for panel, below, name in zip(axes, axes[len(names) :], names):
            _heat(panel, found, name)
            _depth(below, found, name)
    return axes


def _heat(ax: Axes, found: Attention, name: str) -> None:
    values = found.values[name].numpy()
    image = ax.imshow(values, aspect="auto", cmap=_style.DEPTHS, interpolation="none")
    figure = _style.figure_of(ax)
    bar = figure.colorbar(image, ax=ax, fraction=0.08, pad=0.03)
    bar.outline.set_visible(False)  # type: ignore[operator]
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.tick_params(length=0)
    ax.set_xlabel("head")
    ax.set_ylabel("layer")
    _style.title(ax, TITLES[name])


def _depth(ax: Axes, found: Attention, name: str) -> None:
    values, null = found.values[name].numpy(), found.null[name].numpy()
    x = np.arange(len(values))
    for h in range(values.shape[1]):
        ax.plot(x, values[:, h], "o", color=_style.COLOURS[0], alpha=0.35, markersize=2.5)
    ax.plot(x, np.nanmean(values, 1), color=_style.COLOURS[0], zorder=3)
    if np.isfinite(null).any():
        ax.plot(x, np.nanmean(null, 1), "--", color=_style.GREY, linewidth=_style.thin(), zorder=1)
    ax.set_xlim(-0.3, len(x) - 0.7)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.set_xlabel("layer")
    _style.guides(ax)
    _style.title(ax, TITLES[name])
