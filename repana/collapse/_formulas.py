"""The formulas of neural collapse on class means, class scatter and a classifier, in float64.

M (c, d) are class means, Mc = M - g the centred ones, W (c, d) classifier rows, G a (c, c) Gram matrix, J = I - 11'/c.
Leading axes are replicates: (..., c, d) in, (...) out.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import nnls
from torch import Tensor

from repana._typing import Means, PerClass

NAN = float("nan")
PAIRS = 4096  # of class means whose difference is taken at a time
EQUAL = 1e-14  # squared distance of two class means, in variances, below which only rounding sets them apart


class Convention(NamedTuple):
    """How the scatters are formed: what weighs a class within, between and in the global mean, and whether NC1 is / c.

    Variances divide by n_c (ddof 0) in all of them.
    """

    within: str  # "sample": Sw = 1/n sum_i; "class": Sw = 1/c sum_c Cov_c
    between: str  # "class": Sb = 1/c sum_c; "sample": Sb = sum_c p_c
    centre: str  # "class": mean of class means; "sample": mean of samples
    per_class: bool  # NC1 divided by the number of classes
    duality: str  # "papyan": squared distance of W and M; "zhu": distance of WM' from an ETF


CONVENTIONS = {
    "papyan": Convention("sample", "class", "class", True, "papyan"),
    "zhu": Convention("sample", "class", "sample", True, "zhu"),
    "he_su": Convention("sample", "sample", "sample", False, "papyan"),
    "galanti": Convention("class", "class", "class", False, "papyan"),
}


@dataclass(frozen=True)
class Geometry:
    """Class means through one (c, c) Gram matrix, around the mean of class means; everything else is derived from it.

    `spectrum` (..., r), r the smaller of c and d, are the squared singular values, ascending, 0 where only rounding is
    left; `basis` (..., r, d) spans the centred means, with rows of zeros there.
    """

    mean: Float[Tensor, "*b c d"]
    count: PerClass
    centre: Float[Tensor, "*b d"]
    gram: Float[Tensor, "*b c c"]
    vectors: Float[Tensor, "*b c r"]
    spectrum: Float[Tensor, "*b r"]

    @property
    def basis(self) -> Float[Tensor, "*b r d"]:
        scaled = self.vectors * _or_zero(self.spectrum.rsqrt())[..., None, :]
        return scaled.mT @ (self.mean - self.centre[..., None, :])

    @property
    def rank(self) -> Int[Tensor, "*b"]:
        return (self.spectrum > 0).sum(-1)


def _or_zero(values: Tensor) -> Tensor:
    """0 in place of what is infinite."""
    return torch.where(values.isinf(), 0.0, values)


def geometry_of(mean: Float[Tensor, "*b c d"], trace: Float[Tensor, "*b c"], count: PerClass) -> Geometry:
    """The Gram matrix of centred means in float64, and its eigenvectors of non-zero length: by the (d, d) product where
    there are more classes than dimensions.

    Eigenvalues below 10 c eps of the largest are rounding, since the Gram of float64 means is exact to c eps; so are
    those that differences of equal means can have, given the spread within classes and the distance from the origin.
    """
    g, c = mean.mean(-2), mean.shape[-2]
    centred = mean - g[..., None, :]
    gram = centred @ centred.mT
    if c > mean.shape[-1]:
        values, axes = torch.linalg.eigh(centred.mT @ centred)
        vectors = centred @ axes * _or_zero(values.clamp_min(0).rsqrt())[..., None, :]
    else:
        values, vectors = torch.linalg.eigh(gram)
    eps = torch.finfo(torch.float64).eps
    floor = c * (1e-14 * trace.sum(-1) / count.sum() + 100 * eps**2 * g.square().sum(-1))
    least = torch.maximum(10 * c * eps * values[..., -1], floor).clamp_min(1e-300)
    spectrum = torch.where(values > least[..., None], values, 0.0)
    return Geometry(mean, count, g, gram * (spectrum > 0).any(-1)[..., None, None], vectors, spectrum)


def class_weights(count: Tensor, kind: str) -> PerClass:
    """1/c for every class, or its share of the samples."""
    share = count.double() / count.sum()
    return share if kind == "sample" else torch.full_like(share, 1 / len(share))


def global_mean(mean: Float[Tensor, "*b c d"], count: Tensor, convention: Convention) -> Float[Tensor, "*b d"]:
    return class_weights(count, convention.centre) @ mean


def centred_gram(geometry: Geometry, convention: Convention) -> Float[Tensor, "*b c c"]:
    """(M - g)(M - g)' for the global mean g of the convention."""
    if convention.centre == "class":
        return geometry.gram
    p = class_weights(geometry.count, convention.centre)
    row = geometry.gram @ p
    return geometry.gram - row[..., :, None] - row[..., None, :] + (row @ p)[..., None, None]


def raw_gram(geometry: Geometry) -> Float[Tensor, "*b c c"]:
    """MM', around the origin."""
    g = geometry.centre
    along = ((geometry.mean - g[..., None, :]) @ g[..., None])[..., 0]
    return geometry.gram + along[..., :, None] + along[..., None, :] + g.square().sum(-1)[..., None, None]


def trace_ratio(
    geometry: Geometry,
    within: Float[Tensor, "*b r r"],
    convention: Convention,
    less: Float[Tensor, "*b r r"] | None = None,
) -> Float[Tensor, "*b"]:
    """tr(Sw Sb^+), divided by c where the convention says so; infinite when the class means coincide.

    `within` is Sw in the coordinates of the basis, where Sb has full rank, so no pseudo-inverse of a (d, d) matrix is
    formed; the published definition is unchanged, since Sb^+ vanishes outside the span of the centred means. `less` is
    taken off Sb.
    """
    kept, weight = geometry.spectrum > 0, class_weights(geometry.count, convention.between)
    if convention.centre == "class" and convention.between == "class" and less is None:
        along = within.diagonal(dim1=-2, dim2=-1)
        value = torch.where(kept, along / geometry.spectrum, 0.0).sum(-1) * len(weight)
    else:
        coordinates = geometry.vectors * geometry.spectrum.sqrt()[..., None, :]
        coordinates = coordinates - (class_weights(geometry.count, convention.centre) @ coordinates)[..., None, :]
        between = coordinates.mT @ (weight[:, None] * coordinates)
        between = between if less is None else between - less
        between = between + torch.diag_embed((~kept).to(between))  # where the means do not vary
        value = _trace_of_quotient(between, within)
    value = value / len(weight) if convention.per_class else value
    return torch.where(kept.any(-1), value, math.inf)


def _trace_of_quotient(between: Float[Tensor, "*b r r"], within: Float[Tensor, "*b r r"]) -> Float[Tensor, "*b"]:
    """tr(B^-1 W): by a Cholesky factor, or by elimination where B, less what errors add to it, has none."""
    factor, wrong = torch.linalg.cholesky_ex(between)
    if bool((wrong != 0).all()):
        return torch.linalg.solve(between, within).diagonal(dim1=-2, dim2=-1).sum(-1)
    value = (torch.cholesky_inverse(factor) * within).sum((-2, -1))
    for at in (wrong != 0).nonzero().unbind(0):
        one = tuple(at.tolist())
        value[one] = torch.linalg.solve(between[one], within[one]).diagonal().sum()
    return value


def between_trace(geometry: Geometry, convention: Convention) -> Float[Tensor, "*b"]:
    """tr Sb."""
    squares = centred_gram(geometry, convention).diagonal(dim1=-2, dim2=-1)
    return squares @ class_weights(geometry.count, convention.between)


def within_trace(trace: Float[Tensor, "*b c"], count: PerClass, convention: Convention) -> Float[Tensor, "*b"]:
    """tr Sw."""
    return trace @ (class_weights(count, convention.within) / count)


def cdnv_grid(geometry: Geometry, trace: Float[Tensor, "*b c"]) -> Float[Tensor, "*b c c"]:
    """V_ij = (v_i + v_j) / (2 |m_i - m_j|^2), v_c = trace_c / n_c; NaN on the diagonal, infinite for equal means."""
    variance = trace / geometry.count
    both = variance[..., :, None] + variance[..., None, :]
    distance = squared_distances(geometry)
    grid = torch.where(distance <= EQUAL * both, math.inf, both / (2 * distance))
    return grid.masked_fill(torch.eye(grid.shape[-1], dtype=torch.bool, device=grid.device), NAN)


def squared_distances(geometry: Geometry) -> Float[Tensor, "*b c c"]:
    """|m_i - m_j|^2 from the Gram matrix, and from the differences themselves where that cancels."""
    squares = geometry.gram.diagonal(dim1=-2, dim2=-1)
    both = squares[..., :, None] + squares[..., None, :]
    distance = both - 2 * geometry.gram
    close = distance < 1e-6 * both
    close.diagonal(dim1=-2, dim2=-1).fill_(False)
    for at in close.nonzero().split(PAIRS):
        *replicate, i, j = at.unbind(1)
        apart = geometry.mean[(*replicate, i)] - geometry.mean[(*replicate, j)]
        distance[(*replicate, i, j)] = apart.square().sum(-1)
    return distance


def off_diagonal(matrix: Float[Tensor, "*b c c"]) -> Float[Tensor, "*b p"]:
    """The entries i < j."""
    c = matrix.shape[-1]
    i, j = torch.triu_indices(c, c, 1, device=matrix.device)
    return matrix[..., i, j]


def coefficient_of_variation(values: Float[Tensor, "*b n"]) -> Float[Tensor, "*b"]:
    """Population standard deviation over mean; NaN where that is 0."""
    mean = values.mean(-1)
    return torch.where(mean != 0, values.std(-1, correction=0) / mean, NAN)


def cosines(gram: Float[Tensor, "*b c c"]) -> Float[Tensor, "*b c c"]:
    """Cosines between rows, from their Gram matrix; NaN for a row of length 0."""
    length = gram.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()
    return gram / length[..., None, :] / length[..., :, None]


def simplex(c: int, like: Tensor) -> Float[Tensor, "c c"]:
    """J / |J|_F, the normalised Gram matrix of a simplex equiangular tight frame."""
    eye = torch.eye(c, dtype=torch.float64, device=like.device)
    return (eye - 1 / c) / math.sqrt(c - 1)


def gram_distance(gram: Float[Tensor, "*b c c"], target: Float[Tensor, "*e c c"]) -> Float[Tensor, "*b"]:
    """|G/|G|_F - T/|T|_F|_F, in [0, 2]; NaN where either is 0."""
    sizes = [torch.linalg.matrix_norm(m, keepdim=True) for m in (gram, target)]
    return torch.linalg.matrix_norm(gram / sizes[0] - target / sizes[1])


def orthogonality_error(gram: Float[Tensor, "*b c c"], target: PerClass | None) -> Float[Tensor, "*b"]:
    """Distance to a general orthogonal frame: to diag(target), or, without a target, to the Gram's own diagonal."""
    return gram_distance(gram, torch.diag_embed(gram.diagonal(dim1=-2, dim2=-1) if target is None else target))


def uniformity(cosine: Float[Tensor, "*b p"], kernel: str, s: float) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"]]:
    """Mean and population variance over pairs of an energy of unit rows: distance, -log distance, or Riesz.

    Read from the cosines of the pairs: |u_i - u_j|^2 = 2 - 2 cos. Riesz energies are sign(s) |u_i - u_j|^-s.
    """
    squared = (2 - 2 * cosine).clamp_min(0)
    if kernel == "distance":
        energy = squared.sqrt()
    elif kernel == "log":
        energy = -0.5 * squared.log()
    else:
        energy = math.copysign(1.0, s) * torch.exp(-0.5 * s * squared.log())
    infinite = torch.isinf(energy).any(-1)
    mean = torch.where(infinite, math.inf, energy.mean(-1))
    return mean, torch.where(infinite, NAN, energy.var(-1, correction=0))


def one_vs_rest(rows: Means) -> float:
    """min_k dist(u_k, conv{u_j, j != k}) of unit rows, exact.

    The nearest point of a hull to 0 minimises |Pb|^2 + (1'b - 1)^2 over b >= 0 up to scale, a non-negative
    least-squares problem (Lawson & Hanson 1974, chapter 23); it is solved on at most c coordinates of the rows.
    """
    if not float(rows.norm(dim=1).min()) > 0:
        return NAN
    unit = (rows / rows.norm(dim=1, keepdim=True)).cpu().numpy()
    if unit.shape[1] > len(unit):
        unit = np.linalg.qr(unit.T)[1].T
    distances = []
    for k in range(len(unit)):
        points = np.delete(unit, k, 0) - unit[k]
        b, _ = nnls(np.vstack([points.T, np.ones(len(points))]), np.append(np.zeros(points.shape[1]), 1.0))
        distances.append(float(np.linalg.norm(b @ points) / b.sum()) if b.sum() > 0 else NAN)
    return min(distances)


def self_duality(centred: Float[Tensor, "*b c d"], weight: Means) -> Float[Tensor, "*b"]:
    """|W/|W|_F - Mc/|Mc|_F|_F^2 (Papyan); NaN where either is 0."""
    sizes = [torch.linalg.matrix_norm(m, keepdim=True) for m in (weight, centred)]
    return (weight / sizes[0] - centred / sizes[1]).square().sum((-2, -1))


def row_cosines(centred: Float[Tensor, "*b c d"], weight: Means) -> Float[Tensor, "*b c"]:
    """cos(w_c, m_c - g) of every class."""
    return torch.nn.functional.cosine_similarity(centred, weight, dim=-1)
