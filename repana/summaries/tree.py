"""The exact Euclidean minimum spanning tree of a layer's samples: the finite H0 persistence of their Rips filtration.

Where the matrix of distances fits the memory, Prim's algorithm reads it: half of one product, and n steps over a row.
Above that, and on a GPU, Boruvka's algorithm starts from every sample's nearest neighbours; a sample whose neighbours
are all in its own component keeps their last distance as a lower bound, and is searched again only where that bound is
below the best edge its component knows. That takes about two passes over the distances instead of one a round.

Products of float32 choose the edges, differences in float64 measure them. Where rounding could have chosen wrongly (see
`_doubtful`), as in collapsed classes, the products are taken in float64. Equal samples are joined first, at 0.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from repana import _check
from repana._typing import Array, Features
from repana.summaries._linalg import full_precision, power_of_two, scaled
from repana.summaries.neighbours import MEMORY, Neighbours

ROWS = 1024  # of a block of distances
SEEDED = 8  # neighbours that Boruvka's algorithm starts from
ROUNDING = 3.0  # of a squared distance from a product, in units of u (|x|^2 + |y|^2): what is usual, not the worst
DOUBT = 1e-7  # of the tree's length that may be lost to rounding
BLOCK = 2**26  # bytes of differences at a time


@dataclass(frozen=True)
class Tree:
    """n - 1 edges between n samples, shortest first: `lengths` in float64, zeros among them, and `edges` (i < j).

    `double` says that the products were taken in float64, `searched` how many samples were searched a second time.
    """

    lengths: Float[Tensor, " e"]
    edges: Int[Tensor, "e 2"]
    double: bool = False
    searched: int = 0

    @property
    def n(self) -> int:
        return len(self.lengths) + 1

    @classmethod
    def of(cls, features: Features, *, graph: Neighbours | None = None, memory: int = MEMORY) -> "Tree":
        """Of the rows of `features`; `memory`: bytes for the working buffers.

        `graph`: their nearest neighbours, where they are known, from which Boruvka's algorithm then starts: distances
        are not computed again for it.
        """
        n, device = len(features), features.device
        x = features.float() if features.dtype in (torch.float16, torch.bfloat16) else features
        scale = power_of_two(x)
        x = scaled(x, scale)
        first, twins = _distinct(x)
        known = graph if graph is not None and graph.metric == "euclidean" and len(first) == n == graph.bank else None
        edges, double, searched = _edges(x[first], memory, known, scale)
        both = torch.cat([twins, first[edges]]).sort(1).values
        lengths = _measured(x, both)
        order = _ordered(lengths, both)
        return cls(lengths[order] * scale, both[order], double, searched) if n > 1 else cls(
            torch.empty(0, dtype=torch.float64, device=device), both
        )  # fmt: skip


def _distinct(x: Float[Tensor, "n d"]) -> tuple[Int[Tensor, " m"], Int[Tensor, "e 2"]]:
    """The first of every distinct row, and edges from the other equal rows to it."""
    weights = torch.rand(x.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(x.device)
    keys = x.double() @ weights  # equal rows have equal sums; which of those with equal sums are equal, is looked at
    order = keys.argsort(stable=True)
    near = keys[order].diff() <= 1e-12 * keys.abs().max().clamp_min(1e-300)
    none = torch.empty(0, 2, dtype=torch.int64, device=x.device)
    everything = torch.arange(len(x), device=x.device)
    if not bool(near.any()):
        return everything, none
    some = torch.cat([near, near[:1] & False]) | torch.cat([near[:1] & False, near])
    rows = order[some].sort().values
    _, group = torch.unique(x[rows], dim=0, return_inverse=True)
    first = torch.full((int(group.max()) + 1,), len(x), dtype=torch.int64, device=x.device)
    first = first.scatter_reduce(0, group, rows, "amin")[group]
    again = first != rows
    alive = torch.ones(len(x), dtype=torch.bool, device=x.device)
    alive[rows[again]] = False
    return everything[alive], torch.stack([first[again], rows[again]], 1)


def _edges(
    x: Float[Tensor, "n d"], memory: int, graph: Neighbours | None = None, scale: float = 1.0
) -> tuple[Int[Tensor, "e 2"], bool, int]:
    """The edges among distinct samples; in float64 where float32 leaves doubt."""
    if len(x) < 2:
        return torch.empty(0, 2, dtype=torch.int64, device=x.device), False, 0
    kinds = [torch.float64] if x.dtype == torch.float64 and x.device.type == "cpu" and len(x) < 64 else [
        torch.float32, torch.float64
    ]  # fmt: skip
    for dtype in kinds:
        centred = (x.double() - x.mean(0, dtype=torch.float64)).to(dtype)
        dense = centred.element_size() * len(x) ** 2 <= memory and x.device.type == "cpu"
        edges, searched = (_prim(centred), 0) if dense else _Boruvka(x, centred, memory, graph, scale).run()
        if dtype == torch.float64 or not _doubtful(x, centred, edges):
            return edges, dtype == torch.float64, searched
    raise AssertionError("float64 is the last resort")


def _doubtful(x: Float[Tensor, "n d"], centred: Float[Tensor, "n d"], edges: Int[Tensor, "e 2"]) -> bool:
    """Whether rounding may have cost more than 1e-7 of the length.

    A squared distance is off by b = c u (|x|^2 + |y|^2), so that an edge of length r may stand for one that is shorter
    by up to b/2r. Only where two such edges compete is anything lost, by that much with that chance: r (b/r^2)^2.
    """
    lengths = _measured(x, edges)
    squares = centred.double().square().sum(1)
    rounding = ROUNDING * 2.0**-24 * squares[edges].sum(1)
    share = (rounding / lengths.square().clamp_min(1e-300)).clamp_max(1.0)
    lost = torch.maximum(lengths, rounding.sqrt()) * share.square()
    return float(lost.sum()) > DOUBT * float(lengths.sum())


def _prim(x: Float[Tensor, "n d"]) -> Int[Tensor, "e 2"]:
    """Prim's algorithm on the matrix of squared distances, of which one half is computed and the other mirrored."""
    n, squares = len(x), x.square().sum(1)
    matrix = torch.empty(n, n, dtype=x.dtype)
    for start in range(0, n, ROWS):
        end = min(n, start + ROWS)
        block = matrix[start:end, start:]
        with full_precision():
            block.copy_(torch.addmm(squares[start:], x[start:end], x[start:].T, alpha=-2.0))
        block += squares[start:end, None]
        if end < n:
            matrix[end:, start:end] = block[:, end - start :].T
    rows = matrix.numpy()
    best, near = rows[0].copy(), np.zeros(n, np.int64)
    left = np.ones(n, bool)
    left[0], best[0] = False, np.inf
    edges, closer = np.empty((n - 1, 2), np.int64), np.empty(n, bool)
    for step in range(n - 1):
        j = int(best.argmin())
        edges[step] = near[j], j
        left[j], best[j] = False, np.inf
        np.less(rows[j], best, out=closer)
        closer &= left
        np.copyto(best, rows[j], where=closer)
        near[closer] = j
    return torch.from_numpy(edges)


class _Boruvka:
    """Rounds in which every component takes its shortest edge outwards."""

    def __init__(
        self,
        x: Float[Tensor, "n d"],
        centred: Float[Tensor, "n d"],
        memory: int,
        graph: Neighbours | None = None,
        scale: float = 1.0,
    ) -> None:
        self._x, self._centred, self._memory = x, centred, memory
        if graph is None:
            graph, scale = Neighbours.of(x, k=min(SEEDED, len(x) - 1), memory=memory), 1.0
        self._near, self._lists = graph.indices, graph.distances / scale
        self._bound = self._lists[:, -1].clone()  # no sample beyond the list is nearer than this
        self._found = torch.full((len(x),), -1, dtype=torch.int64, device=x.device)  # by a second search
        self._squares = centred.square().sum(1)
        self._component = torch.arange(len(x), device=x.device)
        self.searched = 0

    def run(self) -> tuple[Int[Tensor, "e 2"], int]:
        """The edges, and how many samples were searched again."""
        edges = []
        while int(self._component.max()) > 0:
            edges.append(self._round())
        return torch.cat(edges), self.searched

    def _round(self) -> Int[Tensor, "m 2"]:
        component, count = self._component, int(self._component.max()) + 1
        target, distance = self._known()
        while True:
            best = torch.full((count,), math.inf, dtype=torch.float64, device=distance.device)
            best.scatter_reduce_(0, component, distance, "amin")
            open_rows = ((target < 0) & (self._bound < best[component])).nonzero()[:, 0]
            if not len(open_rows):
                break
            worst_first = self._bound[open_rows].argsort(stable=True)
            rows = open_rows[worst_first[: self._rows()]]
            target[rows], distance[rows] = self._search(rows)
            self._found[rows], self._bound[rows] = target[rows], distance[rows]
        return self._join(target, distance, count)

    def _known(self) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
        """For every sample the nearest known one outside its component, -1 where none is known."""
        outside = self._component[self._near] != self._component[:, None]
        first = outside.int().argmax(1, keepdim=True)
        listed = outside.any(1)
        target = torch.where(listed, self._near.gather(1, first)[:, 0], -1)
        distance = torch.where(listed, self._lists.gather(1, first)[:, 0], math.inf)
        again = (self._found >= 0) & ~listed
        still = again & (self._component[self._found.clamp_min(0)] != self._component)
        return torch.where(still, self._found, target), torch.where(still, self._bound, distance)

    def _rows(self) -> int:
        return max(64, min(ROWS, self._memory // (2 * len(self._x) * self._centred.element_size())))

    def _search(self, rows: Int[Tensor, " b"]) -> tuple[Int[Tensor, " b"], Float[Tensor, " b"]]:
        """The nearest sample of another component, for each of the rows."""
        self.searched += len(rows)
        with full_precision():
            block = torch.addmm(self._squares, self._centred[rows], self._centred.T, alpha=-2.0)
        block.masked_fill_(self._component[rows, None] == self._component, math.inf)
        target = block.argmin(1)
        return target, _measured(self._x, torch.stack([rows, target], 1))

    def _join(self, target: Tensor, distance: Tensor, count: int) -> Int[Tensor, "m 2"]:
        """The shortest edge of every component, by length and then by its ends, and the components joined."""
        rows = (target >= 0).nonzero()[:, 0]
        ends = torch.stack([rows, target[rows]], 1)
        order = _ordered(distance[rows], ends.sort(1).values)
        owner = self._component[rows][order]
        order = order[owner.argsort(stable=True)]
        owner = self._component[rows][order]
        first = torch.cat([torch.ones_like(owner[:1], dtype=torch.bool), owner[1:] != owner[:-1]])
        chosen = torch.unique(ends[order[first]].sort(1).values, dim=0)
        links = self._component[chosen].cpu().numpy()
        kept = _forest(links, _measured(self._x, chosen).cpu().numpy(), count)
        graph = coo_matrix((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(count, count))
        _, joined = connected_components(graph, directed=False)
        self._component = torch.from_numpy(joined.astype(np.int64)).to(self._component.device)[self._component]
        return chosen[torch.from_numpy(kept).to(chosen.device)]


def _forest(links: Int[np.ndarray, "m 2"], lengths: Float[np.ndarray, " m"], count: int) -> Bool[np.ndarray, " m"]:
    """Which links to keep so that none closes a cycle, which only links of equal length (to rounding) do."""
    _, joined = connected_components(
        coo_matrix((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(count, count)), directed=False
    )
    kept = np.ones(len(links), bool)
    if len(links) == count - (int(joined.max()) + 1):
        return kept
    parent = np.arange(count)

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = int(parent[i])
        return i

    for i in np.argsort(lengths, kind="stable"):
        a, b = root(int(links[i, 0])), root(int(links[i, 1]))
        kept[i] = a != b
        parent[a] = b
    return kept


def _measured(x: Float[Tensor, "n d"], edges: Int[Tensor, "e 2"]) -> Float[Tensor, " e"]:
    """Lengths by differences, in float64."""
    found = torch.empty(len(edges), dtype=torch.float64, device=x.device)
    for part in torch.arange(len(edges), device=x.device).split(max(1, BLOCK // (8 * x.shape[1]))):
        i, j = edges[part].unbind(1)
        found[part] = torch.linalg.vector_norm(x[i].double() - x[j].double(), dim=1)
    return found


def _ordered(lengths: Float[Tensor, " e"], edges: Int[Tensor, "e 2"]) -> Int[Tensor, " e"]:
    """By length, then by the smaller and by the larger end."""
    order = edges[:, 1].argsort(stable=True)
    order = order[edges[order, 0].argsort(stable=True)]
    return order[lengths[order].argsort(stable=True)]


def minimum_spanning_tree(features: Array, *, graph: Neighbours | None = None, memory: int = MEMORY) -> Tree:
    """The exact Euclidean minimum spanning tree. `lengths` are the deaths of H0 of the Vietoris-Rips filtration.

    `lengths` (n - 1,) float64, ascending, zeros of equal samples among them; `edges` (n - 1, 2), the smaller index
    first. The sum of lengths is within 1e-6 of that of exact arithmetic, also for classes collapsed to 1e-7 of the size
    of features. `memory`: bytes
    for the working buffers; the matrix of distances is kept where it fits. `graph`: what `nearest_neighbours` gave for
    the same features, which saves a pass over the distances where the matrix does not fit.

    Raises InputError for NaN or infinite features, or none.

    Sources: Prim 1957, doi:10.1002/j.1538-7305.1957.tb01515.x; Boruvka 1926; H0 and trees: Robins 1999.

    >>> from repana import minimum_spanning_tree
    >>> minimum_spanning_tree([[0.0], [4.0], [1.0], [1.0]]).lengths.tolist()
    [0.0, 1.0, 3.0]
    """
    return Tree.of(_check.features_of(features), graph=graph, memory=memory)
