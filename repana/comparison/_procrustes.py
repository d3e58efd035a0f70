"""How far one layer is a rotation of another: Procrustes similarity, and the shape distances around it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from repana import _check
from repana._ambient import settled
from repana._estimate import NAN, Estimate, shown
from repana._typing import FeatureArray, LabelArray
from repana.comparison import _refusals
from repana.comparison._cca import PERMUTATIONS, RANK, Basis, halves
from repana.comparison._inputs import JACKKNIFE, constant_note, dealt_out, groups_of, pair
from repana.comparison._matrices import Centred
from repana.comparison._resampled import deleted_values, estimated, permuted_values

CONVENTIONS = ("scale_free", "netrep")
GROUPS = ("orthogonal", "permutation")
WIDEST = 8192  # features that are matched one by one
SCALES = {"distance": "positive", "angular": "angle", "size_and_shape": "positive", "held_out": "similarity"}
BETTER = {
    "similarity": "higher",
    "distance": "lower",
    "angular": "lower",
    "size_and_shape": "lower",
    "held_out": "higher",
}


@shown
@dataclass(frozen=True)
class Procrustes:
    """Orthogonal Procrustes analysis of two layers; see `procrustes`. `rotation` (d1, d2) takes the first to the
    second."""

    NULL: ClassVar[str] = "samples paired at random"
    SIMILAR: ClassVar[str] = "similarity, held_out: higher is more similar; distance, angular, size_and_shape: lower"

    similarity: Estimate
    distance: Estimate
    angular: Estimate
    size_and_shape: Estimate
    held_out: Estimate
    rotation: Float[Tensor, "d e"]
    settings: Mapping[str, Any] = field(default_factory=dict)


@settled()
def procrustes(
    a: FeatureArray,
    b: FeatureArray,
    *,
    groups: LabelArray | None = None,
    jackknife: int = JACKKNIFE,
    permutations: int = PERMUTATIONS,
    level: float = 0.95,
    seed: int = 0,
) -> Procrustes:
    """The best rotation of one layer (n, d1) onto another (n, d2) on the same samples.

    With X and Y centred, |.| the Frobenius and |.|_* the nuclear norm,

    - `similarity` = |X'Y|_*/(|X| |Y|), in [0, 1]; higher is more similar.
    - `distance` = sqrt(2 - 2 similarity), `angular` = arccos(similarity): distances, lower is more similar, of layers
      of size 1; both obey the triangle inequality.
    - `size_and_shape`: min over rotations R of |X R - Y|, its square |X|^2 + |Y|^2 - 2|X'Y|_*, in units of the
      features.
    - `held_out`: rotation and means from the even rows, cosine of X R and Y on the odd ones, and the reverse, the mean
      of both, in [-1, 1]. About 0 for unrelated layers, whatever their widths; the one to read where samples are few:
      `similarity` of independent layers is .97 at n = 64, d = 512.
    - `rotation` (d1, d2), of the fit on all rows, over the directions that have a covariance at all (fewer than the
      features where samples are few); of unequal widths as if the narrower layer had features of zeros.

    Unchanged by rotations, reflections and translations, and, but for `size_and_shape`, by one scale. Published code
    differs in what it calls the distance: the square 2 - 2 similarity, half of it, its root, or the angle.

    Intervals: `jackknife` groups of samples left out (whole `groups`), Student's t. Null: `permutations` of the
    samples.

    Raises InputError for NaN or infinite features, different numbers of samples, or fewer than 3.

    Sources: Schonemann 1966, doi:10.1007/BF02289451; Ding, Denain & Steinhardt 2021, arXiv:2108.01661; Williams et al.
    2021, arXiv:2110.14739.

    >>> import torch
    >>> from repana.comparison import procrustes
    >>> x = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    >>> round(float(procrustes(x, x.flip(1) + 1).similarity), 6)
    1.0
    """
    _check.level_of(level)
    permutations = _check.at_least(permutations, "permutations", 0)
    x, y = pair(a, b, "procrustes")
    first, second = Centred.of(x, double=True), Centred.of(y, double=True)
    n, group = len(x), groups_of(groups, len(x))
    note = constant_note(first.constant, second.constant, x.shape[1], y.shape[1])
    if not first.varies or not second.varies:
        nothing = Estimate(NAN, n=n, note=note)
        empty = torch.full((x.shape[1], y.shape[1]), NAN, dtype=torch.float64)
        return Procrustes(nothing, nothing, nothing, nothing, nothing, empty)
    scale = (first.scale, second.scale)
    half = halves(n, group)

    def values(p: Tensor, q: Tensor, side: Tensor) -> dict[str, float]:
        return of_centred(p, q, scale) | {"held_out": (held_out(p, q, side == 0) + held_out(p, q, side == 1)) / 2}

    part = dealt_out(n, jackknife, group, seed) if jackknife else None
    deleted = deleted_values(lambda rows: values(*_centred(first.x[rows], second.x[rows]), half[rows]), part)
    permuted = permuted_values(
        lambda order: values(first.x, second.x[order.to(x.device)], half), n, permutations, seed, group
    )
    found = of_centred(first.x, second.x, scale)
    found["held_out"] = (held_out(first.x, second.x, half == 0) + held_out(first.x, second.x, half == 1)) / 2
    notes = dict.fromkeys(found, note)
    made = estimated(found, deleted, permuted, n=n, level=level, better=BETTER, scales=SCALES, notes=notes)
    return Procrustes(
        **made,
        rotation=rotation_of(first.x.T @ second.x).cpu(),
        settings={"jackknife": jackknife, "permutations": permutations, "level": level, "seed": seed},
    )


@settled()
def shape_distance(
    a: FeatureArray,
    b: FeatureArray,
    *,
    alpha: float = 1.0,
    group: str = "orthogonal",
    convention: str = "scale_free",
    groups: LabelArray | None = None,
    jackknife: int = JACKKNIFE,
    permutations: int = PERMUTATIONS,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """The angle between two layers up to a rotation, after partial whitening: a distance, in [0, pi/2], or with
    permutations in [0, pi].

    X = U S V', centred, of rank r, is replaced by X V (alpha + (1 - alpha) g S^-1) and so is Y; the value is arccos of
    their Procrustes similarity. `alpha=1` is the angular Procrustes distance, `alpha=0` compares whitened layers,
    arccos of the sum of canonical correlations over sqrt(r1 r2). g = |X|/sqrt(r) ("scale_free") whitens to the layer's
    own mean variance, so that units and the number of samples change nothing; `convention="netrep"` takes g = 1 as that
    package does. `group="permutation"`: the best permutation of features, by assignment, in place of a rotation
    (features as they are, `alpha` = 1).

    Interval: `jackknife` groups of samples left out (whole `groups`), Student's t. Null: `permutations` of the samples.

    Raises InputError for NaN or infinite features, different numbers of samples, fewer than 3, or permutations of more
    than 8192 features.

    Source: Williams et al. 2021, arXiv:2110.14739.

    >>> import torch
    >>> from repana.comparison import shape_distance
    >>> x = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    >>> round(float(shape_distance(x, x.flip(1), group="permutation")), 6)
    0.0
    """
    _check.level_of(level)
    _check.in_range(alpha, "alpha", 0.0, 1.0)
    _check.choice(group, "group", GROUPS)
    _check.choice(convention, "convention", CONVENTIONS)
    if group == "permutation" and alpha != 1:
        raise _refusals.whitened_permutation(alpha)
    x, y = pair(a, b, "shape_distance")
    if group == "permutation":
        _refusals.at_most_units(max(x.shape[1], y.shape[1]), WIDEST)
    first, second = Centred.of(x, double=True), Centred.of(y, double=True)
    n, rows_of = len(x), groups_of(groups, len(x))
    note = constant_note(first.constant, second.constant, x.shape[1], y.shape[1])
    if not first.varies or not second.varies:
        return Estimate(NAN, n=n, note=note)
    scales = (1.0, 1.0) if convention == "scale_free" else (first.scale, second.scale)

    def angle(p: Tensor, q: Tensor) -> dict[str, float]:
        p, q = (_whitened(t, alpha, convention, s) for t, s in zip((p, q), scales))
        size = float(p.norm() * q.norm())
        inner = _assigned(p, q) if group == "permutation" else float(torch.linalg.svdvals(p.T @ q).sum())
        return {"distance": math.acos(min(max(inner / size, -1.0), 1.0))}

    part = dealt_out(n, jackknife, rows_of, seed) if jackknife else None
    deleted = deleted_values(lambda rows: angle(*_centred(first.x[rows], second.x[rows])), part)
    permuted = permuted_values(
        lambda order: angle(first.x, second.x[order.to(x.device)]), n, permutations, seed, rows_of
    )
    return estimated(
        angle(first.x, second.x), deleted, permuted, n=n, level=level, better={"distance": "lower"},
        scales={"distance": "angle"}, notes={"distance": note},
    )["distance"]  # fmt: skip


def of_centred(x: Tensor, y: Tensor, scale: tuple[float, float]) -> dict[str, float]:
    """Similarity and distances of centred features, given over their scales."""
    nuclear = float(torch.linalg.svdvals(x.T @ y).sum())
    one, other = float(x.norm()), float(y.norm())
    similarity = min(nuclear / (one * other), 1.0) if one * other > 0 else NAN
    p, q = one * scale[0], other * scale[1]
    return {
        "similarity": similarity,
        "distance": math.sqrt(max(2 - 2 * similarity, 0.0)),
        "angular": math.acos(similarity) if similarity == similarity else NAN,
        "size_and_shape": math.sqrt(max(p * p + q * q - 2 * similarity * p * q, 0.0)),
    }


def held_out(x: Tensor, y: Tensor, fit: Tensor) -> float:
    """Rotation and means from some rows, the cosine on the others."""
    fit = fit.to(x.device)
    if int(fit.sum()) < 2 or bool(fit.all()):
        return NAN
    mean_x, mean_y = x[fit].mean(0), y[fit].mean(0)
    rotation = rotation_of((x[fit] - mean_x).T @ (y[fit] - mean_y))
    left, right = (x[~fit] - mean_x) @ rotation, y[~fit] - mean_y
    size = float((x[~fit] - mean_x).norm() * right.norm())
    return float((left * right).sum()) / size if size > 0 else NAN


def rotation_of(cross: Float[Tensor, "d e"]) -> Float[Tensor, "d e"]:
    """U V' of X'Y = U S V', over the directions that have a covariance: the others are as good one way as another."""
    u, s, v = torch.linalg.svd(cross, full_matrices=False)
    known = s > RANK * s[0]
    return u[:, known] @ v[known]


def _centred(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return x - x.mean(0), y - y.mean(0)


def _whitened(x: Float[Tensor, "n d"], alpha: float, convention: str, scale: float) -> Tensor:
    if alpha == 1:
        return x
    found = Basis.of(x)
    g = float(found.s.norm()) / math.sqrt(found.rank) if convention == "scale_free" else 1.0 / scale
    return found.q * (alpha * found.s + (1 - alpha) * g)


def _assigned(x: Tensor, y: Tensor) -> float:
    """max over permutations P of tr P'X'Y."""
    from scipy.optimize import linear_sum_assignment

    cross = (x.T @ y).cpu().numpy()
    rows, columns = linear_sum_assignment(cross, maximize=True)
    return float(np.maximum(cross[rows, columns], 0.0 if cross.shape[0] != cross.shape[1] else -np.inf).sum())
