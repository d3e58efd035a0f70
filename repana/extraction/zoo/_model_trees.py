"""Which models come from one ancestor, by the distances of their weights."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from torch import Tensor

from repana import _check
from repana._activations import Activations
from repana._estimate import NAN, Estimate, Flag, shown
from repana.extraction.zoo import _refusals
from repana.extraction.zoo._zoo import Zoo
from repana.statistics.permutation import against

DRAWS = 199
ALPHA = 0.05
STEPS = 200  # towards the geometric median
NEAREST = 1e-12  # of the largest squared distance, that a model counts as at least
NUMBERS = 2**19  # taken in float64 at a time


@shown
@dataclass(frozen=True)
class ModelTrees:
    """Models by ancestor; see `model_trees`. `trees` (n,) from 0; `edges` (n - 1,) of the minimum spanning tree,
    ascending, in units of the weights' mean norm; `names` of the models."""

    gap: Estimate
    count: Estimate
    trees: Int[Tensor, " n"]
    edges: Float[Tensor, " e"]
    names: tuple[str, ...] = field(default=())


class TensorDistances:
    """Squared distances of models, added up over tensors, each in units of its mean norm over the models."""

    def __init__(self, n: int) -> None:
        self._products = torch.zeros(n, n, dtype=torch.float64)
        self.used = 0

    def add(self, rows: Float[Tensor, "n p"]) -> None:
        squares = torch.zeros(len(rows), dtype=torch.float64)
        products = torch.zeros_like(self._products)
        for part in rows.split(max(1, NUMBERS // len(rows)), dim=1):
            wide = part.double()
            squares += wide.square().sum(1)
            wide = wide - wide.mean(0)
            products += wide @ wide.T
        norm = float(squares.sqrt().mean())
        if norm > 0:
            self._products += products / norm**2
            self.used += 1

    def trees(self, names: Sequence[str], seed: int) -> ModelTrees:
        """The spanning tree, where it is cut, and what a Gaussian cloud of the same covariance gives."""
        linked = _linked(self._products)
        lengths = linked[:, 2]
        gap, at = _widest(linked)
        n = len(names)
        nulls = [against(Estimate(gap, n=n), drawn, better="higher") for drawn in self._clouds(n, seed)]
        found = max(nulls, key=lambda e: e.p)
        cut = NAN if at < 0 else (lengths[at] * lengths[at + 1]) ** 0.5
        trees = np.zeros(n, np.int64) if at < 0 else _in_order(fcluster(linked, cut, "distance"))
        count = Estimate(float(trees.max()) + 1, n=n)
        if not found.p <= ALPHA:
            note = Flag.TRIVIAL.note("a cloud without trees has such a gap too")
            found = Estimate(
                found.value, n=n, note=note, null=found.null, null_low=found.null_low, null_high=found.null_high,
                p=found.p, permutations=found.permutations,
            )  # fmt: skip
            trees, count = np.zeros(n, np.int64), Estimate(1.0, n=n, note=note)
        return ModelTrees(found, count, torch.from_numpy(trees), torch.from_numpy(lengths), tuple(names))

    def _clouds(self, n: int, seed: int) -> tuple[list[float], list[float]]:
        """Gaps of Gaussian clouds of the same covariance; and of such clouds of directions, each model as far from the
        geometric median as it is."""
        generator = torch.Generator().manual_seed(seed)
        around = _around_median(self._products)
        radius = around.diagonal().clamp_min(1e-300).sqrt()
        directions = around / radius / radius[:, None]
        plain, stretched = [], []
        for _ in range(DRAWS):
            z = torch.randn(n, n, generator=generator, dtype=torch.float64)
            plain.append(_widest(_linked(z @ self._products @ z.T))[0])
            cloud = z @ directions @ z.T
            stretch = radius / cloud.diagonal().clamp_min(1e-300).sqrt()
            stretched.append(_widest(_linked(cloud * stretch * stretch[:, None]))[0])
        return plain, stretched


def _around_median(products: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """The products around the geometric median, which stays at an ancestor that some models moved far away from."""
    weights = torch.full((len(products),), 1 / len(products), dtype=torch.float64)
    for _ in range(STEPS):
        across = products @ weights
        squares = products.diagonal() - 2 * across + weights @ across
        near = 1 / squares.clamp_min(NEAREST * float(squares.max()) + 1e-300).sqrt()
        weights = near / near.sum()
    across = products @ weights
    return products - across - across[:, None] + weights @ across


def _distances(products: Float[Tensor, "n n"]) -> Float[np.ndarray, "n n"]:
    squares = products.diagonal()
    found = (squares + squares[:, None] - 2 * products).clamp_min(0).sqrt()
    return found.fill_diagonal_(0).numpy()


def _linked(products: Float[Tensor, "n n"]) -> Float[np.ndarray, "e four"]:
    """Models joined along the edges of the minimum spanning tree, shortest first."""
    return linkage(squareform(_distances(products), checks=False), "single")


def _widest(linked: Float[np.ndarray, "e four"]) -> tuple[float, int]:
    """The largest ratio of consecutive edges, and where it is, of cuts that leave at most half as many trees as models,
    more than half of them of several models; 1 where there is none."""
    n = len(linked) + 1
    alone, best, place = n, 1.0, -1
    for k in range(n - 2):
        alone -= int(linked[k, 0] < n) + int(linked[k, 1] < n)
        trees = n - 1 - k
        if 2 * trees <= n and 2 * alone < trees and linked[k, 2] > 0:
            ratio = float(linked[k + 1, 2] / linked[k, 2])
            best, place = (ratio, k) if ratio > best else (best, place)
    return best, place


def _in_order(clusters: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Numbers from 0, in the order in which they first appear."""
    _, first, at = np.unique(clusters, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[at].astype(np.int64)


def model_trees(models: Any, *, layers: Any = None, seed: int = 0, allow_pickle: bool = False) -> ModelTrees:
    """Which models of a zoo were fine-tuned from one ancestor: the minimum spanning tree of their weights, cut where
    its edges grow most.

    The distance of two models is sqrt(sum_l |X_il - X_jl|^2/m_l^2), m_l the mean norm of tensor l over the models;
    tensors that are 0 everywhere are left out. Of the ascending edges e_1 .. e_(n-1) of the minimum spanning tree,
    `gap` is the largest ratio e_(k+1)/e_k that leaves at most n/2 trees, more than half of them of several models;
    there the tree is cut. Its null and p are those of 199 Gaussian clouds of the same covariance, or where p is larger
    of clouds in which every model is as far from the geometric median as it is: models that differ in norm, or that
    moved away from one ancestor by steps of different length, make no trees, nor does one stranger beside siblings.
    Where p is above .05 no trees are seen, and all models are one (`count` 1).

    `models`: as `read_weights` takes them, or what it gives of kind "flat". Permuting the units of a model moves it
    away from its siblings: models that were trained from different starts have no common tree. `allow_pickle`: see
    there.

    Raises InputError (RA298) for models that differ in their tensors, or are equal.

    Source: Horwitz et al. 2024, arXiv:2405.18432 (trees of models from distances of weights).

    >>> import torch
    >>> from repana import model_trees
    >>> draw = torch.Generator().manual_seed(0)
    >>> first, second = torch.randn(2, 50, generator=draw)
    >>> zoo = [{"w": a + 0.1 * torch.randn(50, generator=draw)} for a in (first, second) for _ in range(6)]
    >>> model_trees(zoo).trees.tolist()
    [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    """
    if isinstance(models, Activations):
        if models.provenance.get("kind", "flat") != "flat":
            raise _refusals.no_trees({"kind": str(models.provenance["kind"])})
        tensors = {name: _check.features_of(_check.tensor_of(models[name], name)) for name in models.layers}
        names = models.provenance.get("models") or [f"model {i}" for i in range(len(models.sample))]
        found = TensorDistances(len(names))
        for rows in tensors.values():
            found.add(rows)
        whole = torch.cat([rows.double() for rows in tensors.values()], 1)
        _, at, counts = torch.unique(whole, dim=0, return_inverse=True, return_counts=True)
        if int(counts.max()) > 1:
            first, second = (at == int(counts.argmax())).nonzero()[:2, 0].tolist()
            raise _refusals.same_weights([(names[first], names[second])])
        return found.trees(names, seed)
    zoo = Zoo.of(models, layers, allow_pickle=allow_pickle)
    found = TensorDistances(len(zoo.sets))
    for name in zoo.shapes:
        found.add(zoo.rows(name))
    zoo.refuse_duplicates()
    return found.trees(zoo.names, seed)
