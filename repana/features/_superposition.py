"""Shapes of sets of vectors: how sparse, how crowded, how many bits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from repana import _check
from repana._estimate import Estimate, shown
from repana._typing import FeatureArray
from repana.summaries._linalg import full_precision

ROWS = 2048  # of a block of cosines


@shown
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


def hoyer(vectors: FeatureArray) -> Float[Tensor, " n"]:
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


def superposition(vectors: FeatureArray, *, threshold: float = 0.5) -> Superposition:
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
