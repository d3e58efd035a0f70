"""Eigenvalues of the between-class scatter against the within-class and the total scatter, with their jackknife.

Sw and Sb are the scatters divided by n (Sb weighted by class size, so Sw + Sb = St). Every feature is first divided by
its total standard deviation, which changes no eigenvalue and makes the rank decisions independent of units. Only a
(c, c) eigenproblem is solved: with LL' = Sw and B'B = Sb, the eigenvalues are those of (L^-1 B')'(L^-1 B').

The interval comes from the delete-a-group jackknife (Kott 2001, Journal of Official Statistics 17, 521-526): moments
subtract, so leaving a group out costs one factorisation and no further read of the kept samples.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from repana import _check
from repana._cost import Cost, Size
from repana._typing import Features, Labels
from repana.summaries._linalg import whitening
from repana.summaries._summary import Layer, Summary
from repana.summaries.class_groups import leave_out, within_class_groups
from repana.summaries.moments import Moments
from repana.summaries.resampling import (
    BLOCK_BYTES,
    affordable_permutations,
    class_sums,
    permuted_orders,
    working,
)
from repana.summaries.shrinkage import share_of_diagonal

WIDEST = 4096  # a (d, d) float64 factorisation above this takes minutes and gigabytes
GROUPS = 20
ROWS = 1024  # whitened at a time
SINGLE, DOUBLE = 1.2e-7, 1e-15  # rounding of a scatter from products of that precision, to be times sqrt(d)


@dataclass(frozen=True)
class PermutedEigenvalues:
    """What a `Discriminant` holds, under shuffled labels: one row a permutation. Eigenvalues may be of the first
    permutations alone, where they cost much; the others are NaN.
    """

    quotient: Float[Tensor, "p r"]
    canonical: Float[Tensor, "p r"]
    trace_ratio: Float[Tensor, " p"]
    per_feature: Float[Tensor, "p d"]


@dataclass(frozen=True)
class Discriminant(Summary):
    """`quotient`: eigenvalues of Sw^-1 Sb, descending; `canonical`: of St^+ Sb, in [0, 1]; NaN where undefined.

    `rank` is that of St; `trace_ratio` is tr Sb / tr Sw and `per_feature` the same of each feature; `deleted` holds all
    of these for each group left out, `permuted` for labels in random orders; `reason` says why values are NaN. Where
    the moments are those of more samples than were at hand, `kept` is of these, and `permuted` too.
    """

    labelled: ClassVar[bool] = True

    quotient: Float[Tensor, " r"]
    canonical: Float[Tensor, " r"]
    n: int
    d: int
    shrinkage: float
    classes: int
    rank: int
    trace_ratio: float
    per_feature: Float[Tensor, " d"]
    reason: str = ""
    deleted: tuple["Discriminant", ...] = ()
    permuted: PermutedEigenvalues | None = None
    kept: "Discriminant | None" = None

    @classmethod
    def cost(cls, size: Size) -> Cost:
        n, d, c = size.n, size.d, max(1, size.classes)
        few = n <= d  # samples: their space is what is decomposed
        side = 0 if d > WIDEST else min(n, d)
        sums = 8.0 * size.permutations * c * d
        return Cost(
            flop=(10.0 if few else 8.0) * n * d * side + (200.0 if few else 35.0) * side**3,
            bytes=8 * 120 * n * d + 60 * sums + 180 * 8 * size.permutations * n,
            calls=6000,
            peak=8 * (5.0 * n * d + 5 * side**2 + 4 * size.permutations * n + 10 * c**2)
            + 3 * min(2 * sums, BLOCK_BYTES)
            + 2e6,
            kept=8.0 * size.permutations * d,
        )

    @classmethod
    def of_layer(cls, layer: Layer) -> "Discriminant":
        permutations, seed = layer.settings.get("permutations", 0), layer.settings.get("seed", 0)
        jackknife = GROUPS if layer.settings.get("bootstrap", GROUPS) and not layer.subset else 0
        found = cls.of(layer.features, layer.labels, jackknife=jackknife, permutations=permutations, seed=seed)
        return replace(cls.from_moments(layer.moments), permuted=found.permuted, kept=found) if layer.subset else found

    @classmethod
    def of(
        cls,
        features: Features,
        labels: Labels,
        *,
        jackknife: int = GROUPS,
        shrinkage: float | str = 0.0,
        permutations: int = 0,
        seed: int = 0,
    ) -> "Discriminant":
        """From arrays, with `jackknife` leave-one-group-out values and `permutations` permutations of labels (0 for
        none).
        """
        shrinkage = _check.shrinkage_of(shrinkage)
        shrinkage = share_of_diagonal(features, labels) if isinstance(shrinkage, str) else shrinkage
        tolerance = DOUBLE if features.dtype == torch.float64 else SINGLE
        narrow, total, span = features.shape[1] <= WIDEST, None, None
        if narrow and not shrinkage and len(features) <= features.shape[1]:
            total = Moments.of(features, labels)
            span = _Span.of(features, total, tolerance)
        if total is not None and span is not None:
            found = span.whole(labels, total, tolerance)
            parts = span.without_groups(features, labels, total, jackknife, seed, tolerance)
            deleted = tuple(parts) if jackknife > 1 else ()
        else:
            total = Moments.of(features, labels, scatter=narrow)
            found = cls.from_moments(total, shrinkage=shrinkage, tolerance=tolerance)
            deleted = _jackknifed(features, labels, total, found, jackknife, seed, tolerance)
        permuted = None
        if permutations:
            few = affordable_permutations(permutations, len(features), features.shape[1], found.classes)
            orders = permuted_orders(len(labels), permutations, seed)
            permuted = _permuted(features, labels, orders, few, found, shrinkage, tolerance)
        return replace(found, deleted=deleted, permuted=permuted)

    @classmethod
    def from_moments(cls, moments: Moments, *, shrinkage: float = 0.0, tolerance: float = SINGLE) -> "Discriminant":
        """From moments; without their scatter the eigenvalues are NaN, with the reason."""
        n, d, c = moments.n, moments.d, len(moments.classes)
        size = max(1, min(c - 1, d))
        trace_ratio, per_feature = _ratios(moments)
        if moments.scatter is None:
            nan = torch.full((size,), torch.nan, dtype=torch.float64)
            reason = f"needs the ({d}, {d}) pooled scatter, kept up to d = {WIDEST} and where features are at hand"
            return cls(nan, nan, n, d, shrinkage, c, 0, trace_ratio, per_feature, reason)
        p = moments.count.double() / n
        b = p.sqrt()[:, None] * (moments.mean - p @ moments.mean)
        within, reason = moments.scatter / n, ""
        g = p @ moments.mean
        variance = within.diagonal() + b.square().sum(0)
        alive = _varying(variance, g)
        if not bool(alive.any()):
            nothing = torch.zeros(size, dtype=torch.float64)
            reason = "every feature is constant"
            return cls(nothing + torch.nan, nothing, n, d, shrinkage, c, 0, trace_ratio, per_feature, reason)
        scale = variance[alive].rsqrt()
        b, within = b[:, alive] * scale, scale[:, None] * within[alive][:, alive] * scale
        quotient = canonical = None
        if n - c >= within.shape[0] or shrinkage > 0:
            mixed = within
            if shrinkage > 0:
                spread = within.diagonal()
                ridge = torch.where(spread > 0, spread, spread.mean())  # where no class has spread, what is usual
                mixed = (1 - shrinkage) * within + shrinkage * torch.diag(ridge)
            quotient = _against(mixed, b, size)
        if quotient is None:
            quotient = torch.full((size,), torch.nan, dtype=torch.float64)
            reason = _singular(n, d, c)
        if n - 1 > within.shape[0]:
            canonical = _against(within + b.T @ b, b, size)
        rank = len(within)
        if canonical is None:
            canonical, rank = _against_singular(within + b.T @ b, b, tolerance * len(within) ** 0.5, size)
        rank = min(rank, n - 1)
        return cls(quotient, canonical.clamp(0, 1), n, d, shrinkage, c, rank, trace_ratio, per_feature, reason)


def _jackknifed(
    features: Features, labels: Labels, total: Moments, found: Discriminant, groups: int, seed: int, tolerance: float
) -> tuple[Discriminant, ...]:
    """Without each group: from one factor where that serves, else from the moments of each part."""
    if groups <= 1:
        return ()
    deleted = _without_groups(features, labels, total, found, groups, seed)
    if deleted:
        return deleted
    parts = leave_out(features, labels, total, groups, seed)
    return tuple(Discriminant.from_moments(x, shrinkage=found.shrinkage, tolerance=tolerance) for x in parts)


def _without_groups(
    features: Features, labels: Labels, total: Moments, found: Discriminant, groups: int, seed: int
) -> tuple[Discriminant, ...]:
    """What `from_moments` gives without each group of samples, from one factor: none where that does not serve.

    With LL' = n Sw and Z = L^-1 (x_i - m_y)' for all samples, leaving out the group g of l_k remaining samples a class
    makes L^-1 n Sw L^-T = I - UU', U = [Z_g, s_k/sqrt(l_k)], s_k the sum of the left-out columns of class k, and moves
    the means by -s_k/l_k. With M the whitened means, M'(I - UU')^-1 M = M'M + (U'M)'(I - U'U)^-1 U'M (Woodbury), of
    the size of the group and the classes. Eigenvalues of St^-1 Sb are q/(1 + q) of those q of Sw^-1 Sb.
    """
    n, c = total.n, len(total.classes)
    regular = found.shrinkage == 0 and total.scatter is not None and not bool(found.quotient.isnan().any())
    if not regular or total.scatter is None or total.spread is None or n - -(-n // groups) - c < found.rank:
        return ()
    if n / groups + c > 2 * found.rank:  # the systems would be larger than the scatter
        return ()
    alive = total.spread > 0
    scale = torch.where(alive, total.spread.rsqrt(), 0.0)[alive]
    if len(scale) != found.rank:
        return ()
    factor, wrong = torch.linalg.cholesky_ex(scale[:, None] * total.scatter[alive][:, alive] * scale)
    diagonal = factor.diagonal().square()
    if int(wrong) or float(diagonal.min()) < len(factor) * 1e-14 * float(diagonal.max()):
        return ()
    slot = torch.searchsorted(total.classes, labels.to(total.classes.device))
    group = within_class_groups(labels, groups, seed)
    present = [g for g in range(groups) if bool((group == g).any())]
    whitened = torch.empty(len(slot), len(factor), dtype=torch.float64, device=factor.device)
    cell = group.to(slot.device) * c + slot  # of samples that are left out once
    sums, squares = total.mean.new_zeros(groups * c, total.d), total.mean.new_zeros(groups, total.d)
    for at in torch.arange(len(slot), device=factor.device).split(ROWS):
        residual = features[at].double() - total.mean[slot[at]]
        whitened[at] = torch.linalg.solve_triangular(factor, (residual[:, alive] * scale).T, upper=False).T
        out = (cell[at] >= 0).nonzero()[:, 0]
        sums.index_add_(0, cell[at][out], residual[out])
        squares.index_add_(0, cell[at][out] // c, residual[out].square_())
    mean = ((total.mean - total.mean.mean(0))[:, alive] * scale).T
    mean = torch.linalg.solve_triangular(factor, mean, upper=False)
    parts = []
    for g in present:
        here = (group == g).nonzero()[:, 0].to(slot.device)
        values = _left_eigenvalues(whitened[here], slot[here], mean, total.count)
        if values is None:
            return ()
        left = total.count - torch.bincount(slot[here], minlength=c)
        moved = sums.view(groups, c, total.d)[g]
        spread = (total.spread - squares[g] - (moved.square() / left[:, None]).sum(0)).clamp_min(0)
        part = Moments(
            total.classes, left, total.mean - moved / left[:, None], spread.sum() * left / left.sum(), spread
        )
        ratio, per_feature = _ratios(part)
        quotient = values[: len(found.quotient)].cpu()
        canonical = (quotient / (1 + quotient)).clamp(0, 1)
        parts.append(
            replace(
                found, quotient=quotient, canonical=canonical, n=part.n, trace_ratio=ratio, per_feature=per_feature,
                deleted=(), permuted=None,
            )
        )  # fmt: skip
    return tuple(parts)


@dataclass(frozen=True)
class _Span:
    """The space of as many samples as features or fewer: `coordinates` (n, r) of less dimensions, which change no
    eigenvalue.

    `independent`: no sample is a weighted mean of others, which is usual there. Then so are any of them, and classes of
    such samples can be told apart without error: every eigenvalue of St^+ Sb is 1.
    """

    coordinates: Float[Tensor, "n r"]
    independent: bool

    @classmethod
    def of(cls, features: Features, total: Moments, tolerance: float) -> "_Span | None":
        """None where there are more samples than features that vary."""
        assert total.spread is not None
        p = total.count.double() / total.n
        variance = total.spread / total.n + (p[:, None] * (total.mean - p @ total.mean).square()).sum(0)
        alive = _varying(variance, p @ total.mean)
        if int(alive.sum()) < total.n:
            return None
        z = (features.double() - p @ total.mean)[:, alive] * variance[alive].rsqrt()
        values, vectors = torch.linalg.eigh(z @ z.T)
        kept = values > tolerance * z.shape[1] ** 0.5 * values[-1]
        return cls(vectors[:, kept] * values[kept].sqrt(), int(kept.sum()) >= total.n - 1)

    def whole(self, labels: Labels, plain: Moments, tolerance: float) -> Discriminant:
        """Of all samples; `plain` are the moments of the features, without their scatter."""
        inside = None if self.independent else Moments.of(self.coordinates, labels, scatter=True)
        return self._found(inside, plain, tolerance)

    def without_groups(
        self, features: Features, labels: Labels, plain: Moments, groups: int, seed: int, tolerance: float
    ) -> Iterator[Discriminant]:
        """Without each group of samples."""
        inside = Moments.of(self.coordinates, labels, scatter=not self.independent)
        each = leave_out(self.coordinates, labels, inside, groups, seed)
        for part, here in zip(leave_out(features, labels, plain, groups, seed), each):
            yield self._found(None if self.independent else here, part, tolerance)

    def _found(self, inside: Moments | None, plain: Moments, tolerance: float) -> Discriminant:
        found = Discriminant.from_moments(plain)
        canonical, rank = torch.zeros_like(found.canonical), plain.n - 1
        if inside is None:
            canonical[: min(rank, found.classes - 1)] = 1.0
        else:
            part = Discriminant.from_moments(inside, tolerance=tolerance)
            size, rank = min(len(part.canonical), len(canonical)), part.rank
            canonical[:size] = part.canonical[:size]
        return replace(found, canonical=canonical, rank=rank, reason=_singular(found.n, found.d, found.classes))


def _varying(variance: Float[Tensor, " d"], mean: Float[Tensor, " d"]) -> Bool[Tensor, " d"]:
    """Which features vary by more than the rounding of their mean, and than the rounding of the largest."""
    rounding = 100 * torch.finfo(torch.float64).eps ** 2 * mean.square()
    return variance > (1e-24 * variance.max()).clamp_min(rounding)


def _singular(n: int, d: int, c: int) -> str:
    return f"the within-class scatter is singular (n = {n}, d = {d}, c = {c}); use more samples or `shrinkage=`"


def _left_eigenvalues(
    z: Float[Tensor, "g r"], slot: Int[Tensor, " g"], mean: Float[Tensor, "r c"], count: Int[Tensor, " c"]
) -> Float[Tensor, " c"] | None:
    """Eigenvalues of Sw^-1 Sb without the samples that are `z` whitened; None where nothing is left of a direction."""
    c = len(count)
    left = (count - torch.bincount(slot, minlength=c)).double()
    sums = z.new_zeros(c, z.shape[1]).index_add_(0, slot, z).T
    u = torch.cat([z.T, sums / left.sqrt()], 1)
    factor, wrong = torch.linalg.cholesky_ex(torch.eye(u.shape[1], dtype=u.dtype, device=u.device) - u.T @ u)
    if int(wrong) or float(factor.diagonal().min()) < 1e-6:
        return None
    moved = mean - sums / left
    along = torch.linalg.solve_triangular(factor, u.T @ moved, upper=False)
    p = left / left.sum()
    centred = torch.eye(c, dtype=u.dtype, device=u.device) - p  # rows: m_k - sum_l p_l m_l
    between = centred @ (moved.T @ moved + along.T @ along) @ centred.T
    between = p.sqrt()[:, None] * between * p.sqrt() * left.sum()
    return torch.linalg.eigvalsh(between).flip(0).clamp_min(0)


def _permuted(
    features: Features,
    labels: Labels,
    orders: Int[Tensor, "p n"],
    few: int,
    found: Discriminant,
    shrinkage: float,
    tolerance: float,
) -> PermutedEigenvalues:
    """Under labels in other orders St stays, so that all is read from class sums: with W'StW = I and B the weighted
    class means times W, `canonical` are the eigenvalues q of B'B and `quotient` q/(1 - q); of the first `few` orders.
    """
    if shrinkage:
        return _one_by_one(features, labels, orders[:few], shrinkage, tolerance)
    n, d = features.shape
    _, codes = torch.unique(labels.to(features.device), return_inverse=True)
    c, size = found.classes, len(found.canonical)
    centre = features.double().mean(0)
    x = features.double() - centre
    variance = x.square().mean(0)
    alive = _varying(variance, centre)
    if not bool(alive.any()):
        nan = torch.full((len(orders), size), torch.nan, dtype=torch.float64)
        return PermutedEigenvalues(nan, nan, nan[:, 0], torch.zeros(len(orders), d, dtype=torch.float64))
    z = (x[:, alive] * variance[alive].rsqrt()).to(working(features))
    known = not bool(found.canonical.isnan().any())
    white = whitening(z, tolerance) if known else z[:0].T
    count = torch.bincount(codes, minlength=c).double()
    between = torch.zeros(len(orders), d, dtype=torch.float64, device=x.device)
    canonical = torch.full((len(orders), size), torch.nan, dtype=torch.float64)
    step = max(1, BLOCK_BYTES // (16 * c * max(1, z.shape[1])))
    for start in range(0, len(orders), step):
        sums = class_sums(z, codes[orders[start : start + step].to(codes.device)], c).double()
        between[start : start + step, alive] = (sums.square() / count[:, None]).sum(1)
        if start < few and known:
            b = sums[: few - start] / (count * n).sqrt()[:, None] @ white
            gram = b @ b.mT if c <= b.shape[2] else b.mT @ b
            values = torch.linalg.eigvalsh(gram).flip(1)[:, :size].clamp(0, 1).cpu()
            canonical[start : start + len(values)] = torch.nn.functional.pad(values, (0, size - values.shape[1]))
    ratio = torch.where(alive, between / (n - between).clamp_min(0), 0.0)
    above, whole = between @ variance, n * variance.sum()
    quotient = canonical / (1 - canonical)
    if bool(found.quotient.isnan().any()):
        quotient = torch.full_like(quotient, torch.nan)
    return PermutedEigenvalues(quotient, canonical, (above / (whole - above)).cpu(), ratio.cpu())


def _one_by_one(
    features: Features, labels: Labels, orders: Int[Tensor, "p n"], shrinkage: float, tolerance: float
) -> PermutedEigenvalues:
    """With shrinkage the within-class scatter of every order is factored again."""
    scatter = features.shape[1] <= WIDEST
    mixed = (Moments.of(features, labels[order.to(labels.device)], scatter=scatter) for order in orders)
    found = [Discriminant.from_moments(m, shrinkage=shrinkage, tolerance=tolerance) for m in mixed]
    return PermutedEigenvalues(
        torch.stack([one.quotient for one in found]),
        torch.stack([one.canonical for one in found]),
        torch.tensor([one.trace_ratio for one in found], dtype=torch.float64),
        torch.stack([one.per_feature for one in found]),
    )


def _ratios(moments: Moments) -> tuple[float, Float[Tensor, " d"]]:
    """Between over within of the traces, and of every feature: infinite without spread, 0 for a constant feature."""
    g = (moments.count.double() / moments.n) @ moments.mean
    between = (moments.count[:, None] * (moments.mean - g).square()).sum(0)
    rounding = 100 * torch.finfo(torch.float64).eps ** 2 * moments.n * g.square()
    between = torch.where(between > rounding, between, 0.0)  # of a constant feature
    spread = torch.full_like(between, torch.nan) if moments.spread is None else moments.spread
    ratio = torch.where(between > 0, between / spread, 0.0)
    total = float(moments.trace.sum())
    if total > 0:
        return float(between.sum()) / total, ratio.cpu()
    return float("inf") if float(between.sum()) > 0 else float("nan"), ratio.cpu()


def _against(scatter: Float[Tensor, "d d"], b: Float[Tensor, "c d"], size: int) -> Tensor | None:
    """Non-zero eigenvalues of scatter^-1 b'b, or None where the scatter is numerically singular."""
    factor, info = torch.linalg.cholesky_ex(scatter)
    diagonal = factor.diagonal().square()
    if int(info) or float(diagonal.min()) < len(scatter) * 1e-14 * float(diagonal.max()):
        return None
    return _eigenvalues(torch.linalg.solve_triangular(factor, b.T, upper=False), size)


def _against_singular(
    scatter: Float[Tensor, "d d"], b: Float[Tensor, "c d"], tolerance: float, size: int
) -> tuple[Tensor, int]:
    """The same with a pseudo-inverse, and the rank; directions below the rounding of the scatter are dropped."""
    values, vectors = torch.linalg.eigh(scatter)
    kept = values > tolerance * values[-1]
    return _eigenvalues((b @ (vectors[:, kept] * values[kept].rsqrt())).T, size), int(kept.sum())


def _eigenvalues(t: Float[Tensor, "r c"], size: int) -> Tensor:
    """The largest eigenvalues of t't, descending, zeros where t has a lower rank."""
    gram = t.T @ t if t.shape[1] <= t.shape[0] else t @ t.T
    found = torch.linalg.eigvalsh(gram).flip(0)[: min(size, t.shape[0])].clamp_min(0).cpu()
    return torch.nn.functional.pad(found, (0, size - len(found)))
