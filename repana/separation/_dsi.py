"""The distance-based separability index: distances inside a class against those to other classes."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana.summaries.forest import squared
from repana.summaries.resampling import class_sums

TIED = 1e-9  # squared distances closer than this, relatively, are equal
BINS = 1024  # of all distances, alike in number, where labels are permuted
SAMPLED = 600  # samples whose distances are the edges of the bins
BLOCK = 2**26  # bytes of distances at a time
PAIRS = 2**22  # counted at a time


def dsi(x: Float[Tensor, "n d"], codes: Int[Tensor, " n"], classes: int) -> Float[Tensor, " c"]:
    """The Kolmogorov-Smirnov distance of the inner distances of every class from its outer ones; NaN for one sample."""
    x = x - x.mean(0)
    found = torch.full((classes,), torch.nan, dtype=torch.float64)
    for k in range(classes):
        rows = (codes == k).nonzero()[:, 0]
        if 1 < len(rows) < len(codes):
            found[k] = _largest_gap(*_inner_and_outer(x, rows, codes == k))
    return found


def _inner_and_outer(x: Tensor, rows: Tensor, mine: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Sorted squared distances of pairs inside a class, and of its samples to all others."""
    inner, outer = [], []
    for part in rows.split(max(16, BLOCK // (8 * len(x)))):
        block = squared(x, part)[0]
        own = block[:, mine]
        inner.append(own[part[:, None] < rows].cpu().numpy())
        outer.append(block[:, ~mine].flatten().cpu().numpy())
    return np.sort(np.concatenate(inner)), np.sort(np.concatenate(outer))


def _largest_gap(inner: np.ndarray, outer: np.ndarray) -> float:
    """The largest difference of two distribution functions, which lies at a jump of the one or just before it; jumps
    that rounding sets apart are one."""
    m, o, tie = len(inner), len(outer), TIED * inner + TIED**2 * max(inner[-1], outer[-1])
    above, below = inner + tie, inner - tie
    up = np.searchsorted(inner, above, "right") / m - np.searchsorted(outer, above, "right") / o
    down = np.searchsorted(outer, below, "left") / o - np.searchsorted(inner, below, "left") / m
    return max(float(up.max()), float(down.max()), 0.0)


@dataclass(frozen=True)
class BinnedDistances:
    """Which of some bins every distance lies in; the bins hold alike many, and a difference of two distribution
    functions read at their edges is at most one bin's share too small.

    `rows` (n, bins) counts the distances of each sample.
    """

    bins: Int[Tensor, "n n"]
    rows: Float[Tensor, "n b"]

    @classmethod
    def of(cls, x: Float[Tensor, "n d"], seed: int = 0) -> "BinnedDistances":
        x = x - x.mean(0)
        n = len(x)
        generator = torch.Generator().manual_seed(seed)
        some = torch.randperm(n, generator=generator)[:SAMPLED].to(x.device)
        few = squared(x[some], torch.arange(len(some), device=x.device))[0]
        i, j = torch.triu_indices(len(few), len(few), 1, device=x.device)
        edges = torch.quantile(
            few[i, j][:: max(1, len(i) // 2**22)], torch.linspace(0, 1, BINS + 1, device=x.device).to(few)[1:-1]
        )
        edges = (edges.unique() * (1 + TIED)).contiguous()
        bins = torch.empty(n, n, dtype=torch.int16, device=x.device)
        rows = torch.zeros(n, len(edges) + 1, device=x.device)
        for part in torch.arange(n, device=x.device).split(max(16, BLOCK // (8 * n))):
            block = squared(x, part)[0]
            found = torch.bucketize(block, edges, out_int32=True)
            bins[part] = found.to(torch.int16)
            offset = torch.arange(len(part), device=x.device)[:, None] * (len(edges) + 1)
            count = torch.bincount((found + offset).flatten(), minlength=len(part) * (len(edges) + 1))
            rows[part] = count.view(len(part), -1).float()
            rows[part, found.gather(1, part[:, None]).long()[:, 0]] -= 1  # itself
        return cls(bins, rows)

    def dsi(self, labels: Int[Tensor, "p n"], classes: int) -> Float[Tensor, " p"]:
        """The mean over classes of the index, for each labelling of the same classes, read at the edges of the bins."""
        counts = torch.bincount(labels[0], minlength=classes)
        first, second, of = self._pairs_inside(counts)
        found = []
        for some in labels.split(max(1, PAIRS // max(len(of), classes * self.rows.shape[1]))):
            inner = self._inner(some, first, second, of, classes)
            outer = class_sums(self.rows, some, classes).double() - inner
            share = inner.cumsum(2) / inner.sum(2, keepdim=True) - outer.cumsum(2) / outer.sum(2, keepdim=True)
            found.append(share.abs().amax(2).nanmean(1))
        return torch.cat(found).cpu()

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
