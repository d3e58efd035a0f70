"""The similarity matrices of layers, and all inner products of two sets of them, row by row.

CKA of any kernel, distance correlation and the whitened comparison of distances are cosines of (n, n) matrices. The one
read here is U-centred (Szekely & Rizzo 2014): off the diagonal K_ij - r_i/(n-2) - r_j/(n-2) + S/((n-1)(n-2)), zero on
it, so that rows sum to 0. Then <U(K), U(L)>/(n(n-3)) is the unbiased HSIC, and without sample i the same sum is
<U(K), U(L)> - 2 (n-2)/(n-3) a_i, where a_i is the inner product of the i-th rows: the exact jackknife is in the sums
that the value needs.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana.comparison import _refusals
from repana.statistics.pairing import EXACT, PairSums, estimated_trace
from repana.summaries._linalg import full_precision, power_of_two, scaled
from repana.summaries.distances import distances

ROWS_BYTES = 2**25  # of the rows of all layers that are multiplied at a time
SUMMED = 4096  # rows of a product that are added in the precision of the features
DOUBLE = 512  # samples up to which float32 features are multiplied in float64


@dataclass(frozen=True)
class Centred:
    """Features less their mean, over a power of two; float64, or float32 for many samples of such features. `constant`
    features of all `width` do not vary.
    """

    x: Float[Tensor, "n d"]
    constant: int
    scale: float

    @classmethod
    def of(cls, features: Float[Tensor, "n d"], *, double: bool = False) -> "Centred":
        dead = features.amax(0) == features.amin(0)
        moved = features.double() - features.double().mean(0)
        moved[:, dead] = 0
        scale = power_of_two(moved)
        single = features.dtype != torch.float64 and len(features) > DOUBLE and not double
        x = scaled(moved, scale)
        return cls(x.float() if single else x, int(dead.sum()), scale)

    @property
    def n(self) -> int:
        return len(self.x)

    @property
    def varies(self) -> bool:
        return self.constant < self.x.shape[1]


class LinearMatrix:
    """U(X X') of centred features, whose rows are made when they are asked for."""

    def __init__(self, centred: Centred) -> None:
        self._x, n = centred.x, centred.n
        self.n, self.dtype, self.varies, self.width = n, centred.x.dtype, centred.varies, centred.x.shape[1]
        self.diagonal = self._x.double().square().sum(1)
        self.shift = self.diagonal / (n - 2) - float(self.diagonal.sum()) / (2 * (n - 1) * (n - 2))

    @cached_property
    def _sides(self) -> tuple[Tensor, Tensor]:
        """Features beside the shift and ones, so that one product gives x_i.x_j + u_i + u_j."""
        u = self.shift.to(self.dtype)[:, None]
        one = torch.ones_like(u)
        return torch.cat([self._x, u, one], 1), torch.cat([self._x, one, u], 1)

    def fill(self, rows: Int[Tensor, " b"], out: Float[Tensor, "b n"]) -> None:
        """Write some rows."""
        left, right = self._sides
        part = left[int(rows[0]) : int(rows[-1]) + 1] if _ascending(rows) else left[rows]
        with full_precision():
            torch.mm(part, right.T, out=out)
        out[torch.arange(len(rows), device=out.device), rows] = 0

    def row_products(self, other: "LinearMatrix") -> Float[Tensor, " n"]:
        """The inner products of its rows with those of another; see `feature_products`."""
        x, y, n = self._x, other._x.to(self.dtype), self.n
        m = torch.zeros(x.shape[1], y.shape[1], dtype=torch.float64, device=x.device)
        with full_precision():
            for p, q in zip(x.split(SUMMED), y.split(SUMMED)):
                m += p.T @ q
            along = (x @ m.to(self.dtype)).mul_(y).sum(1, dtype=torch.float64)
        u, v = self.shift, other.shift
        along += x.double() @ (x.double().T @ v) + y.double() @ (y.double().T @ u)
        along += n * u * v + u * float(v.sum()) + v * float(u.sum()) + float(u @ v)
        return along - (self.diagonal + 2 * u) * (other.diagonal + 2 * v)

    def at(self, rows: Int[Tensor, " m"]) -> "LinearMatrix":
        """Of some samples, in that order."""
        return LinearMatrix(Centred.of(self._x[rows.to(self._x.device)]))

    def times(self, z: Float[Tensor, "n p"]) -> Float[Tensor, "n p"]:
        x, z = self._x, z.to(self.dtype)
        u, k = self.shift.to(self.dtype), self.diagonal.to(self.dtype)
        with full_precision():
            along = x @ (x.T @ z) + u[:, None] * z.sum(0) + u @ z
        return (along - (k + 2 * u)[:, None] * z).double()


class StoredMatrix:
    """U(K) of a symmetric (n, n) matrix, held whole."""

    def __init__(self, kernel: Float[Tensor, "n n"], dtype: torch.dtype, varies: bool = True) -> None:
        self.n, self.dtype, self.varies = len(kernel), dtype, varies
        self.diagonal = kernel.diagonal().double()
        self._u = u_centred(kernel).to(dtype)

    def fill(self, rows: Int[Tensor, " b"], out: Float[Tensor, "b n"]) -> None:
        out.copy_(self._u[rows])

    def at(self, rows: Int[Tensor, " m"]) -> "StoredMatrix":
        """Of some samples, in that order: U-centred again, which takes out what U-centring of all samples put in."""
        rows = rows.to(self._u.device)
        return StoredMatrix(self._u[rows][:, rows], self.dtype, self.varies)

    def times(self, z: Float[Tensor, "n p"]) -> Float[Tensor, "n p"]:
        return (self._u @ z.to(self.dtype)).double()


Matrix = LinearMatrix | StoredMatrix


def u_centred(kernel: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """U(K), in float64: rows sum to 0 without their diagonal."""
    k, n = kernel.double().clone(), len(kernel)
    k.fill_diagonal_(0)
    r = k.sum(1) / (n - 2)
    k -= r[:, None]
    k -= r
    k += float(r.sum()) / (n - 1)
    return k.fill_diagonal_(0)


def double_centred(kernel: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """H(K), in float64: rows and columns sum to 0, the diagonal among them."""
    k = kernel.double()
    r = k.mean(1)
    return k - r[:, None] - r + float(r.mean())


def matrix_of(
    features: Float[Tensor, "n d"],
    kernel: str | Callable[[Any], Any] = "linear",
    *,
    bandwidth: str | float = "median",
    fraction: float = 1.0,
) -> Matrix:
    """The U-centred matrix of a layer."""
    if kernel == "linear":
        return LinearMatrix(Centred.of(features))
    return StoredMatrix(
        kernel_of(features, kernel, bandwidth=bandwidth, fraction=fraction),
        torch.float32 if len(features) > DOUBLE and features.dtype != torch.float64 else torch.float64,
        varies=bool((features != features[0]).any()),
    )


def kernel_of(
    features: Float[Tensor, "n d"],
    kernel: str | Callable[[Any], Any],
    *,
    bandwidth: str | float = "median",
    fraction: float = 1.0,
) -> Float[Tensor, "n n"]:
    """K of a layer in float64, not centred."""
    if callable(kernel):
        return _refusals.kernel_matrix(kernel(features), len(features)).to(features.device).double()
    centred = Centred.of(features, double=True)
    x = centred.x
    if kernel == "linear":
        return x @ x.T
    if kernel == "cosine":
        rows = features.double()
        lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        rows = rows / torch.where(lengths > 0, lengths, 1.0)
        return rows @ rows.T
    between = distances(x)
    if kernel == "distance":
        return between
    squares = between.square_()
    middle = _bandwidth(squares, bandwidth if isinstance(bandwidth, str) else bandwidth / centred.scale)
    return (squares / (-2 * fraction**2 * middle)).exp_() if middle > 0 else torch.ones_like(squares)


def bandwidth_of(features: Float[Tensor, "n d"], rule: str | float) -> float:
    """The square root of m, from all samples."""
    if not isinstance(rule, str):
        return float(rule)
    centred = Centred.of(features, double=True)
    return math.sqrt(_bandwidth(distances(centred.x).square_(), rule)) * centred.scale


def _bandwidth(squares: Float[Tensor, "n n"], rule: str | float) -> float:
    """m of exp(-D^2/(2 f^2 m)): the median of D^2 over pairs, or over all n^2 entries ("google")."""
    if not isinstance(rule, str):
        return float(rule) ** 2
    if rule == "google":
        values = squares.flatten()
    else:
        low, high = torch.triu_indices(len(squares), len(squares), 1, device=squares.device)
        values = squares[low, high]
    ordered = values.sort().values
    m = len(ordered)
    return float(ordered[(m - 1) // 2] + ordered[m // 2]) / 2


@dataclass(frozen=True)
class Products:
    """Inner products of the rows of the matrices of two sets of layers: `cross` (n, La, Lb), and of each with itself
    `own_a` (n, La) and `own_b` (n, Lb); `cubes_a`, `cubes_b` the sums of cubes, 0 where they were not asked for.
    """

    cross: Float[Tensor, "n a b"]
    own_a: Float[Tensor, "n a"]
    own_b: Float[Tensor, "n b"]
    cubes_a: Float[Tensor, " a"] | None = None
    cubes_b: Float[Tensor, " b"] | None = None

    @property
    def n(self) -> int:
        return len(self.cross)

    @cached_property
    def values(self) -> Float[Tensor, "a b"]:
        """Cosines of the matrices: NaN where one is 0."""
        return _cosine(self.cross.sum(0), self.own_a.sum(0), self.own_b.sum(0))

    @cached_property
    def without_each(self) -> Float[Tensor, "n a b"]:
        """The same without each sample."""
        n = self.n
        weight = 2 * (n - 2) / (n - 3)
        parts = (t.sum(0) - weight * t for t in (self.cross, self.own_a, self.own_b))
        return _cosine(*parts)

    @cached_property
    def error(self) -> Float[Tensor, "a b"]:
        """The jackknife's standard error."""
        moved = self.without_each - self.without_each.mean(0)
        return ((self.n - 1) / self.n * moved.square().sum(0)).sqrt()


def products(a: Sequence[Matrix], b: Sequence[Matrix] | None = None, *, cubes: bool = False) -> Products:
    """Of all pairs: with b, or of a among themselves. Some rows of all layers at a time."""
    n, device = a[0].n, a[0].diagonal.device
    both = [*a, *(b or ())]
    dtype = torch.float64 if any(m.dtype == torch.float64 for m in both) else torch.float32
    block = max(1, min(n, ROWS_BYTES // (len(both) * n * dtype.itemsize)))
    held = torch.empty(block, len(both), n, dtype=dtype, device=device)
    cubes = cubes and n <= EXACT  # of more samples they are a hundredth of the skewness, or less
    la, lb = len(a), len(both) - len(a) if b is not None else len(a)
    cross = torch.empty(n, la, lb, dtype=torch.float64, device=device)
    own = torch.empty(n, len(both), dtype=torch.float64, device=device)
    third = torch.zeros(len(both), dtype=torch.float64, device=device)
    for start in range(0, n, block):
        stop = min(start + block, n)
        rows = torch.arange(start, stop, device=device)
        part = held[: stop - start]
        for place, matrix in enumerate(both):
            matrix.fill(rows, part[:, place]) if matrix.dtype == dtype else _converted(matrix, rows, part[:, place])
        first, second = part[:, :la], part[:, la:] if b is not None else part[:, :la]
        with full_precision():
            cross[start:stop] = torch.bmm(first, second.mT)
        if b is None:
            own[start:stop] = cross[start:stop].diagonal(dim1=1, dim2=2)
        else:
            own[start:stop] = torch.linalg.vector_norm(part, dim=2).double().square_()
        if cubes:
            third += (part.square() * part).sum((0, 2), dtype=torch.float64)
    return Products(cross, own[:, :la], own[:, la:] if b is not None else own, third[:la],
                    third[la:] if b is not None else third)  # fmt: skip


def feature_products(a: Sequence[LinearMatrix], b: Sequence[LinearMatrix] | None = None) -> Products:
    """The same of linear matrices from X'Y, without any (n, n) matrix: for many samples of few features.

    With u the shift of U(XX') and v that of U(YY'), the inner product of the i-th rows is x_i'M y_i + x_i'(X'v) +
    y_i'(Y'u) + n u_i v_i + u_i sum v + v_i sum u + u.v - (k_i + 2u_i)(l_i + 2v_i), M = X'Y.
    """
    other = a if b is None else b
    n, device = a[0].n, a[0].diagonal.device
    cross = torch.empty(n, len(a), len(other), dtype=torch.float64, device=device)
    for i, one in enumerate(a):
        for j, two in enumerate(other):
            cross[:, i, j] = cross[:, j, i] if b is None and j < i else one.row_products(two)
    if b is None:
        own = cross.diagonal(dim1=1, dim2=2)
        return Products(cross, own, own)
    own = [torch.stack([m.row_products(m) for m in layers], 1) for layers in (a, b)]
    return Products(cross, own[0], own[1])


def cheaper_by_features(n: int, a: Sequence[int], b: Sequence[int] | None) -> bool:
    """Whether feature sums take fewer operations than (n, n) matrices, for layers of these widths."""
    other = a if b is None else b
    widths = [*a, *(b or ())]
    matrices = 2 * n**2 * (sum(widths) + len(a) * len(other))
    pairs = sum(a) * sum(other) / (2 if b is None else 1) + (0 if b is None else sum(d * d for d in widths))
    return 4 * n * pairs < matrices


def without_groups(
    a: Sequence[Matrix], b: Sequence[Matrix], found: Products, group: Int[Tensor, " n"]
) -> Float[Tensor, "g a b"]:
    """The cosines without each group of samples, exactly.

    Without the samples G the rows of U no longer sum to 0: with r_j = sum_(i in G) U_ij and S = sum_(i, j in G) U_ij,
    h = <U, V> - 2 sum_(i in G) a_i + <U, V>_GG + S_U S_V/((m-1)(m-2)) - 2/(m-2) sum_(j not in G) r_j s_j.
    """
    n, device = found.n, found.cross.device
    groups = int(group.max()) + 1
    out = []
    for g in range(groups):
        inside = (group == g).nonzero()[:, 0].to(device)
        m = n - len(inside)
        if m < 4:
            out.append(torch.full(found.cross.shape[1:], math.nan, dtype=torch.float64, device=device))
            continue
        left, right = (_group_rows(layers, inside) for layers in (a, b))
        parts = []
        for (one, other), rows in (
            ((left, right), found.cross),
            ((left, left), None),
            ((right, right), None),
        ):
            whole = rows.sum(0) - 2 * rows[inside].sum(0) if rows is not None else None
            if whole is None:
                own = found.own_a if one is left else found.own_b
                whole = own.sum(0) - 2 * own[inside].sum(0)
            parts.append(_restricted(whole, one, other, inside, m, pairs=rows is not None))
        out.append(_cosine(*parts))
    return torch.stack(out)


def _group_rows(layers: Sequence[Matrix], inside: Int[Tensor, " s"]) -> Float[Tensor, "l s n"]:
    held = torch.empty(len(layers), len(inside), layers[0].n, dtype=torch.float64, device=inside.device)
    for place, matrix in enumerate(layers):
        _converted(matrix, inside, held[place])
    return held


def _restricted(
    whole: Tensor, left: Tensor, right: Tensor, inside: Int[Tensor, " s"], m: int, *, pairs: bool
) -> Tensor:
    """The inner product of two matrices, or of each with itself, without the samples inside."""
    near, far = left[:, :, inside].flatten(1), right[:, :, inside].flatten(1)
    r, s = left.sum(1), right.sum(1)
    total_r, total_s = r[:, inside].sum(1), s[:, inside].sum(1)
    r, s = (t.index_fill(1, inside, 0.0) for t in (r, s))
    if pairs:
        both, lines, ends = near @ far.T, r @ s.T, total_r[:, None] * total_s
    else:
        both, lines, ends = (near * far).sum(1), (r * s).sum(1), total_r * total_s
    return whole + both + ends / ((m - 1) * (m - 2)) - 2 / (m - 2) * lines


def _converted(matrix: Matrix, rows: Int[Tensor, " b"], out: Float[Tensor, "b n"]) -> None:
    """Rows of a matrix of another precision."""
    held = torch.empty(len(rows), matrix.n, dtype=matrix.dtype, device=out.device)
    matrix.fill(rows, held)
    out.copy_(held)


def _cosine(cross: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """cross/sqrt(one x other) along the last axes, in [-1, 1]; NaN where one of them is 0."""
    size = (one.clamp_min(0)[..., :, None] * other.clamp_min(0)[..., None, :]).sqrt()
    return torch.where(size > 0, cross / size, math.nan).clamp(-1, 1)


def pair_sums(matrix: Matrix, squares: float, cubes: float) -> PairSums:
    """What the null of a matrix needs."""
    n = matrix.n
    if n <= EXACT:
        rows = torch.empty(n, n, dtype=torch.float64, device=matrix.diagonal.device)
        _converted(matrix, torch.arange(n, device=rows.device), rows)
        triangles = float(((rows @ rows) * rows).sum())
    else:
        triangles = estimated_trace(matrix.times, n, matrix.diagonal.device)
    return PairSums.centred(n, squares, cubes, triangles)


def _ascending(rows: Int[Tensor, " b"]) -> bool:
    return int(rows[-1]) - int(rows[0]) + 1 == len(rows) and bool((rows.diff() == 1).all())
