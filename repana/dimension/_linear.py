"""Linear dimensions: components that a rule keeps, of a layer or of neighbourhoods, and separability by hyperplanes."""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import special
from torch import Tensor

from repana import _check
from repana._estimate import NAN, Estimate, Flag, noted
from repana._reads import reads
from repana.dimension import _refusals
from repana.dimension._eigenvalue_rules import MOSTLY_SIGNAL, NOISE, RULES, ranked, retained
from repana.dimension._terms import FEWEST, GROUPS, jackknife_groups, sampling_note, spread_over
from repana.statistics.intervals import from_error, from_jackknife
from repana.summaries._linalg import power_of_two
from repana.summaries.covariance import Covariance
from repana.summaries.neighbour_graph import NeighbourGraph, some

BLOCK = 2**26  # bytes of neighbourhoods, or of products, at a time
ALPHAS = tuple(round(0.6 + 0.02 * i, 2) for i in range(20))
REPEATED = 500  # neighbourhoods of the jackknife
CONDITION = 10.0  # components down to this part of the first are kept


@reads
def spectral_rank(
    covariance: Covariance, *, rule: str = "marchenko_pastur", share: float = 0.95, level: float = 0.95
) -> Estimate:
    """How many principal components a rule keeps. Call as `spectral_rank(features, rule="kaiser")`.

    With lambda_1 >= lambda_2 >= ... the eigenvalues of the sample covariance (n - 1 below), d the
    number of features that vary and m = min(n, d):

    - "fukunaga_olsen": lambda_j > 0.05 lambda_1.
    - "ratio": the fewest that hold `share` of the variance.
    - "max_gap": the j of the largest lambda_j/lambda_{j+1}, the rank where it is below min(n - 1, d).
    - "kaiser": lambda_j > sum lambda/m.
    - "broken_stick": the first j with lambda_j/sum lambda > 1/m sum_{i=j}^m 1/i.
    - "marchenko_pastur": lambda_j > s^2 (1 + sqrt(d/(n - 1)))^2, the edge of noise of variance s^2 in every feature;
      s^2 is such that the median eigenvalue is that of the Marchenko-Pastur law.
    - "gavish_donoho": the optimal hard threshold for singular values, the noise estimated likewise (their eq. 11).

    The last two need noise in every direction: where the covariance has a rank below min(n - 1, d), there is none to
    be estimated, and they give the rank and say so. The median is noise only where most components are.

    Unit: dimensions. Interval: components whose eigenvalue less its threshold is above zero by the normal quantile
    times its error, and those for which it is not below; the error is the infinitesimal jackknife's. It does not hold
    the bias of sample eigenvalues, which are wider spread than the population's; "max_gap" has none.

    Raises InputError for NaN or infinite features, fewer than 2 samples, `share` outside (0, 1].

    Sources: Fukunaga & Olsen 1971, doi:10.1109/T-C.1971.223208; Kaiser 1960, doi:10.1177/001316446002000116; Jackson
    1993, doi:10.2307/1939574 (broken stick); Marchenko & Pastur 1967; Gavish & Donoho 2014,
    doi:10.1109/TIT.2014.2323359.

    >>> import torch
    >>> from repana import spectral_rank
    >>> x = torch.randn(500, 40, generator=torch.Generator().manual_seed(0))
    >>> x[:, :3] *= 10
    >>> float(spectral_rank(x))
    3.0
    """
    _check.choice(rule, "rule", RULES)
    _check.in_range(share, "share", 1e-9, 1.0)
    if covariance.n < 2:
        raise _check.too_few_samples("spectral_rank", covariance.n, 2)
    return ranked(covariance, rule, share=share, level=level)


@reads
def local_pca(
    graph: NeighbourGraph,
    *,
    k: int = 64,
    rule: str = "fukunaga_olsen",
    share: float = 0.95,
    neighbourhoods: int = 2_000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Mean over samples of the components that a rule keeps of their k neighbours. Call as `local_pca(features)`.

    `rule`, `share`: see `spectral_rank`, with n = k. `neighbourhoods` samples are drawn by `seed` where there are more.
    A neighbourhood of k samples has at most k - 1 dimensions, and its curvature counts as one: take k well above the
    dimension, and n well above k. Unit: dimensions, at the scale of the k-th neighbour. Interval: delete one of 10
    groups of samples, everywhere, on up to 500 neighbourhoods. Duplicates as in `two_nn`.

    Raises InputError for NaN or infinite features, or unless 3 <= k < samples.

    Source: Fukunaga & Olsen 1971, doi:10.1109/T-C.1971.223208; Fan et al. 2010, arXiv:1002.2050.

    >>> import torch
    >>> from repana import local_pca
    >>> sheet = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0)) @ torch.ones(2, 9).tril()
    >>> float(local_pca(sheet))
    2.0
    """
    _check.choice(rule, "rule", RULES)
    _check.in_range(share, "share", 1e-9, 1.0)
    _refusals.neighbours_between(k, k, 3, graph.n - 1)
    if k > graph.neighbours.k:
        raise _check.too_many_neighbours(k, graph.neighbours.k)
    _check.at_least(neighbourhoods, "neighbourhoods", FEWEST)
    chosen = some(len(graph.rows), neighbourhoods, seed).to(graph.neighbours.indices.device)
    group = jackknife_groups(graph.n, chosen)
    local, bare = _kept(graph, chosen, k, rule, share)
    known = local.isfinite()
    found = int(known.sum())
    if found < FEWEST:
        return Estimate(
            NAN, n=found, note=Flag.FEW_SAMPLES.note(f"{found} neighbourhoods have a spread; {FEWEST} are needed")
        )
    value, places = float(local[known].mean()), spread_over(known.nonzero()[:, 0], REPEATED)
    base, fewer, deleted = float(local[places].mean()), chosen[places], []
    for g in range(GROUPS):
        left = fewer[group[graph.places(fewer)] != g]
        deleted.append(value / base * float(_kept(graph, left, k, rule, share, gone=group == g)[0].nanmean()))
    note = noted(sampling_note(graph), *_about(value, float(bare[known].double().mean()), k, graph.neighbours.d, rule))
    return from_jackknife(value, deleted, n=found, level=level, note=note, corrected=False)


def _about(value: float, bare: float, k: int, width: int, rule: str) -> list[str]:
    """What to beware of in a mean of local counts."""
    ceiling = min(k - 1, width)
    notes = []
    if bare > 0.5 and rule in NOISE:
        notes.append(Flag.AT_BOUND.note("no noise floor in most neighbourhoods: their rank is given"))
    elif rule in NOISE and value > ceiling / 2:
        notes.append(MOSTLY_SIGNAL)
    if value > 0.5 * (k - 1):
        notes.append(Flag.AT_BOUND.note(f"near the {k - 1} that {k} neighbours can show: a lower bound"))
    return notes


def _kept(
    graph: NeighbourGraph,
    chosen: Int[Tensor, " m"],
    k: int,
    rule: str,
    share: float,
    gone: Bool[Tensor, " n"] | None = None,
) -> tuple[Float[Tensor, " m"], Bool[Tensor, " m"]]:
    """How many components the rule keeps of every neighbourhood, without the samples that are gone; NaN for a point."""
    x = graph.features
    assert x is not None
    scale, d = power_of_two(x), x.shape[1]
    counts, bares = [], []
    for part in chosen.split(max(1, BLOCK // (k * (min(k, d) + d) * 8))):
        places = graph.neighbours.indices[part, :k]
        here = torch.ones_like(places, dtype=torch.float64) if gone is None else (~gone[places]).double()
        near, n = x[places].double() / scale, here.sum(1).clamp_min(1)
        near = (near - (near * here[:, :, None]).sum(1, keepdim=True) / n[:, None, None]) * here[:, :, None]
        gram = near @ near.mT if k <= d else near.mT @ near
        values = torch.linalg.eigvalsh(gram / (n - 1).clamp_min(1)[:, None, None]).flip(1).clamp_min(0)
        rounding = torch.finfo(x.dtype).eps * x[places].abs().amax((1, 2)).double() / scale
        floor = torch.maximum(k * torch.finfo(values.dtype).eps * values[:, 0], rounding.square() * (1 + d / k))
        values = torch.where(values > floor[:, None], values, 0.0)
        varying = (near != 0).any(1).sum(1)
        count, bare = retained(values, n.long(), varying, rule, share)
        counts.append(torch.where(values[:, 0] > 0, count, torch.nan))
        bares.append(bare)
    return torch.cat(counts), torch.cat(bares)


@reads
def fisher_s(covariance: Covariance, *, alpha: float | None = None, level: float = 0.95) -> Estimate:
    """Dimension from how many samples a hyperplane does not separate from others. Call as `fisher_s(features)`.

    Features are centred, projected on the components with lambda > lambda_1/10, whitened and put on the unit sphere.
    With p the share of ordered pairs with x.y > alpha, the sphere on which this is so has the dimension
    n = W(q/(2 pi p^2 alpha^2 (1 - alpha^2)))/q, q = -log(1 - alpha^2), W the Lambert function. `alpha`: by default, of
    0.60, 0.62, ..., 0.98, the one nearest to 0.9 of the largest that some pair exceeds. A linear, global dimension.
    Unit: dimensions. NaN where no pair is above 0.6, which is so beyond some 30 dimensions with few thousand samples.
    Interval: the error of p as a U-statistic, at this alpha.

    Raises InputError for NaN or infinite features, fewer than 3 samples, `alpha` outside (0, 1), or a Covariance
    without its samples.

    Source: Albergante, Bac & Zinovyev 2019, doi:10.1109/IJCNN.2019.8852450; Gorban et al. 2018,
    doi:10.1016/j.ins.2018.07.040.

    >>> import torch
    >>> from repana import fisher_s
    >>> round(float(fisher_s(torch.randn(1000, 5, generator=torch.Generator().manual_seed(0)))))
    5
    """
    z, v, n = covariance.coordinates, covariance.eigenvalues, covariance.n
    if n < 3:
        raise _check.too_few_samples("fisher_s", n, 3)
    if not len(v):
        return Estimate(NAN, n=n, note=covariance.reason)
    if z is None:
        raise _refusals.no_samples("fisher_s")
    if alpha is not None:
        _check.in_range(alpha, "alpha", 1e-6, 1 - 1e-6)
    kept = v > v[0] / CONDITION
    white = z[:, kept] / v[kept].sqrt()
    norms = torch.linalg.vector_norm(white, dim=1, keepdim=True)
    at = ALPHAS if alpha is None else (alpha,)
    p = _inseparable(white / norms.clamp_min(1e-300), at)  # (n, alphas)
    mean = p.mean(0)
    if not bool((mean > 0).any()):
        return Estimate(
            NAN,
            n=n,
            note=Flag.OUT_OF_RANGE.note(
                f"no two samples have a cosine above {at[0]:g}: the dimension is too high for n"
            ),
        )
    largest = max(a for a, m in zip(at, mean.tolist()) if m > 0)
    j = int(np.argmin([abs(a - 0.9 * largest) if m > 0 else math.inf for a, m in zip(at, mean.tolist())]))
    share, error = float(mean[j]), 2 * float(p[:, j].std()) / math.sqrt(n)
    value = _sphere(share, at[j])
    slope = (_sphere(share * 1.001, at[j]) - _sphere(share * 0.999, at[j])) / (0.002 * share)
    return from_error(value, abs(slope) * error, n=n, level=level, note=f"alpha = {at[j]:g}")


def _inseparable(unit: Float[Tensor, "n r"], alphas: tuple[float, ...]) -> Float[Tensor, "n a"]:
    """For every sample the share of the others whose cosine with it is above each alpha."""
    n = len(unit)
    edges = torch.tensor(alphas, dtype=unit.dtype, device=unit.device)
    counts = torch.zeros(n, len(alphas), dtype=unit.dtype, device=unit.device)
    for start in range(0, n, rows := max(1, BLOCK // (8 * n))):
        cosine = unit[start : start + rows] @ unit.T
        i, j = (cosine >= edges[0]).nonzero(as_tuple=True)
        apart = i + start != j
        i, above = i[apart], torch.bucketize(cosine[i[apart], j[apart]], edges, right=True) - 1
        found = torch.bincount(i * len(alphas) + above, minlength=len(cosine) * len(alphas)).view(-1, len(alphas))
        counts[start : start + rows] = found.flip(1).cumsum(1).flip(1).to(unit.dtype)
    return counts / (n - 1)


def _sphere(p: float, alpha: float) -> float:
    """The dimension of the sphere on which a share p of pairs has a cosine above alpha."""
    square = alpha**2
    q = -math.log(1 - square)
    return float(np.real(special.lambertw(q / (2 * math.pi * p**2 * square * (1 - square))))) / q
