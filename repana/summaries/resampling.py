"""Replicates of class means and projected scatter: the bootstrap within classes and the permutation of labels.

A replicate is what a formula over class means and within-class scatter reads, so the formula itself is written once
and called again on each replicate. All replicates of the means come from one matrix product per class.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana._typing import Features, Labels
from repana.summaries.moments import CHUNK_BYTES, Moments

FEWEST = 20  # replicates below which a standard error is not worth printing
BUDGET = 2e11  # floating-point operations for all replicates of one layer: some seconds on two cores
BLOCK_BYTES = 2**28


@dataclass(frozen=True)
class Sample:
    """Weighted samples by class: the class statistics, and the within-class scatter along chosen directions.

    The scatter is read from the (d, d) matrix where there is one, else from the rows: `rows` less `pilot` of their
    class, the classes given by `slot`, each row counted `weight` times.
    """

    count: Int[Tensor, " c"]
    mean: Float[Tensor, "c d"]
    trace: Float[Tensor, " c"]
    scatter: Float[Tensor, "d d"] | None = None
    rows: Features | None = None
    pilot: Float[Tensor, "c d"] | None = None
    slot: Labels | None = None
    weight: Float[Tensor, " n"] | None = None

    @classmethod
    def of(cls, moments: Moments, features: Features | None = None, slot: Labels | None = None) -> "Sample":
        """The data as they are, from their moments, and from the features where the moments have no scatter."""
        m = moments
        if m.scatter is not None or features is None:
            return cls(m.count, m.mean, m.trace, m.scatter)
        return cls(m.count, m.mean, m.trace, rows=features, pilot=m.mean.to(working(features)), slot=slot)

    def along(self, directions: Float[Tensor, "r d"], class_weight: Float[Tensor, " c"]) -> float:
        """sum_c class_weight_c / n_c * sum_{i in c} |directions (x_i - mean_c)|^2; NaN where rows are not at hand."""
        if self.scatter is not None:
            share = class_weight / self.count
            if float(share.max() - share.min()) > 1e-9 * float(share.max()):
                return float("nan")  # a pooled scatter cannot be weighted by class afterwards
            return float(((directions @ self.scatter) * directions).sum() * share.mean())
        if self.rows is None or self.slot is None:
            return float("nan")
        squares = self._squares(directions)
        if self.weight is not None:
            squares = squares * self.weight
        here = torch.zeros_like(self.trace).index_add_(0, self.slot, torch.ones_like(squares))
        sums = torch.zeros_like(self.trace).index_add_(0, self.slot, squares)
        if self.pilot is not None:
            offset = (self.mean - self.pilot.double()) @ directions.T
            sums = (sums - here * offset.square().sum(1)).clamp_min(0)
        return float((class_weight / here * sums).sum())

    def _squares(self, directions: Float[Tensor, "r d"]) -> Float[Tensor, " n"]:
        """|directions (row - pilot)|^2 of every row, the differences formed where they are read."""
        rows, slot, pilot = self.rows, self.slot, self.pilot
        assert rows is not None
        assert slot is not None
        assert pilot is not None
        to = directions.T.to(pilot.dtype)
        out = torch.empty(len(rows), dtype=torch.float64, device=rows.device)
        step = max(32, CHUNK_BYTES // (4 * rows.shape[1]))
        buffer = torch.empty(step, rows.shape[1], dtype=pilot.dtype, device=rows.device)
        for start in range(0, len(rows), step):
            chunk = rows[start : start + step]
            e = buffer[: len(chunk)]
            torch.index_select(pilot, 0, slot[start : start + step], out=e)
            torch.sub(chunk.to(pilot.dtype), e, out=e)
            out[start : start + step] = (e @ to).square_().sum(1)
        return out


def bootstrap(
    features: Features, slot: Labels, moments: Moments, replicates: int, generator: torch.Generator
) -> Iterator[Sample]:
    """Samples drawn with replacement within every class, with the same class sizes."""
    c, d = len(moments.classes), moments.d
    pilot = moments.mean.to(working(features))
    e = features.to(pilot.dtype) - pilot[slot]
    base = pilot.double()
    norms = e.square().sum(1).double()
    members = [(slot == k).nonzero()[:, 0] for k in range(c)]
    count = torch.tensor([len(at) for at in members], device=features.device)
    block = max(1, min(replicates, BLOCK_BYTES // (8 * (c * d + len(slot)))))
    for start in range(0, replicates, block):
        size = min(block, replicates - start)
        weight = norms.new_zeros(size, len(slot))
        shift = norms.new_zeros(size, c, d)
        trace = norms.new_zeros(size, c)
        for k, at in enumerate(members):
            draws = torch.randint(len(at), (size, len(at)), generator=generator)
            w = torch.zeros(draws.shape, dtype=norms.dtype)
            w = w.scatter_add_(1, draws, torch.ones_like(w)).to(norms.device)
            weight[:, at] = w
            shift[:, k] = (w.to(e.dtype) @ e[at]).double() / len(at)
            trace[:, k] = (w @ norms[at] - len(at) * shift[:, k].square().sum(1)).clamp_min(0)
        for r in range(size):
            yield Sample(count, base + shift[r], trace[r], None, features, pilot, slot, weight[r])


def permuted(
    features: Features, slot: Labels, replicates: int, generator: torch.Generator
) -> Iterator[tuple[Sample, Labels]]:
    """The same features under shuffled labels: no class structure, everything else as it was."""
    for _ in range(replicates):
        shuffled = slot[torch.randperm(len(slot), generator=generator).to(slot.device)]
        yield Sample.of(Moments.of(features, shuffled), features, shuffled), shuffled


def working(features: Features) -> torch.dtype:
    """The precision of matrix products over features: float64 stays, everything else is float32."""
    return torch.float64 if features.dtype == torch.float64 else torch.float32


def affordable(replicates: int, n: int, d: int, c: int) -> int:
    """How many of the wanted replicates fit the budget; never fewer than a standard error needs."""
    cost = 2.0 * n * d * (2 + min(c, d))
    return min(replicates, max(FEWEST, int(BUDGET / max(cost, 1.0))))
