"""Canonical correlations of two layers: mean, SVCCA, PWCCA, and on samples that the directions were not chosen on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._ambient import settled
from repana._estimate import NAN, Estimate, Flag, noted, shown
from repana._typing import FeatureArray, LabelArray
from repana.comparison._inputs import JACKKNIFE, constant_note, dealt_out, groups_of, pair
from repana.comparison._matrices import Centred
from repana.comparison._resampled import deleted_values, estimated, permuted_values

RANK = 1e-10  # of the largest singular value, up to which a direction has no variance
EQUAL = 1e-9  # correlations as near as that are one
PERMUTATIONS = 19
NAMES = ("mean", "mean_square", "svcca", "pwcca_forward", "pwcca_backward")


@shown
@dataclass(frozen=True)
class CCA:
    """Canonical correlations of two layers, higher is more similar; see `cca`."""

    NULL: ClassVar[str] = "samples paired at random"
    SIMILAR: ClassVar[str] = "higher is more similar"

    mean: Estimate
    mean_square: Estimate
    svcca: Estimate
    pwcca_forward: Estimate
    pwcca_backward: Estimate
    held_out: Estimate
    correlations: Float[Tensor, " r"]
    ranks: tuple[int, int]
    kept: tuple[int, int]
    settings: Mapping[str, Any] = field(default_factory=dict)


@settled()
def cca(
    a: FeatureArray,
    b: FeatureArray,
    *,
    keep: float = 0.99,
    groups: LabelArray | None = None,
    jackknife: int = JACKKNIFE,
    permutations: int = PERMUTATIONS,
    level: float = 0.95,
    seed: int = 0,
) -> CCA:
    """Canonical correlation analysis of two layers (n, d1) and (n, d2) on the same samples; higher is more similar.

    With Q_x, Q_y orthonormal bases of the centred features (directions with a singular value up to 1e-10 of the largest
    are left out; `ranks` counts the others), the `correlations` rho are the singular values of Q_x'Q_y, r =
    min(rank) of them, in [0, 1].

    - `mean` of rho and `mean_square` of rho^2 (R^2_CCA).
    - `svcca`: the mean after each layer was cut to the fewest principal components with a share `keep` of its variance;
      `kept` says how many.
    - `pwcca_forward`: rho weighted by alpha_i = sum_j |h_i . x_j|, h_i the canonical variates of the first layer and
      x_j its centred features; `pwcca_backward` with those of the second. Variates of equal correlations, which are no
      more than a subspace, are taken along the principal axes of the features in it.
    - `held_out`: directions from the even rows, correlation of the pairs of variates on the odd ones, and the reverse;
      the mean of both. The one to read where samples are few.

    With n samples, max(0, r1 + r2 - n + 1) correlations are 1 whatever the data, and all are too high unless n is many
    times d1 + d2: the null, from `permutations` of the samples, shows by how much. Unchanged by any invertible affine
    map of either layer, except `svcca`, and the weights of `pwcca`, which see the variance of features (unchanged by
    rotations, translations and one scale).

    Intervals: `jackknife` groups of samples left out (whole `groups`), Student's t, on atanh.

    Raises InputError for NaN or infinite features, different numbers of samples, or fewer than 3.

    Sources: Hotelling 1936; Raghu et al. 2017, arXiv:1706.05806 (SVCCA); Morcos, Raghu & Bengio 2018, arXiv:1806.05759
    (PWCCA).

    >>> import torch
    >>> from repana.comparison import cca
    >>> x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    >>> round(float(cca(x, x @ torch.tensor([[1.0, 2, 0], [0, 1, 0], [3, 0, 1]])).mean), 4)
    1.0
    """
    _check.level_of(level)
    _check.in_range(keep, "keep", 1e-6, 1.0)
    permutations = _check.at_least(permutations, "permutations", 0)
    x, y = pair(a, b, "cca")
    first, second = Centred.of(x, double=True), Centred.of(y, double=True)
    n, group = len(x), groups_of(groups, len(x))
    note = constant_note(first.constant, second.constant, x.shape[1], y.shape[1])
    if not first.varies or not second.varies:
        nothing = Estimate(NAN, n=n, note=note)
        empty = torch.empty(0, dtype=torch.float64)
        return CCA(nothing, nothing, nothing, nothing, nothing, nothing, empty, (0, 0), (0, 0))
    one, other = Basis.of(first.x), Basis.of(second.x)
    part = dealt_out(n, jackknife, group, seed) if jackknife else None
    found = _values(one, other, keep)
    deleted = deleted_values(lambda rows: _of_rows(first.x[rows], second.x[rows], keep), part)
    permuted = permuted_values(
        lambda order: (
            _values(one, other.ordered(order), keep)
            if group is None
            else _of_rows(first.x, second.x[order.to(x.device)], keep)
        ),
        n,
        permutations,
        seed,
        group,
    )
    trivial = max(0, one.rank + other.rank - n + 1)
    said = Flag.TRIVIAL.note(
        f"{trivial} correlations are 1 whatever the data: {n} samples, ranks {one.rank} and {other.rank}"
    )
    notes: dict[str, str] = dict.fromkeys(NAMES, noted(note, said if trivial else ""))
    made = estimated(found, deleted, permuted, n=n, level=level, better={}, notes=notes)
    half = halves(n, group)
    known = {"held_out": held_out_mean(first.x, second.x, half)}
    left_out = deleted_values(lambda rows: {"held_out": held_out_mean(first.x[rows], second.x[rows], half[rows])}, part)
    apart = permuted_values(
        lambda order: {"held_out": held_out_mean(first.x, second.x[order], half)}, n, permutations, seed, group
    )
    made |= estimated(known, left_out, apart, n=n, level=level, better={}, notes={"held_out": note})
    return CCA(
        **made,
        correlations=_correlations(one.q, other.q).cpu(),
        ranks=(one.rank, other.rank),
        kept=(one.components(keep), other.components(keep)),
        settings={"keep": keep, "jackknife": jackknife, "permutations": permutations, "level": level, "seed": seed},
    )


@dataclass(frozen=True)
class Basis:
    """An orthonormal basis `q` of centred features `x`, by falling singular value `s`."""

    x: Float[Tensor, "n d"]
    q: Float[Tensor, "n r"]
    s: Float[Tensor, " r"]
    v: Float[Tensor, "d r"]

    @classmethod
    def of(cls, x: Float[Tensor, "n d"]) -> "Basis":
        if len(x) > x.shape[1]:
            q, r = torch.linalg.qr(x)
            u, s, v = torch.linalg.svd(r, full_matrices=False)
            u = q @ u
        else:
            u, s, v = torch.linalg.svd(x, full_matrices=False)
        known = s > RANK * s[0]
        return cls(x, u[:, known], s[known], v[known].T)

    @property
    def rank(self) -> int:
        return len(self.s)

    def components(self, share: float) -> int:
        """The fewest components with so much of the variance."""
        shares = self.s.square().cumsum(0) / self.s.square().sum()
        return min(int((shares < share - 1e-12).sum()) + 1, self.rank)

    def ordered(self, order: Int[Tensor, " n"]) -> "Basis":
        order = order.to(self.x.device)
        return Basis(self.x[order], self.q[order], self.s, self.v)


def _of_rows(x: Tensor, y: Tensor, keep: float) -> dict[str, float]:
    return _values(Basis.of(x - x.mean(0)), Basis.of(y - y.mean(0)), keep)


def _values(one: Basis, other: Basis, keep: float) -> dict[str, float]:
    u, rho, v = torch.linalg.svd(one.q.T @ other.q, full_matrices=False)
    rho = rho.clamp(0, 1)
    few = _correlations(one.q[:, : one.components(keep)], other.q[:, : other.components(keep)])
    weight = _weights(one, u, rho)
    back = _weights(other, v.T, rho)
    return {
        "mean": float(rho.mean()),
        "mean_square": float(rho.square().mean()),
        "svcca": float(few.mean()),
        "pwcca_forward": float((weight * rho).sum() / weight.sum()),
        "pwcca_backward": float((back * rho).sum() / back.sum()),
    }


def _weights(basis: Basis, u: Float[Tensor, "r t"], rho: Float[Tensor, " t"]) -> Float[Tensor, " t"]:
    """sum_j |h_i . x_j|. Directions of one correlation are no more than a subspace: in it those by which the features
    vary most are taken, so that the weights are of the data and not of the decomposition."""
    along = basis.x.T @ (basis.q @ u)
    ends = [0, *((rho[:-1] - rho[1:] > EQUAL).nonzero()[:, 0] + 1).tolist(), len(rho)]
    for start, stop in zip(ends, ends[1:]):
        if stop - start > 1:
            _, _, turn = torch.linalg.svd(along[:, start:stop], full_matrices=False)
            along[:, start:stop] = along[:, start:stop] @ turn.T
    return along.abs().sum(0)


def _correlations(q: Float[Tensor, "n r"], other: Float[Tensor, "n s"]) -> Float[Tensor, " t"]:
    return torch.linalg.svdvals(q.T @ other).clamp(0, 1)


def halves(n: int, group: Int[Tensor, " n"] | None) -> Int[Tensor, " n"]:
    """0 for even rows (or groups), 1 for odd ones."""
    return torch.arange(n) % 2 if group is None else group % 2


def held_out_mean(x: Tensor, y: Tensor, half: Int[Tensor, " n"]) -> float:
    """The mean correlation of variates whose directions are of the other half; NaN where a half does not vary."""
    both = [_on_others(x, y, half == side) for side in (0, 1)]
    return sum(both) / 2


def _on_others(x: Tensor, y: Tensor, fit: Tensor) -> float:
    """Directions from some rows, the mean correlation of their variates on the others."""
    fit = fit.to(x.device)
    if int(fit.sum()) < 2 or bool(fit.all()):
        return NAN
    mean_x, mean_y = x[fit].mean(0), y[fit].mean(0)
    one, other = Basis.of(x[fit] - mean_x), Basis.of(y[fit] - mean_y)
    if not one.rank or not other.rank:
        return NAN
    u, _, v = torch.linalg.svd(one.q.T @ other.q, full_matrices=False)
    left = (x[~fit] - mean_x) @ (one.v / one.s @ u)
    right = (y[~fit] - mean_y) @ (other.v / other.s @ v.T)
    left, right = left - left.mean(0), right - right.mean(0)
    size = left.norm(dim=0) * right.norm(dim=0)
    return float(torch.where(size > 0, (left * right).sum(0) / size, 0.0).mean())
