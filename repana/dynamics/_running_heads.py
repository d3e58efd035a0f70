"""Linear heads from sums that add: class counts and sums and one scatter, without the rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana.dynamics import _refusals

HEADS = ("nmc", "lda", "ridge")
SINGULAR = 1e-10  # of the largest eigenvalue of a scatter, below which a direction is left out


@dataclass(frozen=True)
class HeadSums:
    """Counts and sums by class and the sum of x x', around a shift that the first rows give. `plus` adds rows; any
    order and split of them gives the same heads."""

    count: dict[int, int] = field(default_factory=dict)
    total: dict[int, Float[Tensor, " d"]] = field(default_factory=dict)
    square: Float[Tensor, "d d"] | None = None
    shift: Float[Tensor, " d"] | None = None

    def plus(self, x: Float[Tensor, "n d"], y: Int[Tensor, " n"]) -> "HeadSums":
        if not len(x):
            return self
        if self.shift is not None and self.shift.shape[0] != x.shape[1]:
            raise _refusals.widths_differ(self.shift.shape[0], x.shape[1])
        shift = x.double().mean(0) if self.shift is None else self.shift
        moved = x.double() - shift
        count, total = dict(self.count), dict(self.total)
        for c in y.unique().tolist():
            rows = moved[(y == c).to(moved.device)]
            count[c] = count.get(c, 0) + len(rows)
            total[c] = total.get(c, moved.new_zeros(moved.shape[1])) + rows.sum(0)
        square = moved.T @ moved
        return HeadSums(count, total, square if self.square is None else self.square + square, shift)

    def scores(
        self, x: Float[Tensor, "m d"], classes: Sequence[int], head: str, **options: Any
    ) -> Float[Tensor, "m c"]:
        """Of every class; the largest answers."""
        assert self.square is not None
        assert self.shift is not None
        moved = x.double() - self.shift
        counts = torch.tensor([float(self.count[c]) for c in classes], dtype=torch.float64, device=moved.device)
        sums = torch.stack([self.total[c] for c in classes])
        means = sums / counts[:, None]
        if head == "nmc":
            return -_distances(moved, means)
        if head == "lda":
            within = self.square - (sums / counts.sqrt()[:, None]).T @ (sums / counts.sqrt()[:, None])
            root = _inverse_root(_shrunk(within / counts.sum(), float(counts.sum()) - len(classes)))
            prior = (counts / counts.sum()).log() if options.get("priors") == "counts" else 0.0
            return -0.5 * _distances(moved @ root, means @ root) + prior
        n, mean = counts.sum(), sums.sum(0) / counts.sum()
        scatter = self.square - n * mean.outer(mean)
        strength = float(options.get("alpha", 0.01)) * scatter.diagonal().mean()
        scatter.diagonal().add_(strength.clamp_min(torch.finfo(torch.float64).tiny))
        cross = sums.T - mean[:, None] * counts
        weight = torch.linalg.solve(scatter, cross)
        return (moved - mean) @ weight + counts / n


@dataclass(frozen=True)
class Head:
    """A kind of head with its options, on sums that grow."""

    name: str
    alpha: float = 0.01
    priors: str = "equal"
    sums: HeadSums = field(default_factory=HeadSums)

    def plus(self, x: Float[Tensor, "n d"], y: Int[Tensor, " n"]) -> "Head":
        return replace(self, sums=self.sums.plus(x, y))

    def scores(self, x: Float[Tensor, "m d"], classes: Sequence[int]) -> Float[Tensor, "m c"]:
        return self.sums.scores(x, classes, self.name, alpha=self.alpha, priors=self.priors)


def _distances(x: Float[Tensor, "m d"], means: Float[Tensor, "c d"]) -> Float[Tensor, "m c"]:
    """Squared distances, by differences."""
    return torch.stack([(x - mean).square().sum(1) for mean in means], 1)


def _shrunk(scatter: Float[Tensor, "d d"], degrees: float) -> Float[Tensor, "d d"]:
    """The scatter, or with no more degrees of freedom than features shrunk towards a multiple of the identity."""
    d = len(scatter)
    if degrees > d:
        return scatter
    trace, square = float(scatter.diagonal().sum()), float(scatter.square().sum())
    spread = (degrees + 1 - 2 / d) * (square - trace**2 / d)
    share = min(((1 - 2 / d) * square + trace**2) / spread, 1.0) if spread > 0 else 1.0
    return (1 - share) * scatter + share * trace / d * torch.eye(d, dtype=scatter.dtype, device=scatter.device)


def _inverse_root(scatter: Float[Tensor, "d d"]) -> Float[Tensor, "d r"]:
    """R with R R' the (pseudo-)inverse."""
    values, vectors = torch.linalg.eigh(scatter)
    kept = values > SINGULAR * values[-1].clamp_min(torch.finfo(torch.float64).tiny)
    return vectors[:, kept] / values[kept].sqrt()
