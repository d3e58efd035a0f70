"""Sessions of a continual training: the matrix of accuracies, the way down, and what was lost to what."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from repana.dynamics import Sessions
from repana.plots import _style

CELLS = 10  # sessions whose cells have room for a number


def session_accuracy(
    found: Sessions,
    head: str | None = None,
    *,
    ax: Sequence[Axes] | None = None,
    width: _style.Width = _style.PAGE,
) -> list[Axes]:
    """Draw what `repana.dynamics.sessions` found, in three panels.

    At the left the accuracy on every session (columns) after every session (rows), white where a session has not come.
    In the middle the mean accuracy on the sessions seen, for every head, with chance; with several bodies also that of
    a head fitted anew in the last body, and of one on the frozen first body. At the right what was lost on earlier
    sessions: competition of more classes, and, with several bodies, what head and body lost over all sessions. `head`:
    the one of the matrix, by default the first. `ax`: three Axes. Returns them.
    """
    name = head or next(iter(found.heads))
    one = found[name]
    width = _style.in_inches(width)
    with _style.drawing():
        axes = list(ax or _style.grid(3, width, 2.3, columns=3))
        _matrix(axes[0], one.accuracy.numpy(), name)
        _way(axes[1], found)
        _losses(axes[2], found)
    return axes


def _matrix(ax: Axes, a: np.ndarray, name: str) -> None:
    count = len(a)
    colours = mpl.colormaps[_style.SEQUENTIAL].with_extremes(bad="white")
    ax.imshow(np.ma.masked_invalid(a), vmin=0, vmax=1.25, cmap=colours)
    if count <= CELLS:
        for t in range(count):
            for u in range(count):
                if np.isfinite(a[t, u]):
                    dark = "white" if a[t, u] > 0.75 else "black"
                    ax.text(u, t, f"{100 * a[t, u]:.0f}", ha="center", va="center", color=dark,
                            fontsize=mpl.rcParams["xtick.labelsize"])  # fmt: skip
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(min(count, 8), integer=True))
        axis.set_major_formatter(lambda v, _: f"{v + 1:.0f}")
    ax.tick_params(length=0)
    ax.set_xlabel("accuracy on session")
    ax.set_ylabel("after session")
    _style.title(ax, f"{name}, %")


def _way(ax: Axes, found: Sessions) -> None:
    x = np.arange(1, len(found.chance) + 1)
    several = found.settings["bodies"] > 1
    for i, (name, one) in enumerate(found.heads.items()):
        a = one.accuracy.numpy()
        mean = [a[t, : t + 1].mean() for t in range(len(a))]
        ax.plot(x, mean, color=_style.COLOURS[i], marker=_style.MARKERS[i], label=name)
        if several:
            anew = one.refit.numpy()
            ax.plot(x, [anew[t, : t + 1].mean() for t in range(len(anew))], ":", color=_style.COLOURS[i])
            joint = one.joint.numpy()
            ax.plot(x, [joint[t, : t + 1].mean() for t in range(len(joint))], "-.", color=_style.COLOURS[i], alpha=0.5)
    if several:
        ax.plot([], [], ":", color=_style.GREY, label="fitted anew")
        ax.plot([], [], "-.", color=_style.GREY, label="frozen body")
    ax.plot(x, found.chance.numpy(), "--", color=_style.GREY, label="chance")
    ax.set_ylim(0, 1.02)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, 0))
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.set_xlabel("session")
    ax.legend(loc="lower left", facecolor="white", framealpha=0.85, edgecolor="none")
    _style.guides(ax)
    _style.title(ax, "Accuracy on sessions seen")


def _losses(ax: Axes, found: Sessions) -> None:
    several = found.settings["bodies"] > 1
    parts = ["forgetting", "competition", *(["head_loss", "body_loss"] if several else [])]
    names = {"forgetting": "forgetting", "competition": "of it competition", "head_loss": "head", "body_loss": "body"}
    wide = 0.8 / len(parts)
    for k, part in enumerate(parts):
        place = np.arange(len(found.heads)) + wide * (k - (len(parts) - 1) / 2)
        estimates = [getattr(one, part) for one in found.heads.values()]
        value = np.array([e.value for e in estimates])
        ax.bar(place, value, wide, color=_style.COLOURS[k], label=names[part], alpha=0.85)
        low, high = (np.array([getattr(e, side) for e in estimates]) for side in ("low", "high"))
        known = np.isfinite(low) & np.isfinite(high)
        ax.vlines(place[known], low[known], high[known], color="black", linewidth=_style.thin())
    ax.axhline(0, color=_style.GREY, linewidth=_style.thin())
    ax.set_xticks(range(len(found.heads)), list(found.heads))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, 0))
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + (0.1 + 0.09 * len(parts)) * (high - low))  # room for the legend
    ax.legend(frameon=False, loc="upper right", ncols=2)
    _style.guides(ax)
    _style.title(ax, "Accuracy lost")
