"""Whether the decision rests on simple features: complexity against importance, feature by feature."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from repana import _check
from repana._estimate import NAN, Estimate, Flag, shown
from repana._renamed import renamed
from repana.features import _refusals
from repana.statistics.resampling import percentiles

RESAMPLES = 2000
FEWEST = 5  # features that a rank correlation is read from
TOP = 0.1


@shown
@dataclass(frozen=True)
class ComplexityImportance:
    """The plane of features; see `complexity_vs_importance`."""

    rank_correlation: Estimate
    p_value: Estimate
    top_complexity: Estimate
    support: Estimate
    complexity: Float[Tensor, " t"]
    importance: Float[Tensor, " t"]
    settings: Mapping[str, Any] = field(default_factory=dict)


@renamed(resamples="bootstrap")
def complexity_vs_importance(
    complexity: Any,
    importance: Any,
    *,
    signed: bool = False,
    top: float = TOP,
    bootstrap: int = RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> ComplexityImportance:
    """Rank correlation of complexity and importance over features.

    `complexity` and `importance` are results of the functions of those names, or (t,) values. Features without a
    complexity (constant ones) are left out.

    - `rank_correlation`: Spearman's rho, in [-1, 1]; its interval from resampled features, its null the central `level`
      of permutations. Negative where the important features are the simple ones. Features share inputs and units, so
      that the interval speaks of which features were looked at, not of other networks.
    - `p_value` of no relation, (1 + #{|permuted| >= |rho|})/(1 + `bootstrap`).
    - `top_complexity`: mean complexity of the `top` share of features by importance, less that of all.
    - `support`: share of all importance in features of more than median complexity.

    `signed=True` reads the signed importance, where the result has one.

    Raises InputError for values of other lengths, or fewer than 5 features.

    Sources: Fel et al. 2024, arXiv:2407.06076; Spearman 1904, doi:10.2307/1412159.

    >>> import torch
    >>> from repana import complexity_vs_importance
    >>> float(complexity_vs_importance(torch.arange(9.0), -torch.arange(9.0)).rank_correlation)
    -1.0
    """
    _check.level_of(level)
    _check.in_range(top, "top", 0.0, 1.0)
    _check.at_least(bootstrap, "bootstrap", 1)
    k = _values(complexity, "complexity")
    weight = _values(importance, "signed" if signed else "absolute")
    if len(k) != len(weight):
        raise _refusals.feature_counts(len(k), len(weight))
    alive = np.isfinite(k) & np.isfinite(weight)
    k, weight = k[alive], weight[alive]
    t = len(k)
    if t < FEWEST:
        raise _check.too_few_samples("a rank correlation of features", t, FEWEST)
    random = np.random.default_rng(seed)
    rho = float(_spearman(k, weight))
    drawn = random.integers(t, size=(bootstrap, t))
    boot = _spearman(k[drawn], weight[drawn])
    chance = _spearman(k, np.stack([random.permutation(weight) for _ in range(bootstrap)]))
    low, high = _central_range(boot, level)
    null_low, null_high = _central_range(chance, level)
    note = "" if np.isfinite(rho) else Flag.CONSTANT.note("complexity or importance is the same for all features")
    p = (1 + int((np.abs(chance) >= abs(rho) - 1e-12).sum())) / (1 + bootstrap) if np.isfinite(rho) else NAN
    difference = _top_complexity(k, weight, top)
    spread = _central_range([_top_complexity(k[at], weight[at], top) for at in drawn], level)
    share = _support(k, weight)
    shares = _central_range([_support(k[at], weight[at]) for at in drawn], level)
    return ComplexityImportance(
        rank_correlation=Estimate(rho, low, high, t, note, 0.0, null_low, null_high),
        p_value=Estimate(p, n=t),
        top_complexity=Estimate(difference, *spread, t, note),
        support=Estimate(share, *shares, t, note if np.isnan(share) else ""),
        complexity=torch.from_numpy(k),
        importance=torch.from_numpy(weight),
        settings={"signed": signed, "top": top, "bootstrap": bootstrap, "level": level, "seed": seed},
    )


def _values(given: Any, name: str) -> np.ndarray:
    plain = isinstance(given, (Tensor, np.ndarray, list, tuple))
    value = given if plain else getattr(given, name, given)
    return _check.column(value.detach().cpu() if isinstance(value, Tensor) else value, name, None)


def _spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The rank correlation along the last axis; NaN where one of the two does not vary."""
    from scipy.stats import rankdata

    x, y = (rankdata(values, axis=-1) for values in (a, b))
    x, y = (ranks - ranks.mean(-1, keepdims=True) for ranks in (x, y))
    size = np.sqrt((x**2).sum(-1) * (y**2).sum(-1))
    return np.asarray(np.clip((x * y).sum(-1) / np.where(size > 0, size, NAN), -1, 1))


def _central_range(values: Any, level: float) -> tuple[float, float]:
    """The central range of the draws that have a value."""
    return percentiles(np.asarray(values)[np.isfinite(values)], level)


def _top_complexity(k: np.ndarray, weight: np.ndarray, top: float) -> float:
    if weight.max() == weight.min():  # none is more important than another
        return NAN
    count = max(1, round(top * len(k)))
    return float(k[np.argsort(-weight, kind="stable")[:count]].mean() - k.mean())


def _support(k: np.ndarray, weight: np.ndarray) -> float:
    size = np.abs(weight)
    total = size.sum()
    return float(size[k > np.median(k)].sum() / total) if total > 0 else NAN
