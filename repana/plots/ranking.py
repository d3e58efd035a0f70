"""Rankings over depth: retrieval, pairs, images and texts in every layer, under every pooling, whitened or not."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from repana._estimate import Estimate
from repana.plots import _style
from repana.plots._curves import below, layered
from repana.ranking import ByLayer

HEIGHT = 1.9


def ranking_depth(
    found: ByLayer, *quantities: str, ax: Sequence[Axes] | None = None, width: _style.Width = _style.PAGE
) -> list[Axes]:
    """Draw quantities of `repana.ranking.by_layer` over depth, a panel each.

    One line for each pooling, full as it is and dashed where whitened, with its interval as a band; dotted, the null,
    which for a retrieval is the value on constant scores. `quantities`: names such as "recall@5", by default up to
    three. `ax`: an Axes for each. Returns the Axes. Raises InputError for an unknown quantity.
    """
    from repana.ranking import _refusals

    names = quantities or found.headlines()
    for name in names:
        if name not in found.quantities:
            raise _refusals.unknown_quantity(name, found.quantities)
    width = _style.in_inches(width)
    layers = list(dict.fromkeys(system.layer for system in found))
    kinds = list(dict.fromkeys((system.pooling, system.whitened) for system in found))
    poolings = list(dict.fromkeys(pooling for pooling, _ in kinds))
    with _style.drawing():
        axes = list(ax or _style.grid(len(names), width, HEIGHT, columns=min(3, len(names))))
        for panel, name in zip(axes, names):
            for pooling, whitened in kinds:
                colour = _style.colour(poolings.index(pooling), max(2, len(poolings)))
                values = _values(found, name, layers, pooling, whitened)
                _line(panel, values, colour, whitened, _label(pooling, whitened))
            layered(panel, layers)
            _style.guides(panel)
            _style.title(panel, _title(name))
        below(axes[0], ax is None, width, [_label(pooling, whitened) for pooling, whitened in kinds])
    return axes


def _values(found: ByLayer, name: str, layers: list[str], pooling: str, whitened: bool) -> list[Estimate | None]:
    results = {s.layer: one for s, one in found.items() if (s.pooling, s.whitened) == (pooling, whitened)}
    return [results[layer].estimates()[name] if layer in results else None for layer in layers]


def _line(ax: Axes, values: list[Estimate | None], colour: Any, whitened: bool, label: str) -> None:
    x = np.array([i for i, e in enumerate(values) if e is not None])
    known = [e for e in values if e is not None]
    value, low, high, null = (np.array([getattr(e, f) for e in known]) for f in ("value", "low", "high", "null"))
    style = "--" if whitened else "-"
    marker = "s" if whitened else "o"
    ax.plot(x, value, style, marker=marker, color=colour, label=label, zorder=3)
    ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    if np.isfinite(null).any():
        ax.plot(x, null, ":", color=_style.GREY, linewidth=_style.thin(), zorder=1, label="null")
        lines, labels = ax.get_legend_handles_labels()
        if labels.count("null") > 1:
            lines[-1].set_label("_null")


def _label(pooling: str, whitened: bool) -> str:
    name = pooling or "features"
    return f"{name}, whitened" if whitened else name


TITLES = {
    "hit": "Hit rate", "recall": "Recall", "recall_capped": "Recall, capped", "precision": "Precision", "ndcg": "nDCG",
    "mrr": "MRR", "map": "MAP", "spearman": "Spearman", "pearson": "Pearson", "auc": "AUC", "tar": "TAR",
    "d_prime": "d'", "i2t": "Image to text", "t2i": "Text to image", "i2t_centered": "Image to text, centred",
    "t2i_centered": "Text to image, centred", "gap": "Modality gap",
}  # fmt: skip


def _title(name: str) -> str:
    base, _, at = name.partition("@")
    words = TITLES.get(base, base[0].upper() + base[1:].replace("_", " "))
    where = f" at {at}" if at else ""
    return f"{words}{where}"
