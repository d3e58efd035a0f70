"""How the similarity of pairs goes with what is known of them: judgements of similarity, or match and non-match."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import stats
from torch import Tensor

from repana import _check
from repana._ambient import settled
from repana._estimate import NAN, Estimate, Flag
from repana._typing import FeatureArray, TargetArray
from repana.ranking import _refusals
from repana.ranking._estimates import FEWEST, Estimates, interval_of
from repana.ranking._scores import SCORES, unit

FAR = (0.1, 0.01, 0.001)


@dataclass(frozen=True, repr=False)
class PairScores(Estimates):
    """How scores of pairs go with their targets; see `pair_scores`. What does not apply to the kind of targets is NaN.

    `tar`, `realised_far` and `threshold` are mappings from a false accept rate. `replicates`: values over bootstrap
    samples, of items where they were given.
    """

    spearman: Estimate
    pearson: Estimate
    auc: Estimate
    d_prime: Estimate
    overlap: Estimate
    tar: Mapping[float, Estimate]
    accuracy: Estimate
    f1: Estimate
    realised_far: Mapping[float, float]
    threshold: Mapping[float, float]
    scores: Float[Tensor, " n"] = field(repr=False)
    kind: str = "graded"
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    replicates: Mapping[str, Float[Tensor, " b"]] = field(default_factory=dict, repr=False)


@settled()
def pair_scores(
    a: FeatureArray,
    b: FeatureArray | None,
    targets: TargetArray,
    *,
    kind: str = "auto",
    score: str = "cosine",
    far: float | Sequence[float] = FAR,
    items: tuple[Any, Any] | None = None,
    train: Any = None,
    bootstrap: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> PairScores:
    """The similarity of n pairs, row i of `a` (n, d) with row i of `b` (n, d), against what is known of them.

    Graded targets, such as judgements of similarity:

    - `spearman`, in [-1, 1]: with mid-ranks for ties; interval tanh(artanh r +- z sqrt((1 + r^2/2)/(n - 3))).
    - `pearson`, in [-1, 1]; interval tanh(artanh r +- z/sqrt(n - 3)).

    Binary targets, match (the larger value) or not:

    - `auc`, in [0, 1], chance .5: probability that a match scores higher than a non-match, ties half; interval by
      DeLong's error.
    - `d_prime`: difference of means over sqrt of the mean of the two variances (ddof 1).
    - `overlap`, in [0, 1], lower is better: 1 - max_t |F_match(t) - F_other(t)|, without bins.
    - `tar` by rate f: share of matches accepted at score >= t, t the smallest observed score at which no more than a
      share f of non-matches is; `realised_far` that share, `threshold` t. NaN where f < 1/(non-matches), which cannot
      be seen.
    - `accuracy`, `f1`: of the threshold that is best on the pairs of `train` (n,) bool, on the other pairs; NaN
      without, since a threshold chosen on the reported pairs is optimistic.

    `kind`: "graded", "binary", or "auto": binary where targets are boolean or 0 and 1, graded where they take more than
    two values. `score`: "cosine", "dot", "euclidean" (negative distance), or "precomputed": `a` holds the n scores and
    `b` is None.

    Intervals of what has no closed form: percentiles of `bootstrap` samples of pairs. Pairs that share items depend on
    each other: `items`, the identifiers (n,) of both ends, draws items instead, a pair as often as the product of its
    two, and all intervals are then of that bootstrap. None for fewer than 10 pairs.

    Null: 0 for correlations and d', .5 for the AUC, the realised false accept rate for `tar`.

    Raises InputError for targets that do not fit (RA295), NaN scores or zero vectors (RA293).

    Sources: Bonett & Wright 2000, doi:10.1007/BF02294183 (interval of Spearman's); DeLong, DeLong & Clarke-Pearson
    1988, doi:10.2307/2531595 (interval of the AUC).

    >>> import torch
    >>> from repana.ranking import pair_scores
    >>> x = torch.eye(12)
    >>> pair_scores(x, x.roll(1, 0) + x * torch.arange(12.0)[:, None], torch.arange(12)).spearman.value
    1.0
    """
    _check.level_of(level)
    _check.choice(score, "score", SCORES)
    _check.choice(kind, "kind", ("auto", "graded", "binary"))
    _check.at_least(bootstrap, "bootstrap", 0)
    rates = sorted({_rate(f) for f in (far if isinstance(far, Sequence) else [far])}, reverse=True)
    s = _scores(a, b, score)
    y = _targets(targets, len(s))
    kind = _kind(y, kind)
    if kind == "binary":
        y = (y == y.max()).astype(float)
    fit = None if train is None else _training(train, y, kind)
    reported = np.ones(len(s), bool) if fit is None else ~fit
    ends = None if items is None else _ends(items, len(s))
    values = _graded if kind == "graded" else _binary(rates)
    here = values(s, y)
    drawn = _replicates(values, s, y, ends, bootstrap, seed)
    dependent = Flag.DEPENDENT.note("pairs share items; the interval draws items") if ends is not None else ""
    found = {
        name: interval_of(value, torch.tensor([d[name] for d in drawn], dtype=torch.float64), len(s), level, dependent)
        for name, value in here.items()
    }
    if ends is None and len(s) >= FEWEST:
        found |= _closed(here, s, y, level)
    nulls = {"spearman": 0.0, "pearson": 0.0, "auc": 0.5, "d_prime": 0.0}
    found = {name: replace(e, null=nulls.get(name, NAN)) for name, e in found.items()}
    names = ("spearman", "pearson", "auc", "d_prime", "overlap", "accuracy", "f1")
    absent = {
        name: Estimate(NAN, n=len(s), note=Flag.NOT_APPLICABLE.note(f"targets are {kind}"))
        for name in names
        if name not in found
    }
    tar, realised, thresholds = {}, {}, {}
    if kind == "binary":
        tar, realised, thresholds = _accepted(found, rates, s, y)
        absent |= _at_threshold(s, y, fit, reported, level)
    settings = {"kind": kind, "score": score, "bootstrap": bootstrap, "level": level, "seed": seed,
                "items": ends is not None, "train": 0 if fit is None else int(fit.sum())}  # fmt: skip
    return PairScores(
        **{name: (found | absent)[name] for name in names},
        tar=tar,
        realised_far=realised,
        threshold=thresholds,
        scores=torch.from_numpy(s),
        kind=kind,
        settings=settings,
        replicates={n: torch.tensor([d[n] for d in drawn], dtype=torch.float64) for n in here} if drawn else {},
    )


# --- what came ------------------------------------------------------------------------------------------------------


def _rate(far: Any) -> float:
    if isinstance(far, bool) or not isinstance(far, (int, float)) or not 0 < far < 1:
        raise _refusals.far_range(far)
    return float(far)


def _scores(a: Any, b: Any, score: str) -> Float[np.ndarray, " n"]:
    if score == "precomputed":
        if b is not None:
            raise _refusals.bank_beside_scores()
        s = _check.tensor_of(a, "a").double().cpu().numpy().reshape(-1)
        bad = int(np.isnan(s).sum())
        if bad:
            raise _refusals.not_a_number(bad, "a")
        return s
    x, y = _check.features_of(a, name="a"), _check.features_of(b, name="b")
    if len(x) != len(y):
        raise _refusals.pairs_differ(len(x), len(y))
    if x.shape[1] != y.shape[1]:
        raise _refusals.widths_differ("a", x.shape[1], "b", y.shape[1])
    y = y.to(x.device)
    if score == "cosine":
        return (unit(x, "a") * unit(y, "b")).sum(1).cpu().numpy()
    if score == "dot":
        return (x.double() * y.double()).sum(1).cpu().numpy()
    return -torch.linalg.vector_norm(x.double() - y.double(), dim=1).cpu().numpy()


def _targets(targets: Any, n: int) -> Float[np.ndarray, " n"]:
    try:
        values = _check.tensor_of(targets, "targets")
    except _check.InputError:
        raise _refusals.targets_of_pairs(f"a {type(targets).__name__} that is not an array of numbers", n) from None
    values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    if values.ndim != 1 or len(values) != n:
        raise _refusals.targets_of_pairs(f"of shape {tuple(values.shape)}", n)
    y = values.detach().double().cpu().numpy()
    if not np.isfinite(y).all():
        raise _refusals.targets_of_pairs(f"not finite in {int((~np.isfinite(y)).sum())} places", n)
    return y


def _kind(y: Float[np.ndarray, " n"], kind: str) -> str:
    values = np.unique(y)
    if len(values) < 2:
        raise _refusals.constant_targets()
    if kind == "binary" and len(values) != 2:
        raise _refusals.not_binary(len(values))
    if kind != "auto":
        return kind
    if len(values) > 2:
        return "graded"
    if list(values) != [0, 1]:
        raise _refusals.two_other_values(*map(float, values))
    return "binary"


def _training(train: Any, y: Float[np.ndarray, " n"], kind: str) -> Bool[np.ndarray, " n"]:
    mask = np.asarray(train.cpu() if isinstance(train, Tensor) else train)
    if kind != "binary" or mask.dtype != bool or mask.shape != y.shape or any(
        len(np.unique(y[side])) < 2 for side in (mask, ~mask)
    ):  # fmt: skip
        raise _refusals.train_mask(len(y))
    return mask


def _ends(items: Any, n: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Codes of the two items of each pair, and how many items there are."""
    if not isinstance(items, (tuple, list)) or len(items) != 2:
        raise _refusals.items_form(n)
    sides = [np.asarray(side.cpu() if isinstance(side, Tensor) else side) for side in items]
    if any(side.shape != (n,) for side in sides):
        raise _refusals.items_form(n)
    names, codes = np.unique(np.concatenate(sides), return_inverse=True)
    return codes[:n], codes[n:], len(names)


# --- values ---------------------------------------------------------------------------------------------------------


def _graded(s: np.ndarray, y: np.ndarray) -> dict[str, float]:
    return {"spearman": _correlation(stats.rankdata(s), stats.rankdata(y)), "pearson": _correlation(s, y)}


def _correlation(s: np.ndarray, y: np.ndarray) -> float:
    s, y = s - s.mean(), y - y.mean()
    norm = math.sqrt(float(s @ s) * float(y @ y))
    return float(s @ y) / norm if norm > 0 else NAN


def _binary(rates: Sequence[float]) -> Callable[[np.ndarray, np.ndarray], dict[str, float]]:
    def values(s: np.ndarray, y: np.ndarray) -> dict[str, float]:
        positive, negative = s[y == 1], s[y == 0]
        p, q = len(positive), len(negative)
        if not p or not q:
            return dict.fromkeys(("auc", "d_prime", "overlap", *(f"tar@{f:g}" for f in rates)), NAN)
        auc = (stats.rankdata(s)[y == 1].sum() - p * (p + 1) / 2) / (p * q)
        spread = math.sqrt((positive.var(ddof=1) + negative.var(ddof=1)) / 2) if min(p, q) > 1 else 0.0
        at = np.unique(s)
        below = [np.searchsorted(np.sort(side), at, side="right") / len(side) for side in (positive, negative)]
        found = {
            "auc": float(auc),
            "d_prime": float(positive.mean() - negative.mean()) / spread if spread > 0 else NAN,
            "overlap": 1 - float(np.abs(below[0] - below[1]).max()),
        }
        for f in rates:
            t = _threshold(s, negative, f)
            found[f"tar@{f:g}"] = NAN if f * q < 1 else float((positive >= t).mean())
        return found

    return values


def _threshold(s: np.ndarray, negative: np.ndarray, far: float) -> float:
    """The smallest observed score that no more than this share of non-matches reach; infinite without one."""
    at = np.unique(s)
    accepted = 1 - np.searchsorted(np.sort(negative), at, side="left") / len(negative)
    allowed = at[accepted <= far + 1e-12]
    return float(allowed[0]) if len(allowed) else math.inf


def _accepted(
    found: Mapping[str, Estimate], rates: Sequence[float], s: np.ndarray, y: np.ndarray
) -> tuple[dict[float, Estimate], dict[float, float], dict[float, float]]:
    negative = s[y == 0]
    tar, realised, thresholds = {}, {}, {}
    for f in rates:
        t = _threshold(s, negative, f)
        thresholds[f], realised[f] = t, float((negative >= t).mean())
        e = found[f"tar@{f:g}"]
        if f * len(negative) < 1:
            few = f"a false accept rate of {f:g} needs {math.ceil(1 / f - 1e-9)} non-matches; {len(negative)} came"
            tar[f] = Estimate(NAN, n=len(s), note=Flag.FEW_SAMPLES.note(few))
        else:
            tar[f] = replace(e, null=realised[f])
    return tar, realised, thresholds


def _at_threshold(
    s: np.ndarray, y: np.ndarray, fit: np.ndarray | None, reported: np.ndarray, level: float
) -> dict[str, Estimate]:
    """Accuracy and F1 on other pairs than those that chose the threshold."""
    if fit is None:
        note = Flag.MISSING_INPUT.note("a threshold needs pairs of its own: give `train`")
        return {name: Estimate(NAN, n=len(s), note=note) for name in ("accuracy", "f1")}
    found = {}
    at = np.append(np.unique(s[fit]), math.inf)
    for name, of in (("accuracy", _right), ("f1", _f1)):
        best = at[int(np.argmax([of(s[fit] >= t, y[fit] == 1) for t in at]))]
        chosen, truth = s[reported] >= best, y[reported] == 1
        value, n = of(chosen, truth), int(reported.sum())
        z = NormalDist().inv_cdf(0.5 + level / 2)
        half = z * math.sqrt(value * (1 - value) / n)
        constant = max(truth.mean(), 1 - truth.mean()) if name == "accuracy" else _f1(np.ones(n, bool), truth)
        found[name] = Estimate(value, max(0.0, value - half), min(1.0, value + half), n, null=float(constant))
        if name == "f1":
            found[name] = Estimate(value, n=n, null=float(constant))
    return found


def _right(chosen: np.ndarray, truth: np.ndarray) -> float:
    return float((chosen == truth).mean())


def _f1(chosen: np.ndarray, truth: np.ndarray) -> float:
    hits = float((chosen & truth).sum())
    return 2 * hits / (chosen.sum() + truth.sum()) if hits else 0.0


# --- intervals ------------------------------------------------------------------------------------------------------


def _replicates(
    values: Callable[[np.ndarray, np.ndarray], dict[str, float]],
    s: np.ndarray,
    y: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray, int] | None,
    bootstrap: int,
    seed: int,
) -> list[dict[str, float]]:
    """Values over resampled pairs, or over pairs of resampled items, each as often as the product of its two."""
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(bootstrap):
        if ends is None:
            at = random.integers(0, len(s), len(s))
        else:
            often = np.bincount(random.integers(0, ends[2], ends[2]), minlength=ends[2])
            at = np.repeat(np.arange(len(s)), often[ends[0]] * often[ends[1]])
            if len(at) < 2:
                continue
        drawn.append(values(s[at], y[at]))
    return drawn


def _closed(here: Mapping[str, float], s: np.ndarray, y: np.ndarray, level: float) -> dict[str, Estimate]:
    """Intervals in closed form: of the correlations, and of the AUC."""
    n, z = len(s), NormalDist().inv_cdf(0.5 + level / 2)
    found = {}
    for name, widened in (("spearman", True), ("pearson", False)):
        r = here.get(name, NAN)
        if math.isfinite(r):
            error = math.sqrt((1 + (r * r / 2 if widened else 0.0)) / (n - 3))
            middle = math.atanh(max(-1 + 1e-15, min(1 - 1e-15, r)))
            ends = (math.tanh(middle - z * error), math.tanh(middle + z * error))
            found[name] = Estimate(r, min(ends[0], r), max(ends[1], r), n)
    if math.isfinite(here.get("auc", NAN)):
        error = delong(s, y == 1)
        value = here["auc"]
        if math.isfinite(error):
            found["auc"] = Estimate(value, max(0.0, value - z * error), min(1.0, value + z * error), n)
    return found


def delong(s: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> float:
    """Standard error of the AUC: sqrt(var(V_match)/p + var(V_other)/q), V the share of the other kind that a score
    lies above (ties half).

    >>> import numpy as np
    >>> from repana.ranking._pair_scores import delong
    >>> round(delong(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])), 4)
    0.3536
    """
    ranks = stats.rankdata(s)
    p, q = int(positive.sum()), int((~positive).sum())
    if min(p, q) < 2:
        return NAN
    of_match = (ranks[positive] - stats.rankdata(s[positive])) / q
    of_other = 1 - (ranks[~positive] - stats.rankdata(s[~positive])) / p
    return math.sqrt(of_match.var(ddof=1) / p + of_other.var(ddof=1) / q)
