"""Three classes in the plane of their classifier rows, with mixed-up examples between them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from torch import Tensor

from repana import _check, _report_refusals
from repana._activations import Activations
from repana._typing import Array
from repana.plots import _style

LETTERS = 12  # of a class
RANK = 1e-5  # singular values at or below it are dropped
TRIANGLE = np.array([[math.cos(a), math.sin(a)] for a in np.deg2rad([90.0, 210.0, 330.0])]).T  # (2, 3)


@dataclass(frozen=True)
class Mixed:
    """Mixed-up examples: features (m, d) of share * a + (1 - share) * b, `pair` (m, 2) the classes, `share` (m,)."""

    features: Array
    pair: Array
    share: Array


def classifier_plane(
    activations: Activations,
    classes: Sequence[Any] | None = None,
    *,
    weight: Array | None = None,
    layer: str | None = None,
    mixed: Mixed | None = None,
    ax: Axes | None = None,
    width: _style.Width = _style.COLUMN,
) -> Axes:
    """Draw the features of three classes in the plane that their rows of the classifier span.

    The rows less their mean, W (3, d), have the polar factor Q = UV' (singular values of at most 1e-5 left out); a
    feature h is drawn at A Q (h - mean row), with A (2, 3) the map of the 3-simplex to a triangle in the plane. Where
    rows form an equiangular tight frame and features have collapsed onto them, the classes are the corners of an
    equilateral triangle. Features are centred by the classifier's mean, not by their own. Mixed-up examples are drawn
    on top: by colour the pair of classes (grey within one class), by strength how even the mixture, 1 - 2|share - 1/2|.

    `classes`: three of the labels, by default the first three. Returns the Axes, with one collection a class.

    Source: Fisher, Meng & Papyan 2024, Pushing Boundaries: Mixup's Influence on Neural Collapse, arXiv:2402.06171.
    """
    layer, rows = _classifier(activations, layer, weight)
    features = _check.features_of(activations[layer]).double().cpu()
    codes, names = _check.labels_of(activations.labels, len(features))
    known = [names[v] if names else v for v in torch.unique(codes).tolist()]
    three = list(known[:3] if classes is None else classes)
    if len(three) != 3 or len(set(three)) != 3 or not set(three) <= set(known):
        raise _report_refusals.wrong_classes(three, known)
    numbers = [names.index(v) if names else v for v in three]
    _check.class_columns(torch.tensor(numbers), len(rows), "weight")
    to_plane, centre = plane_of(rows[numbers])
    width = _style.in_inches(width)
    with _style.drawing() as scale:
        own, ax = ax is None, _style.axes_or_new(ax, width, min(1.2 * width, 4.6))
        for i, (label, value) in enumerate(zip(three, numbers)):
            at = ((features[codes == value] - centre) @ to_plane.T).numpy()
            name = _style.literal(f"class {_style.shortened(str(label), LETTERS)}")
            ax.scatter(*at.T, s=7 * scale**2, color=_style.COLOURS[i], marker=_style.MARKERS[i], linewidths=0,
                       alpha=0.6, label=name, zorder=2)  # fmt: skip
        corners = ((rows[numbers] - centre) @ to_plane.T).numpy()
        for i, corner in enumerate(corners):
            arrow = {"arrowstyle": "-|>", "color": _style.COLOURS[i], "shrinkA": 0, "shrinkB": 0, "linewidth": 1.0}
            ax.annotate("", corner, (0.0, 0.0), arrowprops=arrow, zorder=3)
        if mixed is not None:
            _draw_mixed(ax, mixed, numbers, three, to_plane, centre, scale)
        ax.set_aspect("equal", adjustable="datalim")
        ax.set_xlabel("first direction (features' unit)")
        ax.set_ylabel("second direction (features' unit)")
        ax.set_title(f"{_style.literal(_style.tail(layer, 20))}; arrows: classifier weights")
        _legend(ax, width, own)
    return ax


def _legend(ax: Axes, width: float, own: bool) -> None:
    """Below the axes; as many names in a row as have room; swatches of full strength."""
    handles, labels = ax.get_legend_handles_labels()
    wide = max(map(len, labels)) * 0.06 + 0.4
    columns = max(1, min(3, int(width / wide)))
    place = {"loc": "outside lower center"} if own else {"loc": "upper center", "bbox_to_anchor": (0.45, -0.16)}
    owner: Any = _style.figure_of(ax) if own else ax
    legend = owner.legend(handles, labels, frameon=False, ncols=columns, markerscale=1.5, **place)
    for handle in legend.legend_handles:
        handle.set_alpha(1)


def plane_of(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The map (2, d) of features to the plane of three classifier rows, and the mean of the rows."""
    centre = rows.mean(0)
    u, s, vt = torch.linalg.svd(rows - centre, full_matrices=False)
    kept = s > RANK
    polar = u[:, kept] @ vt[kept]
    return torch.from_numpy(TRIANGLE * math.sqrt(2 / 3)) @ polar, centre


def _classifier(activations: Activations, layer: str | None, weight: Array | None) -> tuple[str, Tensor]:
    head = activations.head
    if weight is None:
        if head is None or layer not in (None, head.layer):
            raise _check.no_classifier(layer or "a layer")
        return head.layer, head.weight.double().cpu()
    layer = layer or (head.layer if head is not None else activations.layers[-1])
    width = activations[layer].shape[1]
    rows = _check.matrix(weight, "weight", None, width, "one row per class, one column per feature")
    return layer, rows.double().cpu()


def _draw_mixed(
    ax: Axes, mixed: Mixed, numbers: list[int], names: list[Any], to_plane: Tensor, centre: Tensor, scale: float
) -> None:
    features = _check.features_of(mixed.features).double().cpu()
    pairs = np.sort(np.asarray(mixed.pair).reshape(len(features), 2), axis=1)
    even = 1 - 2 * np.abs(np.asarray(mixed.share, float).reshape(len(features)) - 0.5)
    at = ((features - centre) @ to_plane.T).numpy()
    said = False
    kinds = [(i, j) for i in range(3) for j in range(i, 3)]
    for k, (i, j) in enumerate(kinds):
        here = (pairs == sorted((numbers[i], numbers[j]))).all(1)
        if not here.any():
            continue
        place = 3 + len([p for p in kinds[:k] if p[0] != p[1]])
        colour, marker = (_style.GREY, ".") if i == j else (_style.COLOURS[place], _style.MARKERS[place])
        label = (
            "within a class"
            if i == j
            else "mix of " + " and ".join(_style.shortened(str(names[v]), LETTERS) for v in (i, j))
        )
        strength = np.full(here.sum(), 0.5) if i == j else 0.15 + 0.85 * even[here]
        shades = np.c_[np.tile(to_rgb(colour), (len(strength), 1)), strength]
        ax.scatter(*at[here].T, s=5 * scale**2, color=shades, marker=marker, linewidths=0, zorder=1,
                   label="" if i == j and said else _style.literal(label))  # fmt: skip
        said = said or i == j
