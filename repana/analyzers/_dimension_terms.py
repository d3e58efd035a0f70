"""What estimators of dimension share: usable samples, the variance of averages over a neighbour graph, notes."""

import math
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._results import Estimate
from repana.summaries.cloud import Cloud

FEWEST = 10  # usable samples, below which there is no estimate
HIGH, MANY = 20.0, 10_000  # dimensions above which fewer samples than this give a lower bound
TIES = 0.01  # share of samples with r1 = r2, above which it is said


def usable(cloud: Cloud, k: int) -> tuple[Float[Tensor, "m k"] | None, Int[Tensor, " m"], str]:
    """Distances to k neighbours of the samples whose nearest is not at 0, their places, and what to say of them."""
    r = cloud.neighbours.distances
    if k > r.shape[1]:
        raise _check.too_many_neighbours(k, r.shape[1])
    r = r[:, :k]
    keep = (r[:, 0] > 0).nonzero()[:, 0]
    if len(keep) < FEWEST:
        return None, keep, noted(origin(cloud), f"{len(keep)} usable samples; {FEWEST} are needed")
    r = r[keep]
    ties = int((r[:, 0] == r[:, 1]).sum()) if k > 1 else 0
    many = f"{ties} ties of the two nearest: quantised features?" if ties > TIES * len(r) else ""
    return r, keep, noted(origin(cloud), many)


def origin(cloud: Cloud) -> str:
    """What became of duplicates, and of samples beyond those that are searched."""
    kept = bool((cloud.neighbours.distances[:, 0] == 0).any())
    repeated = f"{cloud.duplicates} duplicates {'kept' if kept else 'dropped'}" if cloud.duplicates else ""
    part = f"{cloud.n} of {cloud.seen} samples" if cloud.n + cloud.duplicates < cloud.seen else ""
    return noted(repeated, part)


def noted(*parts: str) -> str:
    """Remarks as one note, without the empty ones."""
    return "; ".join(part for part in parts if part)


def graph(cloud: Cloud, keep: Int[Tensor, " m"], k: int) -> Int[Tensor, "e 2"]:
    """The edges of the symmetric k-nearest-neighbour graph among the samples kept, each once."""
    place = torch.full((cloud.n,), -1, dtype=torch.int64, device=keep.device)
    place[keep] = torch.arange(len(keep), device=keep.device)
    there = place[cloud.neighbours.indices[keep, :k]]
    here = torch.arange(len(keep), device=keep.device)[:, None].expand_as(there)
    low, high = torch.minimum(here, there), torch.maximum(here, there)
    coded = torch.unique((low * len(keep) + high)[(there >= 0) & (here != there)])
    return torch.stack([coded // len(keep), coded % len(keep)], 1)


def sandwich(psi: Float[Tensor, " n"], edges: Int[Tensor, "e 2"]) -> float:
    """sqrt(psi' A psi), A the graph with ones on its diagonal; at least a quarter of what independence would give."""
    alone = float(psi.square().sum())
    return math.sqrt(max(alone + 2 * float((psi[edges[:, 0]] * psi[edges[:, 1]]).sum()), alone / 16))


def said(estimate: Estimate) -> Estimate:
    """With the warning that n is small for what was found."""
    if not (estimate.value > HIGH and estimate.n < MANY):
        return estimate
    low = f"a lower bound: {estimate.n} samples are few for such a dimension"
    return replace(estimate, note=noted(estimate.note, low))


def log_ratios(r: Float[Tensor, "n k"], k: int) -> Float[Tensor, " n"]:
    """sum_{j<k} log(r_k/r_j)."""
    return (k - 1) * r[:, k - 1].log() - r[:, : k - 1].log().sum(1)


def averaged(s: Float[Tensor, " n"], above: int, average: str) -> tuple[float, Float[Tensor, " n"]]:
    """The estimate from local sums, and the influence of every sample."""
    n = len(s)
    if average == "inverse":
        d = above / float(s.mean())
        return d, -d * (s / s.mean() - 1) / n
    local = above / s
    if average == "mean":
        return float(local.mean()), (local - local.mean()) / n
    middle = float(local.quantile(0.5)) if n < 2**24 else float(local.median())
    near = local.sort().values
    half = max(1, int(n**0.5))  # the density at the median, from the spacing of the samples around it
    spacing = float(near[min(n - 1, n // 2 + half)] - near[max(0, n // 2 - half)])
    return middle, torch.sign(local - middle) * spacing / (4 * half)
