"""Minimum spanning trees of many subsets of many clouds at once."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


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
