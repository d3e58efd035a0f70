"""The distance-based separability index: distances inside a class against those to other classes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from repana.summaries.distances import Distances, squared
from repana.summaries.resampling import class_sums

TIED, TIED_SINGLE = 1e-9, 1e-6  # squared distances closer than this, relatively, are equal; those by float32 products
BINS, FILLED = 1024, 64  # of all distances, alike in number: so many, or as many as so many distances fill
SAMPLED = 600  # samples whose distances are the edges of the bins
BEYOND = 1e-5  # of an edge: so far it lies above the distance that it was read from, out of reach of rounding
MANTISSA = 8  # bits of a float32 that a bin's edge need not tell apart
PAIRS, COUNTS = 2**22, 2**20  # of samples, and of a class in a bin, that are counted at a time


@dataclass(frozen=True)
class OrderedPairs:
    """Pairs of few samples in the order of their distances; `group` numbers distances that are equal but for rounding.

    A pair counts for one class or for two, whatever the number of classes. A counting sort by class keeps the order of
    distances, so that running sums are the distribution functions of all classes.
    """

    first: Int[np.ndarray, " q"]
    second: Int[np.ndarray, " q"]
    group: Int[np.ndarray, " q"]

    @classmethod
    def of(cls, square: Float[Tensor, "m m"]) -> "OrderedPairs":
        """From squared distances."""
        i, j = (index.astype(np.int32) for index in np.triu_indices(len(square), 1))
        values = square.cpu().numpy()[i, j]
        order = np.argsort(values, kind="stable").astype(np.int32)
        ordered = values[order]
        group = np.zeros(len(ordered), np.int32)
        if len(ordered):
            apart = np.diff(ordered) > TIED * ordered[:-1] + TIED**2 * ordered[-1:]
            apart.cumsum(dtype=np.int32, out=group[1:])
        return cls(i[order], j[order], group)

    def among(self, kept: Bool[np.ndarray, " m"]) -> "OrderedPairs":
        """Those of some samples, which are numbered anew."""
        both = kept[self.first] & kept[self.second]
        place = (kept.cumsum() - 1).astype(np.int32)
        return OrderedPairs(place[self.first[both]], place[self.second[both]], self.group[both])

    def dsi(self, codes: Int[Tensor, " m"], classes: int) -> Float[Tensor, " c"]:
        """The Kolmogorov-Smirnov distance of the inner distances of every class from its outer ones; NaN for one
        sample."""
        y = codes.cpu().numpy().astype(np.uint16 if classes < 2**16 else np.int64)
        owners = np.stack([y[self.first], y[self.second]], 1)
        inside = owners[:, 0] == owners[:, 1]
        counted = np.ones(owners.shape, bool)
        counted[:, 1] = ~inside
        flat = counted.ravel().nonzero()[0].astype(np.int32)
        owner = owners.ravel()[flat]
        order = np.argsort(owner, kind="stable").astype(np.int32)
        owner, row = owner[order], flat[order] >> 1
        del flat, order, owners, counted
        n = np.bincount(y, minlength=classes).astype(float)
        inner, outer = n * (n - 1) / 2, n * (len(y) - n)
        step = np.where(inside[row], (1 / inner.clip(1))[owner], (-1 / outer.clip(1))[owner])
        walk = np.zeros(len(step) + 1)
        step.cumsum(out=walk[1:])
        del step
        size = (inner + outer).astype(np.int64)
        start = size.cumsum() - size
        group = self.group[row]
        last = np.ones(len(owner), bool)
        last[:-1] = (owner[1:] != owner[:-1]) | (group[1:] != group[:-1])
        at = last.nonzero()[0].astype(np.int32)
        gap = walk[1:][at]
        gap -= walk[start[owner[at]]]
        np.abs(gap, out=gap)
        found = np.full(classes, np.nan)
        some = size > 0
        if some.any():
            found[some] = np.maximum.reduceat(gap, np.searchsorted(at, start[some]))
        found[(inner == 0) | (outer == 0)] = np.nan
        return torch.from_numpy(found)


@dataclass(frozen=True)
class _Range:
    """Squared distances between `low` and `high`, beside `inner` and `outer` smaller ones of `all_inner` and
    `all_outer`; those closer than `tied`, relatively, are equal."""

    low: float
    high: float
    inner: float
    outer: float
    all_inner: float
    all_outer: float
    tied: float


def _largest_gap(inner: np.ndarray, outer: np.ndarray, of: _Range) -> float:
    """The largest difference of two distribution functions at the jumps inside a range of distances: it lies at a jump
    of the one or just before it, and jumps that rounding sets apart are one."""
    inner, outer = np.sort(inner), np.sort(outer)
    m, o = of.all_inner, of.all_outer
    top = max(part[-1] for part in (inner, outer) if len(part))
    jumps = inner[(inner >= of.low) & (inner <= of.high)]
    tie = of.tied * jumps + of.tied**2 * top
    above, below = jumps + tie, jumps - tie

    def share(values: np.ndarray, at: np.ndarray, before: float, count: float, side: str) -> np.ndarray:
        return (before + np.searchsorted(values, at, side)) / count  # type: ignore[call-overload]

    up = share(inner, above, of.inner, m, "right") - share(outer, above, of.outer, o, "right")
    down = share(outer, below, of.outer, o, "left") - share(inner, below, of.inner, m, "left")
    return max(float(up.max()), float(down.max()), 0.0)


@dataclass(frozen=True)
class BinnedDistances:
    """Which of some bins every distance lies in; the bins hold alike many, and a difference of two distribution
    functions read at their edges is at most one bin's share too small.

    `rows` (n, bins) counts the distances of each sample.
    """

    distances: Distances
    bins: Int[Tensor, "n n"]
    rows: Float[Tensor, "n b"]

    @classmethod
    def of(cls, distances: Distances, seed: int = 0) -> "BinnedDistances":
        cells = _Cells.of(distances, seed)
        n = distances.n
        bins = torch.empty(n, n, dtype=torch.int16, device=distances.x.device)
        rows = torch.zeros(n, cells.bins, device=bins.device)
        for part, block in distances.rows():
            found = cells.bins_of(block)
            bins[part] = found
            here = torch.arange(len(found), device=bins.device)
            count = torch.bincount((found + here[:, None] * cells.bins).flatten(), minlength=len(found) * cells.bins)
            rows[part] = count.view(len(found), -1).float()
            rows[part].scatter_add_(1, found[here, here + part.start].long()[:, None], -rows.new_ones(len(found), 1))
        return cls(distances, bins, rows)

    def exact(self, codes: Int[Tensor, " n"], classes: int) -> Float[Tensor, " c"]:
        """The index of every class, as `OrderedPairs.dsi`; the bins say where among the distances the largest gap can
        be."""
        found = torch.full((classes,), torch.nan, dtype=torch.float64)
        for k in range(classes):
            rows = (codes == k).nonzero()[:, 0]
            if 1 < len(rows) < len(codes):
                found[k] = _OneClass(self, rows, codes == k).largest_gap()
        return found

    def dsi(self, labels: Int[Tensor, "p n"], classes: int) -> Float[Tensor, " p"]:
        """The mean over classes of the index, for each labelling of the same classes, read at the edges of the bins."""
        counts = torch.bincount(labels[0], minlength=classes)
        first, second, of = self._pairs_inside(counts)
        found: list[float] = []  # small tensors kept between large ones would pin the heap
        for some in labels.split(max(1, min(PAIRS // max(len(of), 1), COUNTS // (classes * self.rows.shape[1])))):
            inner = self._inner(some, first, second, of, classes)
            outer = class_sums(self.rows, some, classes).double() - inner
            share = inner.cumsum(2) / inner.sum(2, keepdim=True) - outer.cumsum(2) / outer.sum(2, keepdim=True)
            found += share.abs().amax(2).nanmean(1).tolist()
        return torch.tensor(found, dtype=torch.float64)

    def _inner(
        self, labels: Int[Tensor, "p n"], first: Tensor, second: Tensor, of: Tensor, classes: int
    ) -> Float[Tensor, "p c b"]:
        """How many ordered pairs inside each class every bin holds."""
        width = self.rows.shape[1]
        order = labels.argsort(dim=1, stable=True)
        bins = self.bins[order[:, first], order[:, second]].long()
        places = torch.arange(len(labels), device=labels.device)[:, None] * classes + of
        counted = torch.bincount((places * width + bins).flatten(), minlength=len(labels) * classes * width)
        return 2.0 * counted.view(len(labels), classes, width).double()

    @staticmethod
    def _pairs_inside(counts: Int[Tensor, " c"]) -> tuple[Int[Tensor, " q"], Int[Tensor, " q"], Int[Tensor, " q"]]:
        """The pairs of one class among samples in the order of their classes, and the class of each pair."""
        start, parts = 0, []
        for k, count in enumerate(counts.tolist()):
            i, j = torch.triu_indices(count, count, 1, device=counts.device) + start
            parts.append(torch.stack([i, j, torch.full_like(i, k)]))
            start += count
        first, second, of = torch.cat(parts, 1)
        return first, second, of


@dataclass(frozen=True)
class _Cells:
    """Bins by the leading bits of a float32: positive ones are in the order of their bits. `bin_of` says in which bin
    each of the cells from `first` on lies."""

    first: int
    bin_of: Int[Tensor, " q"]
    bins: int

    @classmethod
    def of(cls, distances: Distances, seed: int) -> "_Cells":
        """The edges are quantiles of the distances of some samples."""
        x, n = distances.x, distances.n
        generator = torch.Generator().manual_seed(seed)
        some = torch.randperm(n, generator=generator)[:SAMPLED].to(x.device)
        few = x[some] - x.mean(0)
        square = squared(few, torch.arange(len(some), device=x.device))[0]
        i, j = torch.triu_indices(len(square), len(square), 1, device=x.device)
        found = square[i, j].sqrt().float()
        bins = max(2, min(BINS, n * (n - 1) // 2 // FILLED))
        edges = torch.quantile(found, torch.linspace(0, 1, bins + 1, device=x.device)[1:-1]) * (1 + BEYOND)
        at = torch.unique(cls._cell(edges))
        first, last = int(at[0]), int(at[-1])
        inside = torch.zeros(last - first + 2, dtype=torch.int64, device=x.device)
        inside[at - first + 1] = 1  # the cell of an edge is the last of the bin below
        return cls(first, inside.cumsum(0).to(torch.int16), len(at) + 1)

    @staticmethod
    def _cell(values: Float[Tensor, "*s"]) -> Int[Tensor, "*s"]:
        return values.view(torch.int32) >> MANTISSA

    def bins_of(self, distances: Float[Tensor, "b n"]) -> Int[Tensor, "b n"]:
        cell = self._cell(distances.float().contiguous()).sub_(self.first).clamp_(0, len(self.bin_of) - 1)
        return self.bin_of[cell]


@dataclass(frozen=True)
class _OneClass:
    """The samples of one class among all, and how often each bin holds their distances."""

    binned: BinnedDistances
    rows: Int[Tensor, " m"]
    mine: Tensor

    def largest_gap(self) -> float:
        bins = self.binned.bins[self.rows]
        width = self.binned.rows.shape[1]
        own = bins[:, self.rows]
        inner = torch.bincount(own.flatten().long(), minlength=width)
        inner -= torch.bincount(own.diagonal().long(), minlength=width)
        outer = self.binned.rows[self.rows].sum(0).long() - inner
        inner, outer = (torch.nn.functional.pad(t.double().cumsum(0), (1, 0)) for t in (inner, outer))
        f, g = inner / inner[-1], outer / outer[-1]
        most = torch.maximum(f[1:] - g[:-1], g[1:] - f[:-1])  # of the gap inside each bin
        most[inner.diff() == 0] = 0.0
        best, at = 0.0, most.argmax()[None]
        for _ in range(2):  # in the bin where most is possible, then wherever as much is
            low, high = int(at.min()), int(at.max())
            best = max(best, self._gap_between(bins, own, low, high, inner, outer))
            at = (most > best).nonzero()[:, 0]
            if not len(at) or (low <= int(at.min()) and int(at.max()) <= high):
                break
        return best

    def _gap_between(self, bins: Tensor, own: Tensor, low: int, high: int, inner: Tensor, outer: Tensor) -> float:
        """The largest gap at distances in the bins from `low` to `high`; those beside them are read too, as distances
        may be tied across an edge."""
        first, last = max(low - 1, 0), min(high + 1, len(inner) - 2)
        values, places = [], []
        for part, block in self._blocks():
            here = bins[part]
            row, column = ((here >= first) & (here <= last)).nonzero().unbind(1)
            values.append(block[row, column])
            places.append(torch.stack([row + part.start, column, here[row, column].long()]))
        value, (row, column, of) = torch.cat(values).double().square(), torch.cat(places, 1)
        mine, itself = self.mine[column], self.rows[row] == column
        core = (of >= low) & (of <= high)
        if not bool((core & mine & ~itself).any()):
            return 0.0
        inside = value[core & mine & ~itself]
        of_range = _Range(
            float(inside.min()), float(inside.max()), float(inner[first]), float(outer[first]), float(inner[-1]),
            float(outer[-1]), TIED if self.binned.distances.exact else TIED_SINGLE,
        )  # fmt: skip
        return _largest_gap(value[mine & ~itself].cpu().numpy(), value[~mine].cpu().numpy(), of_range)

    def _blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Some of the class's samples at a time, and their distances to all."""
        for start in range(0, len(self.rows), 256):
            part = slice(start, start + 256)
            yield part, self.binned.distances.of_rows(self.rows[part])
