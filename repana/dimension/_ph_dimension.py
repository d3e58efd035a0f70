"""Intrinsic dimension from the growth of minimum spanning trees."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from repana import _check
from repana._estimate import NAN, Estimate, Flag, noted
from repana._reads import reads
from repana.dimension import _refusals
from repana.dimension._calibration import with_lower_bound_note
from repana.dimension._terms import sampling_note
from repana.statistics.intervals import from_error
from repana.summaries._linalg import power_of_two
from repana.summaries.distances import distances
from repana.summaries.forest import spanning_edges
from repana.summaries.neighbour_graph import NeighbourGraph

LARGEST, STEPS, SUBSAMPLES = 512, 8, 7
FEWEST = 24  # samples
WIDE = 10.0  # high over low, from which an interval says next to nothing
NEAR = 1.3  # of alpha, below which the length of trees hardly grows
GROUPS = 10  # of the jackknife
POOL = 2_048  # samples that subsets are drawn from, unless they are larger


@reads
def ph_dimension(
    graph: NeighbourGraph,
    *,
    alpha: float = 1.0,
    smallest: int | None = None,
    largest: int | None = None,
    steps: int = STEPS,
    repeats: int = SUBSAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Persistent-homology dimension of degree 0, from minimum spanning trees. Call as `ph_dimension(features)`.

    E(n) = sum of edge^alpha over the minimum spanning tree (the finite bars of H0) of n samples grows as
    n^((d - alpha)/d); the estimate is alpha/(1 - m), m the least-squares slope of log E on log n over `repeats`
    subsets of each of `steps` sizes from `smallest` to `largest`, evenly on a log scale. By default up to 512 samples
    and from an eighth of that. `alpha` below the dimension; a small one weighs short edges more. Varies less than
    `two_nn` in small clouds, with the same fall in high dimensions. Unit: dimensions, above `alpha`. Interval: delete
    one of 10 groups of samples from every subset, and take the trees again. Duplicates as in `two_nn`.

    NaN with the reason where m is 1 or more: the graph has no dimension at this scale. Raises InputError for NaN or
    infinite features, fewer than 24 samples, alpha not above 0, or sizes that the samples do not hold.

    Sources: Schweinhart 2020, doi:10.1016/j.aim.2020.107291, theorem 3; Birdal et al. 2021, arXiv:2111.13171;
    Tulchinskii et al. 2023, arXiv:2306.04723 (of texts).

    >>> import torch
    >>> from repana import ph_dimension
    >>> sheet = torch.rand(600, 2, generator=torch.Generator().manual_seed(0))
    >>> round(float(ph_dimension(sheet)))
    2
    """
    found = ph_dimensions(
        graph,
        alphas=(alpha,),
        smallest=smallest,
        largest=largest,
        steps=steps,
        repeats=repeats,
        seed=seed,
        level=level,
    )
    return found.by_alpha[alpha]


@dataclass(frozen=True)
class PHDimensions:
    """The dimension for each alpha; see `ph_dimensions`."""

    by_alpha: Mapping[float, Estimate]


@reads
def ph_dimensions(
    graph: NeighbourGraph,
    *,
    alphas: Sequence[float] = (0.5, 1.0, 2.0),
    smallest: int | None = None,
    largest: int | None = None,
    steps: int = STEPS,
    repeats: int = SUBSAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> PHDimensions:
    """`ph_dimension` for several alphas from the same trees: `by_alpha` holds one estimate for each."""
    assert graph.features is not None
    plan = forest(graph.n, smallest, largest, steps, repeats)
    slopes = grown([graph.features], [plan], alphas, seed)[0]
    return PHDimensions(
        {
            alpha: with_lower_bound_note(
                from_slopes(slopes[:, a].tolist(), alpha, n=graph.n, level=level, note=sampling_note(graph))
            )
            for a, alpha in enumerate(alphas)
        }
    )


@dataclass(frozen=True)
class Forest:
    """Which trees to take of a graph of n samples."""

    n: int
    sizes: tuple[int, ...]
    each: int

    @property
    def pool(self) -> int:
        """The samples that subsets are drawn from."""
        return min(self.n, max(POOL, self.sizes[-1]))

    @property
    def work(self) -> int:
        """Elements of the working buffers."""
        return len(self.sizes) * self.each * (GROUPS + 1) * self.sizes[-1]


def forest(
    n: int,
    smallest: int | None = None,
    largest: int | None = None,
    steps: int = STEPS,
    subsamples: int = SUBSAMPLES,
) -> Forest:
    """The sizes of trees for n samples; refuses what they do not hold."""
    if n < FEWEST:
        raise _check.too_few_samples("ph_dimension", n, FEWEST)
    most = min(n, LARGEST) if largest is None else largest
    least = max(FEWEST // 2, most // 8) if smallest is None else smallest
    if not 3 <= least < most <= n or steps < 2 or subsamples < 1:
        raise _refusals.tree_sizes(least, most, steps, subsamples, n)
    sizes = np.geomspace(least, most, steps).round().astype(int).tolist()
    return Forest(n, tuple(sorted(set(sizes))), subsamples)


def grown(
    clouds: Sequence[Float[Tensor, "_ _"]], plans: Sequence[Forest], alphas: Sequence[float], seed: int
) -> list[Float[Tensor, "g a"]]:
    """For every graph the slopes of log E on log n, one column an alpha, one row all samples or without a group."""
    for alpha in alphas:
        _check.in_range(alpha, "alpha", 1e-6, 1e6)
    device, longest = clouds[0].device, max(plan.sizes[-1] for plan in plans)
    between, members, owner = [], [], []
    for i, (x, plan) in enumerate(zip(clouds, plans)):
        generator = torch.Generator().manual_seed(seed)
        pool = torch.randperm(plan.n, generator=generator)[: plan.pool]
        between.append(distances(x[pool.to(device)].double() / power_of_two(x)))
        drawn = _subsets(plan, longest, generator)
        group = torch.randperm(plan.pool, generator=generator) % GROUPS
        kinds = torch.cat([drawn, *(_without_samples(drawn, group == g) for g in range(GROUPS))])
        members.append(kinds)
        owner.append(torch.full((len(kinds),), i))
    edges, real = spanning_edges(between, torch.cat(owner).to(device), torch.cat(members).to(device))
    sizes = [len(kinds) for kinds in members]
    x = (real.sum(1) + 1).double().log()
    y = torch.stack([torch.where(real, edges**alpha, 0.0).sum(1).log() for alpha in alphas], 1)
    return [
        _slopes(a.view(GROUPS + 1, -1), b.view(GROUPS + 1, -1, len(alphas)))
        for a, b in zip(x.split(sizes), y.split(sizes))
    ]


def _subsets(plan: Forest, longest: int, generator: torch.Generator) -> Int[Tensor, "b s"]:
    """Places of random subsets, some of every size, -1 behind the last."""
    rows = []
    for size in plan.sizes:
        for _ in range(plan.each if size < plan.pool else 1):
            drawn = torch.randperm(plan.pool, generator=generator)[:size]
            rows.append(torch.nn.functional.pad(drawn, (0, longest - size), value=-1))
    return torch.stack(rows)


def _without_samples(members: Int[Tensor, "b s"], gone: Bool[Tensor, " m"]) -> Int[Tensor, "b s"]:
    """The subsets without some samples, those that stay first."""
    left = torch.where(gone[members.clamp_min(0)], -1, members)
    return left.gather(1, torch.argsort((left < 0).int(), dim=1, stable=True))


def _slopes(x: Float[Tensor, "g b"], y: Float[Tensor, "g b a"]) -> Float[Tensor, "g a"]:
    x = x - x.mean(1, keepdim=True)
    return (x[:, :, None] * y).sum(1) / x.square().sum(1, keepdim=True)


def from_slopes(slopes: list[float], alpha: float, *, n: int, level: float, note: str) -> Estimate:
    """alpha/(1 - m) from the slope of all samples, with the error from those without a group."""
    if not slopes[0] < 1:
        return Estimate(
            NAN,
            n=n,
            note=noted(
                note, Flag.OUT_OF_RANGE.note(f"trees grow as n^{slopes[0]:.2f}; n^1 is too fast for a dimension")
            ),
        )
    value, *deleted = (alpha / (1 - min(m, 1 - 1e-9)) for m in slopes)
    error = value * math.sqrt(GROUPS - 1) * float(np.log(deleted).std())
    e = from_error(value, error, n=n, level=level)
    wide = "the interval spans more than tenfold: too few samples" if e.high > WIDE * e.low else ""
    near = f"near alpha = {alpha:g}, where growth says little: take a smaller alpha" if value < NEAR * alpha else ""
    return replace(e, note=noted(note, wide, near))
