"""Formulas of separability from distances, class moments and directions. Codes run from 0; classes may be empty."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from repana.summaries.forest import squared
from repana.summaries.pairwise_distances import BLOCK, TIED, PairwiseDistances

NAN = float("nan")


# --- distances of every sample ----------------------------------------------------------------------------------------


def silhouettes(
    sums: Float[Tensor, "*p n c"], codes: Int[Tensor, "*p n"], counts: Int[Tensor, " c"]
) -> Float[Tensor, "*p n"]:
    """(b - a)/max(a, b) of every sample, from its sums of distances to the classes; 0 for the only one of its class,
    and where both are 0."""
    own, place = counts[codes], codes[..., None]
    a = sums.gather(-1, place)[..., 0] / (own - 1).clamp_min(1)
    b = torch.where(counts == 0, math.inf, sums / counts.clamp_min(1)).scatter(-1, place, math.inf).amin(-1)
    found = (b - a) / torch.maximum(a, b)
    return torch.where((own > 1) & found.isfinite(), found, 0.0)


def by_class(
    values: Float[Tensor, "*p n"], codes: Int[Tensor, "*p n"], counts: Int[Tensor, " c"]
) -> Float[Tensor, "*p k"]:
    """Means of the classes that have samples."""
    totals = values.new_zeros(*values.shape[:-1], len(counts))
    totals.scatter_add_(-1, codes, values)
    return (totals / counts)[..., counts > 0]


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


def gdv(x: Float[Tensor, "n d"], codes: Int[Tensor, " n"], classes: int, *, drop_constant: bool = False) -> float:
    """(mean_k intra_k - mean_{k<l} inter_kl)/sqrt(d) of features times 1/(2 std)."""
    z, d = scaled_for_gdv(x, drop_constant=drop_constant)
    if z is None:
        return NAN
    counts, total = torch.bincount(codes, minlength=classes).double(), between(z, codes, classes)
    pairs = counts[:, None] * counts - torch.diag(counts)
    many = (counts > 1).nonzero()[:, 0]
    intra = total.diagonal()[many] / pairs.diagonal()[many]
    here = (counts > 0).nonzero()[:, 0]
    low, high = torch.triu_indices(len(here), len(here), 1, device=x.device)
    inter = (total / pairs)[here[low], here[high]]
    return float((intra.mean() - inter.mean()) / math.sqrt(d)) if len(intra) and len(inter) else NAN


def scaled_for_gdv(x: Float[Tensor, "n d"], *, drop_constant: bool) -> tuple[Float[Tensor, "n r"] | None, int]:
    """Features that vary, less their mean, times 1/(2 std), or None without one; and how many features count."""
    deviation = x.std(0, correction=0)
    alive = deviation > 1e-12 * x.abs().amax(0).clamp_min(1e-300)
    if not bool(alive.any()):
        return None, 0
    return 0.5 * (x[:, alive] - x[:, alive].mean(0)) / deviation[alive], int(alive.sum()) if drop_constant else x.shape[
        1
    ]


def between(x: Float[Tensor, "n d"], codes: Int[Tensor, " n"], classes: int) -> Float[Tensor, "c c"]:
    """The sum of distances over all ordered pairs of two classes."""
    member = torch.nn.functional.one_hot(codes, classes).to(x)
    total = torch.zeros(classes, classes, dtype=x.dtype, device=x.device)
    for rows in torch.arange(len(x), device=x.device).split(max(16, BLOCK // (8 * len(x)))):
        total += member[rows].T @ (squared(x, rows)[0].sqrt_() @ member)
    return total


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
    return float(worst_ratios(means, spread / counts, counts, 1e-13 * float(x.abs().max())))


def worst_ratios(
    means: Float[Tensor, "*p c d"], spread: Float[Tensor, "*p c"], counts: Int[Tensor, " c"], rounding: float = 0.0
) -> Float[Tensor, "*p"]:
    """mean_k max_l (s_k + s_l)/|m_k - m_l| of the classes that have samples."""
    here = counts > 0
    s, m = spread[..., here], means[..., here, :]
    apart = torch.cdist(m, m, compute_mode="donot_use_mm_for_euclid_dist")
    apart = torch.where(apart > rounding, apart, 0.0)
    ratio = (s[..., :, None] + s[..., None, :]) / apart  # 0/0 is NaN: two points at one place
    ratio.diagonal(dim1=-2, dim2=-1).fill_(-math.inf)
    known = int(counts.sum()) > s.shape[-1] > 1
    return ratio.amax(-1).mean(-1) if known else torch.full(s.shape[:-1], NAN, dtype=s.dtype, device=s.device)


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
    e = x - x.mean(0)
    total = torch.zeros(classes, x.shape[1], dtype=x.dtype, device=x.device).index_add_(0, codes, e)
    counts = torch.bincount(codes, minlength=classes)
    return float(LinearKernel.of(x).alignment(total, codes, counts, unbiased=unbiased))


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
