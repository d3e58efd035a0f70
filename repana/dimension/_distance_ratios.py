"""Intrinsic dimension from distances to nearest neighbours: every estimator reads the same graph.

Intervals use the graph too. An estimator is an average of terms of the samples, and terms of neighbours depend on each
other: with psi_i the influence of sample i and A the symmetric k-nearest-neighbour graph with ones on its diagonal, the
variance is psi' A psi. The formula that takes samples for independent (`error="fisher"`) covers in 78 to 93 of 100.
"""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from scipy import optimize, stats
from torch import Tensor

from repana import _check
from repana._estimate import Estimate, Flag, noted
from repana._reads import reads, searches
from repana.dimension import _refusals
from repana.dimension._calibration import with_calibrated, with_lower_bound_note
from repana.dimension._terms import FEWEST, Influences, averaged, log_ratios, usable
from repana.summaries.neighbour_graph import NeighbourGraph

EULER = 0.57721566490153286
ERRORS = ("sandwich", "fisher")
METHODS = ("linear", "ml", "bayes", "log_moment")
PRIOR = (2.0, 5.0)  # shape and rate of the Gamma prior
BRACKET = (1e-3, 1e4)  # of dimensions in a search for a root


@reads
@searches(2)
def two_nn(
    graph: NeighbourGraph,
    *,
    method: str = "linear",
    discard: float | None = None,
    error: str = "sandwich",
    calibrate: bool = False,
    boundary: bool = True,
    level: float = 0.95,
) -> Estimate:
    """Intrinsic dimension from the ratio of every sample's two nearest distances. Call as `two_nn(features)`.

    mu_i = r_2/r_1 has the distribution function 1 - mu^-d where the density is constant over two neighbours. With
    L = log mu, ascending, and N usable samples:

    - "linear": the slope through the origin of -log(1 - i/N) on L_i over the samples that are not discarded (Facco).
    - "ml": (k - 1)/(sum_{i<=k} L_i + (N - k) L_k) with k samples not discarded; (N - 1)/sum L with `discard=0`.
    - "bayes": mean of the posterior Gamma(2 + N, 5 + sum L); its interval is the posterior's.
    - "log_moment": exp(-mean log L - 0.5772), which needs no trimming.

    `discard`: the share of the largest ratios left out, up to 0.999; 0.1 for "linear", else 0; "bayes" and "log_moment"
    take all. `error`: "sandwich" (see the module) over the graph of two neighbours, or "fisher", d/sqrt(N), but for
    "bayes". Unit: dimensions, above 0; of the scale of the second neighbour.

    `calibrate` adds `.calibrated`: the dimension of the ball from which as many samples give this value on average,
    since with few samples the estimate falls short in high dimensions. Part of what it corrects is the surface of the
    ball, near which neighbours are missing: it is meant for data with an edge, as most have. For closed sets, such as
    angles, poses or normalised features that fill their sphere, `boundary=False` takes flat tori in place of balls. On
    800 samples of a flat torus of 5 dimensions balls give 5.6 to 5.7, tori 5.0. Curves of balls for the default options
    are shipped; others are simulated at the call, in about a minute at 3000 samples, and kept while the process lives.
    NaN with fewer samples than the smallest curve has (50; none for tori). Where the density varies much it corrects
    too far or too little: on Gaussians, up to some 10 dimensions, the raw value is nearer.

    Options of the search: `duplicates` ("drop" keeps one copy and says how many went, "keep", "raise"); `queries`, the
    most samples whose neighbours are searched, each among all, which `seed` draws and a note says; `max_samples`, the
    most that there are to be (see `NeighbourGraph`). `n` counts the samples that were searched.
    Samples with r_1 = 0 are left out. Ties (r_1 = r_2) count, and are said where they are above 1%: quantised features
    raise d. NaN with the reason where fewer than 10 samples are usable, or left after `discard`. Where a ball of a
    dimension a fifth higher gives such a value with as many samples, the note says so.

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
    if calibrate:
        return with_calibrated(
            two_nn, graph, boundary=boundary, error=error, level=level, method=method, discard=float(discard)
        )
    if method == "bayes":
        return _bayes(graph, level)
    return with_lower_bound_note(two_nn_influences(graph, method, float(discard)).estimate(graph, level, error))


def _log_mu(
    graph: NeighbourGraph, discard: float
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"], Influences | None, str]:
    """log r_2/r_1 of the usable samples, their places, why there is no estimate, if so, and the note."""
    r, keep, note = usable(graph, 2)
    if r is None:
        return keep.double(), keep, Influences.none(graph.n, note), note
    log, n = (r[:, 1] / r[:, 0]).log(), len(r)
    left, lacking = n - int(discard * n), None
    if left < FEWEST:
        few = Flag.FEW_SAMPLES.note(f"{left} samples are left; {FEWEST} are needed")
        lacking = Influences.none(n, noted(note, few))
    elif float(log.sum()) <= 0:
        lacking = Influences.none(n, noted(note, Flag.UNDEFINED.note("every ratio of distances is 1")))
    return log, keep, lacking, note


def two_nn_influences(graph: NeighbourGraph, method: str, discard: float) -> Influences:
    """`two_nn` by "linear", "ml" or "log_moment", with the influence of every sample."""
    log, keep, lacking, note = _log_mu(graph, discard if method in ("linear", "ml") else 0.0)
    if lacking is not None:
        return lacking
    n, left = len(log), len(log)
    if method == "linear":
        left = n - int(discard * n)
        d, psi = _linear(log, discard)
    elif method == "log_moment":
        positive = log > 0
        logs = torch.where(positive, log, log[positive].min()).log()
        d = math.exp(-float(logs.mean()) - EULER)
        psi = -d * (logs - logs.mean()) / n
    else:
        left = n - int(discard * n)
        top = log.sort().values[left - 1]
        cut, inside = log.clamp_max(top), (log <= top).double()
        d = (left - 1) / float(cut.sum())
        psi = (inside - d * cut) / float(cut.sum())
    return Influences(d, psi, keep, 2, d / math.sqrt(left), note)


def _bayes(graph: NeighbourGraph, level: float) -> Estimate:
    """The posterior's mean and central range."""
    log, keep, lacking, note = _log_mu(graph, 0.0)
    if lacking is not None:
        return lacking.estimate(graph, level)
    shape, rate = PRIOR[0] + len(log), PRIOR[1] + float(log.sum())
    low, high = (float(stats.gamma.ppf(0.5 + side * level / 2, shape, scale=1 / rate)) for side in (-1, 1))
    return with_lower_bound_note(Estimate(shape / rate, low, high, graph.used(keep), note))


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


@reads
def mle(
    graph: NeighbourGraph,
    *,
    k: int = 20,
    k_max: int | None = None,
    average: str = "inverse",
    normalizer: str = "k-1",
    error: str = "sandwich",
    calibrate: bool = False,
    boundary: bool = True,
    level: float = 0.95,
) -> Estimate:
    """Intrinsic dimension by maximum likelihood from k neighbours. Call as `mle(features)`.

    S_i = sum_{j<k} log(r_k/r_j) over the neighbours of sample i. `average` says how samples are joined, `normalizer`
    (m, one of "k-1", "k-2") what stands above:

    - "inverse": m / mean_i S_i. Unbiased with "k-1" (MacKay & Ghahramani).
    - "mean": mean_i m/S_i. Unbiased with "k-2"; with "k-1" as Levina & Bickel wrote it, too high by (k - 1)/(k - 2).
    - "median": median_i m/S_i, 3 to 4% low at k = 20.

    "inverse" with "k-2" is what Pope et al. 2021 computed, too low by (k - 2)/(k - 1), half at k = 3. `k_max` averages
    the values for k to `k_max`. Unit: dimensions, at the scale of the k-th neighbour. `error`: "sandwich" over the
    graph of k neighbours, or "fisher", d/sqrt(N (k - 1)). `calibrate`, `boundary`, duplicates, ties and small samples
    as in `two_nn`.

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
    if calibrate:
        return with_calibrated(
            mle, graph, boundary=boundary, error=error, level=level, k=k, k_max=last, average=average,
            normalizer=normalizer,
        )  # fmt: skip
    shape = {"k": k, "k_max": last, "average": average, "normalizer": normalizer}
    return with_lower_bound_note(mle_influences(graph, **shape).estimate(graph, level, error), mle, **shape)


def mle_influences(graph: NeighbourGraph, *, k: int, k_max: int, average: str, normalizer: str) -> Influences:
    """`mle` with the influence of every sample."""
    _refusals.neighbours_between(k, k_max, 3 if normalizer == "k-2" or average != "inverse" else 2, graph.n - 1)
    r, keep, note = usable(graph, k_max)
    if r is None:
        return Influences.none(graph.n, note)
    n, values, terms = len(r), [], torch.zeros(len(r), dtype=r.dtype, device=r.device)
    for each in range(k, k_max + 1):
        s = log_ratios(r, each)
        if float(s.sum()) <= 0:
            return Influences.none(n, Flag.UNDEFINED.note("all distances are equal"))
        d, psi = averaged(s, each - (1 if normalizer == "k-1" else 2), average)
        values.append(d)
        terms += psi / (k_max - k + 1)
    d = sum(values) / len(values)
    return Influences(d, terms, keep, k_max, d / math.sqrt(n * (k - 1)), note)


@reads
def gride(
    graph: NeighbourGraph,
    *,
    n1: int = 2,
    n2: int | None = None,
    error: str = "sandwich",
    calibrate: bool = False,
    boundary: bool = True,
    level: float = 0.95,
) -> Estimate:
    """Intrinsic dimension from the ratio of the distances to two neighbours. Call as `gride(features, n1=2)`.

    mu_i = r_{n2}/r_{n1} has the density d (mu^d - 1)^(n2-n1-1) / (B(n2 - n1, n1) mu^((n2-1)d + 1)); with L = log mu the
    estimate is the root of (N - 1)/d + (n2 - n1 - 1) sum L/(1 - exp(-dL)) - (n2 - 1) sum L. `n2` is 2 n1 by default;
    n1 = 1, 2, 4, ... shows how the estimate depends on scale, and (1, 2) is `two_nn(method="ml")`. Unit: dimensions, at
    the scale of the n2-th neighbour. `error`: "sandwich" over the graph of n2 neighbours, or "fisher", from the
    information N/d^2 + (n2 - n1 - 1) sum (L/(2 sinh(dL/2)))^2. `calibrate`, `boundary`, duplicates, ties and small
    samples as in `two_nn`.

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
    if calibrate:
        return with_calibrated(gride, graph, boundary=boundary, error=error, level=level, n1=n1, n2=second)
    found = gride_influences(graph, n1=n1, n2=second)
    return with_lower_bound_note(found.estimate(graph, level, error), gride, n1=n1, n2=second)


def gride_influences(graph: NeighbourGraph, *, n1: int, n2: int) -> Influences:
    """`gride` with the influence of every sample."""
    _refusals.neighbours_between(n1, n2 - 1, 1, graph.n - 2)
    r, keep, note = usable(graph, n2)
    if r is None:
        return Influences.none(graph.n, note)
    log, free = (r[:, n2 - 1] / r[:, n1 - 1]).log(), n2 - n1 - 1
    if free:
        apart = log > 0
        log, keep = log[apart], keep[apart]
    n = len(log)
    if n < FEWEST or float(log.sum()) <= 0:
        few = f"{n} samples have distances that differ; {FEWEST} are needed"
        return Influences.none(n, Flag.FEW_SAMPLES.note(few))

    def score(d: float) -> float:
        pulled = float((log / -torch.expm1(-d * log)).sum()) if free else 0.0
        return (n - 1) / d + free * pulled - (n2 - 1) * float(log.sum())

    found: Any = optimize.root_scalar(score, bracket=BRACKET, method="brentq", xtol=1e-12, rtol=1e-14)
    d = float(found.root)
    information = n / d**2 + free * float((log / (2 * torch.sinh((d * log / 2).clamp_max(300)))).square().sum())
    each = 1 / d + free * (log / -torch.expm1(-d * log) if free else 0.0) - (n2 - 1) * log
    return Influences(d, each / information, keep, n2, information**-0.5, note)
