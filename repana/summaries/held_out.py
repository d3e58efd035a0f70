"""Errors of ridge regressions of many targets on rows that they were not fitted on, exact, for every strength at once.

From fold moments no row is needed: what is fitted on all other folds is read off the total less a fold, and its
squared error on that fold is y'y - 2 b'X'y + b'X'X b of the fold's own sums, moved to the mean of the others. With more
features than rows the same numbers come from the rows' inner products.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from repana._typing import Features
from repana.summaries._linalg import HALVED
from repana.summaries.folds import FoldMoments, Normal

# of tr(X'X)/d: from nearly none, also for a unit that varies a million times less, to far above the largest eigenvalue
GRID = tuple(10.0**k for k in (-12, -10, -8, *range(-6, 7)))
EQUAL, FALLING = 1e-9, 1e-2  # of an error: what rounding decides, and what is more than flat
TARGETS = 1024  # worked on at a time


@dataclass(frozen=True)
class HeldOut:
    """`error` (f, t, r): sums of squared errors on each fold, of fits on the others; `spread` (f, t): the same of
    their mean alone. `count` (f,) rows, `strengths` (r,) ascending.
    """

    error: Float[Tensor, "f t r"]
    spread: Float[Tensor, "f t"]
    count: Int[Tensor, " f"]
    strengths: Float[Tensor, " r"]

    @property
    def best(self) -> Int[Tensor, " t"]:
        """By target, which strength has the least error over all folds; of equals (to nine digits) the largest."""
        total = self.error.sum(0)
        good = total <= total.amin(1, keepdim=True) * (1 + EQUAL)
        return total.shape[1] - 1 - good.flip(1).int().argmax(1)

    @property
    def falling(self) -> Bool[Tensor, " t"]:
        """By target, whether a weaker strength than the weakest would have had less error still."""
        total = self.error.sum(0)
        return total[:, 1] > (1 + FALLING) * total[:, 0] if total.shape[1] > 1 else torch.zeros(len(total)) > 0

    def explained(self, chosen: Int[Tensor, " t"] | None = None) -> Float[Tensor, " t"]:
        """R^2 = 1 - error/spread of each target, of the chosen strengths; NaN for a target that never varies."""
        at = self.best if chosen is None else chosen
        error = self.error.sum(0).gather(1, at[:, None])[:, 0]
        spread = self.spread.sum(0)
        return torch.where(spread > 0, 1 - error / spread, torch.nan)

    def influence(self, chosen: Int[Tensor, " t"] | None = None) -> Float[Tensor, "f t"]:
        """What each fold adds to the error of R^2, (error_f - (1 - R^2) spread_f)/sum spread: they sum to 0."""
        at = self.best if chosen is None else chosen
        error = self.error.gather(2, at[None, :, None].expand(len(self.error), -1, 1))[:, :, 0]
        spread = self.spread.sum(0)
        return (error - (1 - self.explained(at)) * self.spread) / spread


def grid(trace: float, d: int, relative: tuple[float, ...] = GRID) -> Float[Tensor, " r"]:
    """Strengths in units of the mean eigenvalue of X'X."""
    unit = trace / d if trace > 0 else 1.0
    return torch.tensor(sorted(relative), dtype=torch.float64) * unit


def held_out(moments: FoldMoments, strengths: Float[Tensor, " r"] | None = None) -> HeldOut:
    """From fold moments. Strengths, ascending, are penalties of |W|^2 beside sums of squares; by default the grid."""
    m, (f, d, t) = moments, moments.xz.shape
    if strengths is None:
        strengths = grid(float(m.normal().gram.diagonal().sum()), d)
    strengths = strengths.to(m.xx)
    error, spread = m.xx.new_empty(f, t, len(strengths)), m.xx.new_empty(f, t)
    for k in range(f):
        train, n = m.without(k), float(m.count[k])
        mean, level = train.mean - m.shift, train.target_mean - m.target_shift
        sums = m.x[k]
        gram = m.xx[k] - sums.outer(mean) - mean.outer(sums) + n * mean.outer(mean)
        cross = m.xz[k] - sums.outer(level) - mean.outer(m.z[k]) + n * mean.outer(level)
        spread[k] = (m.zz[k] - 2 * m.z[k] * level + n * level.square()).clamp_min(0)
        values, vectors = torch.linalg.eigh(train.gram)
        values.clamp_min_(0)
        gram = vectors.T @ gram @ vectors
        for start in range(0, t, TARGETS):
            part = slice(start, start + TARGETS)
            along, there = vectors.T @ train.cross[:, part], vectors.T @ cross[:, part]
            for r, strength in enumerate(strengths):
                b = along / (values + strength)[:, None]
                error[k, part, r] = spread[k, part] - 2 * (b * there).sum(0) + _quadratic(gram, b)
    return HeldOut(error.clamp_min_(0), spread, m.count, strengths)


def held_out_rows(
    x: Features,
    z: Float[Tensor, "n t"],
    fold: Int[Tensor, " n"],
    folds: int,
    strengths: Float[Tensor, " r"] | None = None,
) -> HeldOut:
    """From rows: by fold moments, or where features are more than rows by inner products of rows."""
    if x.shape[1] <= len(x):  # in float64: weak penalties divide by what single precision leaves of a small eigenvalue
        return held_out(FoldMoments.of(x.double(), z, fold, folds), strengths)
    kernel = row_products(x)
    z = z.double() - z.double().mean(0)
    if strengths is None:
        strengths = grid(float(kernel.diagonal().sum()), x.shape[1])
    strengths = strengths.to(kernel)
    t, count = z.shape[1], torch.bincount(fold, minlength=folds)
    error, spread = kernel.new_empty(folds, t, len(strengths)), kernel.new_empty(folds, t)
    for k in range(folds):
        side = Sides.of(kernel, fold != k, fold == k)
        level = z[side.train].mean(0)
        at_train, at_test = z[side.train] - level, z[side.test] - level
        spread[k] = at_test.square().sum(0)
        values, vectors = torch.linalg.eigh(side.inner)
        values.clamp_min_(0)
        across = side.across @ vectors
        for start in range(0, t, TARGETS):
            part = slice(start, start + TARGETS)
            along = vectors.T @ at_train[:, part]
            for r, strength in enumerate(strengths):
                found = across @ (along / (values + strength)[:, None])
                error[k, part, r] = (at_test[:, part] - found).square_().sum(0)
    return HeldOut(error, spread, count, strengths)


def solved(normal: Normal, strength: float) -> tuple[Float[Tensor, "d t"], Float[Tensor, " t"]]:
    """Weight and bias of all targets for one strength, by one Cholesky factor."""
    factor = torch.linalg.cholesky(normal.gram + strength * torch.eye(len(normal.gram)).to(normal.gram))
    weight = torch.cholesky_solve(normal.cross, factor)
    return weight, normal.target_mean - normal.mean @ weight


def in_sample(normal: Normal, tolerance: float = 1e-12) -> Float[Tensor, " t"]:
    """R^2 of least squares on the rows that it is fitted on; directions without variance are left out."""
    values, vectors = torch.linalg.eigh(normal.gram)
    known = values > tolerance * values[-1].clamp_min(torch.finfo(values.dtype).tiny)
    along = (vectors.T @ normal.cross)[known]
    explained = (along.square() / values[known, None]).sum(0)
    return torch.where(normal.squares > 0, explained / normal.squares, torch.nan)


def in_sample_rows(x: Features, z: Float[Tensor, "n t"], tolerance: float = 1e-12) -> Float[Tensor, " t"]:
    """The same from rows, of whichever side is the smaller."""
    if x.shape[1] <= len(x):
        one = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        return in_sample(FoldMoments.of(x.double(), z, one, 1).normal(), tolerance)
    values, vectors = torch.linalg.eigh(row_products(x))
    moved = z.double() - z.double().mean(0)
    along = (vectors.T @ moved)[values > tolerance * values[-1]]
    squares = moved.square().sum(0)
    return torch.where(squares > 0, along.square().sum(0) / squares, torch.nan)


class FoldSums:
    """Fold moments of a stream of batches. Rows wait until a product of them is worth its while."""

    def __init__(self, folds: int, rows: int = 4096) -> None:
        self._folds, self._rows = folds, rows
        self._waiting: list[tuple[Features, Tensor, Tensor]] = []
        self._count, self._sum = 0, None

    def add(self, features: Features, targets: Float[Tensor, "n t"], fold: Int[Tensor, " n"]) -> None:
        self._waiting.append((features, targets, fold))
        self._count += len(features)
        if self._count >= self._rows:
            self._flush()

    def value(self) -> FoldMoments:
        """Of everything added so far."""
        self._flush()
        assert self._sum is not None
        return self._sum

    def _flush(self) -> None:
        if not self._waiting:
            return
        x, z, fold = (torch.cat(parts) for parts in zip(*self._waiting))
        self._waiting, self._count = [], 0
        known = {} if self._sum is None else {"shift": self._sum.shift, "target_shift": self._sum.target_shift}
        found = FoldMoments.of(x.double(), z, fold, self._folds, **known)
        self._sum = found if self._sum is None else self._sum + found


class Sides(NamedTuple):
    """Rows fitted on and rows held out, and inner products around the mean of the first."""

    train: Int[Tensor, " a"]
    test: Int[Tensor, " b"]
    inner: Float[Tensor, "a a"]
    across: Float[Tensor, "b a"]

    @classmethod
    def of(cls, kernel: Float[Tensor, "n n"], fitted: Bool[Tensor, " n"], out: Bool[Tensor, " n"]) -> "Sides":
        train, test = fitted.nonzero()[:, 0], out.nonzero()[:, 0]
        inner, across = kernel[train][:, train], kernel[test][:, train]
        means = inner.mean(0)
        level = means.mean()
        return cls(
            train, test, inner - means - means[:, None] + level, across - across.mean(1)[:, None] - means + level
        )


def row_products(x: Features, columns: int = 4096) -> Float[Tensor, "n n"]:
    """Inner products of rows around their mean, in float64."""
    found = torch.zeros(len(x), len(x), dtype=torch.float64, device=x.device)
    for part in x.split(columns, 1):
        some = part.double()
        some = some - some.mean(0)
        found += some @ some.T
    return found


def _quadratic(gram: Float[Tensor, "d d"], b: Float[Tensor, "d t"]) -> Float[Tensor, " t"]:
    """b'Gb of every column, of whose symmetric G the lower half alone is multiplied."""
    total = b.new_zeros(b.shape[1])
    for rows in _strips(len(gram)):
        found = gram[rows, rows] @ b[rows]
        if rows.start:
            found = torch.addmm(found, gram[rows, : rows.start], b[: rows.start], alpha=2)
        total += (b[rows] * found).sum(0)
    return total


def _strips(d: int) -> Iterator[slice]:
    for start in range(0, d, HALVED):
        yield slice(start, min(start + HALVED, d))
