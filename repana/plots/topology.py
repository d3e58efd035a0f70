"""Topology of layers: diagrams and barcodes of one, components and edge lengths over depth."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from repana._results import Report
from repana.plots import _layers, _style
from repana.plots._class_grids import colour_bar
from repana.plots._curves import LETTERS, axes_of, below, finished, layers_with_array
from repana.plots._panels import Panel
from repana.topology._density import DensityPersistence
from repana.topology._persistence import Persistence

MOST_BARS = 60  # of one dimension in a barcode, the longest
BINS, MOST_OUTLINES = 40, 5


def persistence_diagram(
    found: Persistence, *, ax: Axes | None = None, title: str = "", width: _style.Width = _style.COLUMN
) -> Axes:
    """Draw births and deaths of all dimensions; far above the diagonal is what lasts over scales.

    The infinite bar of H0 is not drawn. Returns the Axes, with one collection a dimension.
    """
    width = _style.in_inches(width)
    with _style.drawing() as scale:
        ax, own = axes_of(ax, width, height=0.98 * width)
        end = max((float(d[:, 1].max()) for d in found.diagrams.values() if len(d)), default=1.0) * 1.05
        ax.plot([0, end], [0, end], color=_style.GREY, linewidth=_style.thin(), zorder=1)
        for i, (k, d) in enumerate(found.diagrams.items()):
            ax.scatter(
                d[:, 0], d[:, 1], s=12 * scale**2, color=_style.colour(i, len(found.diagrams)), alpha=0.7,
                marker=_style.MARKERS[i % len(_style.MARKERS)], linewidths=0, clip_on=False, zorder=3,
                label=f"$H_{k}$, {len(d)} bars",
            )  # fmt: skip
        ax.set_xlim(0, end)
        ax.set_ylim(0, end)
        ax.set_aspect("equal")
        ax.set_xlabel("birth (distance)")
        ax.set_ylabel("death (distance)")
        ax.set_title(_titled(found, title))
        below(ax, own, width)
    return ax


def density_surface(
    found: DensityPersistence, *, ax: Axes | None = None, title: str = "", width: _style.Width = _style.COLUMN
) -> Axes:
    """Draw `density_persistence`: the number of components by scale and share of the densest samples, on a logarithmic
    colour scale, with the clusters of each level as numbers at the right. A white staircase is the scale from which on
    no more components than these are left.

    Returns the Axes, with the surface as its image.
    """
    width = _style.in_inches(width)
    surface, scales, levels = found.surface.numpy(), found.scales.numpy(), found.levels.numpy()
    with _style.drawing():
        ax, own = axes_of(ax, width, height=0.75 * width)
        image = ax.imshow(
            surface, aspect="auto", origin="lower", cmap=_style.DEPTHS, norm=LogNorm(1, max(2, surface.max())),
            interpolation="none", extent=(0, len(scales), 0, len(levels)),
        )  # fmt: skip
        colour_bar(ax, image, "components")
        ticks = np.unique(np.linspace(0, len(scales) - 1, 5).round().astype(int))
        ax.set_xticks(ticks + 0.5, [f"{scales[i]:g}" for i in ticks])
        ax.set_yticks(np.arange(len(levels)) + 0.5, [f"{v:g}" for v in levels])
        for row, count in enumerate(found.clusters_by_level.tolist()):
            ax.text(len(scales) - 0.3, row + 0.5, str(count), ha="right", va="center", color="white", fontsize="small")
        left = surface <= found.clusters_by_level.numpy()[:, None]
        steps = np.where(left.any(1), left.argmax(1), len(scales))
        ax.plot(np.repeat(steps, 2), np.repeat(np.arange(len(levels) + 1), 2)[1:-1], color="white", lw=_style.thin())
        ax.set_xlabel("distance / median distance")
        ax.set_ylabel("share of the densest samples")
        ax.set_title(title or "Components (at the right: clusters)")
        below(ax, own, width)
    return ax


def barcode(
    found: Persistence, *, ax: Axes | None = None, title: str = "", width: _style.Width = _style.COLUMN
) -> Axes:
    """Draw every bar from birth to death, the longest of each dimension first, at most 60 of one dimension.

    The legend says how many were left out. Returns the Axes, with one collection a dimension.
    """
    width = _style.in_inches(width)
    with _style.drawing():
        ax, own = axes_of(ax, width)
        height, end = 0, 0.0
        for i, (k, d) in enumerate(found.diagrams.items()):
            shown = d[np.argsort(d[:, 0] - d[:, 1], kind="stable")][:MOST_BARS]
            y = height + np.arange(len(shown))
            more = f", {len(d) - len(shown)} shorter not drawn" if len(d) > len(shown) else ""
            ax.hlines(y, shown[:, 0], shown[:, 1], color=_style.colour(i, len(found.diagrams)),
                      linewidth=1.2, label=f"$H_{k}$, {len(d)} bars{more}")  # fmt: skip
            height += len(shown) + 2
            end = max(end, float(shown[:, 1].max()) if len(shown) else 0.0)
        ax.set_ylim(height, -1)
        ax.set_xlim(0, end * 1.02 or 1.0)
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        ax.set_xlabel("distance")
        ax.set_title(_titled(found, title))
        below(ax, own, width)
    return ax


def betti_curves(
    report: Report,
    *layers: str,
    ax: Axes | None = None,
    run: str | None = None,
    split: str | None = None,
    width: _style.Width = _style.COLUMN,
) -> Axes:
    """Draw how many components samples within a distance of each other form, over that distance, one curve a layer.

    Distances are in units of the layer's median, so that layers can be laid side by side: classes that have come apart
    are steps that stay. By default up to five layers over the depth, the same as in `edge_lengths`, dark for the first;
    the title says how many of all. Returns the Axes.
    """
    chosen, few = _chosen(report, layers, "topology.betti", run, split)
    width = _style.in_inches(width)
    with _style.drawing():
        ax, own = axes_of(ax, width)
        names = _layers.short_names(_layers.typed(chosen, _layers.kinds_of(report, run)), LETTERS)
        for i, layer in enumerate(chosen):
            scale, count = report.array("topology.betti", layer, run=run, split=split).T
            line = _style.LINES[i % len(_style.LINES)]
            ax.step(scale, count, where="post", color=_style.depth_colour(i, len(chosen)), linestyle=line,
                    label=_style.legend_name(names[i]))  # fmt: skip
        ax.set_yscale("log")
        _style.decades(ax.yaxis)
        ax.set_xlim(0, 1.5)
        ax.set_ylim(bottom=0.9)
        ax.set_xlabel("distance over the layer's median")
        ax.set_ylabel("components ($b_0$)")
        _style.title(ax, f"Betti curves{few}", _style.which(report, run, split))
        finished(ax, own, width)
    return ax


def edge_lengths(
    report: Report,
    *layers: str,
    ax: Axes | None = None,
    run: str | None = None,
    split: str | None = None,
    width: _style.Width = _style.COLUMN,
) -> Axes:
    """Draw how long the edges of the minimum spanning tree are (the deaths of H0), one outline a layer.

    Lengths are over the longest, shares logarithmic: clustered layers have most edges near 0 and a few near 1. By
    default up to five layers over the depth, dark for the first; the title says how many of all. Returns the Axes.
    """
    chosen, few = _chosen(report, layers, "topology.deaths", run, split)
    edges, least = np.linspace(0, 1, BINS + 1), 1.0
    width = _style.in_inches(width)
    with _style.drawing():
        ax, own = axes_of(ax, width)
        names = _layers.short_names(_layers.typed(chosen, _layers.kinds_of(report, run)), LETTERS)
        for i, layer in enumerate(chosen):
            deaths = report.array("topology.deaths", layer, run=run, split=split)
            q = deaths / deaths.max() if deaths.max() > 0 else deaths
            colour, line = _style.depth_colour(i, len(chosen)), _style.LINES[i % len(_style.LINES)]
            share = np.histogram(q, edges)[0] / len(q)
            least = min(least, 1 / len(q))
            ax.stairs(np.where(share > 0, share, 1e-9), edges, color=colour, linestyle=line,
                      label=_style.legend_name(names[i]))  # fmt: skip
        ax.set_xlim(0, 1)
        ax.set_yscale("log")
        ax.set_ylim(0.6 * least, 1)
        _style.decades(ax.yaxis)
        ax.set_xlabel("edge over the longest")
        ax.set_ylabel("share of edges")
        _style.title(ax, f"Spanning tree edges{few}", _style.which(report, run, split))
        below(ax, own, width)
    return ax


def _chosen(
    report: Report, layers: Sequence[str], array: str, run: str | None, split: str | None
) -> tuple[Sequence[str], str]:
    """The layers to draw, by default five over the depth, and how many of all these are, for the title."""
    every = layers or layers_with_array(report, array, run, split, most=len(report.layers))
    if layers or len(every) <= MOST_OUTLINES:
        return every, ""
    return _layers.spread(every, MOST_OUTLINES), f", {MOST_OUTLINES} of {len(every)} layers"


def _titled(found: Persistence, title: str) -> str:
    about = f"n = {found.settings['samples']}"
    return f"{_style.literal(_style.shortened(title, 20))}, {about}" if title else f"Persistent homology, {about}"


PANELS = (
    Panel(
        "Betti curves",
        betti_curves,
        "Number of connected components when samples within a distance are joined ({run}, {split}). Separate clusters "
        "are plateaus. Labels are not used.",
        analyzer="topology",
    ),
    Panel(
        "Spanning trees",
        edge_lengths,
        "Lengths of the edges of the minimum spanning tree, which are the deaths of H0 ({run}, {split}). In clustered "
        "layers most are near 0 and a few near 1.",
        analyzer="topology",
    ),
)
