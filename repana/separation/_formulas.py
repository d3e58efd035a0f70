"""Formulas of separability from distances, class moments and directions. Codes run from 0; classes may be empty."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from repana.summaries._linalg import full_precision
from repana.summaries.distances import Distances, distances
from repana.summaries.pairwise_distances import TIED, NearestByClass, PairwiseDistances
from repana.summaries.resampling import class_sums

NAN = float("nan")
KERNEL_ROWS = 256  # of a block of a kernel
AT_ONCE = 2**20  # numbers worked on at a time, so that they stay in cache


# --- distances of every sample ----------------------------------------------------------------------------------------


def silhouettes(
    sums: Float[Tensor, "*p c n"], codes: Int[Tensor, "*p n"], counts: Int[Tensor, " c"]
) -> Float[Tensor, "*p n"]:
    """(b - a)/max(a, b) of every sample, from its sums of distances to the classes; 0 for the only one of its class,
    and where both are 0."""
    own, place = counts[codes], codes[..., None, :]
    a = sums.gather(-2, place)[..., 0, :] / (own - 1).clamp_min(1)
    mean = sums / counts.clamp_min(1)[:, None]
    if bool((counts == 0).any()):
        mean[..., counts == 0, :] = math.inf
    b = mean.scatter_(-2, place, math.inf).amin(-2)
    found = (b - a) / torch.maximum(a, b)
    return torch.where((own > 1) & found.isfinite(), found, 0.0)


def by_class(
    values: Float[Tensor, "*p n"], codes: Int[Tensor, "*p n"], counts: Int[Tensor, " c"]
) -> Float[Tensor, "*p k"]:
    """Means of the classes that have samples."""
    totals = values.new_zeros(*values.shape[:-1], len(counts))
    totals.scatter_add_(-1, codes, values)
    return (totals / counts)[..., counts > 0]


def nearest_is_own(pairs: PairwiseDistances) -> Bool[Tensor, " n"]:
    """Whether the nearest other sample is of the own class; of two as near that with the lower index."""
    return pairs.codes[pairs.nearest] == pairs.codes


def nearer_than_others(near: NearestByClass, ties: str = "first") -> Bool[Tensor, " n"]:
    """The same from the nearest of the own class and of the others; of two as near the one with the lower index, or
    neither."""
    tied = (near.own - near.enemy).abs() <= TIED * near.enemy
    nearer = (near.own < near.enemy) & ~tied
    return (near.own_at >= 0) & (nearer | (tied & (near.own_at < near.enemy_at) & (ties == "first")))


def n2_of_points(near: NearestByClass) -> Float[Tensor, " m"]:
    """own/(own + enemy) of every sample that has both; 1/2 where both are 0."""
    known = (near.own_at >= 0) & (near.enemy_at >= 0)
    own, enemy = near.own[known], near.enemy[known]
    return torch.where(own + enemy > 0, own / (own + enemy), 0.5)


def purity(share: Float[Tensor, "*p"], counts: Int[Tensor, " c"]) -> Float[Tensor, "*p"]:
    """The share of neighbours of the own class over chance: 1 for pure, 0 with shuffled labels."""
    n = int(counts.sum())
    chance = float((counts * (counts - 1)).sum()) / (n * (n - 1))
    return (share - chance) / (1 - chance) if chance < 1 else share * NAN


def joined_to_another_class(edges: Int[Tensor, "e 2"], codes: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Which samples an edge of the spanning tree joins to another class."""
    across = edges[codes[edges[:, 0]] != codes[edges[:, 1]]]
    found = torch.zeros(len(codes), dtype=torch.bool, device=codes.device)
    found[across.flatten()] = True
    return found


# --- distances by classes ---------------------------------------------------------------------------------------------


def gdv(
    x: Float[Tensor, "n d"],
    labels: Int[Tensor, "p n"],
    counts: Int[Tensor, " c"],
    *,
    single: bool = False,
    drop_constant: bool = False,
) -> Float[Tensor, " p"]:
    """(mean_k intra_k - mean_{k<l} inter_kl)/sqrt(d) of features times 1/(2 std), of several labellings with the same
    class sizes. `single`: as in `Distances`.

    From T_k, the sum of distances over ordered pairs of class k, and w'Dw with w_i = 1/n_(y_i): the mean inter_kl is
    (w'Dw - sum_k T_k/n_k^2)/(c (c - 1)).
    """
    z, d = scaled_for_gdv(x, drop_constant=drop_constant)
    if z is None:
        return torch.full((len(labels),), NAN, dtype=torch.float64)
    own, across = _within_and_across(Distances(z, single), labels, counts)
    weight = torch.where(counts > 0, 1 / counts.clamp_min(1).double(), 0.0)
    c, many = int((counts > 0).sum()), counts > 1
    inter = (across - (own * weight.square()).sum(1)) / (c * (c - 1))
    pairs = counts * (counts - 1)
    intra = (own[:, many] / pairs[many]).mean(1) if bool(many.any()) else own.new_full((len(own),), NAN)
    return ((intra - inter) / math.sqrt(d)).cpu() if c > 1 else torch.full((len(labels),), NAN, dtype=torch.float64)


def _within_and_across(
    distances: Distances, labels: Int[Tensor, "p n"], counts: Int[Tensor, " c"]
) -> tuple[Float[Tensor, "p c"], Float[Tensor, " p"]]:
    """Sums of distances over ordered pairs of every class, and over all pairs with weights 1/n_k, of every labelling.

    Some columns and the rows from theirs on are added up by class; rows behind the columns count twice.
    """
    device, c = distances.x.device, len(counts)
    own = torch.zeros(len(labels), c, dtype=torch.float64, device=device)
    across = torch.zeros(len(labels), dtype=torch.float64, device=device)
    weight = torch.where(counts > 0, 1 / counts.clamp_min(1).double(), 0.0)
    for part, block in distances.lower_columns():
        twice = block.clone()
        twice[part.stop - part.start :] *= 2
        for at in torch.arange(len(labels), device=device).split(max(1, AT_ONCE // (c * block.shape[1]))):
            some = labels[at]
            here = some[:, part]
            sums = class_sums(twice, some[:, part.start :], c)
            own[at] += own.new_zeros(len(at), c).scatter_add_(1, here, sums.gather(1, here[:, None])[:, 0].double())
            across[at] += (weight[here] * (weight.to(sums) @ sums).double()).sum(1)
    return own, across


def scaled_for_gdv(x: Float[Tensor, "n d"], *, drop_constant: bool) -> tuple[Float[Tensor, "n r"] | None, int]:
    """Features that vary, less their mean, times 1/(2 std), or None without one; and how many features count."""
    deviation = x.std(0, correction=0)
    alive = deviation > 1e-12 * x.abs().amax(0).clamp_min(1e-300)
    if not bool(alive.any()):
        return None, 0
    return 0.5 * (x[:, alive] - x[:, alive].mean(0)) / deviation[alive], int(alive.sum()) if drop_constant else x.shape[
        1
    ]


# --- moments ----------------------------------------------------------------------------------------------------------


def calinski_harabasz(x: Float[Tensor, "n d"], codes: Int[Tensor, " n"], classes: int) -> float:
    """(tr Sb/(c - 1)) / (tr Sw/(n - c)); infinite where no class has spread, NaN where nothing has."""
    means, counts = _means(x, codes, classes)
    within = float((x - means[codes]).square().sum())
    between_classes = float((counts[:, None] * (means - x.mean(0)).square())[counts > 0].sum())
    n = len(x)
    size = float(x.square().sum())
    within, between_classes = (0.0 if v <= 1e-26 * size else v for v in (within, between_classes))
    return variance_ratio(between_classes, within, n, counts)


def variance_ratio(between: float, within: float, n: int, counts: Int[Tensor, " c"]) -> float:
    """(B/(c - 1)) / (W/(n - c)) of sums of squares; infinite without any within, NaN without both."""
    c = int((counts > 0).sum())
    if not within:
        return math.inf if between and n > c else NAN
    return between / within * (n - c) / (c - 1) if n > c > 1 else NAN


def davies_bouldin(x: Float[Tensor, "n d"], codes: Int[Tensor, " n"], classes: int) -> float:
    """mean_k max_l (s_k + s_l)/|m_k - m_l|; infinite where two classes with spread have one mean."""
    means, counts = _means(x, codes, classes)
    spread = torch.zeros(classes, dtype=x.dtype, device=x.device)
    spread.scatter_add_(0, codes, torch.linalg.vector_norm(x - means[codes], dim=1))
    here = counts > 0
    if not len(x) > int(here.sum()) > 1:
        return NAN
    apart, rounding = distances(means[here]), 1e-13 * float(x.abs().max())
    return float(worst_ratios(torch.where(apart > rounding, apart, 0.0), (spread / counts)[here]))


def worst_ratios(apart: Float[Tensor, "*p c c"], spread: Float[Tensor, "*p c"]) -> Float[Tensor, "*p"]:
    """mean_k max_l (s_k + s_l)/|m_k - m_l|, from the distances of class means."""
    ratio = (spread[..., :, None] + spread[..., None, :]) / apart  # 0/0 is NaN: two points at one place
    ratio.diagonal(dim1=-2, dim2=-1).fill_(-math.inf)
    return ratio.amax(-1).mean(-1)


def _means(x: Float[Tensor, "n d"], codes: Int[Tensor, " n"], classes: int) -> tuple[Tensor, Tensor]:
    counts = torch.bincount(codes, minlength=classes)
    return class_sums(x, codes[None], classes)[0] / counts.clamp_min(1)[:, None], counts


# --- directions -------------------------------------------------------------------------------------------------------


def directions(x: Float[Tensor, "n d"], normalize: str) -> Float[Tensor, "n d"]:
    """Unit rows, of features less their mean where asked; rows of zeros stay zeros."""
    x = x - x.mean(0) if normalize == "center+l2" else x
    return x / torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min(1e-300)


def alignment(u: Float[Tensor, "n d"], codes: Int[Tensor, " n"], classes: int) -> tuple[float, float, float]:
    """The means of |u - v|^2 and of u.v over pairs of one class, and the share that such pairs have of all."""
    total = class_sums(u, codes[None], classes)[0]
    found, dots, share = of_directions(total, u.square().sum(1), codes, torch.bincount(codes, minlength=classes))
    return float(found), float(dots), share


def of_directions(
    total: Float[Tensor, "*p c d"],
    squares: Float[Tensor, " n"],
    codes: Int[Tensor, "*p n"],
    counts: Int[Tensor, " c"],
) -> tuple[Float[Tensor, "*p"], Float[Tensor, "*p"], float]:
    """`alignment`, from sums of directions by class and their squared lengths."""
    pairs, n = float((counts * (counts - 1)).sum()), len(squares)
    dots = total.square().sum((-2, -1)) - squares.sum()  # over ordered pairs of one class
    lengths = (squares * (counts[codes] - 1)).sum(-1)
    share = pairs / (n * (n - 1))
    nothing = torch.full_like(dots, NAN)
    return (
        (((2 * lengths - 2 * dots) / pairs).clamp_min(0), dots / pairs, share) if pairs else (nothing, nothing, share)
    )


def kernel_rows(u: Float[Tensor, "n d"], t: float = 2.0, *, single: bool = False) -> Float[Tensor, " n"]:
    """Of every row of length 1 or 0 the mean over the others of exp(-t |u - v|^2); `single` as in `Distances`: an error
    of 1e-6 in the exponent is one of 1e-6 in the mean."""
    n, found = len(u), torch.zeros(len(u), dtype=torch.float64, device=u.device)
    u = u.float() if single and Distances.many(n) else u
    squares = u.square().sum(1)
    for start in range(0, n, KERNEL_ROWS):
        part = u[start : start + KERNEL_ROWS]
        stop = start + len(part)
        with full_precision():
            block = u[start:] @ (-2 * part).T
        block.add_(squares[start:, None]).add_(squares[start:stop]).clamp_min_(0)
        kernel = block.mul_(-t).exp_()
        kernel[: len(part)].fill_diagonal_(0)  # less itself
        found[start:stop] += kernel.sum(0).double()
        found[stop:] += kernel[len(part) :].sum(1).double()
    return found / (n - 1)


@dataclass(frozen=True)
class LinearKernel:
    """What alignment with labels reads of the centred linear kernel: |K|_F^2, and of each sample its square and the sum
    over the others."""

    size: Float[Tensor, ""]
    squares: Float[Tensor, " n"]
    rows: Float[Tensor, " n"]

    @classmethod
    def of(cls, x: Float[Tensor, "n d"]) -> "LinearKernel":
        e = x - x.mean(0)
        gram = e.T @ e if e.shape[1] <= len(e) else e @ e.T
        squares = e.square().sum(1)
        return cls(gram.square().sum(), squares, e @ e.sum(0) - squares)

    @classmethod
    def of_products(cls, inner: Float[Tensor, "n n"]) -> "LinearKernel":
        """From the inner products of samples, around any point."""
        rows = inner.mean(0)
        inner = inner - rows - rows[:, None] + rows.mean()
        squares = inner.diagonal()
        return cls(inner.square().sum(), squares, inner.sum(0) - squares)

    def alignment(
        self, total: Float[Tensor, "*p c d"], codes: Int[Tensor, "*p n"], counts: Int[Tensor, " c"], *, unbiased: bool
    ) -> Float[Tensor, "*p"]:
        """With 1[y_i = y_j], from sums of centred features by class."""
        n, counts = len(self.rows), counts.double()
        squares = total.square().sum((-2, -1))
        if not unbiased:
            p = counts.square().sum() / n
            centred = counts.square().sum() - 2 * (counts**3).sum() / n + p**2  # |H L H|_F^2
            below = self.size * centred
            return squares / torch.where(below > 0, below, NAN).sqrt()
        if n < 4:
            return torch.full_like(squares, NAN)
        rows, size = self.rows, counts[codes] - 1
        own = squares - self.squares.sum()
        square_sum = self.size - self.squares.square().sum()
        labels = (counts * (counts - 1)).sum()

        def hsic(trace: Tensor, a: Tensor, b: Tensor, both: Tensor) -> Tensor:
            return (trace + a * b / ((n - 1) * (n - 2)) - 2 / (n - 2) * both) / (n * (n - 3))

        cross = hsic(own, rows.sum(), labels, (rows * size).sum(-1))
        left = hsic(square_sum, rows.sum(), rows.sum(), rows.square().sum())
        right = hsic(labels, labels, labels, (counts * (counts - 1).square()).sum())
        return cross / torch.where((left > 0) & (right > 0), left * right, NAN).sqrt()


# --- data complexity --------------------------------------------------------------------------------------------------


def feature_ratios(x: Float[Tensor, "n d"], codes: Int[Tensor, " n"], classes: int) -> Float[Tensor, " d"]:
    """r_f = sum_k n_k (m_kf - m_f)^2 / sum_i (x_if - m_yf)^2; 0 for a constant feature, infinite without spread."""
    means, counts = _means(x, codes, classes)
    centre = x.mean(0)
    above = (counts[:, None] * (means - centre).square()).sum(0)
    below = (x - means[codes]).square().sum(0)
    rounding = 1e-26 * len(x) * x.abs().amax(0).square()
    above, below = (torch.where(v > rounding, v, 0.0) for v in (above, below))
    return torch.where(above > 0, above / below, 0.0)


def over_pairs(
    function: Callable[[Tensor, Tensor], float], x: Float[Tensor, "n d"], codes: Int[Tensor, " n"], classes: int
) -> Float[Tensor, " p"]:
    """A function of the samples of two classes, for every pair of classes that have samples."""
    parts = [x[codes == k] for k in range(classes)]
    parts = [part for part in parts if len(part)]
    found = [function(a, b) for i, a in enumerate(parts) for b in parts[i + 1 :]]
    return torch.tensor(found, dtype=torch.float64)


def directional(a: Float[Tensor, "m d"], b: Float[Tensor, "k d"]) -> float:
    """1/(1 + D^2), D the Mahalanobis distance of two means under the pooled unbiased covariance; NaN if singular."""
    alive = (a.amax(0) > a.amin(0)) | (b.amax(0) > b.amin(0))
    if not 0 < int(alive.sum()) <= len(a) + len(b) - 2:
        return NAN
    w = (_cov(a) * len(a) + _cov(b) * len(b)) / (len(a) + len(b))
    scale = w.diagonal().sqrt()
    w = w[alive][:, alive] / scale[alive] / scale[alive, None]
    gap = ((a.mean(0) - b.mean(0))[alive] / scale[alive])[:, None]
    factor, wrong = torch.linalg.cholesky_ex(w)
    if int(wrong) or float(factor.diagonal().min()) < 1e-7:
        return NAN
    return 1 / (1 + float((gap * torch.cholesky_solve(gap, factor)).sum()))


def _cov(x: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    e = x - x.mean(0)
    return e.T @ e / max(1, len(x) - 1)


def overlap(a: Float[Tensor, "m d"], b: Float[Tensor, "k d"]) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
    """Of every feature the interval in which both classes lie: max of minima and min of maxima."""
    return torch.maximum(a.amin(0), b.amin(0)), torch.minimum(a.amax(0), b.amax(0))


def volume_of_overlap(a: Float[Tensor, "m d"], b: Float[Tensor, "k d"]) -> float:
    """prod_f of overlap over range; features without range are left out."""
    low, high = overlap(a, b)
    width = torch.maximum(a.amax(0), b.amax(0)) - torch.minimum(a.amin(0), b.amin(0))
    alive = width > 0
    return float(((high - low).clamp_min(0)[alive] / width[alive]).prod()) if bool(alive.any()) else NAN


def feature_efficiency(a: Float[Tensor, "m d"], b: Float[Tensor, "k d"]) -> float:
    """The least over features of the share of samples inside the overlap."""
    low, high = overlap(a, b)
    both = torch.cat([a, b])
    return float(((both >= low) & (both <= high)).double().mean(0).min())
