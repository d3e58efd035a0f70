"""Intrinsic dimension from the nearest and the k-th distance, and from the directions of neighbours."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import optimize, special
from scipy.interpolate import CubicSpline, PchipInterpolator
from torch import Tensor

from repana import _check
from repana._estimate import NAN, Estimate, Flag, noted
from repana._reads import reads
from repana.dimension import _refusals
from repana.dimension._calibration import DIMENSIONS, curve, with_calibrated, with_lower_bound_note
from repana.dimension._terms import GROUPS, averaged, graph_error, jackknife_groups, sampling_note, usable
from repana.statistics.intervals import from_error, from_jackknife
from repana.summaries._linalg import power_of_two
from repana.summaries.neighbour_graph import NeighbourGraph

AVERAGES = ("inverse", "mean", "median")
BLOCK = 2**26  # bytes of neighbourhoods at a time
BRACKET = (1e-3, 1e5)
SPAN = 6  # balls on each side of the nearest, through whose divergences the spline runs
ALTERNATING = 30  # neighbours, up to which DANCo's sum is taken as it is written
DROPPED = 1e-4  # of r_k: shorter projections take no part in TLE


def _likeliest(rho: Float[Tensor, " n"], k: int) -> tuple[float, Float[Tensor, " n"]]:
    """The root of MiND's score, and the influence of every sample."""
    log, n = rho.log(), len(rho)

    def terms(d: float) -> Tensor:
        power = rho**d
        return log - (k - 1) * power * log / -torch.expm1(d * log)

    found: Any = optimize.root_scalar(
        lambda d: n / d + float(terms(d).sum()), bracket=BRACKET, method="brentq", xtol=1e-12, rtol=1e-14
    )
    d = float(found.root)
    half = (d * log / 2).clamp_min(-300)
    information = n / d**2 + (k - 1) * float((log / (2 * torch.sinh(half))).square().sum())
    return d, (1 / d + terms(d)) / information


@reads
def mind_ml(
    graph: NeighbourGraph,
    *,
    k: int = 20,
    integer: bool = False,
    calibrate: bool = False,
    boundary: bool = True,
    level: float = 0.95,
) -> Estimate:
    """Intrinsic dimension from the ratio of the first to the (k + 1)-th distance. Call as `mind_ml(features)`.

    rho_i = r_1/r_{k+1} has the density k d rho^(d-1) (1 - rho^d)^(k-1); the estimate is the root of
    N/d + sum log rho - (k - 1) sum rho^d log rho/(1 - rho^d), which is unique (MiND-MLk); with `integer`, the whole
    number of the largest likelihood (MiND-MLi). There is no largest dimension (scikit-dimension stops at 10 unless
    told). Unit: dimensions, at the scale of the (k + 1)-th neighbour. Interval: sandwich over the graph of k + 1
    neighbours. `calibrate`, `boundary`, duplicates, ties and small samples as in `two_nn`.

    Raises InputError for NaN or infinite features, or unless 2 <= k < samples - 1.

    Source: Rozza et al. 2012, doi:10.1007/s10994-012-5294-7, section 3.1.

    >>> import torch
    >>> from repana import mind_ml
    >>> sheet = torch.rand(4000, 2, generator=torch.Generator().manual_seed(0))
    >>> round(float(mind_ml(sheet)))
    2
    """
    if calibrate:
        return with_calibrated(mind_ml, graph, boundary=boundary, level=level, k=k, integer=bool(integer))
    _refusals.neighbours_between(k, k + 1, 2, graph.n - 1)
    r, keep, note = usable(graph, k + 1)
    if r is None:
        return Estimate(NAN, n=graph.n, note=note)
    apart = r[:, 0] < r[:, k]
    rho, keep = (r[:, 0] / r[:, k])[apart], keep[apart]
    if not len(rho):
        return Estimate(NAN, n=len(r), note=noted(note, Flag.UNDEFINED.note("all distances are equal")))
    d, psi = _likeliest(rho, k)
    found = from_error(d, graph_error(psi, graph, keep, k + 1, d), n=graph.used(keep), level=level, note=note)
    if integer:
        below = float(max(1, math.floor(d)))
        whole = max((below, below + 1), key=lambda m: _log_likelihood(m, rho, k))
        found = Estimate(whole, min(found.low, whole), max(found.high, whole), found.n, note)
    return with_lower_bound_note(found, mind_ml, k=k, integer=bool(integer))


def _log_likelihood(d: float, rho: Float[Tensor, " n"], k: int) -> float:
    log = rho.log()
    return len(rho) * math.log(k * d) + float(((d - 1) * log + (k - 1) * torch.log(-torch.expm1(d * log))).sum())


def _offsets_to_neighbours(graph: NeighbourGraph, keep: Int[Tensor, " m"], k: int) -> Iterator[Float[Tensor, "b k d"]]:
    """The k neighbours of samples less the sample, in float64, blocks at a time."""
    x = graph.features
    assert x is not None
    scale = power_of_two(x)
    for part in keep.split(_block_size(graph, k)):
        near = x[graph.neighbours.indices[part, :k]].double()
        yield near.sub_(x[graph.places(part)][:, None]) / scale


def _block_size(graph: NeighbourGraph, k: int) -> int:
    """How many neighbourhoods are taken at a time."""
    return max(1, BLOCK // (k * (k + graph.neighbours.d) * 8))


def _cosines(near: Float[Tensor, "b k d"]) -> Float[Tensor, "b k k"]:
    unit = near / torch.linalg.vector_norm(near, dim=2, keepdim=True)
    return (unit @ unit.mT).clamp_(-1, 1)


@reads
def abid(
    graph: NeighbourGraph, *, k: int = 64, diagonal: bool = True, average: str = "inverse", level: float = 0.95
) -> Estimate:
    """Angle-based intrinsic dimension. Call as `abid(features)`.

    With c_jl the cosines between the directions from a sample to its k neighbours, d_i = k^2/sum_{j,l} c_jl^2, j = l
    included, which is at most k (ABID); with `diagonal=False`, k (k - 1)/(sum c^2 - k) (RABID), without that bound:
    in d dimensions E c^2 = 1/d. `average`: "inverse" (1/mean_i 1/d_i), "mean" or "median" of the samples. Low where d
    is near k/2 or above. Unit: dimensions, at the scale of the k-th neighbour. Interval: delete one of 10 groups of
    samples, everywhere. Duplicates as in `two_nn`.

    Raises InputError for NaN or infinite features, or unless 2 <= k < samples.

    Source: Thordsen & Schubert 2022, doi:10.1016/j.is.2022.101989.

    >>> import torch
    >>> from repana import abid
    >>> ball = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0))
    >>> round(float(abid(ball, diagonal=False)))
    3
    """
    _check.choice(average, "average", AVERAGES)
    _refusals.neighbours_between(k, k, 2, graph.n - 1)
    r, keep, note = usable(graph, k)
    if r is None:
        return Estimate(NAN, n=graph.n, note=note)
    group = jackknife_groups(graph.n, r)
    mine = group[graph.places(keep)]
    near = graph.neighbours.indices[keep, :k]
    parts = zip(_offsets_to_neighbours(graph, keep, k), group[near].split(_block_size(graph, k)))
    squares, count = (torch.cat(found) for found in zip(*(_squares(_cosines(x), g) for x, g in parts)))
    s = squares / count**2 if diagonal else (squares - count) / (count * (count - 1))
    if float(s[:, 0].sum()) <= 0:
        return Estimate(NAN, n=len(s), note=noted(note, Flag.UNDEFINED.note("all directions are at right angles")))
    values = [averaged(s[:, 0], 1, average)[0]]
    values += [averaged(s[mine != g, g + 1], 1, average)[0] for g in range(GROUPS)]
    return with_lower_bound_note(
        from_jackknife(values[0], values[1:], n=graph.used(keep), level=level, note=note, corrected=False)
    )


def _squares(
    cosines: Float[Tensor, "b k k"], group: Int[Tensor, "b k"]
) -> tuple[Float[Tensor, "b g"], Float[Tensor, "b g"]]:
    """The sum of squared cosines among all neighbours and among those outside each group, and how many they are."""
    square, inside = cosines.square(), torch.nn.functional.one_hot(group, GROUPS).to(cosines)
    k, rows = group.shape[1], square.sum(2)
    among = ((square @ inside) * inside).sum(1)
    left = rows.sum(1, keepdim=True) - 2 * (rows[:, :, None] * inside).sum(1) + among
    first = torch.full_like(left[:, :1], k)
    return torch.cat([rows.sum(1, keepdim=True), left], 1), torch.cat([first, k - inside.sum(1)], 1)


@reads
def tle(
    graph: NeighbourGraph,
    *,
    k: int = 20,
    average: str = "inverse",
    calibrate: bool = False,
    boundary: bool = True,
    level: float = 0.95,
) -> Estimate:
    """Tight local intrinsic dimension: also distances between neighbours. Call as `tle(features)`.

    For a sample with its k neighbours at distances u_j, r = u_k, v_jl the distance of two of them and
    w_jl^2 = 2 u_j^2 + 2 u_l^2 - v_jl^2 that to the other's mirror image, every pair gives the radii of two balls that
    touch the ball of radius r: with a = u_j^2 + v^2 - u_l^2, s_jl = 2 r v^2/(sqrt(a^2 + 4 v^2 (r^2 - u_j^2)) + a), and
    t_jl likewise with w. Then 1/d_i = -(sum_{j != l} log(s_jl/r) + log(t_jl/r) + 2 sum_j log(u_j/r)) / (2 k^2), pairs
    with s or t below 1e-4 r left out and not counted (of r, so that scale does not matter; of 1 in scikit-dimension).
    `average`: "inverse" (1/mean_i 1/d_i), "mean" (scikit-dimension's) or "median". Unit: dimensions, at the scale of
    the k-th neighbour. Interval: sandwich over the graph. `calibrate`, `boundary`, duplicates, ties and small samples
    as in `two_nn`.

    Raises InputError for NaN or infinite features, or unless 3 <= k < samples.

    Source: Amsaleg et al. 2019, doi:10.1137/1.9781611975673.21; their idtlec.m, with reflections.

    >>> import torch
    >>> from repana import tle
    >>> sheet = torch.rand(4000, 2, generator=torch.Generator().manual_seed(0))
    >>> round(float(tle(sheet)))
    2
    """
    if calibrate:
        return with_calibrated(tle, graph, boundary=boundary, level=level, k=k, average=average)
    _check.choice(average, "average", AVERAGES)
    _refusals.neighbours_between(k, k, 3, graph.n - 1)
    r, keep, note = usable(graph, k)
    if r is None:
        return Estimate(NAN, n=graph.n, note=note)
    s = torch.cat([_tight(near) for near in _offsets_to_neighbours(graph, keep, k)])
    if not float(s.sum()) > 0:
        return Estimate(NAN, n=len(s), note=noted(note, Flag.UNDEFINED.note("all distances are equal")))
    d, psi = averaged(s, 1, average)
    error = graph_error(psi, graph, keep, k, d)
    return with_lower_bound_note(
        from_error(d, error, n=graph.used(keep), level=level, note=note), tle, k=k, average=average
    )


def _tight(near: Float[Tensor, "b k d"]) -> Float[Tensor, " b"]:
    """1/d of every neighbourhood."""
    k = near.shape[1]
    gram = near @ near.mT
    squares = gram.diagonal(dim1=1, dim2=2)  # u_j^2
    v = (squares[:, :, None] + squares[:, None] - 2 * gram).clamp_min(0)
    w = (squares[:, :, None] + squares[:, None] + 2 * gram).clamp_min(0)
    top = squares.amax(1)[:, None, None]

    def share(square: Tensor) -> Tensor:
        """(s/r) from v^2, or t/r from w^2."""
        a = squares[:, :, None] + square - squares[:, None]
        root = (a.square() + 4 * square * (top - squares[:, :, None])).sqrt()
        return 2 * top.sqrt() * square / (root + a) / top.sqrt()

    s, t = share(v), share(w)
    kept = (s >= DROPPED) & (t >= DROPPED) & ~torch.eye(k, dtype=torch.bool, device=near.device)
    both = torch.where(kept, s * t, 1.0).log().sum((1, 2))
    own = (squares / top[:, :, 0]).log().sum(1)  # 2 sum log(u/r)
    return -(both + own) / (2 * (kept.sum((1, 2)) + k))


@reads
def danco(graph: NeighbourGraph, *, k: int = 10, integer: bool = False, level: float = 0.95) -> Estimate:
    """Dimension from angle and norm concentration. Call as `danco(features)`.

    Three statistics of the data, d_hat of `mind_ml(k)` and the means over samples of the von Mises location nu and
    concentration tau of the angles between the directions to k neighbours, are held against those of as many samples
    from unit balls of 1 to 1000 dimensions: the estimate is the minimum of a cubic spline through the divergences
    KL(d_hat, d_hat(d)) + KL((nu, tau), (nu(d), tau(d))) of whole d, or the best whole d with `integer`. The statistics
    of balls are interpolated between those shipped (k = 10), or simulated once, in a minute or more. nu is
    atan2(sum sin, sum cos), where scikit-dimension takes arctan of the quotient, which jumps at a right angle. Sees the
    curvature of surfaces as a dimension (a 10-sphere gives 11). Unit: dimensions. Interval: the sandwich over the graph
    of k + 1 neighbours, through the gradient of d by the three statistics. Duplicates as in `two_nn`. One sample far
    from all others raises the estimate whatever n, which a note says.

    Raises InputError for NaN or infinite features, or unless 3 <= k < samples - 1.

    Source: Ceruti et al. 2014, doi:10.1016/j.patcog.2014.02.013.

    >>> import torch
    >>> from repana import danco
    >>> round(float(danco(torch.rand(1000, 5, generator=torch.Generator().manual_seed(0)))))
    5
    """
    _refusals.neighbours_between(k, k + 1, 3, graph.n - 1)
    r, keep, note = usable(graph, k + 1)
    if r is None:
        return Estimate(NAN, n=graph.n, note=note)
    apart = r[:, 0] < r[:, k]
    if not bool(apart.all()):
        r, keep = r[apart], keep[apart]
    if not len(r):
        return Estimate(NAN, n=graph.n, note=noted(note, Flag.UNDEFINED.note("all distances are equal")))
    found, psi = _concentration(graph, keep, r, k)
    balls = curve(
        f"danco k={k}", lambda drawn: on_ball(drawn, k), NeighbourGraph.needed({"k": k + 1}), graph.used(keep)
    )
    means = balls.mean.copy()
    means[0, 2] = 0.0  # on a line angles are 0 or 180 degrees; the authors' concentration there is 1
    whole = PchipInterpolator(np.log(DIMENSIONS), means)(np.log(np.arange(1, DIMENSIONS[-1] + 1)))
    d, best = _nearest(found, whole, k)
    value = float(best) if integer else d
    steps = [max(abs(s) * 1e-3, 1e-6) for s in found]
    slopes = []
    for j, step in enumerate(steps):
        ends = [_nearest([s + side * step * (i == j) for i, s in enumerate(found)], whole, k)[0] for side in (-1, 1)]
        slopes.append((ends[1] - ends[0]) / (2 * step))
    influence = psi @ psi.new_tensor(slopes)
    end = "at the end of the balls simulated" if d > 0.99 * DIMENSIONS[-1] else ""
    e = from_error(d, graph_error(influence, graph, keep, k + 1, d), n=graph.used(keep), level=level)
    return Estimate(
        value,
        min(e.low, value),
        max(e.high, value),
        e.n,
        noted(sampling_note(graph), end, _far_samples_note(psi[:, 2])),
    )


def _far_samples_note(moves: Float[Tensor, " m"]) -> str:
    """A note on samples that move the mean concentration by more than its error, as one does that lies far from all
    others: its neighbours lie in one direction, and their concentration has no bound."""
    moves = moves - moves.median()
    error = 1.4826 * float(moves.abs().median()) * math.sqrt(len(moves))  # of the mean, without such samples
    count = int((moves > 2 * error).sum())
    if not count:
        return ""
    return f"{count} sample(s) far from all others move the estimate by more than its error: leave them out"


def on_ball(graph: NeighbourGraph, k: int) -> list[float]:
    """log d_hat, nu and log tau of samples from a ball."""
    r, keep, _ = usable(graph, k + 1)
    assert r is not None
    d, nu, tau = _concentration(graph, keep, r, k)[0]
    return [math.log(d), nu, math.log(tau)]


def _concentration(
    graph: NeighbourGraph, keep: Int[Tensor, " m"], r: Float[Tensor, "m _"], k: int
) -> tuple[list[float], Float[Tensor, "m 3"]]:
    """d_hat, mean nu and mean tau, and the influence of every sample on them."""
    d, psi = _likeliest(r[:, 0] / r[:, k], k)
    pairs = torch.ones(k, k, dtype=torch.bool, device=r.device).triu(1)
    places = []
    for near in _offsets_to_neighbours(graph, keep, k):
        cosine = _cosines(near)[:, pairs]
        c, s = cosine.mean(1), (1 - cosine.square()).sqrt().mean(1)
        eta = torch.hypot(c, s)
        places.append(torch.stack([torch.atan2(s, c), _concentrated(eta)], 1))
    local = torch.cat(places)
    nu, tau = (float(v) for v in local.mean(0))
    return [d, nu, tau], torch.cat([psi[:, None], (local - local.mean(0)) / len(local)], 1)


def _concentrated(eta: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """The von Mises concentration with this mean resultant length (Fisher 1993, section 4.5.5)."""
    low = 2 * eta + eta**3 + 5 * eta**5 / 6
    middle = -0.4 + 1.39 * eta + 0.43 / (1 - eta).clamp_min(1e-12)
    high = 1 / (eta**3 - 4 * eta**2 + 3 * eta).clamp_min(1e-12)
    return torch.where(eta < 0.53, low, torch.where(eta < 0.85, middle, high))


def _nearest(found: list[float], balls: Float[np.ndarray, "m 3"], k: int) -> tuple[float, int]:
    """The minimum of a cubic spline through the divergences from balls of whole dimensions, and the nearest ball."""
    values = _divergence(found, balls, k)
    best = int(np.argmin(values)) + 1
    low, high = max(1, best - SPAN), min(len(balls), best + SPAN)
    spline = CubicSpline(np.arange(low, high + 1), values[low - 1 : high])
    ends = (max(1, best - 1), min(len(balls), best + 1))
    at: Any = optimize.minimize_scalar(spline, bounds=ends, method="bounded", options={"xatol": 1e-8})
    return (float(at.x) if float(at.fun) < values[best - 1] else float(best)), best


def _divergence(found: list[float], balls: Float[np.ndarray, "m 3"], k: int) -> Float[np.ndarray, " m"]:
    """KL of the two densities of rho plus KL of the two von Mises densities (Ceruti et al., eq. 8 and 10)."""
    d, nu, tau = found
    ratio, ball_tau = np.exp(balls[:, 0]) / d, np.exp(balls[:, 2])
    if k <= ALTERNATING:
        i = np.arange(k + 1)
        signed = ((-1.0) ** i * special.binom(k, i) * special.digamma(1 + i / ratio[:, None])).sum(1)
    else:  # the same number; the alternating sum cancels
        m = np.arange(1, 1001)
        at = m * ratio[:, None]
        logs = special.gammaln(at + 1) + special.gammaln(k + 1) - special.gammaln(at + k + 1)
        signed = -(np.exp(logs) / m).sum(1)
    norms = special.digamma(k + 1) - special.digamma(1)  # 1 + 1/2 + ... + 1/k
    distance = norms * ratio - np.log(ratio) - (k - 1) * signed
    bessel = np.log(special.i0e(ball_tau) / special.i0e(tau)) + ball_tau - tau
    mean = special.i1e(tau) / special.i0e(tau)
    return distance + bessel + mean * (tau - ball_tau * np.cos(nu - balls[:, 1]))
