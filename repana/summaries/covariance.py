"""Eigenvalues of a layer's covariance, and the samples along its eigenvectors.

The smaller of the (d, d) covariance and the (n, n) Gram matrix is decomposed, in float64: the tail of a spectrum whose
largest eigenvalue is 1e7 times the smallest is lost in float32. Eigenvalues below the rounding of the largest are zero.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from repana._typing import Features
from repana.summaries._linalg import power_of_two, scaled
from repana.summaries._summary import Layer, Summary
from repana.summaries.moments import Moments

CONSTANT = "every feature is constant"
WIDEST = 4096  # the smaller side; a float64 decomposition above this takes minutes and gigabytes


@dataclass(frozen=True)
class Covariance(Summary):
    """The spectrum of one layer.

    `eigenvalues`: the positive ones of S = 1/n sum_i (x_i - m)(x_i - m)', descending; `uncentred`: of 1/n sum x_i x_i'.
    `coordinates` (n, r): x_i - m along the eigenvectors, `uncentred_coordinates` likewise; None where only moments are
    known. `halves`: the eigenvalues of two random halves of the samples, from 8 samples on, and `quarters` of four
    quarters, from 16 on. `reason` says why there are
    no eigenvalues. `varying` counts the features that are not constant. Features whose squares float64 does not hold
    are divided by the power of two `unit`, which is 1 for all others: then everything here is of features/unit.
    """

    labelled: ClassVar[bool] = False

    eigenvalues: Float[Tensor, " r"]
    uncentred: Float[Tensor, " u"]
    n: int
    d: int
    coordinates: Float[Tensor, "n r"] | None = None
    uncentred_coordinates: Float[Tensor, "n u"] | None = None
    halves: tuple[Float[Tensor, " _"], ...] = ()
    uncentred_halves: tuple[Float[Tensor, " _"], ...] = ()
    quarters: tuple[Float[Tensor, " _"], ...] = ()
    uncentred_quarters: tuple[Float[Tensor, " _"], ...] = ()
    reason: str = ""
    varying: int = 0
    unit: float = 1.0

    @classmethod
    def of_layer(cls, layer: Layer) -> "Covariance":
        if layer.subset:
            return cls.from_moments(layer.moments)
        return cls.of(layer.features, seed=layer.settings.get("seed", 0))

    @classmethod
    def of(cls, features: Features, *, seed: int = 0) -> "Covariance":
        n, d = features.shape
        if min(n, d) > WIDEST:
            return cls._empty(features, n, d)
        x, unit = features.double(), power_of_two(features)
        unit = unit if not 2.0**-256 < unit < 2.0**256 else 1.0
        x = x if unit == 1.0 else scaled(x, unit)
        moved = _centred(x)
        varying = int((moved != 0).any(0).sum())
        centred, along = _decompose(moved)
        raw, raw_along = _decompose(x)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).to(x.device)
        parts = [x[rows] for rows in order.chunk(2)] if n >= 8 else []
        halves = tuple(_eigenvalues(_centred(part)) for part in parts)
        raw_halves = tuple(_eigenvalues(part) for part in parts)
        fourths = order.chunk(4) if n >= 16 else []
        quarters = tuple(_eigenvalues(_centred(x[rows])) for rows in fourths)
        raw_quarters = tuple(_eigenvalues(x[rows]) for rows in fourths) if n >= 4 * len(raw) else ()
        reason = "" if len(centred) else CONSTANT
        return cls(
            centred, raw, n, d, along, raw_along, halves, raw_halves, quarters, raw_quarters, reason, varying, unit
        )

    @classmethod
    def from_moments(cls, moments: Moments) -> "Covariance":
        """The same eigenvalues from the pooled scatter and the class means; nothing is known of single samples."""
        n, d = moments.n, moments.d
        if moments.scatter is None or d > WIDEST:
            return cls._empty(moments.mean, n, d)
        p = moments.count.double() / n
        mean = p @ moments.mean
        gap = moments.mean - mean
        covariance = moments.scatter / n + gap.T @ (p[:, None] * gap)
        centred, raw = (
            _positive(torch.linalg.eigvalsh(s).flip(0)) for s in (covariance, covariance + mean.outer(mean))
        )
        varying = int((covariance.diagonal() > 0).sum())
        return cls(centred, raw, n, d, reason="" if len(centred) else CONSTANT, varying=varying)

    @classmethod
    def _empty(cls, like: Tensor, n: int, d: int) -> "Covariance":
        nothing = torch.empty(0, dtype=torch.float64, device=like.device)
        reason = f"the smaller of n = {n} and d = {d} is above {WIDEST}; pool the layer, or keep fewer samples"
        return cls(nothing, nothing, n, d, reason=reason)


def _centred(x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Less the mean; a feature that varies by no more than the rounding of its mean is constant."""
    mean = x.mean(0)
    e = x - mean
    return torch.where(e.abs().amax(0) > 8 * torch.finfo(x.dtype).eps * mean.abs(), e, 0.0)


def _decompose(x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, " r"], Float[Tensor, "n r"]]:
    """Positive eigenvalues of x'x/n, descending, and the rows of x along their eigenvectors."""
    n, d = x.shape
    if d <= n:
        values, vectors = torch.linalg.eigh(x.T @ x / n)
        kept = _positive(values.flip(0))
        return kept, x @ vectors.flip(1)[:, : len(kept)]
    values, vectors = torch.linalg.eigh(x @ x.T / n)
    kept = _positive(values.flip(0))
    return kept, vectors.flip(1)[:, : len(kept)] * (n * kept).sqrt()


def _eigenvalues(x: Float[Tensor, "n d"]) -> Float[Tensor, " r"]:
    gram = x.T @ x if x.shape[1] <= len(x) else x @ x.T
    return _positive(torch.linalg.eigvalsh(gram / len(x)).flip(0))


def _positive(values: Float[Tensor, " m"]) -> Float[Tensor, " r"]:
    """Those above the rounding of the largest."""
    if not len(values):
        return values
    return values[values > len(values) * 4 * torch.finfo(values.dtype).eps * values[0].clamp_min(0)]
