"""Eigenvalues of a layer's covariance, and the samples along its eigenvectors.

The smaller of the (d, d) covariance and the (n, n) Gram matrix is decomposed, in float64: the tail of a spectrum whose
largest eigenvalue is 1e7 times the smallest is lost in float32. Eigenvalues below the rounding of the largest are zero.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana._cost import Cost, Size
from repana._typing import Features
from repana.summaries._linalg import gram, power_of_two, scaled
from repana.summaries._summary import Layer, Summary
from repana.summaries.moments import Moments

CONSTANT = "every feature is constant"
WIDEST = 4096  # the smaller side; a float64 decomposition above this takes minutes and gigabytes
FEWER = 0.8  # samples of a part for each feature, below which their inner products are the smaller matrix
ROWS = 1024  # of a product at a time


@dataclass(frozen=True)
class Covariance(Summary):
    """The spectrum of one layer.

    `eigenvalues`: the positive ones of S = 1/n sum_i (x_i - m)(x_i - m)', descending; `uncentred`: of 1/n sum x_i x_i'.
    `coordinates` (n, r): x_i - m along the eigenvectors, in float32 for such features, `uncentred_coordinates`
    likewise; None where only moments are known. `halves`: the eigenvalues of two random halves of the samples, from 8
    samples on, and `quarters` of four quarters, from 16 on. `reason` says why there are no eigenvalues. `varying`
    counts the features that are not constant. Features whose squares float64 does not hold are divided by the power of
    two `unit`, which is 1 for all others: then everything here is of features/unit.
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
    def cost(cls, size: Size) -> Cost:
        n, d = size.n, size.d
        side = min(n, d) if min(n, d) <= WIDEST else 0  # of what is decomposed
        rows = 8.0 * n * d
        return Cost(
            flop=31.0 * n * d * side,
            bytes=43 * rows,
            calls=2200,
            peak=2 * rows + 8 * 12.0 * side**2 + min(2 * rows, 2**27) + 1.1e7,
            kept=rows + 8.0 * side**2,
        )

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
        unit = power_of_two(features)
        unit = unit if not 2.0**-256 < unit < 2.0**256 else 1.0
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).to(features.device)
        products = _Products.of(features, unit, order)
        centred, along = products.decomposed(centred=True)
        raw, raw_along = products.decomposed(centred=False)
        halves, quarters = (products.parts(count) if n >= 4 * count else [] for count in (2, 4))
        return cls(
            centred,
            raw,
            n,
            d,
            along,
            raw_along,
            tuple(products.eigenvalues(part, centred=True) for part in halves),
            tuple(products.eigenvalues(part, centred=False) for part in halves),
            tuple(products.eigenvalues(part, centred=True) for part in quarters),
            tuple(products.eigenvalues(part, centred=False) for part in quarters) if n >= 4 * len(raw) else (),
            "" if len(centred) else CONSTANT,
            products.varying,
            unit,
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


@dataclass(frozen=True)
class _Products:
    """Samples less their mean, in a random order, and their products: (d, d) matrices of the pieces that halves and
    quarters are made of, from which those of the whole and of uncentred samples follow; or where features are more
    than samples, inner products.
    """

    moved: Float[Tensor, "n d"]
    mean: Float[Tensor, " d"]
    order: Int[Tensor, " n"]
    cuts: tuple[int, ...]
    grams: tuple[Float[Tensor, "d d"], ...]
    inner: Float[Tensor, "n n"] | None
    dtype: torch.dtype

    @classmethod
    def of(cls, features: Features, unit: float, order: Int[Tensor, " n"]) -> "_Products":
        n, d = features.shape
        moved = features[order].double()
        moved = moved if unit == 1.0 else scaled(moved, unit)
        mean = moved.mean(0)
        moved -= mean
        alive = moved.abs().amax(0) > 8 * torch.finfo(moved.dtype).eps * mean.abs()  # others are constant
        moved[:, ~alive] = 0
        cuts = sorted({end for count in (1, 2, 4) for part in _chunks(n, count) for end in (part.start, part.stop)})
        grams = tuple(gram(moved[a:b]) for a, b in zip(cuts, cuts[1:])) if d <= n else ()
        return cls(moved, mean, order, tuple(cuts), grams, moved @ moved.T if d > n else None, features.dtype)

    @property
    def varying(self) -> int:
        return int((self.moved != 0).any(0).sum())

    def parts(self, count: int) -> list[slice]:
        return _chunks(len(self.moved), count)

    def eigenvalues(self, part: slice, *, centred: bool) -> Float[Tensor, " r"]:
        """The positive ones of x'x/n over some samples, descending."""
        n = part.stop - part.start
        return _positive(torch.linalg.eigvalsh(self._matrix(part, centred) / n).flip(0))

    def decomposed(self, *, centred: bool) -> tuple[Float[Tensor, " r"], Float[Tensor, "n r"]]:
        """Positive eigenvalues of x'x/n, descending, and the samples along their eigenvectors, in the order in which
        they came and the precision of the features."""
        n, whole = len(self.moved), slice(0, len(self.moved))
        values, vectors = torch.linalg.eigh(self._matrix(whole, centred) / n)
        values = _positive(values.flip(0))
        vectors = vectors.flip(1)[:, : len(values)]
        along = self.moved.new_empty(n, len(values), dtype=torch.promote_types(self.dtype, torch.float32))
        for rows in _blocks(n):
            found = vectors[rows] * (n * values).sqrt()
            if self.inner is None:
                found = self.moved[rows] @ vectors
                found = found if centred else found + self.mean @ vectors
            along[self.order[rows]] = found.to(along.dtype)
        return values, along

    def _matrix(self, part: slice, centred: bool) -> Float[Tensor, "m m"]:
        """X'X of some samples, or XX' where they are much fewer than features."""
        n, d = part.stop - part.start, self.moved.shape[1]
        if self.inner is not None or n < FEWER * d:
            rows = self.moved[part]
            inner = rows @ rows.T if self.inner is None else self.inner[part, part]
            if centred:
                means = inner.mean(0)
                return inner - means - means[:, None] + means.mean()
            along = rows @ self.mean
            return inner + along + along[:, None] + self.mean.square().sum()
        pieces = zip(self.grams, self.cuts, self.cuts[1:])
        total = torch.stack([g for g, a, b in pieces if part.start <= a and b <= part.stop]).sum(0)
        sums = self.moved[part].sum(0)
        if centred:
            return total - sums.outer(sums) / n
        mixed = sums.outer(self.mean)
        return total + mixed + mixed.T + n * self.mean.outer(self.mean)


def _chunks(n: int, count: int) -> list[slice]:
    """As `torch.chunk` has them."""
    size = -(-n // count)
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def _blocks(n: int) -> list[slice]:
    return [slice(start, min(start + ROWS, n)) for start in range(0, n, ROWS)]


def _positive(values: Float[Tensor, " m"]) -> Float[Tensor, " r"]:
    """Those above the rounding of the largest."""
    if not len(values):
        return values
    return values[values > len(values) * 4 * torch.finfo(values.dtype).eps * values[0].clamp_min(0)]
