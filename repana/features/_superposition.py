"""Shapes of sets of vectors: how sparse, how crowded, how many bits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from repana import _check
from repana._results import NAN, Estimate, as_table
from repana.summaries.folds import gram
from repana.summaries.neighbours import full_precision

ROWS = 2048  # of a block of cosines


@dataclass(frozen=True)
class Superposition:
    """How many directions share a space; see `superposition`."""

    mean_squared_cosine: Estimate
    mean_cosine: Estimate
    welch: Estimate
    random: Estimate
    represented: Estimate
    dimensions: Estimate
    dimensionality: Float[Tensor, " n"]
    norms: Float[Tensor, " n"]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        return as_table(self)


@dataclass(frozen=True)
class CodingRate:
    """Bits, in nats, that rows take; see `coding_rate`."""

    rate: Estimate
    class_rate: Estimate
    reduction: Estimate
    settings: Mapping[str, Any] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        return as_table(self)


def hoyer(vectors: Any) -> Float[Tensor, " n"]:
    """Hoyer's sparsity of each row, (sqrt(d) - |v|_1/|v|_2)/(sqrt(d) - 1).

    0 where all d entries have one size, 1 where one entry is not zero; NaN for a row of zeros. Of a feature's direction
    over units: local (1) or distributed (0).

    Raises InputError for rows of one entry.

    Source: Hoyer 2004, JMLR 5, 1457-1469.

    >>> from repana import hoyer
    >>> hoyer([[1.0, 0.0, 0.0, 0.0], [1.0, -1.0, 1.0, 1.0]]).tolist()
    [1.0, 0.0]
    """
    v = _check.features_of(vectors).double()
    d = v.shape[1]
    if d < 2:
        raise _check.other_width_of("vectors", d, 2)
    ratio = v.abs().sum(1) / v.norm(dim=1)
    return (d**0.5 - ratio) / (d**0.5 - 1)


def superposition(vectors: Any, *, threshold: float = 0.5) -> Superposition:
    """How n directions (rows, n x m) share a space of m dimensions.

    Of the unit rows, over pairs i < j:

    - `mean_squared_cosine`, and `mean_cosine` of absolute values. Random directions have E cos^2 = 1/m (`random`); no n
      directions have less than the Welch floor (n - m)/(m(n - 1)) (`welch`, 0 for n <= m).
    - `represented`: share of rows of norm above `threshold`.
    - `dimensionality` (n,): D_i = |w_i|^2/sum_j (u_i . w_j)^2 with u_i = w_i/|w_i|, the share of a dimension that a
      feature has for itself; `dimensions`, their sum, at most m.

    Zero rows are in no cosine and have D_i = 0. The values are those of the given rows; there is nothing to sample, so
    there is no interval.

    Raises InputError for fewer than two rows that are not zero.

    Sources: Liu et al. 2025, arXiv:2505.10465 (cosines); Welch 1974, doi:10.1109/TIT.1974.1055219; Elhage et al. 2022,
    Toy Models of Superposition (dimensionality).

    >>> import torch
    >>> from repana import superposition
    >>> found = superposition(torch.tensor([[1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]]))
    >>> round(float(found.mean_squared_cosine), 9)
    0.25
    """
    w = _check.features_of(vectors).double()
    n, m = w.shape
    norms = w.norm(dim=1)
    alive = norms > 0
    count = int(alive.sum())
    if count < 2:
        raise _check.too_few_samples("cosines of directions", count, 2)
    unit = torch.where(alive[:, None], w / torch.where(alive, norms, 1.0)[:, None], 0.0)
    squares = absolute = 0.0
    shared = torch.zeros_like(norms)
    with full_precision():
        for part in torch.arange(n).split(ROWS):
            cosine = unit[part] @ unit.T
            shared[part] = (cosine * norms).square().sum(1)
            cosine[torch.arange(len(part)), part] = 0
            squares += float(cosine.square().sum())
            absolute += float(cosine.abs().sum())
    pairs = count * (count - 1)
    own = torch.where(alive, norms.square() / torch.where(alive, shared, 1.0), 0.0)
    return Superposition(
        mean_squared_cosine=Estimate(squares / pairs, n=count, null=1 / m),
        mean_cosine=Estimate(absolute / pairs, n=count),
        welch=Estimate(max(0.0, (count - m) / (m * (count - 1))), n=count),
        random=Estimate(1 / m, n=count),
        represented=Estimate(float((norms > threshold).double().mean()), n=n),
        dimensions=Estimate(float(own.sum()), n=n),
        dimensionality=own,
        norms=norms,
        settings={"threshold": threshold, "width": m, "zero": n - count},
    )


def coding_rate(features: Any, labels: Any = None, *, epsilon: float = 0.5, normalise: bool = True) -> CodingRate:
    """Nats that it takes to code rows up to a mean squared error of epsilon^2, and how many fewer class by class.

        R = 1/2 logdet(I + d/(n epsilon^2) X'X),   R_c = sum_j n_j/(2n) logdet(I + d/(n_j epsilon^2) X_j'X_j),

    `reduction` R - R_c. `normalise` scales rows to length 1, as the papers do (zero rows stay zero); nothing is
    centred. Published code differs in epsilon^2 (0.5, 1e-4, 1) and in this scale: say which with the number.
    `class_rate` and `reduction` are NaN without `labels`.

    Raises InputError for labels of another length, or an epsilon that is not positive.

    Sources: Ma et al. 2007, doi:10.1109/TPAMI.2007.1085; Yu et al. 2020, arXiv:2006.08558 (MCR^2).

    >>> import torch
    >>> from repana import coding_rate
    >>> round(float(coding_rate(torch.eye(2), [0, 1], epsilon=1.0).reduction), 4)
    0.1438
    """
    _check.positive(epsilon, "epsilon")
    x = _check.features_of(features).double()
    n, d = x.shape
    if normalise:
        length = x.norm(dim=1, keepdim=True)
        x = x / torch.where(length > 0, length, 1.0)
    whole = _rate(x, d, epsilon)
    settings = {"epsilon": epsilon, "normalise": normalise}
    if labels is None:
        missing = Estimate(NAN, n=n, note="no labels")
        return CodingRate(Estimate(whole, n=n), missing, missing, settings)
    codes = _check.labels_of(labels, n)[0].to(x.device)
    keep = codes >= 0
    if not bool(keep.all()):
        x, codes = x[keep], codes[keep]
        if not len(x):
            raise _check.too_few_samples("a coding rate", 0, 1)
        n, whole = len(x), _rate(x, d, epsilon)
    parts = sum(int((codes == k).sum()) / n * _rate(x[codes == k], d, epsilon) for k in codes.unique())
    return CodingRate(Estimate(whole, n=n), Estimate(float(parts), n=n), Estimate(whole - float(parts), n=n), settings)


def _rate(x: Float[Tensor, "n d"], d: int, epsilon: float) -> float:
    """Of the smaller of X'X and XX', which have one determinant here."""
    side = gram(x if x.shape[1] <= len(x) else x.T.contiguous())
    scaled = side * (d / (len(x) * epsilon**2))
    return 0.5 * float(torch.linalg.slogdet(scaled + torch.eye(len(scaled)).to(scaled))[1])
