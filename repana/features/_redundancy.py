"""How much of what a layer says of a feature is left when units are taken away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from repana import _check
from repana._estimate import Estimate, shown
from repana._renamed import renamed
from repana._typing import FeatureArray, TargetArray
from repana.features import _refusals
from repana.statistics.intervals import mean_of
from repana.summaries._linalg import full_precision

DRAWS = 100


@shown
@dataclass(frozen=True)
class Redundancy:
    """See `redundancy`."""

    mean_redundancy: Estimate
    redundancy: Float[Tensor, " t"]
    low: Float[Tensor, " t"]
    high: Float[Tensor, " t"]
    features: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


@renamed(draws="repeats")
def redundancy(
    features: FeatureArray,
    targets: TargetArray,
    *,
    keep: float = 0.25,
    repeats: int = DRAWS,
    names: Sequence[str] | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Redundancy:
    """E_m[CKA(x*m, z)/CKA(x, z)] over masks m that keep a share of the units, by feature z.

    `features` (n, d), `targets` (n, t). Each of `repeats` masks keeps round(`keep` d) units, at least one. For one
    value a row, CKA = |X'z|^2/(|X'X|_F z'z), so that all masks are read off X'X and X'z. `redundancy` (t,) with the
    interval of the mean over masks; `mean_redundancy` over features, its null sqrt(units kept/d).

    On a layer whose units are uncorrelated and of equal variance the expectation is sqrt(keep) for every feature,
    local or spread out: only correlations between units move it, and it says nothing of the feature there.

    Constant features are NaN. Raises InputError for arrays of other lengths.

    Source: Fel et al. 2024, arXiv:2407.06076.

    >>> import torch
    >>> from repana import redundancy
    >>> x = torch.randn(300, 1, generator=torch.Generator().manual_seed(0)).repeat(1, 8)
    >>> round(float(redundancy(x, x[:, 0], keep=0.5).mean_redundancy), 6)
    1.0
    """
    _check.level_of(level)
    _check.in_range(keep, "keep", 0.0, 1.0)
    _check.at_least(repeats, "repeats", 2)
    x = _check.features_of(features).double().cpu()
    z = _check.values_of(targets, "targets", len(x)).double().cpu()
    names = _refusals.feature_names(names, z.shape[1])
    x, z = x - x.mean(0), z - z.mean(0)
    d = x.shape[1]
    count = max(1, round(keep * d))
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(repeats, d, generator=generator).argsort(1)[:, :count]
    mask = torch.zeros(repeats, d, dtype=torch.float64).scatter_(1, order, 1.0)
    with full_precision():
        squared = (x.T @ x).square()
        across = (x.T @ z).square()
        size = ((mask @ squared) * mask).sum(1).sqrt()
        part = mask @ across / size[:, None].clamp_min(1e-300)
    whole = across.sum(0) / squared.sum().sqrt()
    ratios = part / whole
    mean, low, high = mean_of(ratios, level)
    alive = torch.isfinite(mean)
    overall, bottom, top = (float(v) for v in mean_of(ratios[:, alive].mean(1), level))
    return Redundancy(
        mean_redundancy=Estimate(
            overall,
            bottom,
            top,
            int(alive.sum()),
            "" if bool(alive.any()) else "the layer, or every feature, is constant",
            null=(count / d) ** 0.5,
        ),
        redundancy=mean,
        low=low,
        high=high,
        features=names,
        settings={"keep": count / d, "repeats": repeats, "level": level, "seed": seed},
    )
