"""Replicates of class means and projected scatter: the bootstrap within classes and the permutation of labels.

A replicate is what a formula over class means and within-class scatter reads, so the formula itself is written once
and called again on each replicate. All replicates of the means come from one matrix product per class.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana._typing import Features, Labels
from repana.summaries.moments import CHUNK_BYTES, Moments

FEWEST = 20  # replicates below which a standard error is not worth printing
BUDGET = 2e11  # floating-point operations for all replicates of one layer: some seconds on two cores
BLOCK_BYTES = 2**26
PRODUCT_ROWS = 2048
SMALL = 1024  # rows up to which the scatter of all replicates is one product
OUTER_ROWS = 256  # of a symmetric product at a time: only one half of it is formed
SQUARES = (1e-12, 1e12)  # spreads whose products stay well inside float32
ONE_HOT = 64  # classes up to which sums over them are a product
PRODUCT = 2**19  # numbers times classes up to which that product is faster than the calls of additions
DIRECT = 2.5e7  # squared length of rows over variance, up to which float32 rounding stays below 1e-7 of the variance


@dataclass(frozen=True)
class Sample:
    """Weighted samples by class: the class statistics, and the within-class scatter along chosen directions.

    The scatter is read from the (d, d) matrix where there is one, else from the rows: `rows` less `pilot` of their
    class, the classes given by `slot`, each row counted `weight` times. With `fixed`, `mean` are given centres and not
    the means of the rows. `total` is the scatter of all rows around their mean, `origin`.
    """

    count: Int[Tensor, " c"]
    mean: Float[Tensor, "c d"]
    trace: Float[Tensor, " c"]
    scatter: Float[Tensor, "d d"] | None = None
    rows: Features | None = None
    pilot: Float[Tensor, "c d"] | None = None
    slot: Labels | None = None
    weight: Float[Tensor, " n"] | None = None
    fixed: bool = False
    total: Float[Tensor, "d d"] | None = None
    origin: Float[Tensor, " d"] | None = None

    @classmethod
    def of(
        cls,
        moments: Moments,
        features: Features | None = None,
        slot: Labels | None = None,
        centres: Float[Tensor, "c d"] | None = None,
    ) -> "Sample":
        """The data as they are, from their moments, and from the features where the moments have no scatter."""
        m, fixed = moments if centres is None else moments.around(centres), centres is not None
        if features is None:
            return cls(m.count, m.mean, m.trace, m.scatter, fixed=fixed)
        return cls(m.count, m.mean, m.trace, m.scatter, features, m.mean.to(working(features)), slot, fixed=fixed)

    def within(self, basis: Float[Tensor, "r d"], class_weight: Float[Tensor, " c"]) -> Float[Tensor, "r r"]:
        """basis Sw basis', Sw = sum_c class_weight_c / n_c sum_{i in c} (x_i - m_c)(x_i - m_c)'; NaN without rows."""
        share = class_weight / self.count
        even = float(share.max() - share.min()) <= 1e-9 * float(share.max())
        if self.scatter is not None and even:  # pooled: it cannot be weighted by class afterwards
            return basis @ self.scatter @ basis.T * share.mean()
        if self.rows is None or self.slot is None or self.pilot is None:
            return torch.full((len(basis), len(basis)), torch.nan, dtype=basis.dtype, device=basis.device)
        size = float((self.trace / self.count).max()) ** 0.5
        if self.pilot.dtype != torch.float64 and size and not SQUARES[0] < size < SQUARES[1]:
            wide = replace(self, rows=self.rows.double(), pilot=self.pilot.double())
            return wide.within(basis, class_weight)
        here = torch.bincount(self.slot, minlength=len(self.count)).clamp_min(1)
        weight = (class_weight / here)[self.slot]
        if self.weight is not None:
            weight = weight * self.weight
        centre = self.mean @ basis.T
        total = self._products(basis, weight, centre)
        length = float(self.mean.square().sum(1).max())
        if not bool((total.diagonal() * DIRECT >= length).all()):
            total = self._products(basis, weight, None)
        return total

    def _products(
        self,
        basis: Float[Tensor, "r d"],
        weight: Float[Tensor, " n"],
        centre: Float[Tensor, "c r"] | None,
    ) -> Float[Tensor, "r r"]:
        """sum_i weight_i z_i z_i' less its class means, of z = basis row - centre, or z = basis (row - pilot).

        The first needs one matrix product; its rounding grows with the length of the rows. The second forms the
        differences first, and is as exact as they are.
        """
        rows, slot, pilot = self.rows, self.slot, self.pilot
        assert rows is not None
        assert slot is not None
        assert pilot is not None
        to, c = basis.to(pilot.dtype).contiguous(), len(self.count)
        shift = None if centre is None else centre.T.to(pilot.dtype).contiguous()
        total, sums = basis.new_zeros(len(basis), len(basis)), basis.new_zeros(len(basis), c)
        step = max(32, CHUNK_BYTES // (4 * rows.shape[1]))
        deep = max(PRODUCT_ROWS, len(basis))
        buffer = torch.empty(step, rows.shape[1], dtype=pilot.dtype, device=rows.device)
        for outer in range(0, len(rows), deep):
            part, at = rows[outer : outer + deep].to(pilot.dtype), slot[outer : outer + deep]
            if shift is not None:
                z = (to @ part.T).sub_(shift.index_select(1, at))  # few rows times many columns: BLAS is quick at it
            else:
                z = torch.empty(len(basis), len(part), dtype=pilot.dtype, device=rows.device)
                for start in range(0, len(part), step):
                    e = buffer[: len(part[start : start + step])]
                    torch.index_select(pilot, 0, at[start : start + step], out=e)
                    torch.sub(part[start : start + step], e, out=e)
                    z[:, start : start + step] = to @ e.T
            w = weight[outer : outer + deep]
            if shift is None:
                sums.index_add_(1, at, z * w)
            z.mul_(w.sqrt().to(z.dtype))
            _add_outer(total, z)
        total = total.tril() + total.tril(-1).T
        if shift is not None or self.fixed:  # around their means up to rounding, whose square DIRECT keeps negligible
            return total
        mass = torch.zeros(c, dtype=total.dtype, device=total.device).index_add_(0, slot, weight)
        sums /= mass.clamp_min(1e-300).sqrt()
        return total - sums @ sums.T


def _add_outer(total: Float[Tensor, "r r"], z: Float[Tensor, "r b"]) -> None:
    """Add the lower half of zz' to the lower half of the total."""
    for start in range(0, len(z), OUTER_ROWS):
        stop = min(start + OUTER_ROWS, len(z))
        total[start:stop, :stop] += z[start:stop] @ z[:stop].T


def withins(
    samples: Sequence[Sample], basis: Float[Tensor, "b r d"], class_weight: Float[Tensor, " c"]
) -> Float[Tensor, "b r r"]:
    """`Sample.within` of several samples of the same rows, along bases with rows of zeros where a direction has no
    length: together where they read one scatter of all rows, or where they are small.
    """
    share, first = class_weight / samples[0].count, samples[0]
    even = float(share.max() - share.min()) <= 1e-9 * float(share.max())
    if first.scatter is None and even and first.total is not None and first.origin is not None:
        means = torch.stack([s.mean for s in samples])
        between = (basis @ (means - first.origin).mT) * first.count.double().sqrt()
        along = basis.to(first.total)
        return ((along @ first.total @ along.mT).double() - between @ between.mT) * share.mean()
    found, left = _together(samples, basis, class_weight)
    for r in left:
        at = (basis[r] != 0).any(1).nonzero()[:, 0]
        if len(at):
            found[r][at[:, None], at] = samples[r].within(basis[r][at], class_weight)
    return found


def _together(
    samples: Sequence[Sample], basis: Float[Tensor, "b r d"], class_weight: Float[Tensor, " c"]
) -> tuple[Float[Tensor, "b r r"], list[int]]:
    """What `Sample._products` gives around the class means, of all samples of a few rows at once; and the samples that
    it is not exact enough for, or all of them where it does not pay."""
    found, first = basis.new_zeros(len(basis), basis.shape[1], basis.shape[1]), samples[0]
    rows, slot, pilot, weights = (
        first.rows,
        first.slot,
        first.pilot,
        [s.weight for s in samples if s.weight is not None],
    )
    every = list(range(len(samples)))
    if rows is None or slot is None or pilot is None or len(weights) < len(samples) or len(rows) > SMALL:
        return found, every
    means = torch.stack([s.mean for s in samples])
    spread = torch.stack([s.trace for s in samples]) / first.count
    here = torch.bincount(slot, minlength=len(first.count)).clamp_min(1)
    weight = torch.stack(weights) * (class_weight / here)[slot]
    to = basis.to(pilot.dtype)
    centre = (means @ basis.mT).to(pilot.dtype)  # (b, c, r)
    z = (rows.to(pilot.dtype) @ to.mT).sub_(centre[:, slot])
    z.mul_(weight.sqrt().to(z.dtype)[:, :, None])
    found = (z.mT @ z).to(basis.dtype)
    size = spread.amax(1).sqrt()
    length = means.square().sum(2).amax(1)
    exact = (found.diagonal(dim1=1, dim2=2) * DIRECT >= length[:, None]) | (basis == 0).all(2)
    sound = exact.all(1) & ((pilot.dtype == torch.float64) | (size == 0) | ((size > SQUARES[0]) & (size < SQUARES[1])))
    again = (~sound).nonzero()[:, 0].tolist()
    found[again] = 0.0
    return found, again


def bootstrapped(
    features: Features,
    slot: Labels,
    moments: Moments,
    replicates: int,
    generator: torch.Generator,
    centres: Float[Tensor, "c d"] | None = None,
) -> Iterator[Sample]:
    """Samples drawn with replacement within every class, with the same class sizes; `centres` are not drawn again."""
    c, d, fixed = len(moments.classes), moments.d, centres is not None
    pilot = (moments.mean if centres is None else centres).to(working(features))
    e = features.to(pilot.dtype) - pilot[slot]
    base = pilot.double()
    norms = e.square().sum(1).double()
    members = [(slot == k).nonzero()[:, 0] for k in range(c)]
    count = torch.tensor([len(at) for at in members], device=features.device)
    block = max(1, min(replicates, BLOCK_BYTES // (8 * (c * d + len(slot)))))
    turn = [int(slot[at[0]]) for at in sorted(members, key=lambda at: int(at[0])) if len(at)]
    for start in range(0, replicates, block):
        size = min(block, replicates - start)
        weight = norms.new_zeros(size, len(slot))
        shift = norms.new_zeros(size, c, d)
        trace = norms.new_zeros(size, c)
        uniform = torch.rand(size, len(slot), dtype=torch.float64, generator=generator)  # the same whatever the block
        for k, u in zip(turn, uniform.split([len(members[k]) for k in turn], dim=1)):
            at = members[k]
            draws = (u * len(at)).long()
            w = torch.zeros(draws.shape, dtype=norms.dtype)
            w = w.scatter_add_(1, draws, torch.ones_like(w)).to(norms.device)
            weight[:, at] = w
            if not fixed:
                shift[:, k] = (w.to(e.dtype) @ e[at]).double() / len(at)
            trace[:, k] = (w @ norms[at] - len(at) * shift[:, k].square().sum(1)).clamp_min(0)
        for r in range(size):
            yield Sample(count, base + shift[r], trace[r], None, features, pilot, slot, weight[r], fixed)


@dataclass(frozen=True)
class Permuted:
    """Class sums under shuffled labels: the samples (less their mean in `rows`) and sums over the classes of an order.

    `labels` (p, n) are class numbers, `means` (p, c, d) class means less the mean of all samples, `traces` (p, c) the
    sums of squared distances to them; all have the class sizes of the data.
    """

    features: Features
    rows: Features
    centre: Float[Tensor, " d"]
    labels: Int[Tensor, "p n"]
    count: Int[Tensor, " c"]
    means: Float[Tensor, "p c d"]
    traces: Float[Tensor, "p c"]

    @classmethod
    def of(
        cls,
        features: Features,
        rows: Features,
        centre: Float[Tensor, " d"],
        slot: Labels,
        orders: Int[Tensor, "p n"],
    ) -> "Permuted":
        """Of features, and these less their mean."""
        labels = slot[orders.to(slot.device)]
        count = torch.bincount(slot)
        squares = rows.double().square().sum(1)
        means = class_sums(rows, labels, len(count)).double() / count[:, None]
        total = squares.new_zeros(len(labels), len(count)).scatter_add_(1, labels, squares.expand(labels.shape))
        traces = (total - count * means.square().sum(2)).clamp_min(0)
        return cls(features, rows, centre, labels, count, means, traces)

    def first(self, permutations: int) -> "Permuted":
        """The first ones of them."""
        at = slice(0, permutations)
        return replace(self, labels=self.labels[at], means=self.means[at], traces=self.traces[at])

    def samples(
        self, total: Float[Tensor, "d d"] | None = None, centres: Float[Tensor, "c d"] | None = None
    ) -> Iterator[Sample]:
        """Each as a sample; `total` is the scatter of all rows, `centres` are given in place of the means."""
        for labels, mean, trace in zip(self.labels, self.means, self.traces):
            at, spread = mean + self.centre, trace
            if centres is not None:
                at, spread = centres, trace + self.count * (centres - at).square().sum(1)
            yield Sample(
                self.count, at, spread, None, self.features, at.to(self.rows.dtype), labels,
                fixed=centres is not None, total=total, origin=self.centre,
            )  # fmt: skip


def permuted(features: Features, slot: Labels, permutations: int, seed: int) -> Iterator[Permuted]:
    """The same features under shuffled labels, some permutations at a time: no class structure, all else as it was."""
    centre = features.double().mean(0)
    rows = (features.double() - centre).to(working(features))
    orders = permuted_orders(len(slot), permutations, seed)
    size = max(1, BLOCK_BYTES // (24 * int(slot.max() + 1) * features.shape[1]))
    for some in orders.split(size) if permutations else ():
        yield Permuted.of(features, rows, centre, slot, some)


def class_sums(rows: Features, labels: Int[Tensor, "p n"], classes: int) -> Float[Tensor, "p c d"]:
    """Sums of rows over the classes of every labelling: an addition of each row to its class, which a CPU does at the
    speed of its cache; for few classes on a GPU, and for a few rows, one product of one-hot matrices."""
    if classes <= ONE_HOT and len(labels) > 1 and (rows.is_cuda or rows.numel() * classes <= PRODUCT):
        return (one_hot(labels, classes, rows).flatten(0, 1) @ rows).view(len(labels), classes, -1)
    found = rows.new_zeros(len(labels), classes, rows.shape[1])
    for into, codes in zip(found, labels):
        into.index_add_(0, codes, rows)
    return found


def one_hot(labels: Int[Tensor, "p n"], classes: int, like: Tensor) -> Float[Tensor, "p c n"]:
    """1 where a row is of a class, in the precision and on the device of another tensor."""
    member = torch.zeros(len(labels), classes, labels.shape[1], dtype=like.dtype, device=like.device)
    return member.scatter_(1, labels[:, None], 1.0)


def by_first_row(codes: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Classes numbered in the order in which they first come: random draws then follow the rows, not the codes."""
    host = codes.cpu()
    _, inverse = torch.unique(host, return_inverse=True)
    first = torch.full((int(inverse.max()) + 1,), len(host)).scatter_reduce_(
        0, inverse, torch.arange(len(host)), "amin"
    )
    return first.argsort().argsort()[inverse]


def permuted_orders(n: int, permutations: int, seed: int) -> Int[Tensor, "p n"]:
    """Orders of n rows drawn by the seed, on the host: the first ones are the same however many are drawn."""
    generator = torch.Generator().manual_seed(seed)
    found = [torch.randperm(n, generator=generator) for _ in range(permutations)]
    return torch.stack(found) if found else torch.empty(0, n, dtype=torch.int64)


def permuted_labels(labels: Tensor, group: Tensor | None, count: int, seed: int) -> list[Tensor]:
    """Labels (n, ...) in so many random orders: inside every group where there are groups; where all rows of a group
    have one label, whole groups change labels."""
    generator = torch.Generator().manual_seed(seed)
    if group is None:
        return [labels[torch.randperm(len(labels), generator=generator)] for _ in range(count)]
    members = [(group == g).nonzero()[:, 0] for g in group.unique().tolist()]
    constant = all(bool((labels[at] == labels[at[0]]).all()) for at in members)
    found = []
    for _ in range(count):
        moved = labels.clone()
        order = torch.randperm(len(members), generator=generator).tolist() if constant else range(len(members))
        for at, other in zip(members, order):
            from_ = members[other]
            moved[at] = labels[from_[0]] if constant else labels[at[torch.randperm(len(at), generator=generator)]]
        found.append(moved)
    return found


def working(features: Features) -> torch.dtype:
    """The precision of matrix products over features: float64 stays, everything else is float32."""
    return torch.float64 if features.dtype == torch.float64 else torch.float32


def affordable_permutations(permutations: int, n: int, d: int, c: int) -> int:
    """How many permutations fit the budget, of which each is an eigen-decomposition of (c, c) and products with
    (c, d); never fewer than a p of 1/20 needs."""
    cost = 25.0 * c**3 + 4.0 * c * c * d + 4.0 * c * min(d, n) * d + 2.0 * n * c * d
    return min(permutations, max(FEWEST - 1, int(BUDGET / cost)))


def affordable(replicates: int, n: int, d: int, c: int) -> int:
    """How many of the requested replicates fit the budget, of which each is a projection of the rows, the geometry of
    its means and an eigen-decomposition; never fewer than a standard error needs."""
    cost = 2.0 * n * d * (2 + min(c, d)) + 4.0 * c * c * d + 25.0 * min(c, d) ** 3
    return min(replicates, max(FEWEST, int(BUDGET / max(cost, 1.0))))
