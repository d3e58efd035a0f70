"""Intrinsic dimension from whole neighbourhoods: mean distances, growth, counts of pairs, angles; and per sample."""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from repana import _check
from repana._estimate import NAN, Estimate, Flag, noted
from repana._reads import reads
from repana.dimension import _refusals
from repana.dimension._calibration import with_calibrated, with_lower_bound_note
from repana.dimension._terms import (
    FEWEST,
    GROUPS,
    averaged,
    graph_error,
    jackknife_groups,
    log_ratios,
    sampling_note,
    spread_over,
    usable,
)
from repana.statistics.intervals import from_error, from_jackknife
from repana.summaries._linalg import power_of_two
from repana.summaries.neighbour_graph import NeighbourGraph, some
from repana.summaries.neighbours import Neighbours

BLOCK = 2**27  # bytes of neighbourhoods at a time
REPEATED = 500  # neighbourhoods of the jackknife
LARGEST = 5_000  # dimension up to which a skewness is inverted


@reads
def mom(
    graph: NeighbourGraph,
    *,
    k: int = 64,
    average: str = "inverse",
    calibrate: bool = False,
    boundary: bool = True,
    level: float = 0.95,
) -> Estimate:
    """Intrinsic dimension from the mean distance of k neighbours. Call as `mom(features)`.

    Where the density is constant, r is distributed as d r^(d-1)/r_k^d up to the k-th neighbour, with the mean
    m_i = r_k d/(d + 1), so d_i = m_i/(r_k - m_i), m_i the mean of r_1 ... r_k. `average`: "inverse", 1/mean_i 1/d_i,
    or "mean" (scikit-dimension's). As published m_i includes r_k, which takes no part in that mean: the estimate is
    high, by 5% at k = 20 and 1 to 2% at 64, and the interval carries the sampling error alone. Unit: dimensions, at
    the scale of the k-th neighbour. Interval: sandwich over the graph of k neighbours. `calibrate`, `boundary`,
    duplicates, ties and small samples as in `two_nn`.

    Raises InputError for NaN or infinite features, or unless 2 <= k < samples.

    Source: Amsaleg et al. 2018, doi:10.1007/s10618-018-0578-6, section 3.2.

    >>> import torch
    >>> from repana import mom
    >>> sheet = torch.rand(4000, 2, generator=torch.Generator().manual_seed(0))
    >>> round(float(mom(sheet)))
    2
    """
    _check.choice(average, "average", ("inverse", "mean"))
    if calibrate:
        return with_calibrated(mom, graph, boundary=boundary, level=level, k=k, average=average)
    _refusals.neighbours_between(k, k, 2, graph.n - 1)
    r, keep, note = usable(graph, k)
    if r is None:
        return Estimate(NAN, n=graph.n, note=note)
    m = r[:, :k].mean(1)
    s = (r[:, k - 1] - m) / m  # 1/d_i
    if float(s.sum()) <= 0:
        return Estimate(NAN, n=graph.used(keep), note=Flag.UNDEFINED.note("all distances are equal"))
    d, psi = averaged(s, 1, average)
    error = graph_error(psi, graph, keep, k, d)
    return with_lower_bound_note(
        from_error(d, error, n=graph.used(keep), level=level, note=note), mom, k=k, average=average
    )


@reads
def mada(
    graph: NeighbourGraph,
    *,
    k: int = 20,
    average: str = "inverse",
    calibrate: bool = False,
    boundary: bool = True,
    level: float = 0.95,
) -> Estimate:
    """Intrinsic dimension from the growth of the ball to k/2 and to k neighbours. Call as `mada(features)`.

    d_i = log 2 / log(r_k/r_{k/2}), with k/2 rounded down. `average`: "inverse", "mean" (as published, which one outlier
    can carry off) or "median". Low by 3 to 4% at k = 20 with "inverse", since E log(r_k/r_{k/2}) is not quite log 2/d;
    the interval carries the sampling error alone. Unit: dimensions, at the scale of the k-th neighbour. Interval:
    sandwich over the graph of k neighbours. `calibrate`, `boundary`, duplicates, ties and small samples as in `two_nn`.

    Raises InputError for NaN or infinite features, or unless 2 <= k < samples.

    Source: Farahmand, Szepesvari & Audibert 2007, doi:10.1145/1273496.1273530.

    >>> import torch
    >>> from repana import mada
    >>> sheet = torch.rand(4000, 2, generator=torch.Generator().manual_seed(0))
    >>> round(float(mada(sheet)))
    2
    """
    _check.choice(average, "average", ("inverse", "mean", "median"))
    if calibrate:
        return with_calibrated(mada, graph, boundary=boundary, level=level, k=k, average=average)
    _refusals.neighbours_between(k, k, 2, graph.n - 1)
    r, keep, note = usable(graph, k)
    if r is None:
        return Estimate(NAN, n=graph.n, note=note)
    s = (r[:, k - 1] / r[:, k // 2 - 1]).log() / math.log(2)
    if float(s.sum()) <= 0:
        return Estimate(NAN, n=graph.used(keep), note=Flag.UNDEFINED.note("all distances are equal"))
    d, psi = averaged(s, 1, average)
    error = graph_error(psi, graph, keep, k, d)
    return with_lower_bound_note(
        from_error(d, error, n=graph.used(keep), level=level, note=note), mada, k=k, average=average
    )


@reads
def correlation_dimension(graph: NeighbourGraph, *, k1: int = 10, k2: int = 20, level: float = 0.95) -> Estimate:
    """Correlation dimension between two radii. Call as `correlation_dimension(features)`.

    (log C(b) - log C(a))/log(b/a), C(r) the share of pairs nearer than r, a and b the medians over samples of the
    distances to the neighbours `k1` and `k2`. All pairs are counted: samples that have more within b than the graph
    holds are searched again. Far below the truth in high dimensions. Interval: the variance of this function of two
    U-statistics, from every sample's own counts. Unit: dimensions, at the scale of the radii. Duplicates, ties and
    small samples as in `two_nn`.

    Raises InputError for NaN or infinite features, or unless 1 <= k1 < k2 < samples.

    Sources: Grassberger & Procaccia 1983, doi:10.1016/0167-2789(83)90298-1; radii: Hino et al. 2017, as in
    scikit-dimension.

    >>> import torch
    >>> from repana import correlation_dimension
    >>> sheet = torch.rand(4000, 2, generator=torch.Generator().manual_seed(0))
    >>> round(float(correlation_dimension(sheet)), 1)
    2.0
    """
    _refusals.neighbours_between(k1, k2 - 1, 1, graph.n - 2)
    r, _, note = usable(graph, k2)
    if r is None:
        return Estimate(NAN, n=graph.n, note=note)
    every = graph.neighbours.distances
    a, b = (float(np.median(every[:, k - 1].cpu().numpy())) for k in (k1, k2))
    if not a < b:
        return Estimate(NAN, n=graph.n, note=noted(note, Flag.UNDEFINED.note("both radii are equal")))
    inner, outer = (_neighbours_within(graph, radius) for radius in (a, b))
    if not float(inner.sum()) > 0:
        nothing = Flag.UNDEFINED.note("no pair is nearer than the smaller radius: quantised features?")
        return Estimate(NAN, n=graph.n, note=noted(note, nothing))
    d = math.log(float(outer.sum()) / float(inner.sum())) / math.log(b / a)
    psi = 2 * (outer / outer.mean() - inner / inner.mean()) / math.log(b / a) / len(graph.rows)
    return with_lower_bound_note(from_error(d, float(psi.square().sum().sqrt()), n=graph.n, level=level, note=note))


def _neighbours_within(graph: NeighbourGraph, radius: float) -> Float[Tensor, " n"]:
    """How many others each sample that has its neighbours has nearer than the radius."""
    r, x = graph.neighbours.distances, graph.features
    counts, k = (r < radius).sum(1).double(), r.shape[1]
    while k < graph.n - 1 and bool((counts >= k).any()):
        assert x is not None
        full, k = (counts >= k).nonzero()[:, 0], min(4 * k, graph.n - 1)
        own = graph.places(full)
        more = Neighbours.of_bank(x[own], x, k=k, places=own)
        counts[full] = (more.distances < radius).sum(1).double()
    return counts


@reads
def ess(
    graph: NeighbourGraph, *, k: int | None = 100, neighbourhoods: int = 2_000, seed: int = 0, level: float = 0.95
) -> Estimate:
    """Expected simplex skewness: dimension from the angles in neighbourhoods. Call as `ess(features)`.

    With v_i the k neighbours of a sample less their mean, w_ij = |v_i||v_j| and g_ij = v_i.v_j, its skewness is
    s = sum_{i<j} sqrt(w_ij^2 - g_ij^2) / sum_{i<j} w_ij. A neighbourhood that fills n dimensions evenly has
    s(n) = G(n/2)^2/(G((n + 1)/2) G((n - 1)/2)), G the gamma function, which is inverted linearly between whole n. The
    estimate is the mean over `neighbourhoods` samples, drawn by `seed` where there are more. `k=None` takes all samples
    as one neighbourhood, without an interval. Does not saturate in high dimensions; sees the curvature of surfaces as
    dimensions. Unit: dimensions, at the scale of the k-th neighbour. Interval: delete one of 10 groups of samples,
    everywhere, on up to 500 neighbourhoods. Duplicates as in `two_nn`.

    Raises InputError for NaN or infinite features, or unless 3 <= k < samples.

    Source: Johnsson, Soneson & Fontes 2015, doi:10.1109/TPAMI.2014.2343220 (version a, d = 1).

    >>> import torch
    >>> from repana import ess
    >>> round(float(ess(torch.randn(500, 6, generator=torch.Generator().manual_seed(0)))))
    6
    """
    x = graph.features
    assert x is not None
    scale = power_of_two(x)
    if k is None:
        return Estimate(float(_inverted(_skewness(x.double()[None] / scale))[0]), n=graph.n)
    _refusals.neighbours_between(k, k, 3, graph.n - 1)
    if k > graph.neighbours.k:
        raise _check.too_many_neighbours(k, graph.neighbours.k)
    _check.at_least(neighbourhoods, "neighbourhoods", FEWEST)
    chosen = some(len(graph.rows), neighbourhoods, seed).to(graph.neighbours.indices.device)
    group = jackknife_groups(graph.n, chosen)
    mine = group[graph.places(chosen)]
    places, block = graph.neighbours.indices[:, :k], max(1, BLOCK // (k * (k + x.shape[1]) * 8))
    local = torch.cat([_inverted(_skewness(x[places[part]].double() / scale)) for part in chosen.split(block)])
    known = local.isfinite()
    found = int(known.sum())
    if found < FEWEST:
        return Estimate(
            NAN, n=found, note=Flag.FEW_SAMPLES.note(f"{found} neighbourhoods have a spread; {FEWEST} are needed")
        )
    value, few = float(local[known].mean()), spread_over(known.nonzero()[:, 0], REPEATED)
    fewer, of_fewer, shares = chosen[few], mine[few], []
    for part in fewer.split(block):
        gram, apart = _gram(x[places[part]].double() / scale), group[places[part]]
        shares.append(torch.stack([_inverted(_skewness_of(gram, apart != g)) for g in range(GROUPS)]))
    without = torch.cat(shares, 1)
    base = float(local[few].mean())
    deleted = [value / base * float(without[g, of_fewer != g].nanmean()) for g in range(GROUPS)]
    return from_jackknife(value, deleted, n=found, level=level, note=sampling_note(graph), corrected=False)


def _gram(points: Float[Tensor, "b k d"]) -> Float[Tensor, "b k k"]:
    v = points - points.mean(1, keepdim=True)
    return v @ v.mT


def _skewness(points: Float[Tensor, "b k d"]) -> Float[Tensor, " b"]:
    """The expected simplex skewness of neighbourhoods."""
    return _skewness_of(_gram(points))


def _skewness_of(gram: Float[Tensor, "b k k"], here: Bool[Tensor, "b k"] | None = None) -> Float[Tensor, " b"]:
    """From the products of centred points; of those that are here, around their own mean."""
    if here is not None:
        w = here.to(gram)
        n = w.sum(1).clamp_min(1)[:, None, None]
        along = (gram @ w[:, :, None]) / n  # of every point with their mean
        gram = gram - along - along.mT + (along * w[:, :, None]).sum((1, 2), keepdim=True) / n
        gram = gram * w[:, :, None] * w[:, None]
    squares = gram.diagonal(dim1=1, dim2=2).clamp_min(0)
    w = squares[:, :, None] * squares[:, None]
    area = (w - gram.square()).clamp_min(0).sqrt()
    above, below = torch.ones_like(area[0], dtype=torch.bool).triu(1), w.sqrt()
    return (area * above).sum((1, 2)) / (below * above).sum((1, 2))


def _inverted(skewness: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """The dimension with this skewness, linear between whole numbers."""
    n = torch.arange(1, LARGEST + 1, dtype=torch.float64, device=skewness.device)
    reference = (2 * torch.lgamma(n / 2) - torch.lgamma((n + 1) / 2) - torch.lgamma((n - 1) / 2)).exp()
    reference[0] = 0.0
    at = torch.searchsorted(reference, skewness, right=True).clamp(1, LARGEST - 1)
    low, high = reference[at - 1], reference[at]
    return at + (skewness - low) / (high - low)


@reads
def local_dimension(graph: NeighbourGraph, *, k: int = 20, smooth: bool = False) -> Float[Tensor, " n"]:
    """Intrinsic dimension around every sample. Call as `local_dimension(features)`; gives (n,), NaN for duplicates,
    and beyond `queries` samples (20,000) for those that were not drawn.

    (k - 2)/sum_{j<k} log(r_k/r_j), unbiased. With `smooth`, the inverse of the mean over the sample and its k
    neighbours of the inverses (with k - 1 above), which no odd neighbourhood carries off. To join samples take `mle`.

    Raises InputError for NaN or infinite features, or unless 3 <= k < samples.

    Source: Levina & Bickel 2004, eq. 8; MacKay & Ghahramani 2005.

    >>> import torch
    >>> from repana import local_dimension
    >>> local_dimension(torch.rand(100, 2)).shape
    torch.Size([100])
    """
    _refusals.neighbours_between(k, k, 3, graph.n - 1)
    r = graph.neighbours.distances[:, :k]
    s = torch.where(r[:, 0] > 0, log_ratios(r.clamp_min(1e-300), k), torch.nan)
    found = (k - 2) / s
    if smooth:
        everywhere = s.new_full((graph.n,), torch.nan)
        everywhere[graph.places(torch.arange(len(s), device=s.device))] = s
        around = torch.cat([s[:, None], everywhere[graph.neighbours.indices[:, :k]]], 1)
        found = (k - 1) / around.nanmean(1)
    out = torch.full((graph.seen,), torch.nan, dtype=torch.float64)
    out[graph.rows.cpu()] = found.cpu()
    return out
