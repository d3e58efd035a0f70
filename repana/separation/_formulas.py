"""Formulas of separability from distances, class moments and directions. Codes run from 0; classes may be empty."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from repana.summaries.forest import squared
from repana.summaries.pairwise_distances import BLOCK, PairwiseDistances

NAN = float("nan")
TIED = 1e-9  # distances closer than this, relatively, are equal


# --- distances of every sample ----------------------------------------------------------------------------------------


def silhouettes(pairs: PairwiseDistances) -> Float[Tensor, " n"]:
    """(b - a)/max(a, b) of every sample; 0 for the only one of its class, and where both are 0."""
    own = pairs.counts[pairs.codes]
    mine = torch.nn.functional.one_hot(pairs.codes, len(pairs.counts)).bool()
    a = pairs.sums[mine] / (own - 1).clamp_min(1)
    others = torch.where(mine | (pairs.counts == 0), math.inf, pairs.sums / pairs.counts.clamp_min(1))
    b = others.amin(1)
    found = (b - a) / torch.maximum(a, b)
    return torch.where((own > 1) & found.isfinite(), found, 0.0)


def by_class(values: Float[Tensor, " n"], pairs: PairwiseDistances) -> Float[Tensor, " c"]:
    """Means of the classes that have samples."""
    totals = torch.zeros(len(pairs.counts), dtype=values.dtype, device=values.device)
    totals.scatter_add_(0, pairs.codes, values)
    return (totals / pairs.counts)[pairs.counts > 0]


def nearest_is_own(pairs: PairwiseDistances, ties: str = "first") -> Bool[Tensor, " n"]:
    """Whether the nearest other sample is of the own class; of two as near the one with the lower index, or neither."""
    tied = (pairs.own - pairs.enemy).abs() <= TIED * pairs.enemy
    nearer = (pairs.own < pairs.enemy) & ~tied
    return (pairs.own_at >= 0) & (nearer | (tied & (pairs.own_at < pairs.enemy_at) & (ties == "first")))


def n2_of_points(pairs: PairwiseDistances) -> Float[Tensor, " m"]:
    """own/(own + enemy) of every sample that has both; 1/2 where both are 0."""
    known = (pairs.own_at >= 0) & (pairs.enemy_at >= 0)
    own, enemy = pairs.own[known], pairs.enemy[known]
    return torch.where(own + enemy > 0, own / (own + enemy), 0.5)


def purity(pairs: PairwiseDistances) -> float:
    """The share of neighbours of the own class over chance: 1 for pure, 0 without class structure."""
    share = float((pairs.same / pairs.k).mean())
    n = pairs.n
    chance = float((pairs.counts * (pairs.counts - 1)).sum()) / (n * (n - 1))
    return (share - chance) / (1 - chance) if chance < 1 else NAN


def touched(edges: Int[Tensor, "e 2"], codes: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Which samples an edge of the spanning tree joins to another class."""
    across = edges[codes[edges[:, 0]] != codes[edges[:, 1]]]
    found = torch.zeros(len(codes), dtype=torch.bool, device=codes.device)
    found[across.flatten()] = True
    return found


# --- distances by classes ---------------------------------------------------------------------------------------------


def gdv(
    x: Float[Tensor, "n d"], several: Sequence[Int[Tensor, " n"]], classes: int, *, drop_constant: bool = False
) -> list[float]:
    """(mean_k intra_k - mean_{k<l} inter_kl)/sqrt(d) of features times 1/(2 std), for one or more labellings."""
    deviation = x.std(0, correction=0)
    alive = deviation > 1e-12 * x.abs().amax(0).clamp_min(1e-300)
    if not bool(alive.any()):
        return [NAN] * len(several)
    z = 0.5 * (x[:, alive] - x[:, alive].mean(0)) / deviation[alive]
    d = int(alive.sum()) if drop_constant else x.shape[1]
    found = []
    for codes, total in zip(several, between(z, several, classes)):
        counts = torch.bincount(codes, minlength=classes).double()
        pairs = counts[:, None] * counts - torch.diag(counts)
        many = (counts > 1).nonzero()[:, 0]
        intra = total.diagonal()[many] / pairs.diagonal()[many]
        here = (counts > 0).nonzero()[:, 0]
        low, high = torch.triu_indices(len(here), len(here), 1, device=x.device)
        inter = (total / pairs)[here[low], here[high]]
        known = len(intra) and len(inter)
        found.append(float((intra.mean() - inter.mean()) / math.sqrt(d)) if known else NAN)
    return found


def between(x: Float[Tensor, "n d"], several: Sequence[Int[Tensor, " n"]], classes: int) -> Float[Tensor, "p c c"]:
    """The sum of distances over all ordered pairs of two classes, for each labelling, in one pass."""
    members = torch.stack([torch.nn.functional.one_hot(codes, classes) for codes in several], 1).to(x)  # (n, p, c)
    flat = members.flatten(1)
    total = torch.zeros(len(several), classes, classes, dtype=x.dtype, device=x.device)
    for rows in torch.arange(len(x), device=x.device).split(max(16, BLOCK // (8 * len(x)))):
        square, _ = squared(x, rows)
        sums = (square.sqrt_() @ flat).view(len(rows), len(several), classes)
        total += torch.einsum("bpi,bpj->pij", members[rows], sums)
    return total


@dataclass(frozen=True)
class Ordered:
    """All pairs i < j, nearest first; pairs as far apart have one `group`."""

    i: Int[Tensor, " p"]
    j: Int[Tensor, " p"]
    group: Int[Tensor, " p"]

    @classmethod
    def of(cls, square: Float[Tensor, "n n"]) -> "Ordered":
        """From squared distances."""
        i, j = torch.triu_indices(len(square), len(square), 1, device=square.device)
        values, order = square[i, j].sort()
        apart = values.diff(prepend=values[:1]) > TIED * values + TIED**2 * values[-1:]
        return cls(i[order], j[order], apart.cumsum(0))

    def without(self, gone: Bool[Tensor, " n"]) -> "Ordered":
        left = ~(gone[self.i] | gone[self.j])
        return Ordered(self.i[left], self.j[left], self.group[left])


def dsi(pairs: Ordered, codes: Int[Tensor, " n"], classes: int) -> Float[Tensor, " c"]:
    """The Kolmogorov-Smirnov distance of the inner distances of every class from its outer ones; NaN for one sample."""
    first, second = codes[pairs.i], codes[pairs.j]
    found = torch.full((classes,), torch.nan, dtype=torch.float64, device=codes.device)
    for value in range(classes):
        a, b = first == value, second == value
        mine = (a | b).nonzero()[:, 0]
        inner = (a & b)[mine]
        m = int(inner.sum())
        if not 0 < m < len(mine):
            continue
        step = inner.double() / m - (~inner).double() / (len(mine) - m)
        group = pairs.group[mine]
        last = torch.cat([group[1:] != group[:-1], torch.ones_like(group[:1], dtype=torch.bool)])
        found[value] = step.cumsum(0)[last].abs().max()
    return found


# --- moments ----------------------------------------------------------------------------------------------------------


def calinski_harabasz(x: Float[Tensor, "n d"], codes: Int[Tensor, " n"], classes: int) -> float:
    """(tr Sb/(c - 1)) / (tr Sw/(n - c)); infinite where no class has spread, NaN where nothing has."""
    means, counts = _means(x, codes, classes)
    within = float((x - means[codes]).square().sum())
    between_classes = float((counts[:, None] * (means - x.mean(0)).square())[counts > 0].sum())
    n, c = len(x), int((counts > 0).sum())
    size = float(x.square().sum())
    within, between_classes = (0.0 if v <= 1e-26 * size else v for v in (within, between_classes))
    if not within:
        return math.inf if between_classes and n > c else NAN
    return between_classes / within * (n - c) / (c - 1) if n > c > 1 else NAN


def davies_bouldin(x: Float[Tensor, "n d"], codes: Int[Tensor, " n"], classes: int) -> float:
    """mean_k max_l (s_k + s_l)/|m_k - m_l|; infinite where two classes with spread have one mean."""
    means, counts = _means(x, codes, classes)
    spread = torch.zeros(classes, dtype=x.dtype, device=x.device)
    spread.scatter_add_(0, codes, torch.linalg.vector_norm(x - means[codes], dim=1))
    here = counts > 0
    s, m = (spread / counts)[here], means[here]
    apart = torch.cdist(m, m, compute_mode="donot_use_mm_for_euclid_dist")
    apart = torch.where(apart > 1e-13 * float(x.abs().max()), apart, 0.0)
    ratio = (s[:, None] + s) / apart  # 0/0 is NaN: two points at one place
    ratio.fill_diagonal_(-math.inf)
    return float(ratio.amax(1).mean()) if len(x) > len(s) > 1 else NAN


def _means(x: Float[Tensor, "n d"], codes: Int[Tensor, " n"], classes: int) -> tuple[Tensor, Tensor]:
    counts = torch.bincount(codes, minlength=classes)
    total = torch.zeros(classes, x.shape[1], dtype=x.dtype, device=x.device).index_add_(0, codes, x)
    return total / counts.clamp_min(1)[:, None], counts


# --- directions -------------------------------------------------------------------------------------------------------


def directions(x: Float[Tensor, "n d"], normalize: str) -> Float[Tensor, "n d"]:
    """Unit rows, of features less their mean where asked; rows of zeros stay zeros."""
    x = x - x.mean(0) if normalize == "center+l2" else x
    return x / torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min(1e-300)


def alignment(u: Float[Tensor, "n d"], codes: Int[Tensor, " n"], classes: int) -> tuple[float, float, float]:
    """The means of |u - v|^2 and of u.v over pairs of one class, and the share that such pairs have of all."""
    total = torch.zeros(classes, u.shape[1], dtype=u.dtype, device=u.device).index_add_(0, codes, u)
    counts = torch.bincount(codes, minlength=classes).double()
    pairs, n = float((counts * (counts - 1)).sum()), len(u)
    dots = float(total.square().sum() - u.square().sum())  # over ordered pairs of one class
    lengths = float((u.square().sum(1) * (counts[codes] - 1)).sum())
    share = pairs / (n * (n - 1))
    return (max(0.0, (2 * lengths - 2 * dots) / pairs), dots / pairs, share) if pairs else (NAN, NAN, share)


def kernel_rows(u: Float[Tensor, "n d"], t: float = 2.0) -> Float[Tensor, " n"]:
    """Of every row the mean over the others of exp(-t |u - v|^2)."""
    n, squares = len(u), u.square().sum(1)
    found = torch.empty(n, dtype=u.dtype, device=u.device)
    for part in torch.arange(n, device=u.device).split(max(16, BLOCK // (8 * n))):
        block = torch.addmm(squares, u[part], u.T, alpha=-2.0).add_(squares[part, None]).clamp_min_(0)
        found[part] = (torch.exp(-t * block).sum(1) - 1) / (n - 1)  # less itself
    return found


def label_cka(x: Float[Tensor, "n d"], codes: Int[Tensor, " n"], classes: int, *, unbiased: bool = True) -> float:
    """Centred kernel alignment of the linear kernel with 1[y_i = y_j]."""
    x = x - x.mean(0)
    n, total = len(x), torch.zeros(classes, x.shape[1], dtype=x.dtype, device=x.device).index_add_(0, codes, x)
    counts = torch.bincount(codes, minlength=classes).double()
    gram = x.T @ x if x.shape[1] <= n else x @ x.T
    if not unbiased:
        p = counts.square().sum() / n
        centred = counts.square().sum() - 2 * (counts**3).sum() / n + p**2  # |H L H|_F^2
        below = gram.square().sum() * centred
        return float(total.square().sum() / below.sqrt()) if float(below) > 0 else NAN
    if n < 4:
        return NAN
    squares, size = x.square().sum(1), counts[codes] - 1
    rows = x @ x.sum(0) - squares
    own = total.square().sum() - squares.sum()
    square_sum = gram.square().sum() - squares.square().sum()
    labels = (counts * (counts - 1)).sum()

    def hsic(trace: Tensor, a: Tensor, b: Tensor, both: Tensor) -> Tensor:
        return (trace + a * b / ((n - 1) * (n - 2)) - 2 / (n - 2) * both) / (n * (n - 3))

    cross = hsic(own, rows.sum(), labels, (rows * size).sum())
    left = hsic(square_sum, rows.sum(), rows.sum(), rows.square().sum())
    right = hsic(labels, labels, labels, size.square().sum())
    below = left * right
    return float(cross / below.sqrt()) if float(left) > 0 and float(right) > 0 else NAN


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
