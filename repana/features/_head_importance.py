"""What each feature contributes to the logits of a linear classifier."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from repana import _check
from repana._typing import FeatureArray
from repana.summaries._linalg import full_precision


def head_importance(features: FeatureArray, weight: Any, logits: Any = None) -> Float[Tensor, "n d"]:
    """z_i w_yi of every row and unit, y the predicted class: the contribution of each unit to the logit of y.

    `features` (n, d) are what the classifier reads, `weight` (c, d) its rows, `logits` (n, c) its outputs, by default
    those of `weight` without bias. The mean over rows is the signed importance of each unit, the mean size the absolute
    one. At a linear classifier input x gradient, integrated gradients from 0 and ablation all give these values
    (`importance` measures them on a live model, at any layer).

    Raises InputError for arrays that do not fit one another.

    Source: Fel et al. 2024, arXiv:2407.06076 (Gamma = E|z dy/dz|).

    >>> import torch
    >>> from repana import head_importance
    >>> head_importance(torch.tensor([[1.0, 2.0]]), torch.eye(2)).tolist()
    [[0.0, 2.0]]
    """
    x = _check.features_of(features).double()
    w = _check.matrix(weight, "weight", None, x.shape[1], "one column per unit").double().to(x.device)
    with full_precision():
        z = x @ w.T if logits is None else _check.matrix(logits, "logits", len(x), len(w), "one row per sample")
    return x * w[z.to(x.device).argmax(1)]
