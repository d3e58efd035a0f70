"""Transferability: how well a layer would serve a task, before anything is trained on it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._estimate import NAN, Estimate, Flag, shown
from repana._renamed import renamed
from repana._typing import FeatureArray, Features, LabelArray
from repana.probes import _refusals
from repana.probes._data import Labelled, class_sums, reduced
from repana.statistics.intervals import from_jackknife
from repana.summaries.class_groups import within_class_groups
from repana.summaries.shrinkage import ledoit_wolf

GROUPS = 20
SHOTS = 5
EPISODES = 200
GRID = 161  # ratios of precisions tried, from 1e-10 to 1e10 of the mean eigenvalue
REFINED = 60  # golden sections around the best
SURE = 1e-9  # of the targets' squares: a residual below it is an exact fit, whose evidence has no bound


@shown
@dataclass(frozen=True)
class Transferability:
    """Scores of one layer; see `transferability`."""

    h_score: Estimate
    h_score_corrected: Estimate
    h_score_shrunk: Estimate
    log_me: Estimate
    leep: Estimate
    nce: Estimate
    few_shot_error: Estimate
    few_shot_bound: Estimate
    settings: Mapping[str, Any] = field(default_factory=dict)


@renamed(episodes="repeats", groups="jackknife")
def transferability(
    features: FeatureArray,
    labels: LabelArray,
    source: Any = None,
    *,
    shots: int = SHOTS,
    repeats: int = EPISODES,
    jackknife: int = GROUPS,
    level: float = 0.95,
    seed: int = 0,
) -> Transferability:
    """Scores that predict how well features serve a task. They screen; they prove nothing: compare them with probes.

    - `h_score` tr(cov(f)^+ cov(E[f|y])): what of the features' variance the classes explain, in [0, min(c - 1, d)].
      Without any relation it is r(c - 1)/(n - 1) (its `null`; r the rank), and for n <= d it is c - 1 whatever the
      labels. So `h_score_corrected` = (H - null)/(min(c - 1, r) - null), 0 without a relation, 1 where the classes
      explain all they can; NaN for n <= d. `h_score_shrunk` has Ledoit & Wolf's covariance in
      place of cov(f), and 1 - a of cov(E[f|y]), a the share of the identity.
    - `log_me`: log evidence per sample, mean over classes, of a Bayesian linear model of each class indicator,
      max over alpha, beta of log N(y; 0, FF'/alpha + I/beta)/n, by one search over their ratio (the published
      fixed-point iteration stops early, or goes astray for n < d). Nats; unbounded where a class is fitted exactly (its
      note says so). Features as they are, without a mean taken off, as published.
    - `leep` (nats, at most 0), of `source` (n, z), the probabilities that the network gives its own classes:
      mean log sum_z P(y|z) source_z, P(y|z) the empirical conditional. `nce` = -H(y|z), z the likeliest source class.
      Both NaN without `source`.
    - `few_shot_error`: how often the nearest of the class means of `shots` samples is wrong, over `repeats` draws, on
      the samples not drawn; with Student's interval over episodes. `few_shot_bound` = 12 (c - 1)(1 + 1/(2 shots)) CDNV
      bounds it: the nearest mean errs only if 2|x - m_i| + |e_i| + |e_j| >= |m_i - m_j|, e the errors of the means,
      so by Markov with probability at most 3 E(4|x - m_i|^2 + |e_i|^2 + |e_j|^2)/|m_i - m_j|^2. It says something where
      features are collapsed, and is above 1 elsewhere.

    Intervals of the first four and of LEEP and NCE: delete-a-group jackknife with `jackknife` groups of samples.

    Raises InputError for one class, NaN or infinite values, `source` of another length or that is no probabilities.

    Sources: Bao et al. 2019, doi:10.1109/ICIP.2019.8803726 (H-score); Ibrahim, Ponomareva & Mazumder 2021,
    arXiv:2110.06893 (shrunk); Pillai 1955 (its null); You et al. 2021, arXiv:2102.11005 (LogME); Nguyen et al. 2020,
    arXiv:2002.12462 (LEEP); Tran, Nguyen & Hassner 2019, arXiv:1908.08142 (NCE); Galanti, Gyorgy & Hutter 2022,
    arXiv:2112.15121 (few-shot error and CDNV; the constants here are those derived above).

    >>> import torch
    >>> from repana import transferability
    >>> x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    >>> float(transferability(x, x[:, 0] > 0).h_score) > 0.5
    True
    """
    _check.level_of(level)
    for name, value, least in (("shots", shots, 1), ("repeats", repeats, 2), ("jackknife", jackknife, 0)):
        _check.at_least(value, name, least)
    given = Labelled.of(features, labels, "transferability")
    theta = None if source is None else _refusals.probabilities(source, "source", len(given.given))
    theta = None if theta is None else theta[given.keep.to(theta.device)].double().cpu()
    x, y, c, n = given.x.double(), given.codes, len(given.values), len(given.keep)
    group = within_class_groups(y, jackknife, seed) if jackknife > 1 else torch.full_like(y, -1)
    every = torch.ones(n, dtype=torch.bool)

    def measure(rows: Tensor) -> dict[str, float]:
        z, _ = reduced(x[rows.to(x.device)])
        found = h_scores(z, y[rows].to(x.device), c, x.shape[1])
        found["log_me"], found["exact"] = log_evidence(z, y[rows].to(x.device), c)
        if theta is not None:
            found["leep"], found["nce"] = leep(theta[rows], y[rows], c), nce(theta[rows], y[rows], c)
        return found

    whole = measure(every)
    deleted = [measure(group != g) for g in range(jackknife)] if jackknife > 1 else []
    signed = (-math.inf, math.inf)
    bounds = {"h_score": (0.0, float(min(c - 1, x.shape[1]))), "leep": (-math.inf, 0.0), "nce": (-math.inf, 0.0)}
    found = {
        name: from_jackknife(
            value, [d[name] for d in deleted], n=n, level=level, bounds=bounds.get(name, signed), corrected=False
        )
        for name, value in whole.items()
        if name not in ("rank", "exact")
    }
    rank = whole["rank"]
    null = rank * (c - 1) / (n - 1)
    found["h_score"] = replace(found["h_score"], null=null)
    if n <= x.shape[1]:
        note = Flag.TRIVIAL.note(f"n = {n} is at most d = {x.shape[1]}: c - 1 whatever the labels")
        found["h_score"] = replace(found["h_score"], note=note)
    if whole["exact"]:
        found["log_me"] = replace(
            found["log_me"], note=Flag.UNDEFINED.note("a class is fitted exactly; its evidence has no bound")
        )
    absent = Estimate(NAN, note=Flag.MISSING_INPUT.note("no `source` probabilities"))
    means = class_sums(x, y.to(x.device), c) / torch.bincount(y, minlength=c)[:, None].to(x.device)
    error, bound = few_shot(x, y, means, shots, repeats, level, seed)
    return Transferability(
        **{name: found.get(name, absent) for name in ("h_score", "h_score_corrected", "h_score_shrunk", "log_me")},
        leep=found.get("leep", absent),
        nce=found.get("nce", absent),
        few_shot_error=error,
        few_shot_bound=bound,
        settings={
            "samples": n,
            "rank": rank,
            "shots": shots,
            "repeats": repeats,
            "jackknife": jackknife,
            "level": level,
            "seed": seed,
        },
    )


def h_scores(z: Features, y: Int[Tensor, " n"], c: int, d: int) -> dict[str, float]:
    """H-score, its corrected and its shrunk form, and the rank of the covariance."""
    n, mean = len(z), z.mean(0)
    e = z - mean
    count = torch.bincount(y, minlength=c).double()
    means = class_sums(e, y, c) / count.clamp_min(1)[:, None]
    covariance = e.T @ e / n
    between = (count / n).sqrt()[:, None] * means
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > len(values) * 1e-14 * values[-1].clamp_min(1e-300)
    rank = min(int(kept.sum()), n - 1)
    score = float(((between @ vectors[:, kept]).square() / values[kept]).sum())
    most, null = min(int((count > 0).sum()) - 1, rank), rank * (int((count > 0).sum()) - 1) / max(n - 1, 1)
    corrected = (score - null) / (most - null) if n > d and most > null else NAN
    share = ledoit_wolf(e, torch.zeros_like(y), torch.zeros_like(mean)[None], covariance, d)
    mixed = (1 - share) * values + share * float(covariance.diagonal().sum()) / d
    shrunk = (1 - share) * float(((between @ vectors).square() / mixed.clamp_min(1e-300)).sum())
    return {"h_score": score, "h_score_corrected": corrected, "h_score_shrunk": shrunk, "rank": float(rank)}


def log_evidence(z: Features, y: Int[Tensor, " n"], c: int) -> tuple[float, bool]:
    """max over t = alpha/beta of n/2 log beta + 1/2 sum_j log(t/(t + s_j)) - n/2 (1 + log 2 pi), per sample and in the
    mean over classes, with s_j the eigenvalues of F'F, p_j the squared projections of y and
    n/beta = sum_j p_j t/(t + s_j) + |y|^2 - sum_j p_j, which is the best beta for a t. Whether a fit is exact.
    """
    n = len(z)
    values, vectors = torch.linalg.eigh(z.T @ z)
    values = values.clamp_min(0)
    sums = class_sums(z, y, c).T
    kept = values > len(values) * 1e-14 * values[-1].clamp_min(1e-300)
    s = values[kept]
    count = torch.bincount(y, minlength=c).double()
    present = count > 0
    p = ((vectors[:, kept].T @ sums).square() / s[:, None])[:, present]
    squares = count[present]
    rest = (squares - p.sum(0)).clamp_min(0)
    unit = float(s.mean()) if len(s) else 1.0

    def evidence(t: Float[Tensor, "g k"]) -> Float[Tensor, "g k"]:
        shrunk = t[:, None] / (t[:, None] + s[:, None])
        q = ((p * shrunk).sum(1) + rest).clamp_min(SURE * squares)
        return n / 2 * (n / q).log() + shrunk.log().sum(1) / 2 - n / 2 * (1 + math.log(2 * math.pi))

    grid = torch.linspace(-23, 23, GRID, dtype=torch.float64, device=z.device)
    coarse = torch.cat([evidence(unit * part.exp()[:, None].expand(-1, p.shape[1])) for part in grid.split(8)])
    at = coarse.argmax(0)
    low, high = grid[(at - 1).clamp_min(0)], grid[(at + 1).clamp_max(GRID - 1)]
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(REFINED):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        left = evidence(unit * a.exp()[None])[0] >= evidence(unit * b.exp()[None])[0]
        low, high = torch.where(left, low, a), torch.where(left, b, high)
    best = unit * ((low + high) / 2).exp()[None]
    exact = bool((((p * (best / (best + s[:, None]))).sum(0) + rest) <= SURE * squares).any())
    return float(evidence(best)[0].mean()) / n, exact


def leep(theta: Float[Tensor, "n z"], y: Int[Tensor, " n"], c: int) -> float:
    """mean log sum_z P(y|z) theta_z; source classes that never come have no say."""
    joint = torch.zeros(c, theta.shape[1], dtype=theta.dtype).index_add_(0, y, theta)
    mass = joint.sum(0)
    conditional = torch.where(mass > 0, joint / mass.clamp_min(1e-300), 0.0)
    return float((theta * conditional[y]).sum(1).log().mean())


def nce(theta: Float[Tensor, "n z"], y: Int[Tensor, " n"], c: int) -> float:
    """-H(y|z) of the counts of pairs, z the likeliest source class."""
    z = theta.argmax(1)
    joint = torch.bincount(y * theta.shape[1] + z, minlength=c * theta.shape[1]).view(c, -1).double() / len(y)
    mass = joint.sum(0)
    conditional = joint / mass.clamp_min(1e-300)
    return float((joint[joint > 0] * conditional[joint > 0].log()).sum())


def few_shot(
    x: Features, y: Int[Tensor, " n"], means: Float[Tensor, "c d"], shots: int, episodes: int, level: float, seed: int
) -> tuple[Estimate, Estimate]:
    """The error of the nearest mean of few samples a class, and what the CDNV says that it is at most."""
    from scipy import stats

    c, n = len(means), len(y)
    count = torch.bincount(y, minlength=c)
    at = y.to(x.device)
    spread = torch.zeros(c, dtype=torch.float64, device=x.device).index_add_(0, at, (x - means[at]).square().sum(1))
    v = spread / count.to(x.device)
    gaps = torch.cdist(means, means, compute_mode="donot_use_mm_for_euclid_dist").square()
    pairs = (v[:, None] + v) / (2 * gaps)
    cdnv = float(pairs[~torch.eye(c, dtype=torch.bool, device=x.device)].mean())
    bound = Estimate(12 * (c - 1) * (1 + 1 / (2 * shots)) * cdnv, n=n)
    short = int((count <= shots).sum())
    if short:
        return Estimate(
            NAN, n=n, note=Flag.FEW_SAMPLES.note(f"{short} class(es) have no more than {shots} samples")
        ), bound
    generator, wrong = torch.Generator().manual_seed(seed), []
    for _ in range(episodes):
        order = torch.randperm(n, generator=generator)
        order = order[torch.argsort(y[order], stable=True)]
        starts = torch.cumsum(count, 0) - count
        drawn = order[(starts[:, None] + torch.arange(shots)).flatten()]
        left = torch.ones(n, dtype=torch.bool)
        left[drawn] = False
        centres = x[drawn.to(x.device)].view(c, shots, -1).mean(1)
        rest = left.nonzero()[:, 0]
        scores = x[rest.to(x.device)] @ centres.T - centres.square().sum(1) / 2
        errors = (scores.argmax(1).cpu() != y[rest]).double()
        by_class = torch.zeros(c, dtype=torch.float64).index_add_(0, y[rest], errors) / (count - shots)
        wrong.append(float(by_class.mean()))
    found = torch.tensor(wrong)
    mean, half = float(found.mean()), float(stats.t.ppf(0.5 + level / 2, episodes - 1) * found.std() / episodes**0.5)
    return Estimate(mean, max(mean - half, 0.0), min(mean + half, 1.0), n), bound
