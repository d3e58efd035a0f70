"""Centring and whitening of features, fitted on other rows than those that are compared."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from repana import _check
from repana._typing import FeatureArray
from repana.ranking import _refusals


@dataclass(frozen=True, repr=False)
class Whitening:
    """x -> (x - mean) @ matrix; see `whitening`."""

    mean: Float[Tensor, " d"]
    matrix: Float[Tensor, "d k"] | None
    fitted: Float[np.ndarray, " n"]  # a number of every row that it was fitted on, to know those rows again

    def __call__(self, features: FeatureArray) -> Float[Tensor, "n k"]:
        """Rows in the new space, in float64.

        Raises InputError (RA294) where all of the rows are rows that it was fitted on.
        """
        x = _check.features_of(features)
        if x.shape[1] != len(self.mean):
            raise _refusals.widths_differ("features", x.shape[1], "whiten", len(self.mean))
        known = int(np.isin(_numbers(x), self.fitted).sum())
        if known == len(x):
            raise _refusals.whitened_itself(known)
        moved = x.double() - self.mean.to(x.device)
        return moved if self.matrix is None else moved @ self.matrix.to(x.device)

    def known(self, features: Tensor) -> int:
        """How many of the rows it was fitted on."""
        return int(np.isin(_numbers(features), self.fitted).sum())

    def __repr__(self) -> str:
        d, k = len(self.mean), len(self.mean) if self.matrix is None else self.matrix.shape[1]
        what = "centring" if self.matrix is None else "whitening"
        return f"Whitening({what} of {d} features to {k}, fitted on {len(self.fitted)} rows)"


def whitening(
    features: FeatureArray, *, kind: str = "whiten", n_components: int | None = None, eps: float = 0.0
) -> Whitening:
    """A map that whitens features, (x - m) V_k/sqrt(w + eps mean(w)), with mean m, eigenvalues w and eigenvectors V of
    the covariance of the rows (n, d) that it is fitted on, the k largest.

    - `kind`: "whiten", or "center", x - m alone, which moves cosines most.
    - `n_components`: k, by default d. `eps`: at least 0; shrinks what small eigenvalues are magnified by.

    Fit it on other rows than those that are compared: fitted on themselves, their mean inner product is -d/(n - 1)
    whatever the data, and calling it on them is refused.

    Raises InputError (RA294) where the rows span too few dimensions for k and `eps` is 0.

    Source: Su et al. 2021, arXiv:2103.15316.

    >>> import torch
    >>> from repana.ranking import whitening
    >>> x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([5.0, 1.0, 0.1])
    >>> whitened = whitening(x[:80])(x[80:])
    >>> bool((whitened.std(0) < 1.5).all())
    True
    """
    _check.choice(kind, "kind", ("whiten", "center"))
    if not isinstance(eps, (int, float)) or not math.isfinite(eps) or eps < 0:
        raise _check.negative("eps", eps)
    x = _check.features_of(features)
    n, d = x.shape
    if n < 2:
        raise _check.too_few_samples("`whitening`", n, 2)
    mean = x.double().mean(0)
    if kind == "center":
        return Whitening(mean.cpu(), None, _numbers(x))
    k = d if n_components is None else _check.at_least(n_components, "n_components", 1)
    if k > d:
        raise _check.other_width_of("n_components", k, d)
    _, singular, right = torch.linalg.svd(x.double() - mean, full_matrices=False)
    rank = int((singular > singular[0] * max(n, d) * torch.finfo(torch.float64).eps).sum())
    values = torch.zeros(d, dtype=torch.float64, device=x.device)
    values[: len(singular)] = singular.square() / (n - 1)
    if k > rank and not (eps > 0 and bool(values.any())):
        raise _refusals.whitening_rank(rank, k)
    if k > len(singular):  # directions in which the fitted rows do not vary
        right = torch.linalg.svd(right, full_matrices=True)[2]
        right[: len(singular)] = torch.linalg.svd(x.double() - mean, full_matrices=False)[2]
    return Whitening(mean.cpu(), (right[:k].T / (values[:k] + eps * values.mean()).sqrt()).cpu(), _numbers(x))


def _numbers(x: Any) -> Float[np.ndarray, " n"]:
    """A number of each row, equal for equal rows alone."""
    weights = torch.randn(x.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return (x.detach().cpu().double() * weights).sum(1).numpy()
