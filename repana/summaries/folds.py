"""Sums by fold of features, of targets and of their products: all that linear probes of every strength need.

One read of the rows gives, for each fold, counts, sums, X'X and X'Z. Sums run around a shift (the median of the first
rows), so that features far from the origin lose no digits; chunks are multiplied in the precision of the features
and added up in float64. They add: any split of the data gives the same value, and the sums of all folds but one are
the total less that fold.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana._typing import Features
from repana.summaries import _refusals
from repana.summaries._linalg import full_precision, gram

ROWS = 4096  # of one product: deep enough to hide the addition to the float64 totals
PILOT = 256  # rows whose median is the shift: one far row among them would cost the others their digits
REGULAR = 1e-10  # of the trace of X'X: a strength from which X'X + strength has a Cholesky factor as good as any
SUMS = ("count", "x", "z", "xx", "xz", "zz")
LEFT_OUT, LEFT_OUT_SIZE = 1024, 2**20  # rows, and predictions, worked on at a time


@dataclass(frozen=True)
class Normal:
    """The normal equations of some rows: centred products `gram` = X'X, `cross` = X'Z, `squares` = sum Z^2."""

    n: int
    mean: Float[Tensor, " d"]
    target_mean: Float[Tensor, " t"]
    gram: Float[Tensor, "d d"]
    cross: Float[Tensor, "d t"]
    squares: Float[Tensor, " t"]


@dataclass(frozen=True)
class FoldMoments:
    """`count` (f,) and, around `shift` (d,) and `target_shift` (t,): `x` (f, d), `z` (f, t), `xx` (f, d, d),
    `xz` (f, d, t) and `zz` (f, t), the sums of squares of targets; float64.
    """

    count: Int[Tensor, " f"]
    shift: Float[Tensor, " d"]
    target_shift: Float[Tensor, " t"]
    x: Float[Tensor, "f d"]
    z: Float[Tensor, "f t"]
    xx: Float[Tensor, "f d d"]
    xz: Float[Tensor, "f d t"]
    zz: Float[Tensor, "f t"]

    @classmethod
    def of(
        cls,
        features: Features,
        targets: Float[Tensor, "n t"],
        fold: Int[Tensor, " n"],
        folds: int,
        *,
        shift: Float[Tensor, " d"] | None = None,
        target_shift: Float[Tensor, " t"] | None = None,
    ) -> "FoldMoments":
        """Of one batch. Rows of fold -1 are left out. A later batch takes the `shift` of the first, or adds slower."""
        work = torch.float64 if torch.float64 in (features.dtype, targets.dtype) else torch.float32
        first = features[:PILOT].double().median(0).values if shift is None else shift
        target_first = targets[:PILOT].double().mean(0) if target_shift is None else target_shift
        (d, t), device = (features.shape[1], targets.shape[1]), features.device
        zeros = torch.zeros(folds, dtype=torch.float64, device=device)
        x, z, zz = zeros.new_zeros(folds, d), zeros.new_zeros(folds, t), zeros.new_zeros(folds, t)
        xx, xz = zeros.new_zeros(folds, d, d), zeros.new_zeros(folds, d, t)
        count = torch.bincount(fold[fold >= 0], minlength=folds)
        order = torch.argsort(fold, stable=True)[int((fold < 0).sum()) :]
        for f, rows in enumerate(order.split(count.tolist())):
            for at in rows.split(ROWS):
                a = (features[at].double() - first).to(work) if work == torch.float64 else _shifted(features[at], first)
                b = (targets[at].double() - target_first).to(work)
                with full_precision():
                    xx[f] += gram(a)
                    xz[f] += (b.T @ a).T  # few long rows: twice as fast as many short ones
                x[f] += a.sum(0, dtype=torch.float64)
                z[f] += b.sum(0, dtype=torch.float64)
                zz[f] += b.double().square().sum(0)
        return cls(count, first, target_first, x, z, xx, xz, zz)

    @property
    def folds(self) -> int:
        return len(self.count)

    def __add__(self, other: "FoldMoments") -> "FoldMoments":
        other = other.around(self.shift, self.target_shift)
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in SUMS})

    def __radd__(self, other: int) -> "FoldMoments":
        """So that `sum(parts)` works, which starts from 0."""
        return self if other == 0 else NotImplemented

    def __sub__(self, other: "FoldMoments") -> "FoldMoments":
        """Without some of the rows, of which `other` are the sums."""
        other = other.around(self.shift, self.target_shift)
        return replace(self, **{name: getattr(self, name) - getattr(other, name) for name in SUMS})

    def around(self, shift: Float[Tensor, " d"], target_shift: Float[Tensor, " t"]) -> "FoldMoments":
        """The same sums around another shift."""
        a, b = self.shift - shift, self.target_shift - target_shift
        if not bool(a.any()) and not bool(b.any()):
            return self
        n = self.count.double()[:, None]
        x, z = self.x + n * a, self.z + n * b
        mixed = self.x[:, :, None] * a
        xx = self.xx + mixed + mixed.mT + n[:, :, None] * a[:, None] * a
        xz = self.xz + self.x[:, :, None] * b + a[:, None] * self.z[:, None] + n[:, :, None] * a[:, None] * b
        zz = self.zz + 2 * self.z * b + n * b.square()
        return FoldMoments(self.count, shift, target_shift, x, z, xx, xz, zz)

    def normal(self, folds: Sequence[int] | None = None) -> Normal:
        """The normal equations of these folds together; of all where none are named."""
        at = list(range(self.folds)) if folds is None else list(folds)
        n = int(self.count[at].sum())
        x, z = self.x[at].sum(0) / max(n, 1), self.z[at].sum(0) / max(n, 1)
        gram = self.xx[at].sum(0) - n * x.outer(x)
        cross = self.xz[at].sum(0) - n * x.outer(z)
        squares = (self.zz[at].sum(0) - n * z.square()).clamp_min(0)
        return Normal(n, x + self.shift, z + self.target_shift, gram, cross, squares)

    def without(self, fold: int) -> Normal:
        """The normal equations of all other folds."""
        return self.normal([f for f in range(self.folds) if f != fold])


@dataclass(frozen=True)
class LayerFoldMoments(Mapping[str, FoldMoments]):
    """Fold moments of every layer, by name in order of depth; those of two shards of the data add."""

    layers: Mapping[str, FoldMoments]

    def __getitem__(self, layer: str) -> FoldMoments:
        return self.layers[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __add__(self, other: "LayerFoldMoments") -> "LayerFoldMoments":
        if list(self) != list(other):
            raise _refusals.other_layers(list(self), list(other))
        return LayerFoldMoments({layer: m + other[layer] for layer, m in self.items()})

    def __radd__(self, other: int) -> "LayerFoldMoments":
        return self if other == 0 else NotImplemented

    def __repr__(self) -> str:
        widths = ", ".join(f"{name} {m.xx.shape[1]}" for name, m in self.items())
        return f"LayerFoldMoments({len(self)} layers: {widths})"


@dataclass(frozen=True)
class RidgePath:
    """Ridge regressions of every strength: `weight` (d, t, r), `bias` (t, r), in units of the features as they came.

    `effective` (r,) is the trace of the hat matrix, sum_j s_j/(s_j + strength). `values` and `vectors` are those of
    X'X, where it was decomposed.
    """

    strengths: Float[Tensor, " r"]
    weight: Float[Tensor, "d t r"]
    bias: Float[Tensor, "t r"]
    effective: Float[Tensor, " r"]
    values: Float[Tensor, " d"] | None
    vectors: Float[Tensor, "d d"] | None
    mean: Float[Tensor, " d"]
    n: int

    @classmethod
    def of(
        cls,
        normal: Normal,
        strengths: Float[Tensor, " r"],
        basis: Callable[[], tuple[Tensor, Tensor]] | None = None,
    ) -> "RidgePath":
        """min |Z - XW - b|^2 + strength |W|^2: V (S + strength)^-1 V'X'Z, where X'X = V S V'. `basis` makes S and V,
        where they are shared. One strength alone, if it is not negligible, is solved by a Cholesky factor.
        """
        trace = float(normal.gram.diagonal().sum())
        if len(strengths) == 1 and float(strengths) >= REGULAR * trace > 0:
            found = cls._of_one(normal, strengths)
            if found is not None:
                return found
        values, vectors = torch.linalg.eigh(normal.gram) if basis is None else basis()
        values = values.clamp_min(0)
        along = vectors.T @ normal.cross
        damped = values[:, None] + strengths
        (d, t), r = normal.cross.shape, len(strengths)
        weight = vectors @ (along[:, :, None] / damped[:, None]).reshape(d, t * r)
        weight = weight.view(d, t, r)
        bias = normal.target_mean[:, None] - torch.einsum("d,dtr->tr", normal.mean, weight)
        return cls(strengths, weight, bias, (values[:, None] / damped).sum(0), values, vectors, normal.mean, normal.n)

    @classmethod
    def _of_one(cls, normal: Normal, strengths: Float[Tensor, "1"]) -> "RidgePath | None":
        """None where rounding leaves no factor."""
        mixed = normal.gram.clone()
        mixed.diagonal().add_(strengths[0])
        factor, wrong = torch.linalg.cholesky_ex(mixed)
        if int(wrong):
            return None
        weight = torch.cholesky_solve(normal.cross, factor)[:, :, None]
        bias = normal.target_mean[:, None] - torch.einsum("d,dtr->tr", normal.mean, weight)
        left = torch.cholesky_inverse(factor).diagonal().sum()
        effective = len(mixed) - strengths * left
        return cls(strengths, weight, bias, effective, None, None, normal.mean, normal.n)

    def scores(self, features: Features) -> Float[Tensor, "m t r"]:
        """Predictions for rows."""
        d, t, r = self.weight.shape
        work = torch.float64 if features.dtype == torch.float64 else torch.float32
        level = self.bias + torch.einsum("d,dtr->tr", self.mean, self.weight)
        moved = features.to(work) - self.mean.to(work)
        with full_precision():
            out = torch.addmm(level.to(work).view(-1), moved, self.weight.to(work).view(d, t * r))
        return out.view(-1, t, r)

    def left_out(
        self, features: Features, targets: Float[Tensor, "n t"], rows: int = LEFT_OUT
    ) -> Iterator[tuple[slice, Float[Tensor, "b t r"]]]:
        """Leave-one-out predictions of the rows that it was fitted on, some rows at a time:
        y - (y - fit)/(1 - leverage). A row of leverage 1 decides its own fit, and what the others say of it is not
        known: NaN. Needs the eigenvalues, which one strength alone is solved without.
        """
        if self.values is None or self.vectors is None:
            raise ValueError("leave-one-out predictions need several strengths")
        work = torch.float64 if features.dtype == torch.float64 else torch.float32
        d, t, r = self.weight.shape
        damped = (1 / (self.values[:, None] + self.strengths)).to(work)
        inside = (self.vectors.T @ self.weight.view(d, t * r)).to(work)
        level = (self.bias + torch.einsum("d,dtr->tr", self.mean, self.weight)).to(work)
        vectors, mean = self.vectors.to(work), self.mean.to(work)
        rows = max(64, min(rows, LEFT_OUT_SIZE // (t * r)))
        for start in range(0, len(features), rows):
            part = slice(start, start + rows)
            y = targets[part].to(work)[:, :, None]
            with full_precision():
                along = (features[part].to(work) - mean) @ vectors
                found = torch.addmm(level.view(-1), along, inside).view(-1, t, r)
                free = 1 - 1 / self.n - along.square_() @ damped
            free = torch.where(free > 10 * torch.finfo(work).eps * self.n**0.5, free, torch.nan)
            yield part, found.sub_(y).div_(free[:, None]).add_(y)

    def left_out_error(self, features: Features, targets: Float[Tensor, "n t"]) -> Float[Tensor, "t r"]:
        """Mean squared leave-one-out error of every target and strength."""
        total = torch.zeros_like(self.bias)
        for part, found in self.left_out(features, targets):
            total += found.sub_(targets[part][:, :, None]).square_().sum(0)
        return total / len(features)


def _shifted(features: Features, shift: Float[Tensor, " d"]) -> Features:
    """Less the shift, in float32; what the shift's own rounding leaves is subtracted too."""
    first = shift.float()
    rest = (shift - first.double()).float()
    return (features.float() - first).sub_(rest)


def one_hot(codes: Int[Tensor, " n"], classes: int) -> Float[Tensor, "n c"]:
    """The indicators of classes, in float32."""
    return torch.zeros(len(codes), classes, device=codes.device).scatter_(1, codes[:, None], 1.0)
