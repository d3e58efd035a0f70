"""Layers in two dimensions: principal components, t-SNE, UMAP or PHATE."""

import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from repana import _check
from repana._activations import Activations
from repana._typing import IGNORED
from repana.plots import _layers, _style

MOST_SAMPLES = 2000  # of t-SNE, whose time grows faster than their number
MOST_NAMED = 30  # classes written on the map
MOST_MAPS = 9  # of a figure of several layers
METHODS = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP", "phate": "PHATE"}


def layer_map(
    activations: Activations,
    layer: str | None = None,
    *,
    method: str = "pca",
    perplexity: float = 30.0,
    max_samples: int = MOST_SAMPLES,
    seed: int = 0,
    ax: Axes | None = None,
    width: _style.Width = _style.COLUMN,
) -> Axes:
    """Draw a layer's samples in two dimensions, coloured by class, each class named at its middle.

    `method`: "pca", the two directions of largest variance with their share of it on the axes; "tsne", scikit-learn's
    t-SNE from principal components; "umap" or "phate", where that package is installed (`pip install
    'repana[maps]'`), with its own defaults. Of all but the first, axes, distances between groups and sizes of groups
    have no meaning. At most `max_samples` samples are drawn, chosen by `seed`. `layer`: by default the classifier's
    input, or the last layer.

    Returns the Axes. Raises FileError where the package is missing. Sources: van der Maaten & Hinton 2008, JMLR 9,
    2579-2605 (t-SNE); McInnes, Healy & Melville 2018, arXiv:1802.03426 (UMAP); Moon et al. 2019, Nature Biotechnology
    37, 1482-1492 (PHATE).
    """
    _check.choice(method, "method", METHODS)
    layer = layer or (activations.head.layer if activations.head is not None else activations.layers[-1])
    x = _check.features_of(activations[layer]).double().cpu()
    codes, names = torch.zeros(len(x), dtype=torch.int64), ()
    if activations.labels is not None:
        codes, names = _check.labels_of(activations.labels, len(x))
        x, codes = x[codes != IGNORED], codes[codes != IGNORED]
    if len(x) < 3:
        raise _check.too_few_samples("a map", len(x), 3)
    at, labels, kept = placed(x, method, perplexity, max_samples, seed)
    codes = codes[kept]
    width = _style.in_inches(width)
    with _style.drawing() as scale:
        ax = _style.axes_or_new(ax, width, 0.95 * width)
        classes = torch.unique(codes).tolist()
        for i, value in enumerate(classes):
            here = at[(codes == value).numpy()]
            marker = _style.MARKERS[i % len(_style.MARKERS)]
            ax.scatter(
                *here.T, s=6 * scale**2, color=_style.colour(i, len(classes)), marker=marker, linewidths=0, alpha=0.7
            )
        if 1 < len(classes) <= MOST_NAMED:
            for i, value in enumerate(classes):
                middle = np.median(at[(codes == value).numpy()], axis=0)
                name = str(names[value] if names else _label_of(activations, i, value))
                halo = [withStroke(linewidth=2 * scale, foreground=mpl.rcParams["axes.facecolor"])]
                words = {"ha": "center", "va": "center", "weight": "bold", "path_effects": halo}
                ax.text(
                    float(middle[0]),
                    float(middle[1]),
                    _style.literal(_style.shortened(name, 14 if len(classes) <= 10 else 6)),
                    **words,
                )
        ax.set_xlabel(labels[0])
        ax.set_ylabel(labels[1])
        if method != "pca":
            ax.set_xticks([])
            ax.set_yticks([])
        named = _style.literal(_style.tail(layer, 20))
        many = f", {len(classes)} classes" if len(classes) > MOST_NAMED else ""
        _style.title(ax, named, f"{METHODS[method]}, n = {len(at):,}{many}")
    return ax


def layer_maps(
    activations: Activations,
    *layers: str,
    method: str = "pca",
    perplexity: float = 30.0,
    max_samples: int = MOST_SAMPLES,
    seed: int = 0,
    ax: Sequence[Axes] | None = None,
    width: _style.Width = _style.PAGE,
) -> list[Axes]:
    """Draw a map of every layer, from input to output, a panel a layer; without names, of up to nine over the depth.

    The samples are the same in all panels, and a class has the same colour. Options: see `layer_map`. `ax`: one Axes
    per layer. Returns the Axes.
    """
    chosen = layers or tuple(activations.layers)
    if not layers and len(chosen) > MOST_MAPS:
        chosen = tuple(_layers.spread(chosen, MOST_MAPS))
    width = _style.in_inches(width)
    with _style.drawing():
        axes = list(ax or _style.grid(len(chosen), width, width / 3.2))
        for panel, layer in zip(axes, chosen):
            layer_map(activations, layer, method=method, perplexity=perplexity, max_samples=max_samples, seed=seed,
                      ax=panel)  # fmt: skip
        if ax is None:
            _style.letters(axes)
    return axes


def placed(
    x: torch.Tensor, method: str, perplexity: float, max_samples: int, seed: int
) -> tuple[np.ndarray, tuple[str, str], np.ndarray]:
    """Places of at most so many samples in two dimensions, the names of the axes, and which samples they are."""
    kept = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:max_samples].sort().values
    if method == "pca":
        at, labels = principal(x[kept])
    elif method == "tsne":
        at, labels = _tsne(x[kept], perplexity, seed)
    else:
        at, labels = _embedded(x[kept], method, seed), (f"{METHODS[method]} 1", f"{METHODS[method]} 2")
    return at, labels, kept.numpy()


def principal(x: torch.Tensor) -> tuple[np.ndarray, tuple[str, str]]:
    """Coordinates along the two first principal components, each with its largest loading positive, and their names."""
    centred = x - x.mean(0)
    u, s, vt = torch.linalg.svd(centred, full_matrices=False)
    k = min(2, len(s))
    sign = torch.sign(vt[range(k), vt[:k].abs().argmax(1)])
    at = torch.nn.functional.pad(u[:, :k] * s[:k] * sign, (0, 2 - k)).numpy()
    share = torch.nn.functional.pad(s[:2].square() / s.square().sum().clamp_min(1e-300), (0, 2 - k)).tolist()
    return at, (
        f"component 1 ({100 * share[0]:.0f}% of variance)",
        f"component 2 ({100 * share[1]:.0f}% of variance)",
    )


def _tsne(x: torch.Tensor, perplexity: float, seed: int) -> tuple[np.ndarray, tuple[str, str]]:
    from sklearn.manifold import TSNE

    used = min(perplexity, (len(x) - 1) / 3)
    made: Any = TSNE(perplexity=used, init="pca" if x.shape[1] > 1 else "random", random_state=seed)
    words = f"perplexity {used:g}"
    return made.fit_transform(x.float().numpy()), (f"t-SNE 1 ({words})", "t-SNE 2")


def _embedded(x: torch.Tensor, method: str, seed: int) -> np.ndarray:
    """Coordinates by UMAP or PHATE."""
    try:
        package: Any = import_module(method)
    except ImportError as error:
        raise _check.extra_missing(METHODS[method], "maps", str(error)) from None
    options = {"random_state": seed} | ({"verbose": 0, "n_jobs": 1} if method == "phate" else {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of seeds that rule out threads, and of spectral starts that fall back
        return np.asarray(getattr(package, METHODS[method])(**options).fit_transform(x.float().numpy()), float)


def _label_of(activations: Activations, i: int, value: int) -> Any:
    found = activations.provenance.get("class_names", ())
    return found[value] if 0 <= value < len(found) else value
