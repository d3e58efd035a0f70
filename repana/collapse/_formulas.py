"""The formulas of neural collapse on class means, class scatter and a classifier. Plain float64 tensors in, floats out.

M (c, d) are class means, Mc = M - g the centred ones, W (c, d) classifier rows, G a (c, c) Gram matrix, J = I - 11'/c.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import nnls
from torch import Tensor

from repana._typing import Means, PerClass
from repana.summaries.resampling import working

NAN = float("nan")
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

    `basis` (r, d) spans the centred means; `spectrum` (r,) are the squared singular values along it.
    """

    mean: Means
    count: PerClass
    centre: Float[Tensor, " d"]
    gram: Float[Tensor, "c c"]
    vectors: Float[Tensor, "c r"]
    spectrum: Float[Tensor, " r"]

    @property
    def basis(self) -> Float[Tensor, "r d"]:
        return (self.vectors / self.spectrum.sqrt()).T @ (self.mean - self.centre)


def geometry_of(mean: Means, trace: PerClass, count: PerClass) -> Geometry:
    """The Gram matrix of centred means in float64, and its eigenvectors of non-zero length.

    Eigenvalues below 10 c eps of the largest are rounding, since the Gram of float64 means is exact to c eps; so are
    those that differences of equal means can have, given the spread within classes and the distance from the origin.
    """
    g = mean.mean(0)
    centred = mean - g
    gram = centred @ centred.T
    values, vectors = torch.linalg.eigh(gram)
    eps = torch.finfo(torch.float64).eps
    floor = len(mean) * (1e-14 * float(trace.sum() / count.sum()) + 100 * eps**2 * float(g.square().sum()))
    kept = values > max(10 * len(values) * eps * float(values[-1]), floor, 1e-300)
    return Geometry(mean, count, g, gram if bool(kept.any()) else gram * 0, vectors[:, kept], values[kept])


def class_weights(count: Tensor, kind: str) -> PerClass:
    """1/c for every class, or its share of the samples."""
    share = count.double() / count.sum()
    return share if kind == "sample" else torch.full_like(share, 1 / len(share))


def global_mean(mean: Means, count: Tensor, convention: Convention) -> Float[Tensor, " d"]:
    return class_weights(count, convention.centre) @ mean


def centred_gram(geometry: Geometry, convention: Convention) -> Float[Tensor, "c c"]:
    """(M - g)(M - g)' for the global mean g of the convention."""
    if convention.centre == "class":
        return geometry.gram
    p = class_weights(geometry.count, convention.centre)
    row = geometry.gram @ p
    return geometry.gram - row[:, None] - row + p @ row


def raw_gram(geometry: Geometry) -> Float[Tensor, "c c"]:
    """MM', around the origin."""
    along = (geometry.mean - geometry.centre) @ geometry.centre
    return geometry.gram + along[:, None] + along + geometry.centre @ geometry.centre


def trace_ratio(geometry: Geometry, within: Float[Tensor, "r r"], convention: Convention) -> float:
    """tr(Sw Sb^+), divided by c where the convention says so; infinite when the class means coincide.

    `within` is Sw in the coordinates of the basis, where Sb has full rank, so no pseudo-inverse of a (d, d) matrix is
    formed; the published definition is unchanged, since Sb^+ vanishes outside the span of the centred means.
    """
    if not len(geometry.spectrum):
        return math.inf
    weight = class_weights(geometry.count, convention.between)
    if convention.centre == "class" and convention.between == "class":
        value = float((within.diagonal() / geometry.spectrum).sum()) * len(weight)
    else:
        coordinates = geometry.vectors * geometry.spectrum.sqrt()
        coordinates = coordinates - class_weights(geometry.count, convention.centre) @ coordinates
        between = coordinates.T @ (weight[:, None] * coordinates)
        value = float(torch.linalg.solve(between, within).trace())
    return value / len(weight) if convention.per_class else value


def between_trace(geometry: Geometry, convention: Convention) -> float:
    """tr Sb."""
    return float(class_weights(geometry.count, convention.between) @ centred_gram(geometry, convention).diagonal())


def within_trace(trace: PerClass, count: PerClass, convention: Convention) -> float:
    """tr Sw."""
    return float((class_weights(count, convention.within) / count) @ trace)


def cdnv_grid(geometry: Geometry, trace: PerClass) -> Float[Tensor, "c c"]:
    """V_ij = (v_i + v_j) / (2 |m_i - m_j|^2), v_c = trace_c / n_c; NaN on the diagonal, infinite for equal means."""
    variance = trace / geometry.count
    squares = geometry.gram.diagonal()
    distance = squares[:, None] + squares - 2 * geometry.gram
    close = distance < 1e-6 * (squares[:, None] + squares)  # cancelled: take the differences themselves
    close.fill_diagonal_(False)
    for i, j in close.nonzero().tolist():
        distance[i, j] = (geometry.mean[i] - geometry.mean[j]).square().sum()
    grid = (variance[:, None] + variance) / (2 * distance)
    grid[distance <= EQUAL * (variance[:, None] + variance)] = math.inf
    grid.fill_diagonal_(NAN)
    return grid


def off_diagonal(matrix: Float[Tensor, "c c"]) -> Tensor:
    """The entries i < j."""
    i, j = torch.triu_indices(len(matrix), len(matrix), 1, device=matrix.device)
    return matrix[i, j]


def coefficient_of_variation(values: Tensor) -> float:
    """Population standard deviation over mean."""
    return float(values.std(correction=0) / values.mean()) if float(values.mean()) != 0 else NAN


def cosines(gram: Float[Tensor, "c c"]) -> Float[Tensor, "c c"]:
    """Cosines between rows, from their Gram matrix; NaN for a row of length 0."""
    length = gram.diagonal().clamp_min(0).sqrt()
    return gram / length / length[:, None]


def simplex(c: int, like: Tensor) -> Float[Tensor, "c c"]:
    """J / |J|_F, the normalised Gram matrix of a simplex equiangular tight frame."""
    eye = torch.eye(c, dtype=torch.float64, device=like.device)
    return (eye - 1 / c) / math.sqrt(c - 1)


def gram_distance(gram: Float[Tensor, "c c"], target: Float[Tensor, "c c"]) -> float:
    """|G/|G|_F - T/|T|_F|_F, in [0, 2]."""
    size = float(gram.norm())
    return float((gram / size - target / target.norm()).norm()) if size > 0 else NAN


def orthogonality_error(gram: Float[Tensor, "c c"], target: PerClass | None) -> float:
    """Distance to a general orthogonal frame: to diag(target), or, without a target, to the Gram's own diagonal."""
    if target is None:
        target = gram.diagonal()
    return gram_distance(gram, torch.diag(target)) if float(target.norm()) > 0 else NAN


def uniformity(cosine: Tensor, kernel: str, s: float) -> tuple[float, float]:
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
    if bool(torch.isinf(energy).any()):
        return math.inf, NAN
    return float(energy.mean()), float(energy.var(correction=0))


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


def self_duality(centred: Means, weight: Means) -> float:
    """|W/|W|_F - Mc/|Mc|_F|_F^2 (Papyan)."""
    sizes = float(weight.norm()), float(centred.norm())
    return float((weight / sizes[0] - centred / sizes[1]).square().sum()) if min(sizes) > 0 else NAN


def row_cosines(centred: Means, weight: Means) -> Tensor:
    """cos(w_c, m_c - g) of every class."""
    return torch.nn.functional.cosine_similarity(centred, weight, dim=1)


def equal_means(mean: Means) -> Tensor:
    """Which classes share their mean exactly with another class."""
    _, inverse, count = torch.unique(mean, dim=0, return_inverse=True, return_counts=True)
    return count[inverse] > 1


def nearest_mean(features: Tensor, mean: Means) -> Tensor:
    """The index of the nearest class mean, argmax of (x - g).m - |m|^2/2 with m = mean - g.

    Centring first keeps float32 features exact enough when they sit far from the origin.
    """
    g = mean.mean(0)
    work = working(features)
    if not 1e-12 < float((mean - g).abs().max()) < 1e12:  # products would leave float32
        work = torch.float64
    centred = (mean - g).to(work)
    bias = -0.5 * (mean - g).square().sum(1).to(work)
    shift = g.to(work)
    out = torch.empty(len(features), dtype=torch.int64, device=features.device)
    for start in range(0, len(features), 4096):
        rows = features[start : start + 4096].to(work) - shift
        out[start : start + 4096] = torch.addmm(bias, rows, centred.T).argmax(1)
    return out
