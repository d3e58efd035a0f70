"""Distances between all samples of a layer: by a matrix product, those of near pairs by differences.

|x|^2 + |y|^2 - 2 x.y errs by some roundings of |x|^2 + |y|^2, whatever the distance. In float64 that matters for pairs
closer than 1e-4 of their lengths, which are measured by differences instead. Many samples of float32 features are
multiplied in float32, where it matters from 5e-2 on; where so many pairs are that close, as in collapsed classes, the
rows are multiplied again in float64.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana.summaries._linalg import full_precision

NEAR = 1e-8  # of |x|^2 + |y|^2: a squared distance below this is taken again by differences
ROUNDING = 4e-15  # of |x|^2 + |y|^2: squared distances by a product that are closer than this are tied
SAME = 1e-12  # of the squared distance: those by differences
NEAR_SINGLE = 3e-3  # the same as NEAR for products in float32
EXACT = 1024  # samples up to which products are in float64
CROWDED = 1 / 32  # share of near pairs, from which products in float64 are cheaper than differences
ROWS = 256  # of a block: a product that deep is at full speed, and its distances stay in cache
BLOCK = 2**26  # bytes of distances or differences at a time
KEPT = 2**27  # bytes of distances that are kept


def distances(x: Float[Tensor, "m d"]) -> Float[Tensor, "m m"]:
    """All distances in float64, by one product; those of near pairs by differences."""
    x = x.double()
    x = x - x.mean(0)
    found, _ = squared(x, torch.arange(len(x), device=x.device))
    return found.sqrt_()


def squared(x: Float[Tensor, "m d"], rows: Int[Tensor, " b"]) -> tuple[Float[Tensor, "b m"], Float[Tensor, "b m"]]:
    """Squared distances of some centred rows to all, and how far those of one size may be apart by rounding."""
    squares = x.square().sum(1)
    both = squares[rows, None] + squares
    found = torch.addmm(both, x[rows], x.T, alpha=-2.0).clamp_min_(0)
    close = found < NEAR * both
    close[torch.arange(len(rows), device=x.device), rows] = False
    near = close.nonzero()
    for part in near.split(max(1, BLOCK // (8 * x.shape[1]))):
        found[part[:, 0], part[:, 1]] = (x[rows[part[:, 0]]] - x[part[:, 1]]).square().sum(1)
    found[torch.arange(len(rows), device=x.device), rows] = 0
    return found, torch.where(close, SAME * found, ROUNDING * both)


@dataclass(frozen=True)
class Distances:
    """Distances between the rows of `x`, float64. `single` says that they were float32 features, so that products of
    many may be in float32: then a distance is within 1e-4 of itself, and sums of many within 1e-6.
    """

    x: Float[Tensor, "n d"]
    single: bool = False

    @property
    def n(self) -> int:
        return len(self.x)

    @property
    def exact(self) -> bool:
        """Whether products are in float64."""
        return not (self.single and self.many(self.n))

    @staticmethod
    def many(n: int) -> bool:
        """Whether there are so many samples that float32 features are multiplied in float32."""
        return n > EXACT

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64 if self.exact else torch.float32

    def columns(self) -> Iterator[tuple[slice, Float[Tensor, "n b"]]]:
        """Some samples at a time, and the distances of all to these. They are not to be written to."""
        for part in self._parts():
            if self._matrix is None:
                yield part, self._of(0, self._at(part))
            else:
                yield part, self._matrix[:, part].contiguous()

    def lower_columns(self) -> Iterator[tuple[slice, Float[Tensor, "m b"]]]:
        """Some samples at a time, and the distances of these and of all behind them to these."""
        for part in self._parts():
            yield part, self._of(part.start, self._at(part))

    def rows(self) -> Iterator[tuple[slice, Float[Tensor, "b n"]]]:
        """Some samples at a time, and their distances to all."""
        for part in self._parts():
            yield part, self.of_rows(self._at(part)) if self._matrix is None else self._matrix[part]

    def of_rows(self, rows: Int[Tensor, " b"]) -> Float[Tensor, "b n"]:
        """The distances of some samples to all."""
        return self._of(0, rows).T if self._matrix is None else self._matrix[rows]

    def _parts(self) -> Iterator[slice]:
        size = max(16, min(ROWS, BLOCK // (8 * self.n)))
        for start in range(0, self.n, size):
            yield slice(start, min(start + size, self.n))

    def _at(self, part: slice) -> Int[Tensor, " b"]:
        return torch.arange(part.start, part.stop, device=self.x.device)

    @cached_property
    def _matrix(self) -> Float[Tensor, "n n"] | None:
        """All of them, of which one half is computed and the other mirrored; None where they take too much memory."""
        if self.n**2 * self.dtype.itemsize > KEPT:
            return None
        found = torch.empty(self.n, self.n, dtype=self.dtype, device=self.x.device)
        for part, block in self.lower_columns():
            found[part.start :, part] = block
            found[part, part.stop :] = block[part.stop - part.start :].T
        return found

    @cached_property
    def _moved(self) -> Float[Tensor, "n d"]:
        return self.x - self.x.mean(0)

    @cached_property
    def _ready(self) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
        """What the product reads: centred rows and their squared lengths."""
        moved = self._moved.to(self.dtype)
        return moved, moved.square().sum(1)

    def _of(self, start: int, columns: Int[Tensor, " b"]) -> Float[Tensor, "m b"]:
        return self._squared(start, columns, self.dtype).clamp_min_(0).sqrt_()

    def _squared(self, start: int, columns: Int[Tensor, " b"], dtype: torch.dtype) -> Float[Tensor, "m b"]:
        """Of all rows from `start` on, which are to hold the columns."""
        moved, squares = self._ready
        if dtype != moved.dtype:
            moved, squares = self._moved, self._moved.square().sum(1)
        lengths, across = squares[columns], squares[start:]
        with full_precision():
            found = moved[start:] @ (-2 * moved[columns]).T
        found.add_(lengths).add_(across[:, None])
        here, place = torch.arange(len(columns), device=found.device), columns - start
        found[place, here] = torch.inf
        limit = NEAR_SINGLE if dtype == torch.float32 else NEAR
        low = (found.amin(1) < limit * (across + lengths.amax())).nonzero()[:, 0]
        if len(low):
            near = (found[low] < limit * (across[low, None] + lengths)).nonzero()
            if dtype == torch.float32 and len(near) > CROWDED * found.numel():
                return self._squared(start, columns, torch.float64).float()
            self._by_differences(found, low[near[:, 0]], near[:, 1], start, columns)
        found[place, here] = 0
        return found

    def _by_differences(self, found: Tensor, row: Tensor, column: Tensor, start: int, columns: Tensor) -> None:
        size = max(1, BLOCK // (8 * self.x.shape[1]))
        for i, j in zip(row.split(size), column.split(size)):
            found[i, j] = (self.x[i + start] - self.x[columns[j]]).square().sum(1).to(found.dtype)
