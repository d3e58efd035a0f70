"""Experts: their load over depth with the dead ones marked, and which classes they take."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from repana import _check
from repana.heads import Routing
from repana.plots import _style

HEIGHT = 2.2


def expert_load(
    found: Routing, router: str | None = None, *, ax: Sequence[Axes] | None = None, width: _style.Width = _style.PAGE
) -> list[Axes]:
    """Draw `repana.heads.routing`: at the left the load of every expert in every router, over an even one, a cross
    where no token chose it; at the right, where there are labels, the share of each class in the first choices of each
    expert of one `router`, by default the last, else the number of experts that the load is worth by router, with all
    of them dashed. `ax`: two Axes. Returns them."""
    names = list(found.routers)
    name = names[-1] if router is None else router
    if name not in found.routers:
        raise _check.not_recorded(name, names)
    width = _style.in_inches(width)
    with _style.drawing():
        axes = list(ax or _style.grid(2, width, HEIGHT, columns=2))
        _load(axes[0], found)
        if len(found.classes) > 1:
            _classes(axes[1], found, name)
        else:
            _effective(axes[1], found)
    return axes


def _load(ax: Axes, found: Routing) -> None:
    loads = [use.load.numpy() for use in found.routers.values()]
    most = max(map(len, loads))
    values = np.full((len(loads), most), np.nan)
    for row, load in zip(values, loads):
        row[: len(load)] = len(load) * load
    image = ax.imshow(values, aspect="auto", cmap=_style.SEQUENTIAL, vmin=0, interpolation="none")
    dead = np.argwhere(values == 0)
    ax.plot(dead[:, 1], dead[:, 0], "x", color=_style.COLOURS[1], markersize=4, label="_dead")
    bar = _style.figure_of(ax).colorbar(image, ax=ax, fraction=0.08, pad=0.03)
    bar.outline.set_visible(False)  # type: ignore[operator]
    _integers(ax)
    ax.set_xlabel("expert")
    ax.set_ylabel("router")
    _style.title(ax, "Load over even, x never chosen")


def _classes(ax: Axes, found: Routing, name: str) -> None:
    table = found[name].table.numpy()
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    share[table.sum(1) == 0] = np.nan
    image = ax.imshow(share.T, aspect="auto", cmap=_style.SEQUENTIAL, vmin=0, vmax=1, interpolation="none")
    bar = _style.figure_of(ax).colorbar(image, ax=ax, fraction=0.08, pad=0.03)
    bar.outline.set_visible(False)  # type: ignore[operator]
    ax.set_yticks(range(len(found.classes)), found.classes)
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.tick_params(length=0)
    ax.set_xlabel(f"expert of {_style.tail(name, 24)}")
    ax.set_ylabel("class")
    _style.title(ax, "Classes of first choices")


def _effective(ax: Axes, found: Routing) -> None:
    uses = list(found.routers.values())
    x = np.arange(len(uses))
    value, low, high = (np.array([getattr(u.effective, f) for u in uses]) for f in ("value", "low", "high"))
    ax.plot(x, value, "o-", color=_style.COLOURS[0])
    ax.fill_between(x, low, high, color=_style.COLOURS[0], alpha=0.15, linewidth=0)
    ax.plot(x, [len(u.load) for u in uses], "--", color=_style.GREY, linewidth=_style.thin())
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.set_ylim(bottom=0)
    ax.set_xlabel("router")
    _style.guides(ax)
    _style.title(ax, "Experts that the load is worth")


def _integers(ax: Axes) -> None:
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.tick_params(length=0)
