"""How strongly features are represented: the variance of a layer that each of them takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from repana import _check
from repana._estimate import Estimate, Flag, shown
from repana._renamed import renamed
from repana._typing import FeatureArray, LabelArray, TargetArray
from repana.features import _refusals
from repana.statistics.splits import Split, split_of
from repana.summaries._linalg import full_precision

RATIOS = ("sums", "examples")
RESAMPLES = 500
JITTER = 1e-10  # of correlations, so that equal features have an inverse


@shown
@dataclass(frozen=True)
class VarianceExplained:
    """Shares of a layer's variance; see `variance_explained`."""

    joint: Estimate
    overlap: Estimate
    total: Float[Tensor, " t"]
    total_low: Float[Tensor, " t"]
    total_high: Float[Tensor, " t"]
    unique: Float[Tensor, " t"]
    unique_low: Float[Tensor, " t"]
    unique_high: Float[Tensor, " t"]
    features: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


@renamed(resamples="bootstrap")
def variance_explained(
    features: FeatureArray,
    targets: TargetArray,
    *,
    names: Sequence[str] | None = None,
    ratio: str = "sums",
    reference: float | None = None,
    groups: LabelArray | None = None,
    split: Split | None = None,
    bootstrap: int = RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> VarianceExplained:
    """How much of a layer's variance each feature explains: regressions from features to the layer, not from it.

    `features` (n, d) of the layer, phi below, around its mean; `targets` (n, t) the features f, a column each. On fit
    and the validation split W_f = argmin |W f - phi|^2, on test samples

        R_f^2 = 1 - sum |W f - phi|^2/sum |phi|^2     (`ratio="sums"`),

    or the mean over rows of 1 - |W f - phi|^2/|phi|^2 (`ratio="examples"`, as the paper writes it), which noise in
    short rows pulls down. Means are those of the rows fitted on; `reference` puts another sum |phi|^2 a row in the
    denominator, such as that of the last checkpoint.

    - `total` (t,): of each feature alone; `unique` (t,): what all together explain less all but this one. For
      independent features they agree; where features go together, the variance that they share is in every `total` and
      in no `unique`.
    - `joint`: of all together; `overlap`: sum of `total` less `joint`.

    Intervals from resampled test samples (whole `groups`). Shares, at most 1; negative where a fit is worse than the
    mean.

    Raises InputError for arrays of other lengths, or a feature that is constant in the training split.

    Source: Lampinen, Chan & Hermann 2024, arXiv:2405.05847.

    >>> import torch
    >>> from repana import variance_explained
    >>> f = torch.randn(400, 2, generator=torch.Generator().manual_seed(0)).sign()
    >>> found = variance_explained(f @ torch.tensor([[3.0, 0.0], [0.0, 1.0]]), f)
    >>> [round(float(v), 1) for v in found.total]
    [0.9, 0.1]
    """
    _check.level_of(level)
    _check.choice(ratio, "ratio", RATIOS)
    x = _check.features_of(features).double().cpu()
    z = _check.values_of(targets, "targets", len(x)).double().cpu()
    t = z.shape[1]
    names = _refusals.feature_names(names, t)
    split = split_of(None, len(x), groups=groups, seed=seed, split=split)
    train, test = split.train_and_validation, split.test
    level_x, level_z = x[train].mean(0), z[train].mean(0)
    a, b = z[train] - level_z, x[train] - level_x
    constant = (a.square().sum(0) <= 1e-14 * z[train].square().sum(0)).nonzero()[:, 0].tolist()
    if constant:
        raise _check.constant_targets(constant)
    at, phi = z[test] - level_z, x[test] - level_x
    size = phi.square().sum(1)
    left = _errors(a, b, at, phi)
    shares = _shares(left, size, ratio, reference)
    blocks = _blocks(split)
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(bootstrap):
        rows = torch.cat([blocks[k] for k in generator.integers(len(blocks), size=len(blocks))])
        drawn.append(_shares(left[rows], size[rows], ratio, reference))
    quantiles = torch.tensor([0.5 - level / 2, 0.5 + level / 2], dtype=torch.float64)
    many = torch.stack(drawn) if drawn else torch.full((2, 2 * t + 1), torch.nan, dtype=torch.float64)
    low, high = torch.quantile(many[:, :t], quantiles, dim=0)
    unique = shares[t, None] - shares[t + 1 :]
    unique_low, unique_high = torch.quantile(many[:, t, None] - many[:, t + 1 :], quantiles, dim=0)
    joint_low, joint_high = torch.quantile(many[:, t], quantiles).tolist()
    overlap = many[:, :t].sum(1) - many[:, t]
    overlap_low, overlap_high = torch.quantile(overlap, quantiles).tolist()
    n = len(test)
    note = "" if float(size.sum()) > 0 else Flag.CONSTANT.note("the layer is constant")
    return VarianceExplained(
        joint=Estimate(float(shares[t]), joint_low, joint_high, n, note),
        overlap=Estimate(float(shares[:t].sum() - shares[t]), overlap_low, overlap_high, n),
        total=shares[:t],
        total_low=low,
        total_high=high,
        unique=unique,
        unique_low=unique_low,
        unique_high=unique_high,
        features=names,
        settings={"ratio": ratio, "bootstrap": bootstrap, "level": level, "seed": seed},
    )


def _errors(
    a: Float[Tensor, "n t"], b: Float[Tensor, "n d"], at: Float[Tensor, "m t"], phi: Float[Tensor, "m d"]
) -> Float[Tensor, "m q"]:
    """Squared errors of each test row: of each feature alone, of all, and of all but each, in closed form.

    Without feature j the weights are W - q_j w_j/q_jj, where q = (A'A)^-1 and w_j is the row of W.
    """
    with full_precision():
        gram, cross, size = a.T @ a, a.T @ b, phi.square().sum(1, keepdim=True)
        single = cross / gram.diagonal()[:, None]
        alone = size - 2 * at * (phi @ single.T) + at.square() * single.square().sum(1)
        scale = gram.diagonal().sqrt()
        level = gram / scale / scale[:, None] + JITTER * torch.eye(len(gram), dtype=gram.dtype)
        factor = torch.linalg.cholesky(level)
        weight = torch.cholesky_solve(cross / scale[:, None], factor) / scale[:, None]
        inverse = torch.cholesky_inverse(factor) / scale / scale[:, None]
        rest = phi - at @ weight
        whole = rest.square().sum(1, keepdim=True)
        shift = at @ inverse / inverse.diagonal()
        without = whole + 2 * shift * (rest @ weight.T) + shift.square() * weight.square().sum(1)
    return torch.cat([alone, whole, without], 1).clamp_min(0)


def _shares(left: Float[Tensor, "m q"], size: Float[Tensor, " m"], ratio: str, reference: float | None) -> Tensor:
    if ratio == "sums":
        return 1 - left.mean(0) / (size.mean() if reference is None else reference)
    known = size > 0
    return (1 - left[known] / (size[known, None] if reference is None else reference)).mean(0)


def _blocks(split: Split) -> list[Tensor]:
    """Report rows that are drawn together."""
    if split.test_group is None:
        return list(torch.arange(len(split.test)).split(1))
    return [(split.test_group == g).nonzero()[:, 0] for g in split.test_group.unique()]
