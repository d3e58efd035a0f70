"""What estimators of dimension share: usable samples, the variance of averages over a neighbour graph, notes."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._estimate import Estimate, Flag, noted
from repana.statistics.intervals import from_error, replicates_with
from repana.summaries.neighbour_graph import NeighbourGraph

GROUPS = 10  # of the jackknife
PAIRED = 20  # groups of samples for differences of two runs
FEWEST = 10  # usable samples, below which there is no estimate
CURVE = 1.5  # dimensions, below which balls that overlap are far in neighbours
NEAR, NEAR_SHARE = 1e-3, 0.01  # of the usual distance, and the share of samples from which it is said
TIES = 0.01  # share of samples with r1 = r2, above which it is said


def usable(graph: NeighbourGraph, k: int) -> tuple[Float[Tensor, "m k"] | None, Int[Tensor, " m"], str]:
    """Distances to k neighbours of the samples whose nearest is not at 0, their places, and what to say of them."""
    r = graph.neighbours.distances
    if k >= graph.n:
        raise _check.too_few_samples(f"an estimate from {k} neighbours", graph.n, k + 1)
    if k > r.shape[1]:
        raise _check.too_many_neighbours(k, r.shape[1])
    r = r[:, :k]
    keep = (r[:, 0] > 0).nonzero()[:, 0]
    if len(keep) < FEWEST:
        return (
            None,
            keep,
            noted(sampling_note(graph), Flag.FEW_SAMPLES.note(f"{len(keep)} usable samples; {FEWEST} are needed")),
        )
    r = r[keep]
    ties = int((r[:, 0] == r[:, 1]).sum()) if k > 1 else 0
    many = Flag.TIES.note(f"{ties} ties of the two nearest: quantised features?") if ties > TIES * len(r) else ""
    return r, keep, noted(sampling_note(graph), many)


def sampling_note(graph: NeighbourGraph) -> str:
    """What became of duplicates, and of samples beyond those that are searched."""
    kept = graph.policy == "keep"
    repeated = (
        Flag.DUPLICATES.note(f"{graph.duplicates} duplicates {'kept' if kept else 'dropped'}")
        if graph.duplicates
        else ""
    )
    near = near_duplicates(graph)
    close = (
        Flag.DUPLICATES.note(
            f"{near} of {len(graph.rows)} samples have a near-duplicate (nearer than 1/1000 of the usual distance), "
            "which lowers the estimate: leave one of each out"
        )
        if near > NEAR_SHARE * len(graph.rows)
        else ""
    )
    searched = graph.n + (0 if kept else graph.duplicates)
    part = Flag.SUBSET.note(f"{graph.n} of {graph.seen} samples") if searched < graph.seen else ""
    some = "" if graph.own is None else f"averaged over {len(graph.rows)} of the samples, each among all {graph.n}"
    return noted(repeated, close, part, some)


def near_duplicates(graph: NeighbourGraph) -> int:
    """How many samples have another nearer than 1e-3 of the median distance to the furthest neighbour that is listed,
    as inputs recorded twice do."""
    r = graph.neighbours.distances
    usual = float(r[:, -1].median()) if r.shape[1] > 1 else 0.0
    return int(((r[:, 0] > 0) & (r[:, 0] < NEAR * usual)).sum())


def edges_of(graph: NeighbourGraph, keep: Int[Tensor, " m"], k: int) -> Int[Tensor, "e 2"]:
    """The edges of the symmetric k-nearest-neighbour graph among the samples kept, each once."""
    place = torch.full((graph.n,), -1, dtype=torch.int64, device=keep.device)
    place[graph.places(keep)] = torch.arange(len(keep), device=keep.device)
    there = place[graph.neighbours.indices[keep, :k]]
    here = torch.arange(len(keep), device=keep.device)[:, None].expand_as(there)
    low, high = torch.minimum(here, there), torch.maximum(here, there)
    coded = torch.unique((low * len(keep) + high)[(there >= 0) & (here != there)])
    return torch.stack([coded // len(keep), coded % len(keep)], 1)


def spread_over(rows: Int[Tensor, " m"], most: int) -> Int[Tensor, " p"]:
    """At most so many of the rows, evenly from the first to the last."""
    return rows[torch.linspace(0, len(rows) - 1, min(most, len(rows))).round().long().to(rows.device)]


def jackknife_groups(n: int, like: Tensor) -> Int[Tensor, " n"]:
    """The group of the jackknife that every sample of a graph is in, drawn once and for all."""
    return (torch.randperm(n, generator=torch.Generator().manual_seed(0)) % GROUPS).to(like.device)


def sandwich(psi: Float[Tensor, " n"], edges: Int[Tensor, "e 2"]) -> float:
    """sqrt(psi' A psi), A the graph with ones on its diagonal; at least a quarter of what independence would give."""
    alone = float(psi.square().sum())
    return math.sqrt(max(alone + 2 * float((psi[edges[:, 0]] * psi[edges[:, 1]]).sum()), alone / 16))


def graph_error(psi: Float[Tensor, " m"], graph: NeighbourGraph, keep: Int[Tensor, " m"], k: int, d: float) -> float:
    """The sandwich error of a quantity of k neighbours. On a curve the terms of samples depend on each other as far as
    their balls overlap, which is to the 2k-th neighbour; in higher dimensions next to all of it is within the k-th.
    """
    error = sandwich(psi, edges_of(graph, keep, k))
    if not d < CURVE:
        return error
    return max(error, sandwich(psi, edges_of(graph, keep, min(2 * k, graph.neighbours.k))))


@dataclass(frozen=True)
class Influences:
    """An estimate from `k` neighbours with the influence `psi` (m,) of each sample on it, the samples being `keep` (m,)
    of a graph. `independent` is its error if they were independent. A value of NaN has its reason in `note`."""

    value: float
    psi: Float[Tensor, " m"]
    keep: Int[Tensor, " m"]
    k: int
    independent: float
    note: str = ""
    n: int = 0  # usable samples, where there is no estimate

    @classmethod
    def none(cls, n: int, note: str) -> "Influences":
        return cls(math.nan, torch.empty(0), torch.empty(0, dtype=torch.int64), 0, math.nan, note, n)

    def estimate(self, graph: NeighbourGraph, level: float, error: str = "sandwich") -> Estimate:
        """With its interval: by the sandwich over the graph, or as if the samples were independent ("fisher")."""
        if math.isnan(self.value):
            return Estimate(self.value, n=self.n, note=self.note)
        se = self.independent if error == "fisher" else graph_error(self.psi, graph, self.keep, self.k, self.value)
        return from_error(self.value, se, n=graph.used(self.keep), level=level, note=self.note)

    def without_groups(self, e: Estimate, graph: NeighbourGraph, level: float) -> Float[Tensor, " g"]:
        """The estimate without each of 20 groups of samples, to first order and on the log scale: for differences of
        two runs on the same samples. Their spread is that of the estimate's interval, which neighbours widen.
        """
        if not (e.value > 0 and 0 < e.low < e.high < math.inf):
            return torch.empty(0, dtype=torch.float64)
        group = torch.randperm(graph.seen, generator=torch.Generator().manual_seed(0)) % PAIRED
        at = group[graph.rows[self.keep].cpu()]
        sums = torch.zeros(PAIRED, dtype=torch.float64).index_add_(0, at, self.psi.double().cpu())
        error = math.log(e.high / e.low) / (2 * NormalDist().inv_cdf(0.5 + level / 2))
        return replicates_with(e.value, sums, error, log=True)


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
