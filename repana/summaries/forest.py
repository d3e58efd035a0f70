"""Minimum spanning trees of many subsets of many clouds at once."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

NEAR = 1e-8  # of |x|^2 + |y|^2: a squared distance below this is taken again by differences
ROUNDING = 4e-15  # of |x|^2 + |y|^2: squared distances by a product that are closer than this are tied
SAME = 1e-12  # of the squared distance: those by differences
BLOCK = 2**26  # bytes of differences at a time


def distances(x: Float[Tensor, "m d"]) -> Float[Tensor, "m m"]:
    """All distances in float64, by one product; those of near pairs by differences."""
    x = x.double()
    x = x - x.mean(0)
    found, _ = squared(x, torch.arange(len(x), device=x.device))
    return found.sqrt_()


def squared(x: Float[Tensor, "m d"], rows: Int[Tensor, " b"]) -> tuple[Float[Tensor, "b m"], Float[Tensor, "b m"]]:
    """Squared distances of some centred rows to all, and how far those of one size may be apart by rounding."""
    squares = x.square().sum(1)
    both = squares[rows, None] + squares
    found = torch.addmm(both, x[rows], x.T, alpha=-2.0).clamp_min_(0)
    close = found < NEAR * both
    close[torch.arange(len(rows), device=x.device), rows] = False
    near = close.nonzero()
    for part in near.split(max(1, BLOCK // (8 * x.shape[1]))):
        found[part[:, 0], part[:, 1]] = (x[rows[part[:, 0]]] - x[part[:, 1]]).square().sum(1)
    found[torch.arange(len(rows), device=x.device), rows] = 0
    return found, torch.where(close, SAME * found, ROUNDING * both)


def spanning_edges(
    between: Sequence[Float[Tensor, "_ _"]], cloud: Int[Tensor, " b"], members: Int[Tensor, "b s"]
) -> tuple[Float[Tensor, "b e"], Bool[Tensor, "b e"]]:
    """The s - 1 edges of the minimum spanning tree of every subset, and which are real.

    Subset i holds the places `members[i]` (-1 behind its last) of the cloud with the distances `between[cloud[i]]`.
    Prim's algorithm on all subsets in step: s - 1 steps of at most b x s operations, without copies of distances.
    """
    flat = torch.cat([d.flatten() for d in between])
    widths = torch.tensor([len(d) for d in between], device=flat.device)
    starts = torch.nn.functional.pad((widths**2).cumsum(0), (1, 0))
    order = (members >= 0).sum(1).argsort()
    counts = (members >= 0).sum(1)[order]
    last = counts.tolist()
    places, done = members.clamp_min(0)[order], members[order] < 0
    base, width = starts[cloud[order], None] + places, widths[cloud[order], None]
    b, s = places.shape
    best = torch.full((b, s), math.inf, dtype=flat.dtype, device=flat.device)
    done[:, 0] = True
    current = torch.zeros(b, dtype=torch.int64, device=flat.device)
    edges = torch.zeros(b, s - 1, dtype=flat.dtype, device=flat.device)
    every, first = torch.arange(b, device=flat.device), 0
    for step in range(s - 1):
        while first < b and last[first] <= step + 1:  # small trees are done, and take no further part
            first += 1
        if first == b:
            break
        row = flat[places[first:].gather(1, current[first:, None]) * width[first:] + base[first:]]
        best[first:] = torch.minimum(best[first:], row).masked_fill_(done[first:], math.inf)
        edges[first:, step], current[first:] = best[first:].min(1)
        done[every[first:], current[first:]] = True
    real = torch.arange(s - 1, device=flat.device) < counts[:, None] - 1
    back = order.argsort()
    return edges[back], real[back]
