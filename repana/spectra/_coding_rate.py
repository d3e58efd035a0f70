"""The coding rate of a layer, and its reduction by classes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from repana import _check
from repana._estimate import NAN, Estimate, shown
from repana._typing import FeatureArray, LabelArray
from repana.summaries._linalg import gram


@shown
@dataclass(frozen=True)
class CodingRate:
    """Bits, in nats, that rows take; see `coding_rate`."""

    rate: Estimate
    class_rate: Estimate
    reduction: Estimate
    settings: Mapping[str, Any] = field(default_factory=dict)


def coding_rate(
    features: FeatureArray, labels: LabelArray | None = None, *, epsilon: float = 0.5, normalise: bool = True
) -> CodingRate:
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
