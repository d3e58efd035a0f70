"""Intrinsic dimension sample by sample: its distribution in layers, and where on a map it is high."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from repana import _check
from repana._activations import Activations
from repana._typing import Array
from repana.plots import _layers, _style
from repana.plots._curves import LETTERS, axes_of, below
from repana.plots.maps import METHODS, MOST_SAMPLES, placed

BINS = 40
TAIL = 0.995  # quantile at which the histogram ends; what lies above is counted in the legend
SHADES = "viridis"


def local_dimension_histogram(
    values: Mapping[str, Array] | Array, *, ax: Axes | None = None, width: _style.Width = _style.COLUMN
) -> Axes:
    """Draw how the local dimension is spread over samples, one outline for each of up to ten layers.

    `values`: what `local_dimension(features)` gives, or several by layer. Ticks on the axis of dimensions mark the
    medians. Beyond the 99.5% quantile the axis ends, and the legend counts what lies there. Returns the Axes.
    """
    given = dict(values) if isinstance(values, Mapping) else {"": values}
    found = {name: _finite(name, v) for name, v in given.items()}
    end = max(float(np.quantile(v, TAIL)) for v in found.values())
    edges = np.linspace(0, end, BINS + 1)
    width = _style.in_inches(width)
    with _style.drawing():
        ax, own = axes_of(ax, width)
        names = _layers.short_names(list(found), LETTERS)
        for i, v in enumerate(found.values()):
            beyond = int((v > end).sum())
            parts = [names[i]] if names[i] else []
            parts += [f"{beyond} of {len(v)} beyond"] if beyond else []
            colour = _style.depth_colour(i, len(found))
            height = np.histogram(v, edges)[0] / len(v) / np.diff(edges)
            line = _style.LINES[i % len(_style.LINES)] if len(found) > 1 else "-"
            label = _style.legend_name(", ".join(parts)) if parts else None
            ax.stairs(height, edges, color=colour, linestyle=line, label=label)
            ax.plot([np.median(v)], [0], marker="|", markersize=9, color=colour, clip_on=False, zorder=4)
        ax.set_xlim(0, end)
        ax.set_ylim(bottom=0)
        ax.set_xlabel("local dimension (tick: median)")
        ax.set_ylabel("density")
        ax.set_title(f"Local dimension, n = {max(map(len, found.values()))}")
        if ax.get_legend_handles_labels()[1]:
            below(ax, own, width)
    return ax


def local_dimension_map(
    activations: Activations | Mapping[str, Array] | Array,
    values: Mapping[str, Array] | Array,
    layer: str | None = None,
    *,
    method: str = "pca",
    perplexity: float = 30.0,
    max_samples: int = MOST_SAMPLES,
    seed: int = 0,
    ax: Axes | None = None,
    width: _style.Width = _style.COLUMN,
) -> Axes:
    """Draw samples in two dimensions, coloured by their local dimension.

    `values`: what `local_dimension` gives for the features, or several by layer; NaN (duplicates) are left out. Of
    several layers the last is drawn, or the classifier's input, unless `layer` names one. The colours run from the 2%
    to the 98% quantile. `method`, `perplexity`, `max_samples`, `seed`: see `layer_map`. Returns the Axes.
    """
    _check.choice(method, "method", METHODS)
    name = ""
    if isinstance(activations, Activations):
        head = activations.head
        name = layer or (head.layer if head is not None else activations.layers[-1])
        features: Any = activations[name]
    elif isinstance(activations, Mapping):
        name = layer or list(activations)[-1]
        features = _named(activations, name)
    else:
        features = activations
    if isinstance(values, Mapping):
        values = _named(values, name or layer or list(values)[-1])
    x = _check.features_of(features).double().cpu()
    v = _check.column(values, "values", len(x))
    known = np.isfinite(v)
    if known.sum() < 3:
        raise _check.too_few_samples("a map", int(known.sum()), 3)
    at, labels, kept = placed(x[known], method, perplexity, max_samples, seed)
    shade = v[known][kept]
    low, high = np.quantile(shade, [0.02, 0.98])
    width = _style.in_inches(width)
    with _style.drawing() as scale:
        ax = _style.axes_or_new(ax, width, 0.9 * width)
        order = np.argsort(shade, kind="stable")  # the highest on top
        drawn = ax.scatter(*at[order].T, c=shade[order], s=6 * scale**2, cmap=SHADES, vmin=low, vmax=high, linewidths=0)
        bar = _style.figure_of(ax).colorbar(drawn, ax=ax, extend="both", pad=0.02)
        bar.set_label("local dimension")
        ax.set_xlabel(labels[0])
        ax.set_ylabel(labels[1])
        if method != "pca":
            ax.set_xticks([])
            ax.set_yticks([])
        words = _style.literal(_style.tail(name, 20)) if name else "Local dimension"
        _style.title(ax, words, f"{METHODS[method]}, n = {len(at):,}")
    return ax


def _named(given: Mapping[str, Array], layer: str) -> Array:
    if layer not in given:
        raise _check.not_recorded(layer, list(given))
    return given[layer]


def _finite(name: str, values: Array) -> np.ndarray:
    v = _check.column(values, name or "values", None)
    v = v[np.isfinite(v)]
    if not len(v):
        raise _check.too_few_samples("a histogram", 0, 1)
    return v
