"""Class separability from class means and scatters: the Fisher family, and its law across the layers."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from repana._estimate import NAN, Estimate, explained, shown
from repana._reads import reads
from repana.statistics.intervals import from_jackknife
from repana.statistics.permutation import against
from repana.summaries.discriminant import Discriminant


@shown
@dataclass(frozen=True)
class Fisher:
    """The Fisher family of one layer; see `fisher`."""

    trace_ratio: Estimate
    quotient: Estimate
    max_eigenvalue: Estimate
    bounded: Estimate
    explained: Estimate
    feature_mean: Estimate
    feature_max: Estimate
    per_feature: Float[Tensor, " d"] = field(default_factory=lambda: torch.empty(0))
    eigenvalues: Float[Tensor, " r"] = field(default_factory=lambda: torch.empty(0))
    jackknife: Mapping[str, Float[Tensor, " g"]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@reads
def fisher(discriminant: Discriminant, *, level: float = 0.95) -> Fisher:
    """Fisher's discriminant ratio in its four forms. Call as `fisher(features, labels)`.

    With Sw = 1/n sum_i (x_i - m_y)(x_i - m_y)', Sb = sum_c n_c/n (m_c - m)(m_c - m)', St = Sw + Sb and lambda the
    eigenvalues of Sw^-1 Sb:

    - `trace_ratio` tr Sb / tr Sw: needs no inverse; n -> infinity with shuffled labels gives (c - 1)/(n - c).
    - `quotient` tr(Sw^-1 Sb) = sum lambda (Lawley-Hotelling): invariant to invertible linear maps; the value without
      class structure, r(c - 1)/(n - c - r - 1) for Gaussian features of rank r, stands beside it as its null.
    - `max_eigenvalue` max lambda (Roy).
    - `bounded` tr(St^+ Sb) = sum lambda/(1 + lambda) (Pillai), in [0, min(c - 1, r)]; null r(c - 1)/(n - 1).
    - `explained` tr Sb / tr St (eta squared), the share of the variance that lies between classes, in [0, 1]; null
      (c - 1)/(n - 1).
    - `per_feature` (d,) sum_c n_c (m_cf - m_f)^2 / sum_i (x_if - m_yf)^2, with `feature_mean` and `feature_max`;
      constant features count 0, features without spread in any class are infinite.

    `shrinkage` a in [0, 1] replaces Sw by (1 - a) Sw + a diag(Sw) before the inverse; 0 by default; "ledoit_wolf"
    estimates a from class-centred features, each in units of its within-class deviation. With `permutations` of labels
    their median and range stand beside every value in place of the closed forms (which hold without shrinkage), and p,
    the share of permutations that give as much.
    Where Sw is singular (n - c < d) and a = 0, `quotient` and `max_eigenvalue` are NaN with the reason, never a
    pseudo-inverse. Unitless, in [0, infinity). Intervals: delete-a-group jackknife over `jackknife` = 20 parts
    drawn within classes (none for a `Discriminant.from_moments`), of the estimator at this n as the null is: neither is
    corrected for the bias that grows with d/n.

    Raises InputError for one class, wrong shapes, NaN or infinite features.

    Sources: Fisher 1936, doi:10.1111/j.1469-1809.1936.tb02137.x; Rao 1948, doi:10.1111/j.2517-6161.1948.tb00008.x;
    Lawley 1938, Hotelling 1951, Roy 1953 and Pillai 1955 (the four statistics, see Muirhead 1982, section 10.6);
    Fukunaga 1990, Introduction to Statistical Pattern Recognition, section 10.2; Ledoit & Wolf 2004,
    doi:10.1016/S0047-259X(03)00096-4 (shrinkage); nulls from the moments of the multivariate F distribution (Muirhead
    1982, Aspects of Multivariate Statistical Theory, chapter 10).

    >>> from repana import fisher
    >>> float(fisher([[0.0], [2.0], [4.0], [6.0]], [0, 0, 1, 1]).trace_ratio)
    4.0
    """
    n, d, c = discriminant.n, discriminant.rank, discriminant.classes
    chance = (c - 1) / (n - c) if n > c else NAN
    regular = d > 0 and n - c - d - 1 > 0 and discriminant.shrinkage == 0
    singular = discriminant.reason if bool(discriminant.quotient.isnan().any()) else ""
    unknown = discriminant.reason if bool(discriminant.canonical.isnan().any()) else ""

    deleted: dict[str, Tensor] = {}

    def estimate(name: str, read: Callable[[Any], Any], null: float, note: str = "", top: float = math.inf) -> Estimate:
        value, others = float(read(discriminant)), [float(read(part)) for part in discriminant.deleted]
        if others:
            deleted[name] = torch.tensor(others)
        e = from_jackknife(value, others, n=n, level=level, bounds=(0.0, top), note=note, corrected=False)
        e = explained(replace(e, null=null), "a feature has no spread within any class")
        if discriminant.permuted is None:
            return e
        own = None if discriminant.kept is None else float(read(discriminant.kept))
        permuted = read(discriminant.permuted).tolist()
        return against(e, permuted, better="higher", level=level, value=own, null=own is None)

    still = "" if math.isfinite(discriminant.trace_ratio) else "no spread within any class"
    if math.isnan(discriminant.trace_ratio):
        still = "every feature is constant"
    best = int(discriminant.per_feature.argmax())
    return Fisher(
        trace_ratio=estimate("trace_ratio", lambda s: s.trace_ratio, chance, still),
        quotient=estimate(
            "quotient", lambda s: s.quotient.sum(-1), d * (c - 1) / (n - c - d - 1) if regular else NAN, singular
        ),
        max_eigenvalue=estimate("max_eigenvalue", lambda s: s.quotient[..., 0], NAN, singular),
        bounded=estimate(
            "bounded",
            lambda s: s.canonical.sum(-1),
            d * (c - 1) / (n - 1) if 0 < d < n - 1 else NAN,
            unknown,
            float(max(1, min(c - 1, d))),
        ),
        explained=estimate("explained", lambda s: _share(s.trace_ratio), (c - 1) / (n - 1), still, 1.0),
        feature_mean=estimate("feature_mean", lambda s: s.per_feature.mean(-1), chance),
        feature_max=estimate("feature_max", lambda s: s.per_feature.amax(-1), NAN, f"feature {best}"),
        per_feature=discriminant.per_feature,
        eigenvalues=discriminant.quotient,
        jackknife=deleted,
        settings={"shrinkage": discriminant.shrinkage, "jackknife_groups": len(discriminant.deleted), "level": level},
    )


def _share(ratio: float | Tensor) -> Tensor:
    """b / (b + w) of b / w."""
    found = torch.as_tensor(ratio, dtype=torch.float64)
    return torch.where(found.isinf(), 1.0, found / (1 + found))
