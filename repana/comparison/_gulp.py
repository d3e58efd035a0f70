"""GULP: how far the predictions of ridge regressions from two layers can lie apart."""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from repana import _check
from repana._ambient import settled
from repana._estimate import NAN, Estimate
from repana._typing import FeatureArray, LabelArray
from repana.comparison._cca import PERMUTATIONS
from repana.comparison._inputs import JACKKNIFE, constant_note, dealt_out, groups_of, pair
from repana.comparison._matrices import Centred
from repana.comparison._resampled import deleted_values, estimated, permuted_values


@settled()
def gulp(
    a: FeatureArray,
    b: FeatureArray,
    *,
    lam: float = 0.01,
    groups: LabelArray | None = None,
    jackknife: int = JACKKNIFE,
    permutations: int = PERMUTATIONS,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """GULP distance of two layers on the same samples, squared; 0 for equal predictions, lower is more similar.

    With both layers centred and their samples scaled to a mean squared length of 1, S_x = X'X/n, S_xy = X'Y/n,
    R_x = (S_x + lam)^-1:

        tr(R_x S_x R_x S_x) + tr(R_y S_y R_y S_y) - 2 tr(R_x S_xy R_y S_xy').

    It is the squared Hilbert-Schmidt norm of the difference of the two maps from a target to its ridge prediction
    (strength `lam`): summed over an orthonormal set of targets, how far predictions from the two layers lie apart.
    Unchanged by rotations, translations and one scale. From 0 on; `lam` = 0 would count ranks.

    Interval: `jackknife` groups of samples left out (whole `groups`), Student's t, on the logarithm. Null:
    `permutations` of the samples.

    Raises InputError for NaN or infinite features, different numbers of samples, fewer than 3, or `lam` not above 0.

    Source: Boix-Adsera et al. 2022, arXiv:2210.06545.

    >>> import torch
    >>> from repana.comparison import gulp
    >>> x = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    >>> round(float(gulp(x, 3 * x.flip(1))), 6)
    0.0
    """
    _check.level_of(level)
    _check.positive(lam, "lam")
    x, y = pair(a, b, "gulp")
    first, second = Centred.of(x, double=True), Centred.of(y, double=True)
    n, note = len(x), constant_note(first.constant, second.constant, x.shape[1], y.shape[1])
    if not first.varies or not second.varies:
        return Estimate(NAN, n=n, note=note)
    group = groups_of(groups, n)
    part = dealt_out(n, jackknife, group, seed) if jackknife else None
    deleted = deleted_values(lambda rows: _gulp(first.x[rows], second.x[rows], lam), part)
    permuted = permuted_values(
        lambda order: _gulp(first.x, second.x[order.to(x.device)], lam), n, permutations, seed, group
    )
    return estimated(
        _gulp(first.x, second.x, lam), deleted, permuted, n=n, level=level, better={"gulp": "lower"},
        scales={"gulp": "positive"}, notes={"gulp": note},
    )["gulp"]  # fmt: skip


def _gulp(x: Float[Tensor, "n d"], y: Float[Tensor, "n e"], lam: float) -> Mapping[str, float]:
    x, y = (t - t.mean(0) for t in (x, y))
    n = len(x)
    x, y = (t * (math.sqrt(n) / float(t.norm())) for t in (x, y))
    one, other = (_axes(t) for t in (x, y))
    cross = x.T @ y / n
    along = (one[1].T @ cross @ other[1]) / (one[0] + lam)[:, None] / (other[0] + lam)
    mixed = float((along * (one[1].T @ cross @ other[1])).sum())
    sides = sum(float((values / (values + lam)).square().sum()) for values, _ in (one, other))
    return {"gulp": max(sides - 2 * mixed, 0.0)}


def _axes(x: Float[Tensor, "n d"]) -> tuple[Tensor, Tensor]:
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    return values.clamp_min(0), vectors
