"""The estimated dimension of one layer by several estimators and over scales, from one neighbour search."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana._estimate import NAN, Estimate, Flag, noted, shown
from repana._reads import reads
from repana.dimension._calibration import with_lower_bound_note
from repana.dimension._distance_ratios import (
    gride,
    gride_influences,
    mle,
    mle_influences,
    two_nn,
    two_nn_influences,
)
from repana.dimension._terms import Influences
from repana.summaries.neighbour_graph import NeighbourGraph
from repana.summaries.neighbours import Neighbours

GRIDE = (1, 2, 4, 8, 16, 32)
MLE: dict[str, Any] = {"k": 20, "k_max": 20, "average": "inverse", "normalizer": "k-1"}
FLAT = 1.1  # the largest estimate of a plateau over its smallest
LONG = 3  # scales that a plateau needs
THINNEST = 50  # samples that decimation goes down to
SUBSETS = 16  # of one size, at most


@shown
@dataclass(frozen=True)
class DimensionProfile:
    """Intrinsic dimension of one layer by several estimators and over scales; see `dimension_profile`."""

    two_nn: Estimate
    two_nn_ml: Estimate
    two_nn_calibrated: Estimate
    mle: Estimate
    gride_2: Estimate
    gride_4: Estimate
    gride_8: Estimate
    gride_16: Estimate
    gride_32: Estimate
    gride_plateau: Estimate
    scale: Float[Tensor, "s 5"] = field(default_factory=lambda: torch.empty(0, 5))
    decimation: Float[Tensor, "f 5"] = field(default_factory=lambda: torch.empty(0, 5))
    jackknife: Mapping[str, Float[Tensor, " g"]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@reads
def dimension_profile(graph: NeighbourGraph, *, level: float = 0.95) -> DimensionProfile:
    """Estimated dimension at several scales, from one neighbour search. Call as `dimension_profile(features)`.

    - `two_nn`, `two_nn_ml`: `two_nn` with "linear" and "ml": the scale of the second neighbour.
    - `two_nn_calibrated`: the dimension of the ball from which as many samples give `two_nn_ml`; right where the
      density varies little over neighbours, off where it varies much. Read it beside the raw value.
    - `mle`: `mle` with k = 20, inverse average, k - 1.
    - `gride_2`, `gride_4`, `gride_8`, `gride_16`, `gride_32`: `gride` with that n1: the scale of the neighbours 4, 8,
      16, 32, 64.
    - `gride_plateau`: the geometric mean over the longest run of at least 3 successive scales n1 = 1, 2, 4, ... whose
      estimates are within 10% of each other, the finest of equal ones; the interval holds those of all of them. NaN
      with the range where there is none. Its note also says when `two_nn_ml` and `mle` disagree.
    - `scale` (s, 5): for n1 = 1, 2, 4, ... the columns n1, mean of (r_n1 + r_2n1)/2, estimate, low, high.
    - `decimation` (f, 5): for all samples, a half, a quarter, ... down to 50, the columns samples, mean of
      (r_1 + r_2)/2, geometric mean of `two_nn_ml` over disjoint random subsets (at most 16 of a size), low, high. The
      second neighbour of N/m samples is on the scale of the 2m-th neighbour of N.

    - `jackknife`: every estimate without each of 20 groups of samples, to first order, for `compare`.

    An estimate is of the dimension at a scale: where `scale` has no plateau there is no single number, and common
    estimators need not agree with the true dimension of a representation (Schulte & Ruegamer 2026). Estimates that need
    more neighbours than there are samples are NaN. Intervals: sandwich over the graph. Unit: dimensions.

    Raises InputError for NaN or infinite features, or fewer than 2 samples.

    Sources: those of `two_nn`, `mle` and `gride`; Denti et al. 2022 and Facco et al. 2017 (scale); Schulte & Ruegamer
    2026, arXiv:2604.20276.

    >>> import torch
    >>> from repana import dimension_profile
    >>> round(float(dimension_profile(torch.rand(2000, 2)).mle))
    2
    """
    widest = graph.neighbours.k
    short = Estimate(NAN, n=graph.n, note=Flag.FEW_SAMPLES.note(f"{graph.n} samples are too few"))
    influences: dict[str, Influences] = {}
    if widest >= 2:
        influences |= {"two_nn": two_nn_influences(graph, "linear", 0.1)}
        influences |= {"two_nn_ml": two_nn_influences(graph, "ml", 0.0)}
    if widest >= 20:
        influences["mle"] = mle_influences(graph, **MLE)
    influences |= {f"gride_{n1}": gride_influences(graph, n1=n1, n2=2 * n1) for n1 in GRIDE if 2 * n1 <= widest}
    curves: dict[str, tuple[Callable[..., Estimate], dict[str, Any]]] = {"mle": (mle, MLE)}
    curves |= {f"gride_{n1}": (gride, {"n1": n1, "n2": 2 * n1}) for n1 in GRIDE}
    found = dict.fromkeys(("two_nn", "two_nn_ml", *curves), short)
    for name, each in influences.items():
        function, options = curves.get(name, (None, {}))
        found[name] = with_lower_bound_note(each.estimate(graph, level), function, **options)
    calibrated = (two_nn(graph, method="ml", calibrate=True, level=level) if widest >= 2 else short).calibrated or short
    r = graph.neighbours.distances
    grides = {n1: found[f"gride_{n1}"] for n1 in GRIDE}
    scale = [
        [n1, float((r[:, n1 - 1] + r[:, 2 * n1 - 1]).mean() / 2), e.value, e.low, e.high]
        for n1, e in grides.items()
        if 2 * n1 <= widest
    ]
    plateau, flat = _plateau(list(grides.values()), found["two_nn_ml"], found["mle"])
    deleted = {name: each.without_groups(found[name], graph, level) for name, each in influences.items()}
    if "two_nn_ml" in influences:
        deleted["two_nn_calibrated"] = influences["two_nn_ml"].without_groups(calibrated, graph, level)
    logs = [(deleted[f"gride_{GRIDE[i]}"] / grides[GRIDE[i]].value).log() for i in flat]
    if logs and all(map(len, logs)):
        deleted["gride_plateau"] = plateau.value * torch.stack(logs).mean(0).exp()
    deleted.pop("gride_1", None)  # that is `two_nn_ml`
    return DimensionProfile(
        **{name: e for name, e in found.items() if name != "gride_1"},
        two_nn_calibrated=calibrated,
        gride_plateau=plateau,
        scale=torch.tensor(scale, dtype=torch.float64).reshape(-1, 5),
        decimation=_decimated(graph, found["two_nn_ml"], level),
        jackknife={name: values for name, values in deleted.items() if len(values)},
        settings={"k": widest, "samples": graph.n, "duplicates": graph.duplicates, "error": "sandwich", "level": level},
    )


def _plateau(found: list[Estimate], fine: Estimate, coarse: Estimate) -> tuple[Estimate, range]:
    """The longest run of successive estimates within 10% of each other, and the places of these."""
    apart = ""
    if fine.low > coarse.high or coarse.low > fine.high:
        apart = f"TwoNN {fine.value:.3g} and MLE {coarse.value:.3g} disagree: the dimension depends on the scale"
    known = [e for e in found if e.value > 0]
    places = range(len(found))
    runs = [found[i:j] for i in places for j in range(i + LONG, len(found) + 1) if all(e.value > 0 for e in found[i:j])]
    flat = [run for run in runs if max(e.value for e in run) <= FLAT * min(e.value for e in run)]
    n = max((e.n for e in found), default=0)
    if not flat:
        values = [e.value for e in known]
        reach = f"no plateau: {values[0]:.3g} to {values[-1]:.3g}" if len(values) >= LONG else "fewer than 3 scales"
        return Estimate(NAN, n=n, note=noted(reach, apart)), range(0)
    best = max(flat, key=len)
    value = math.exp(sum(math.log(e.value) for e in best) / len(best))
    start = next(i for i in places if found[i] is best[0])
    first, last = 2**start, 2 ** (start + len(best) - 1)
    where = f"n1 = {first} to {last}"
    plateau = Estimate(value, min(e.low for e in best), max(e.high for e in best), n, noted(where, apart))
    return plateau, range(start, start + len(best))


def _decimated(graph: NeighbourGraph, whole: Estimate, level: float) -> Float[Tensor, "f 5"]:
    """TwoNN of ever smaller parts of the samples."""
    if graph.neighbours.k < 2 or graph.n < 2 * THINNEST or graph.features is None:
        return torch.empty(0, 5, dtype=torch.float64)
    r = graph.neighbours.distances
    rows = [[graph.n, float((r[:, 0] + r[:, 1]).mean() / 2), whole.value, whole.low, whole.high]]
    order = torch.randperm(graph.n, generator=torch.Generator().manual_seed(0)).to(r.device)
    if graph.own is not None:  # the same seed may have drawn the samples that have their neighbours
        order = _spread(order, graph.own)
    z, parts = NormalDist().inv_cdf(0.5 + level / 2), 2
    while len(graph.rows) // parts >= THINNEST:
        size = graph.n // parts
        thin = [_part(graph, part.sort().values) for part in order.split(size)[: min(parts, SUBSETS)]]
        found = [e for e in (two_nn(part, method="ml", level=level) for part in thin) if e.low > 0]
        if found:
            logs = [math.log(e.value) for e in found]
            errors = [math.log(e.high / e.low) / (2 * z) for e in found]
            middle, half = sum(logs) / len(logs), z * math.sqrt(sum(e**2 for e in errors)) / len(logs)
            reach = [float(part.neighbours.distances.mean()) for part in thin if len(part.rows)]
            ends = [math.exp(middle + side * half) for side in (0, -1, 1)]
            rows.append([size, sum(reach) / len(reach), *ends])
        parts *= 2
    return torch.tensor(rows, dtype=torch.float64)


def _spread(order: Int[Tensor, " n"], own: Int[Tensor, " m"]) -> Int[Tensor, " n"]:
    """An order of samples in which some of them come evenly, each at a place drawn in its stretch."""
    n, m = len(order), len(own)
    mine = torch.zeros(n, dtype=torch.bool, device=order.device)
    mine[own] = True
    first, others = order[mine[order]], order[~mine[order]]
    at = (torch.arange(m, device=order.device) * n // m).to(order.device)
    out, taken = torch.empty_like(order), torch.zeros(n, dtype=torch.bool, device=order.device)
    taken[at] = True
    out[at], out[~taken] = first, others
    return out


def _part(graph: NeighbourGraph, rows: Int[Tensor, " m"]) -> NeighbourGraph:
    """Some samples, and the two nearest among them of those that have their neighbours: from the graph, and a search
    for those that it does not hold."""
    x, whole, m = graph.features, graph.neighbours, len(rows)
    assert x is not None
    place = torch.full((graph.n,), -1, dtype=torch.int64, device=rows.device)
    place[rows] = torch.arange(m, device=rows.device)
    if graph.own is None:
        lists, own = rows, torch.arange(m, device=rows.device)
    else:
        lists = (place[graph.own] >= 0).nonzero()[:, 0]
        own = place[graph.own[lists]]
    there = place[whole.indices[lists]]
    first = torch.argsort((there < 0).int(), dim=1, stable=True)[:, :2]
    indices, distances = there.gather(1, first), whole.distances[lists].gather(1, first)
    lacking = (indices < 0).any(1).nonzero()[:, 0]
    if len(lacking):
        mine = own[lacking]
        near = Neighbours.of_bank(x[rows[mine]], x[rows], k=2, places=mine)
        indices[lacking], distances[lacking] = near.indices, near.distances
    queries = None if graph.own is None else own
    return NeighbourGraph(Neighbours(distances, indices, m, whole.d), own, m, 0, own=queries)
