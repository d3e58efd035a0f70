"""Probes of targets that are no classes: several labels a row, and real values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._estimate import Estimate, shown
from repana._typing import FeatureArray, Features, LabelArray, TargetArray
from repana.probes import _refusals, _scores
from repana.probes._classifiers import unit_of
from repana.probes._data import reduced, standardised
from repana.probes._protocol import PERMUTATIONS, REFITS
from repana.statistics import resampling
from repana.statistics.permutation import against
from repana.statistics.splits import Split, split_of
from repana.summaries.folds import FoldMoments, RidgePath
from repana.summaries.logistic import logistic
from repana.summaries.resampling import permuted_orders

C_GRID = tuple(10.0 ** (k / 2) for k in range(-12, 5))
STRENGTHS = tuple(10.0**k for k in np.linspace(4, -7, 34))


@shown
@dataclass(frozen=True)
class MultilabelProbe:
    """Several labels a row; see `multilabel_probe`."""

    accuracy: Estimate
    exact: Estimate
    balanced_accuracy: Estimate
    average_precision: Estimate
    log_loss: Estimate
    log_loss_bits: Estimate
    chance: Estimate
    per_label: Float[Tensor, "t 4"]
    probabilities: Float[Tensor, "m t"]
    split: Split
    settings: Mapping[str, Any] = field(default_factory=dict)


@shown
@dataclass(frozen=True)
class RegressionProbe:
    """Real values; see `regression_probe`."""

    r2: Estimate
    mse: Estimate
    correlation: Estimate
    information: Estimate
    information_bits: Estimate
    memorization: Estimate
    per_target: Float[Tensor, "t 4"]
    predictions: Float[Tensor, "m t"]
    weight: Float[Tensor, "d t"]
    bias: Float[Tensor, " t"]
    split: Split
    settings: Mapping[str, Any] = field(default_factory=dict)


def multilabel_probe(
    features: FeatureArray,
    targets: TargetArray,
    *,
    groups: LabelArray | None = None,
    split: Split | None = None,
    scale: str = "standard",
    level: float = 0.95,
    seed: int = 0,
) -> MultilabelProbe:
    """A logistic probe of each of several labels, which a row may have together. `targets` (n, t) of zeros and ones.

    Each label is a problem of its own, all labels and strengths solved at once: min mean CE + 1/(2 C n)|w|^2 over two
    columns. C is chosen for every label by its log-loss on the validation split, and the probe refitted on the training
    and validation splits; rows are split without regard to labels, or by whole `groups`.

    - `accuracy`: share of right labels over all rows and labels; `exact`: rows with all labels right;
      `balanced_accuracy`: mean over labels of (sensitivity + specificity)/2; `average_precision`: mean over labels of
      sum_k (R_k - R_{k-1}) P_k, over rows by falling probability (chance: the share of the label).
    - `log_loss`: nats a label, `log_loss_bits`; `chance`: accuracy of the more frequent value of every label.
    - `per_label` (t, 4): accuracy, average precision (NaN where no test row has the label), log-loss, C.

    Intervals: bootstrap of test samples, or of groups.

    Raises InputError where targets are no zeros and ones, and as `linear_probe`.

    Source: as `linear_probe`, a label at a time.

    >>> import torch
    >>> from repana import multilabel_probe
    >>> x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    >>> float(multilabel_probe(x, x[:, :2] > 0).accuracy) > 0.9
    True
    """
    _check.level_of(level)
    x = _check.features_of(features)
    y = _refusals.indicators(targets, "targets", len(x))
    z, _, split, _, _, dead = _prepared(x, groups, split, scale, seed)
    train, validation, test, fitted_on = (
        at.to(z.device) for at in (split.train, split.validation, split.test, split.train_and_validation)
    )
    y = y.to(z.device)
    t, r = y.shape[1], len(C_GRID)
    strengths = torch.tensor(C_GRID, dtype=z.dtype, device=z.device)
    fits = logistic(z[train], y[train].repeat_interleave(r, 1), (1 / (strengths * len(train))).repeat(t), 2)
    log_p = torch.log_softmax(fits.scores(z[validation]).double(), 1).view(len(validation), 2, t, r)
    own = log_p.gather(1, y[validation][:, None, :, None].expand(-1, 1, t, r))[:, 0]
    best = (-own.mean(0)).argmin(1)
    c = strengths[best]
    refit = logistic(z[fitted_on], y[fitted_on], 1 / (c * len(fitted_on)), 2)
    log_p = _scores.log_probabilities(refit.scores(z[test]), len(fitted_on)).cpu()
    truth, group = y[test].cpu(), split.test_group
    loss = -log_p.gather(1, truth[:, None])[:, 0]
    right = (log_p.argmax(1) == truth).double()
    p = log_p[:, 1].exp()
    common = (y[fitted_on].double().mean(0) > 0.5).long().cpu()
    by_chance = (truth == common).double().mean(1)

    def over(values: Tensor) -> Estimate:
        return resampling.resampled(values[:, None], None, group, level=level, seed=seed)

    weights = list(resampling.bootstrap_weights(len(truth), None, group, seed))
    weight = torch.cat(weights)[:500]
    precision = _average_precision(p, truth, torch.ones(1, len(truth), dtype=torch.float64))[0]
    drawn = _average_precision(p, truth, weight).nanmean(1)
    log_loss = over(loss.mean(1))
    return MultilabelProbe(
        accuracy=over(right.mean(1)),
        exact=_scores.accuracy(right.all(1), group, level=level, seed=seed),
        balanced_accuracy=_balanced(right, truth, group, level, seed),
        average_precision=resampling.with_percentiles(
            float(precision.nanmean()), drawn[~drawn.isnan()].numpy(), len(truth), level
        ),
        log_loss=log_loss,
        log_loss_bits=_scores.bits(log_loss),
        chance=over(by_chance),
        per_label=torch.stack([right.mean(0), precision, loss.mean(0), c.double().cpu()], 1),
        probabilities=p,
        split=split,
        settings={
            "labels": t,
            "certified": int(refit.certified.sum()),
            "at_edge": int(((best == 0) | (best == r - 1)).sum()),
            "scale": scale,
            "features": x.shape[1],
            "constant": dead,
            "split": split.fingerprint,
            "level": level,
            "seed": seed,
        },
    )


@dataclass(frozen=True)
class _Ridge:
    """Ridge regression of targets, and of shuffled copies of them, on the rows that are fitted on."""

    path: RidgePath
    scores: Float[Tensor, "n m"]  # of all rows, every column at the strength of its target
    best: Int[Tensor, " t"]  # which strength each target has
    base: Float[Tensor, " m"]  # mean of the rows fitted on
    targets: Float[Tensor, "n m"]
    strengths: Float[Tensor, " r"]

    @classmethod
    def of(cls, z: Tensor, targets: Tensor, t: int, split: Split, width: int) -> "_Ridge":
        """Fit all strengths to the training split, select on the validation split, fit again to both.

        The first `t` columns of `targets` are the targets, the others copies of them, which take their strengths.
        """
        moments = FoldMoments.of(z, targets, split.part.to(z.device), 3)
        strengths = torch.tensor(STRENGTHS, dtype=torch.float64, device=z.device)
        first, both = moments.normal([0]), moments.normal([0, 1])
        path = RidgePath.of(first, strengths * unit_of(first, width))
        validation = split.validation.to(z.device)
        scores = path.scores(z[validation]).double()[:, :t]
        best = (scores - targets[validation, :t, None]).square().mean(0).argmin(1)
        path = RidgePath.of(both, strengths * unit_of(both, width))
        columns = torch.arange(targets.shape[1], device=z.device)
        found = path.scores(z)[:, columns, best.repeat(targets.shape[1] // t)].double()
        return cls(path, found, best, both.target_mean, targets, strengths)


def regression_probe(
    features: FeatureArray,
    targets: TargetArray,
    *,
    groups: LabelArray | None = None,
    split: Split | None = None,
    scale: str = "standard",
    permutations: int = PERMUTATIONS,
    level: float = 0.95,
    seed: int = 0,
) -> RegressionProbe:
    """How well real values are read by a linear map: ridge regression of all targets and strengths from one X'X.

    min |Z - XW - b|^2 + a |W|^2, a = strength tr(X'X)/d, the strength chosen for each target by its squared error on
    the validation split, refitted on the training and validation splits; `targets` (n,) or (n, t). On the test split,
    mean over targets:

    - `r2` = 1 - sum (z - z')^2/sum (z - mean)^2, the mean that of the rows fitted on: may be below 0. Its null is that
      of `permutations` of the targets; `memorization` their R^2 on the rows fitted on.
    - `mse` in squared units of the target, `correlation` Pearson's of value and prediction.
    - `information` = 1/2 log(variance/mse), nats, and `information_bits`: usable information of Gaussian probes with
      linear mean; for two Gaussians of correlation rho, -1/2 log(1 - rho^2).
    - `per_target` (t, 4): R^2, mse, correlation, strength.

    Intervals: bootstrap of test samples, or of groups. Weights are of the features as they came.

    Raises InputError where targets are not finite, constant in the training split, and as `linear_probe`.

    Sources: Hoerl & Kennard 1970, doi:10.1080/00401706.1970.10488634; Xu et al. 2020, arXiv:2002.10689 (Gaussian
    V-information, proposition 1.3).

    >>> import torch
    >>> from repana import regression_probe
    >>> x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    >>> float(regression_probe(x, x[:, 0] - 2 * x[:, 1]).r2) > 0.99
    True
    """
    _check.level_of(level)
    _check.at_least(permutations, "permutations", 0)
    x = _check.features_of(features)
    values = _check.values_of(targets, "targets", len(x)).double()
    z, basis, split, mean, spread, dead = _prepared(x, groups, split, scale, seed)
    values = values.to(z.device)
    train, test, fitted_on = (at.to(z.device) for at in (split.train, split.test, split.train_and_validation))
    still = (values[train] == values[train][0]).all(0).nonzero()[:, 0].tolist()
    if still:
        raise _check.constant_targets(still)
    offset = values[train].mean(0)
    values = values - offset  # so that none of it is lost in products and squares
    refits = min(permutations, REFITS)
    mixed = [values[order.to(values.device)] for order in split.shuffled(refits, seed)]
    fit = _Ridge.of(z, torch.cat([values, *mixed], 1), values.shape[1], split, x.shape[1])
    t, found, best = values.shape[1], fit.scores, fit.best
    base = fit.base[:t]
    rest = (values[test] - found[test, :t]).square().cpu()
    total = (values[test] - base).square().cpu()
    truth, guess, group = values[test].cpu(), found[test, :t].cpu(), split.test_group
    sums = torch.cat([rest, total, truth, guess, truth**2, guess**2, truth * guess, torch.ones(len(rest), 1)], 1)

    def over(function: Any) -> Estimate:
        return resampling.resampled(
            sums, None, group, level=level, seed=seed, statistic=lambda a: function(a, t).mean(-1)
        )

    def mixed_up() -> list[float]:
        """The mean R^2 over targets of the same predictions, for permuted test samples."""
        found = [(truth[order] - guess).square().sum(0) for order in permuted_orders(len(truth), permutations, seed)]
        return [float((1 - left / total.sum(0)).mean()) for left in found]

    def permuted(rows: Tensor) -> list[float]:
        """The mean R^2 over targets of the probes fitted to permuted targets."""
        left, all_of = ((fit.targets[rows] - other).square().sum(0)[t:] for other in (found[rows], fit.base))
        return (1 - left / all_of).view(refits, t).mean(1).tolist()

    r2 = against(over(_r2), permuted(test) if group is not None else mixed_up(), better="higher", level=level)
    information = over(_information)
    columns = torch.arange(t, device=z.device)
    w = fit.path.weight[:, columns, best]
    w = (w if basis is None else basis.to(w.dtype) @ w) / spread[:, None]
    b = fit.path.bias[columns, best] - mean @ w + offset
    per = torch.stack([_r2(sums.sum(0), t), rest.mean(0), _correlation(sums.sum(0), t), fit.strengths[best].cpu()], 1)
    return RegressionProbe(
        r2=r2,
        mse=over(lambda a, k: a[..., :k] / a[..., -1:]),
        correlation=over(_correlation),
        information=information,
        information_bits=_scores.bits(information),
        memorization=resampling.range_of(permuted(fitted_on), "permutations", "no permutations", len(fitted_on)),
        per_target=per,
        predictions=guess + offset.cpu(),
        weight=w,
        bias=b,
        split=split,
        settings={
            "targets": t,
            "at_edge": int(((best == 0) | (best == len(STRENGTHS) - 1)).sum()),
            "scale": scale,
            "features": x.shape[1],
            "constant": dead,
            "rows_per_feature": len(fitted_on) / max(x.shape[1] - dead, 1),
            "split": split.fingerprint,
            "level": level,
            "seed": seed,
        },
    )


def _prepared(
    x: Features, groups: Any, split: Split | None, scale: str, seed: int
) -> tuple[Float[Tensor, "n r"], Float[Tensor, "d r"] | None, Split, Tensor, Tensor, int]:
    """Standardised rows in few coordinates and their basis; the split; mean, spread and constant features."""
    _check.choice(scale, "scale", ("standard", "centre", "none"))
    split = split_of(None, len(x), groups=groups, seed=seed, split=split)
    moved, mean, spread, dead = standardised(x, split.train.to(x.device), scale)
    return *reduced(moved), split, mean, spread, dead


def _r2(sums: Tensor, t: int) -> Tensor:
    return 1 - sums[..., :t] / sums[..., t : 2 * t].clamp_min(1e-300)


def _information(sums: Tensor, t: int) -> Tensor:
    return 0.5 * (sums[..., t : 2 * t].clamp_min(1e-300) / sums[..., :t].clamp_min(1e-300)).log()


def _correlation(sums: Tensor, t: int) -> Tensor:
    a, b, aa, bb, ab = (sums[..., k * t : (k + 1) * t] / sums[..., -1:] for k in range(2, 7))
    spread = (aa - a * a) * (bb - b * b)
    known = spread > 1e-20 * (aa * bb)  # a constant has no correlation
    return ((ab - a * b) / spread.clamp_min(1e-300).sqrt()).clamp(-1, 1).where(known, torch.nan)


def _balanced(right: Tensor, truth: Tensor, group: Tensor | None, level: float, seed: int) -> Estimate:
    t = truth.shape[1]
    yes = truth.double()
    columns = torch.cat([right * yes, yes, right * (1 - yes), 1 - yes], 1)

    def both(sums: Tensor) -> Tensor:
        a, b, c, d = (sums[..., k * t : (k + 1) * t] for k in range(4))
        sides = torch.stack([a / b.clamp_min(1e-300), c / d.clamp_min(1e-300)], -1)
        known = torch.stack([b > 0, d > 0], -1)
        return sides.where(known, torch.nan).nanmean(-1).nanmean(-1)

    return resampling.resampled(columns, None, group, level=level, seed=seed, statistic=both)


def _average_precision(p: Float[Tensor, "m t"], truth: Tensor, weight: Float[Tensor, "b m"]) -> Float[Tensor, "b t"]:
    """Of every label, under weights of rows; rows of equal probability count together."""
    found = torch.full((len(weight), p.shape[1]), torch.nan, dtype=torch.float64)
    for k in range(p.shape[1]):
        order = torch.argsort(-p[:, k])
        value, yes = p[order, k], truth[order, k].double()
        last = torch.cat([value[1:] != value[:-1], torch.ones(1, dtype=torch.bool)])
        hits = torch.cumsum(weight[:, order] * yes, 1)[:, last]
        seen = torch.cumsum(weight[:, order], 1)[:, last]
        total = hits[:, -1:]
        gain = torch.diff(hits, dim=1, prepend=torch.zeros(len(weight), 1, dtype=torch.float64))
        score = (gain * hits / seen.clamp_min(1e-300)).sum(1) / total[:, 0].clamp_min(1e-300)
        found[:, k] = torch.where(total[:, 0] > 0, score, torch.nan)
    return found
