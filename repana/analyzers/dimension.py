"""Intrinsic dimension from distances to nearest neighbours: every estimator reads the same graph.

Intervals use the graph too. An estimator is an average of terms of the samples, and terms of neighbours depend on each
other: with psi_i the influence of sample i and A the symmetric k-nearest-neighbour graph with ones on its diagonal, the
variance is psi' A psi. The formula that takes samples for independent (`error="fisher"`) covers in 78 to 93 of 100.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import optimize
from torch import Tensor

from repana import _check
from repana._results import NAN, Estimate, as_table
from repana.analyzers._intervals import from_error
from repana.analyzers._reads import reads
from repana.summaries.cloud import Cloud
from repana.summaries.neighbours import Neighbours, power_of_two

EULER = 0.57721566490153286
FEWEST = 10  # usable samples, below which there is no estimate
HIGH, MANY = 20.0, 10_000  # dimensions above which fewer samples than this give a lower bound
TIES = 0.01  # share of samples with r1 = r2, above which it is said
ERRORS = ("sandwich", "fisher")
METHODS = ("linear", "ml", "bayes", "log_moment")
PRIOR = (2.0, 5.0)  # shape and rate of the Gamma prior
BLOCK = 2**27  # bytes of neighbourhoods at a time
LARGEST = 5_000  # dimension up to which a skewness is inverted
BRACKET = (1e-3, 1e4)  # of dimensions in a search for a root


@reads(Cloud, labels=False)
def two_nn(
    cloud: Cloud, *, method: str = "linear", discard: float | None = None, error: str = "sandwich", level: float = 0.95
) -> Estimate:
    """Intrinsic dimension from the ratio of every sample's two nearest distances. Call as `two_nn(features)`.

    mu_i = r_2/r_1 has the distribution function 1 - mu^-d where the density is constant over two neighbours. With
    L = log mu, ascending, and N usable samples:

    - "linear": the slope through the origin of -log(1 - i/N) on L_i over the samples that are not discarded (Facco).
    - "ml": (k - 1)/(sum_{i<=k} L_i + (N - k) L_k) with k samples not discarded; (N - 1)/sum L with `discard=0`.
    - "bayes": mean of the posterior Gamma(2 + N, 5 + sum L); its interval is the posterior's.
    - "log_moment": exp(-mean log L - 0.5772), which needs no trimming.

    `discard`: the share of the largest ratios left out; 0.1 for "linear", else 0. `error`: "sandwich" (see the
    module) over the graph of two neighbours, or "fisher", d/sqrt(N). Unit: dimensions, above 0; of the scale of the
    second neighbour.

    Options of the search: `duplicates` ("drop" keeps one copy and says how many went, "keep", "raise"), `most`, `seed`.
    Samples with r_1 = 0 are left out. Ties (r_1 = r_2) count, and are said where they are above 1 %: quantised features
    raise d. NaN with the reason where fewer than 10 samples are usable. Above 20 dimensions and below 10^4 samples the
    value is a lower bound, and says so.

    Raises InputError for NaN or infinite features, fewer than 2 samples, `discard` outside [0, 1).

    Source: Facco, d'Errico, Rodriguez & Laio 2017, doi:10.1038/s41598-017-11873-y; posterior: Denti et al. 2022.

    >>> import torch
    >>> from repana import two_nn
    >>> sheet = torch.rand(4000, 2, generator=torch.Generator().manual_seed(0))
    >>> round(float(two_nn(sheet)), 1)
    2.0
    """
    _check.choice(method, "method", METHODS)
    _check.choice(error, "error", ERRORS)
    discard = (0.1 if method == "linear" else 0.0) if discard is None else discard
    _check.in_range(discard, "discard", 0.0, 0.999)
    r, keep, note = _usable(cloud, 2)
    if r is None:
        return Estimate(NAN, n=cloud.n, note=note)
    log, n = (r[:, 1] / r[:, 0]).log(), len(r)
    if float(log.sum()) <= 0:
        return Estimate(NAN, n=n, note="; ".join(part for part in (note, "every ratio of distances is 1") if part))
    if method == "linear":
        d, psi = _linear(log, discard)
    elif method == "log_moment":
        positive = log > 0
        logs = torch.where(positive, log, log[positive].min()).log()
        d = math.exp(-float(logs.mean()) - EULER)
        psi = -d * (logs - logs.mean()) / n
    else:
        kept = n - int(discard * n)
        top = log.sort().values[kept - 1]
        cut, inside = log.clamp_max(top), (log <= top).double()
        d = (kept - 1) / float(cut.sum())
        if method == "bayes":
            d = (PRIOR[0] + n) / (PRIOR[1] + float(log.sum()))
        psi = (inside - d * cut) / float(cut.sum())
    fisher = d / math.sqrt(n - int(discard * n))
    se = fisher if error == "fisher" or method == "bayes" else _sandwich(psi, _graph(cloud, keep, 2))
    return _said(from_error(d, se, n=n, level=level, note=note), cloud)


def _linear(log: Float[Tensor, " n"], discard: float) -> tuple[float, Float[Tensor, " n"]]:
    """The slope, and the influence of every sample on this ratio of two linear functions of order statistics.

    Of the functional int x J(F(x)) dF the influence at x is -int (1[x <= y] - F(y)) J(F(y)) dy.
    """
    n = len(log)
    order = log.argsort(stable=True)
    x, rank = log[order], torch.arange(1, n + 1, dtype=log.dtype, device=log.device) / n
    kept = n - int(discard * n)
    kept = kept - 1 if kept == n else kept  # -log(1 - 1) is infinite
    score = torch.where(rank <= kept / n, -torch.log1p(-rank.clamp_max(1 - 0.5 / n)), 0.0)
    inside = (rank <= kept / n).double()
    above, below = (x * score)[:kept].sum() / n, x[:kept].square().sum() / n
    d = float(above / below)

    def influence(values: Tensor, weight: Tensor) -> Tensor:
        step = torch.diff(values, append=values[-1:]) * weight
        after = step.flip(0).cumsum(0).flip(0)  # sum over y >= x
        return -(after - (rank * step).sum())

    psi = (influence(x, score) - d * influence(x.square(), inside)) / below / n
    out = torch.empty_like(psi)
    out[order] = psi
    return d, out


@reads(Cloud, labels=False)
def mle(
    cloud: Cloud,
    *,
    k: int = 20,
    k_max: int | None = None,
    average: str = "inverse",
    normalizer: str = "k-1",
    error: str = "sandwich",
    level: float = 0.95,
) -> Estimate:
    """Intrinsic dimension by maximum likelihood from k neighbours. Call as `mle(features)`.

    S_i = sum_{j<k} log(r_k/r_j) over the neighbours of sample i. `average` says how samples are joined, `normalizer`
    (m, one of "k-1", "k-2") what stands above:

    - "inverse": m / mean_i S_i. Unbiased with "k-1" (MacKay & Ghahramani).
    - "mean": mean_i m/S_i. Unbiased with "k-2"; with "k-1" as Levina & Bickel wrote it, too high by (k - 1)/(k - 2).
    - "median": median_i m/S_i, 3 to 4 % low at k = 20.

    "inverse" with "k-2" is what Pope et al. 2021 computed, too low by (k - 2)/(k - 1), half at k = 3. `k_max` averages
    the values for k to `k_max`. Unit: dimensions, at the scale of the k-th neighbour. `error`: "sandwich" over the
    graph of k neighbours, or "fisher", d/sqrt(N (k - 1)). Duplicates, ties and small samples as in `two_nn`.

    Raises InputError for NaN or infinite features, k below 3 (2 with "k-1" and "inverse") or above the samples.

    Sources: Levina & Bickel 2004, NIPS 17; MacKay & Ghahramani 2005, inference.org.uk/mackay/dimension; Pope et al.
    2021, arXiv:2104.08894.

    >>> import torch
    >>> from repana import mle
    >>> sheet = torch.rand(4000, 2, generator=torch.Generator().manual_seed(0))
    >>> round(float(mle(sheet)), 1)
    2.0
    """
    _check.choice(average, "average", ("inverse", "mean", "median"))
    _check.choice(normalizer, "normalizer", ("k-1", "k-2"))
    _check.choice(error, "error", ERRORS)
    last = k if k_max is None else k_max
    _check.neighbours_between(k, last, 3 if normalizer == "k-2" or average != "inverse" else 2, cloud.n - 1)
    r, keep, note = _usable(cloud, last)
    if r is None:
        return Estimate(NAN, n=cloud.n, note=note)
    n, values, terms = len(r), [], torch.zeros(len(r), dtype=r.dtype, device=r.device)
    for each in range(k, last + 1):
        s = _log_ratios(r, each)
        if float(s.sum()) <= 0:
            return Estimate(NAN, n=n, note="all distances are equal")
        d, psi = _averaged(s, each - (1 if normalizer == "k-1" else 2), average)
        values.append(d)
        terms += psi / (last - k + 1)
    d = sum(values) / len(values)
    se = d / math.sqrt(n * (k - 1)) if error == "fisher" else _sandwich(terms, _graph(cloud, keep, last))
    return _said(from_error(d, se, n=n, level=level, note=note), cloud)


def _log_ratios(r: Float[Tensor, "n k"], k: int) -> Float[Tensor, " n"]:
    """sum_{j<k} log(r_k/r_j)."""
    return (k - 1) * r[:, k - 1].log() - r[:, : k - 1].log().sum(1)


def _averaged(s: Float[Tensor, " n"], above: int, average: str) -> tuple[float, Float[Tensor, " n"]]:
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


@reads(Cloud, labels=False)
def gride(
    cloud: Cloud, *, n1: int = 2, n2: int | None = None, error: str = "sandwich", level: float = 0.95
) -> Estimate:
    """Intrinsic dimension from the ratio of the distances to two neighbours. Call as `gride(features, n1=2)`.

    mu_i = r_{n2}/r_{n1} has the density d (mu^d - 1)^(n2-n1-1) / (B(n2 - n1, n1) mu^((n2-1)d + 1)); with L = log mu the
    estimate is the root of (N - 1)/d + (n2 - n1 - 1) sum L/(1 - exp(-dL)) - (n2 - 1) sum L. `n2` is 2 n1 by default;
    n1 = 1, 2, 4, ... shows how the estimate depends on scale, and (1, 2) is `two_nn(method="ml")`. Unit: dimensions, at
    the scale of the n2-th neighbour. `error`: "sandwich" over the graph of n2 neighbours, or "fisher", from the
    information N/d^2 + (n2 - n1 - 1) sum (L/(2 sinh(dL/2)))^2. Duplicates, ties and small samples as in `two_nn`.

    Raises InputError for NaN or infinite features, or unless 1 <= n1 < n2 < samples.

    Source: Denti, Doimo, Laio & Mira 2022, doi:10.1038/s41598-022-20991-1, eq. 9 to 12.

    >>> import torch
    >>> from repana import gride
    >>> sheet = torch.rand(4000, 2, generator=torch.Generator().manual_seed(0))
    >>> round(float(gride(sheet, n1=4)), 1)
    2.0
    """
    _check.choice(error, "error", ERRORS)
    second = 2 * n1 if n2 is None else n2
    _check.neighbours_between(n1, second - 1, 1, cloud.n - 2)
    r, keep, note = _usable(cloud, second)
    if r is None:
        return Estimate(NAN, n=cloud.n, note=note)
    log, n, free = (r[:, second - 1] / r[:, n1 - 1]).log(), len(r), second - n1 - 1
    log = log[log > 0] if free else log
    keep = keep[(r[:, second - 1] > r[:, n1 - 1])] if free else keep
    n = len(log)
    if n < FEWEST or float(log.sum()) <= 0:
        return Estimate(NAN, n=n, note=f"{n} samples have distances that differ; {FEWEST} are needed")

    def score(d: float) -> float:
        pulled = float((log / -torch.expm1(-d * log)).sum()) if free else 0.0
        return (n - 1) / d + free * pulled - (second - 1) * float(log.sum())

    found: Any = optimize.root_scalar(score, bracket=BRACKET, method="brentq", xtol=1e-12, rtol=1e-14)
    d = float(found.root)
    information = n / d**2 + free * float((log / (2 * torch.sinh((d * log / 2).clamp_max(300)))).square().sum())
    each = 1 / d + free * (log / -torch.expm1(-d * log) if free else 0.0) - (second - 1) * log
    se = information**-0.5 if error == "fisher" else _sandwich(each / information, _graph(cloud, keep, second))
    return _said(from_error(d, se, n=n, level=level, note=note), cloud)


@reads(Cloud, labels=False)
def mom(cloud: Cloud, *, k: int = 64, average: str = "inverse", level: float = 0.95) -> Estimate:
    """Intrinsic dimension from the mean distance of k neighbours. Call as `mom(features)`.

    Where the density is constant, r is distributed as d r^(d-1)/r_k^d up to the k-th neighbour, with the mean
    m_i = r_k d/(d + 1), so d_i = m_i/(r_k - m_i), m_i the mean of r_1 ... r_k. `average`: "inverse", 1/mean_i 1/d_i,
    or "mean" (scikit-dimension's). As published m_i includes r_k, which takes no part in that mean: the estimate is
    high, by 5 % at k = 20 and 1 to 2 % at 64, and the interval carries the sampling error alone. Unit: dimensions, at
    the scale of the k-th neighbour. Interval: sandwich over the graph of k neighbours. Duplicates, ties and small
    samples as in `two_nn`.

    Raises InputError for NaN or infinite features, or unless 2 <= k < samples.

    Source: Amsaleg et al. 2018, doi:10.1007/s10618-018-0578-6, section 3.2.

    >>> import torch
    >>> from repana import mom
    >>> sheet = torch.rand(4000, 2, generator=torch.Generator().manual_seed(0))
    >>> round(float(mom(sheet)))
    2
    """
    _check.choice(average, "average", ("inverse", "mean"))
    _check.neighbours_between(k, k, 2, cloud.n - 1)
    r, keep, note = _usable(cloud, k)
    if r is None:
        return Estimate(NAN, n=cloud.n, note=note)
    m = r[:, :k].mean(1)
    s = (r[:, k - 1] - m) / m  # 1/d_i
    if float(s.sum()) <= 0:
        return Estimate(NAN, n=len(r), note="all distances are equal")
    d, psi = _averaged(s, 1, average)
    return _said(from_error(d, _sandwich(psi, _graph(cloud, keep, k)), n=len(r), level=level, note=note), cloud)


@reads(Cloud, labels=False)
def mada(cloud: Cloud, *, k: int = 20, average: str = "inverse", level: float = 0.95) -> Estimate:
    """Intrinsic dimension from the growth of the ball to k/2 and to k neighbours. Call as `mada(features)`.

    d_i = log 2 / log(r_k/r_{k/2}), with k/2 rounded down. `average`: "inverse", "mean" (as published, which one outlier
    can carry off) or "median". Low by 3 to 4 % at k = 20 with "inverse", since E log(r_k/r_{k/2}) is not quite log 2/d;
    the interval carries the sampling error alone. Unit: dimensions, at the scale of the k-th neighbour. Interval:
    sandwich over the graph of k neighbours. Duplicates, ties and small samples as in `two_nn`.

    Raises InputError for NaN or infinite features, or unless 2 <= k < samples.

    Source: Farahmand, Szepesvari & Audibert 2007, doi:10.1145/1273496.1273530.

    >>> import torch
    >>> from repana import mada
    >>> sheet = torch.rand(4000, 2, generator=torch.Generator().manual_seed(0))
    >>> round(float(mada(sheet)))
    2
    """
    _check.choice(average, "average", ("inverse", "mean", "median"))
    _check.neighbours_between(k, k, 2, cloud.n - 1)
    r, keep, note = _usable(cloud, k)
    if r is None:
        return Estimate(NAN, n=cloud.n, note=note)
    s = (r[:, k - 1] / r[:, k // 2 - 1]).log() / math.log(2)
    if float(s.sum()) <= 0:
        return Estimate(NAN, n=len(r), note="all distances are equal")
    d, psi = _averaged(s, 1, average)
    return _said(from_error(d, _sandwich(psi, _graph(cloud, keep, k)), n=len(r), level=level, note=note), cloud)


@reads(Cloud, labels=False)
def correlation_dimension(cloud: Cloud, *, k1: int = 10, k2: int = 20, level: float = 0.95) -> Estimate:
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
    _check.neighbours_between(k1, k2 - 1, 1, cloud.n - 2)
    r, _, note = _usable(cloud, k2)
    if r is None:
        return Estimate(NAN, n=cloud.n, note=note)
    every = cloud.neighbours.distances
    a, b = (float(np.median(every[:, k - 1].cpu().numpy())) for k in (k1, k2))
    if not a < b:
        return Estimate(NAN, n=cloud.n, note="; ".join(part for part in (note, "both radii are equal") if part))
    inner, outer = (_within(cloud, radius) for radius in (a, b))
    d = math.log(float(outer.sum()) / float(inner.sum())) / math.log(b / a)
    psi = 2 * (outer / outer.mean() - inner / inner.mean()) / math.log(b / a) / cloud.n
    return _said(from_error(d, float(psi.square().sum().sqrt()), n=cloud.n, level=level, note=note), cloud)


def _within(cloud: Cloud, radius: float) -> Float[Tensor, " n"]:
    """How many others each sample has nearer than the radius."""
    r, x = cloud.neighbours.distances, cloud.features
    counts, k = (r < radius).sum(1).double(), r.shape[1]
    while k < cloud.n - 1 and bool((counts >= k).any()):
        assert x is not None
        full, k = (counts >= k).nonzero()[:, 0], min(4 * k, cloud.n - 1)
        more = Neighbours.of(x[full], k=k + 1, bank=x)  # each finds itself too
        counts[full] = (more.distances < radius).sum(1).double() - 1
    return counts


@reads(Cloud, labels=False)
def ess(
    cloud: Cloud, *, k: int | None = 100, neighbourhoods: int = 2_000, seed: int = 0, level: float = 0.95
) -> Estimate:
    """Expected simplex skewness: dimension from the angles in neighbourhoods. Call as `ess(features)`.

    With v_i the k neighbours of a sample less their mean, w_ij = |v_i||v_j| and g_ij = v_i.v_j, its skewness is
    s = sum_{i<j} sqrt(w_ij^2 - g_ij^2) / sum_{i<j} w_ij. A neighbourhood that fills n dimensions evenly has
    s(n) = G(n/2)^2/(G((n + 1)/2) G((n - 1)/2)), G the gamma function, which is inverted linearly between whole n. The
    estimate is the mean over `neighbourhoods` samples, drawn by `seed` where there are more. `k=None` takes all samples
    as one neighbourhood, without an interval. Does not saturate in high dimensions; sees the curvature of surfaces as
    dimensions. Unit: dimensions, at the scale of the k-th neighbour. Interval: sandwich over the graph.
    Duplicates as in `two_nn`.

    Raises InputError for NaN or infinite features, or unless 3 <= k < samples.

    Source: Johnsson, Soneson & Fontes 2015, doi:10.1109/TPAMI.2014.2343220 (version a, d = 1).

    >>> import torch
    >>> from repana import ess
    >>> round(float(ess(torch.randn(500, 6, generator=torch.Generator().manual_seed(0)))))
    6
    """
    x = cloud.features
    assert x is not None
    x = x.double() / power_of_two(x)
    if k is None:
        return Estimate(float(_inverted(_skewness(x[None]))[0]), n=cloud.n)
    _check.neighbours_between(k, k, 3, cloud.n - 1)
    if k > cloud.neighbours.k:
        raise _check.too_many_neighbours(k, cloud.neighbours.k)
    chosen = torch.randperm(cloud.n, generator=torch.Generator().manual_seed(seed))[:neighbourhoods].sort().values
    places, block = cloud.neighbours.indices[:, :k], max(1, BLOCK // (k * (k + x.shape[1]) * 8))
    chosen = chosen.to(places.device)
    local = torch.cat([_inverted(_skewness(x[places[part]])) for part in chosen.split(block)])
    known = local.isfinite()
    local, keep = local[known], chosen[known]
    if len(local) < FEWEST:
        return Estimate(NAN, n=len(local), note=f"{len(local)} neighbourhoods have a spread; {FEWEST} are needed")
    d, psi = float(local.mean()), (local - local.mean()) / len(local)
    note = f"{cloud.duplicates} duplicates dropped" if cloud.duplicates else ""
    return from_error(d, _sandwich(psi, _graph(cloud, keep, k)), n=len(local), level=level, note=note)


def _skewness(points: Float[Tensor, "b k d"]) -> Float[Tensor, " b"]:
    """The expected simplex skewness of neighbourhoods."""
    v = points - points.mean(1, keepdim=True)
    gram = v @ v.mT
    squares = gram.diagonal(dim1=1, dim2=2)
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


@reads(Cloud, labels=False)
def local_dimension(cloud: Cloud, *, k: int = 20, smooth: bool = False) -> Float[Tensor, " n"]:
    """Intrinsic dimension around every sample. Call as `local_dimension(features)`; gives (n,), NaN for duplicates.

    (k - 2)/sum_{j<k} log(r_k/r_j), unbiased. With `smooth`, the inverse of the mean over the sample and its k
    neighbours of the inverses (with k - 1 above), which no odd neighbourhood carries off. To join samples take `mle`.

    Raises InputError for NaN or infinite features, or unless 3 <= k < samples.

    Source: Levina & Bickel 2004, eq. 8; MacKay & Ghahramani 2005.

    >>> import torch
    >>> from repana import local_dimension
    >>> local_dimension(torch.rand(100, 2)).shape
    torch.Size([100])
    """
    _check.neighbours_between(k, k, 3, cloud.n - 1)
    r = cloud.neighbours.distances[:, :k]
    s = torch.where(r[:, 0] > 0, _log_ratios(r.clamp_min(1e-300), k), torch.nan)
    found = (k - 2) / s
    if smooth:
        around = torch.cat([s[:, None], s[cloud.neighbours.indices[:, :k]]], 1)
        found = (k - 1) / around.nanmean(1)
    out = torch.full((cloud.seen,), torch.nan, dtype=torch.float64)
    out[cloud.rows.cpu()] = found.cpu()
    return out


@dataclass(frozen=True)
class DimensionProfile:
    """Intrinsic dimension of one layer by several estimators and over scales; see `dimension_profile`."""

    two_nn: Estimate
    two_nn_ml: Estimate
    mle: Estimate
    gride_2: Estimate
    gride_4: Estimate
    gride_8: Estimate
    gride_16: Estimate
    gride_32: Estimate
    scale: Float[Tensor, "s 5"] = field(default_factory=lambda: torch.empty(0, 5))
    settings: Mapping[str, Any] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        return as_table(self)


@reads(Cloud, labels=False)
def dimension_profile(cloud: Cloud, *, level: float = 0.95) -> DimensionProfile:
    """Estimated dimension at several scales, from one neighbour search. Call as `dimension_profile(features)`.

    - `two_nn`, `two_nn_ml`: `two_nn` with "linear" and "ml": the scale of the second neighbour.
    - `mle`: `mle` with k = 20, inverse average, k - 1.
    - `gride_2`, `gride_4`, `gride_8`, `gride_16`, `gride_32`: `gride` with that n1: the scale of the neighbours 4, 8,
      16, 32, 64.
    - `scale` (6, 5): for n1 = 1, 2, 4, ... the columns n1, mean of (r_n1 + r_2n1)/2, estimate, low, high.

    An estimate is of the dimension at a scale: where `scale` has no plateau there is no single number, and common
    estimators need not agree with the true dimension of a representation (Schulte & Ruegamer 2026). Estimates that need
    more neighbours than there are samples are NaN. Intervals: sandwich over the graph. Unit: dimensions.

    Raises InputError for NaN or infinite features, or fewer than 2 samples.

    Sources: those of `two_nn`, `mle` and `gride`; Schulte & Ruegamer 2026, arXiv:2604.20276.

    >>> import torch
    >>> from repana import dimension_profile
    >>> round(float(dimension_profile(torch.rand(2000, 2)).mle))
    2
    """
    short = Estimate(NAN, n=cloud.n, note=f"{cloud.n} samples are too few")
    widest = cloud.neighbours.k
    grides = {n1: gride(cloud, n1=n1, level=level) if 2 * n1 <= widest else short for n1 in (1, 2, 4, 8, 16, 32)}
    r = cloud.neighbours.distances
    scale = [
        [n1, float((r[:, n1 - 1] + r[:, 2 * n1 - 1]).mean() / 2), e.value, e.low, e.high]
        for n1, e in grides.items()
        if 2 * n1 <= widest
    ]
    return DimensionProfile(
        two_nn=two_nn(cloud, level=level) if widest >= 2 else short,
        two_nn_ml=grides[1] if widest < 2 else two_nn(cloud, method="ml", level=level),
        mle=mle(cloud, level=level) if widest >= 20 else short,
        **{f"gride_{n1}": e for n1, e in grides.items() if n1 > 1},
        scale=torch.tensor(scale, dtype=torch.float64).reshape(-1, 5),
        settings={"k": widest, "samples": cloud.n, "duplicates": cloud.duplicates, "error": "sandwich", "level": level},
    )


def _usable(cloud: Cloud, k: int) -> tuple[Float[Tensor, "m k"] | None, Int[Tensor, " m"], str]:
    """Distances to k neighbours of the samples whose nearest is not at 0, their places, and what to say of them."""
    r = cloud.neighbours.distances
    if k > r.shape[1]:
        raise _check.too_many_neighbours(k, r.shape[1])
    r = r[:, :k]
    keep = (r[:, 0] > 0).nonzero()[:, 0]
    said = []
    if cloud.duplicates:
        kept = "kept" if len(keep) < cloud.n else "dropped"
        said.append(f"{cloud.duplicates} duplicates {kept}")
    if cloud.n + cloud.duplicates < cloud.seen:
        said.append(f"{cloud.n} of {cloud.seen} samples")
    if len(keep) < FEWEST:
        said.append(f"{len(keep)} usable samples; {FEWEST} are needed")
        return None, keep, "; ".join(said)
    r = r[keep]
    ties = int((r[:, 0] == r[:, 1]).sum()) if k > 1 else 0
    if ties > TIES * len(r):
        said.append(f"{ties} ties of the two nearest: quantised features?")
    return r, keep, "; ".join(said)


def _graph(cloud: Cloud, keep: Int[Tensor, " m"], k: int) -> Int[Tensor, "e 2"]:
    """The edges of the symmetric k-nearest-neighbour graph among the samples kept, each once."""
    place = torch.full((cloud.n,), -1, dtype=torch.int64, device=keep.device)
    place[keep] = torch.arange(len(keep), device=keep.device)
    there = place[cloud.neighbours.indices[keep, :k]]
    here = torch.arange(len(keep), device=keep.device)[:, None].expand_as(there)
    low, high = torch.minimum(here, there), torch.maximum(here, there)
    coded = torch.unique((low * len(keep) + high)[(there >= 0) & (here != there)])
    return torch.stack([coded // len(keep), coded % len(keep)], 1)


def _sandwich(psi: Float[Tensor, " n"], edges: Int[Tensor, "e 2"]) -> float:
    """sqrt(psi' A psi), A the graph with ones on its diagonal; at least a quarter of what independence would give."""
    alone = float(psi.square().sum())
    return math.sqrt(max(alone + 2 * float((psi[edges[:, 0]] * psi[edges[:, 1]]).sum()), alone / 16))


def _said(estimate: Estimate, cloud: Cloud) -> Estimate:
    """With the warning that n is small for what was found."""
    if not (estimate.value > HIGH and estimate.n < MANY):
        return estimate
    low = f"a lower bound: {estimate.n} samples are few for such a dimension"
    return replace(estimate, note="; ".join(part for part in (estimate.note, low) if part))
