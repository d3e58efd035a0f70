"""How few features of a dictionary decode a class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from repana import _check
from repana._ambient import settled
from repana._estimate import Estimate, shown
from repana._numbers import number
from repana._typing import IGNORED, FeatureArray, LabelArray
from repana.features._latent_classes import f1_of_sums, missing
from repana.statistics.resampling import percentiles, resampled
from repana.statistics.splits import Split, split_of
from repana.summaries.logistic import logistic

KS = (1, 2, 5, 10, 20)
SPLITS = 0.03  # of F1, by which one more feature splits a class


@shown
@dataclass(frozen=True)
class SparseProbe:
    """F1 of every class by its k best features; see `sparse_probe`. Keys are classes, then k."""

    f1: Mapping[Any, Mapping[int, Estimate]]
    units: Mapping[Any, Mapping[int, Estimate]]
    dense: Mapping[Any, Estimate]
    features: Mapping[Any, tuple[int, ...]]
    splitting: Mapping[Any, int]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def mean(self, k: int) -> float:
        """The mean over classes of F1 by k features."""
        return float(np.nanmean([by_k[k].value for by_k in self.f1.values()]))

    def __repr__(self) -> str:
        lines = [f"SparseProbe({len(self.f1)} classes, F1 on {self.settings['test']} held-out rows)"]
        for c, by_k in self.f1.items():
            cells = ", ".join(f"{k}: {number(e.value)} (units {number(self.units[c][k].value)})" if c in self.units
                              else f"{k}: {number(e.value)}" for k, e in by_k.items())  # fmt: skip
            lines.append(f"  {c}: {cells}; all: {number(self.dense[c].value)}; features {self.features[c][:3]}")
        return "\n".join(lines)


@settled()
def sparse_probe(
    codes: FeatureArray,
    labels: LabelArray,
    *,
    units: FeatureArray | None = None,
    ks: Sequence[int] = KS,
    C: float = 1.0,
    balanced: bool = True,
    groups: LabelArray | None = None,
    split: Split | None = None,
    permutations: int = 20,
    level: float = 0.95,
    seed: int = 0,
) -> SparseProbe:
    """How well each class, against the rest, is decoded from few features: codes (n, t) as a dictionary gives them.

    On the training and validation rows the features of a class are ranked by |mean of the class - mean of the rest|,
    and a logistic regression (standardised, penalty |w|^2/2 + C sum of losses) reads the first k; with `balanced` the
    class weighs as much as the rest. F1 = 2tp/(2tp + fp + fn) in [0, 1] is that of the test rows, which choose nothing;
    0 where nothing is predicted.

    - `units` (n, d): the layer itself, read in the same way: what its own axes decode as well is not the dictionary's
      merit. `dense`: from all features.
    - `null`, `null_low`, `null_high`, `p` of every F1: `permutations` of the labels of the rows that are fitted on,
      ranking included.
    - `splitting`: at how many of the `ks` behind the first F1 rises by more than .03 over the best so far, which tells
      into how many more features the class is split; 0 where the first does as well as more.
    - `groups`, `split`: rows that depend on each other stay in one part. Interval: percentiles of bootstrap samples of
      test rows (whole groups).

    Raises InputError for codes that are not finite, fewer than two classes, or no k.

    Source: Karvonen et al. 2025, arXiv:2503.09532 (ranking, splitting), there on 1000 balanced rows and raw codes.

    >>> import torch
    >>> from repana.features import sparse_probe
    >>> y = torch.arange(90) % 3
    >>> codes = torch.nn.functional.one_hot(y, 5).float()
    >>> sparse_probe(codes, y, ks=(1,), permutations=0).f1[2][1].value
    1.0
    """
    _check.level_of(level)
    _check.positive(C, "C")
    permutations = _check.at_least(permutations, "permutations", 0)
    z = _check.features_of(codes, name="codes")
    x = None if units is None else _check.features_of(units, name="units")
    if x is not None and len(x) != len(z):
        raise _check.unlike_samples(len(z), len(x))
    if not len(ks):
        raise _check.negative("ks", 0)
    chosen = sorted({_check.at_least(k, "ks", 1) for k in ks})
    y, names = _check.labels_of(labels, len(z))
    keep = y != IGNORED
    if not bool(keep.all()):
        z, y, x = z[keep.to(z.device)], y[keep], None if x is None else x[keep.to(x.device)]
        groups = None if groups is None else np.asarray(groups)[keep.numpy()]
    _check.two_classes(y, names, "sparse_probe")
    parts = split_of(y, len(z), groups=groups, seed=seed, split=split)
    values = [int(c) for c in y.unique()]
    truth = torch.stack([y == c for c in values], 1)
    read = _Reader(parts, truth, chosen, C, balanced, permutations, level, seed)
    ranked, of_codes, dense = read.few(z)
    units_f1 = {} if x is None else read.few(x)[1]
    keys: list[Any] = [names[c] if names else c for c in values]
    f1 = dict(zip(keys, of_codes))
    settings = {"ks": chosen, "C": C, "balanced": balanced, "permutations": permutations, "level": level, "seed": seed,
                "train": len(parts.train_and_validation), "test": len(parts.test)}  # fmt: skip
    return SparseProbe(
        f1,
        dict(zip(keys, units_f1)) if x is not None else {},
        dict(zip(keys, dense)),
        {key: tuple(order.tolist()) for key, order in zip(keys, ranked)},
        {key: _splitting([by_k[k].value for k in by_k]) for key, by_k in f1.items()},
        settings,
    )


def _splitting(values: Sequence[float]) -> int:
    best, found = values[0], 0
    for value in values[1:]:
        found += value > best + SPLITS
        best = max(best, value)
    return found


@dataclass(frozen=True)
class _Reader:
    """What is the same for codes and units: the split, the classes, and the options."""

    split: Split
    truth: Bool[Tensor, "n c"]
    ks: Sequence[int]
    C: float
    balanced: bool
    permutations: int
    level: float
    seed: int

    def few(
        self, features: Float[Tensor, "n t"]
    ) -> tuple[list[Int[Tensor, " k"]], list[dict[int, Estimate]], list[Estimate]]:
        """Of every class: its features in order, F1 by k, and F1 by all."""
        fit, test = (features[rows.to(features.device)] for rows in (self.split.train_and_validation, self.split.test))
        fit, test = _standardized(fit, test)
        y = self.truth[self.split.train_and_validation].to(fit.device)
        orders, guesses = self._guessed(fit, test, y)
        generator = torch.Generator().manual_seed(self.seed + 1)
        shuffled: list[list[dict[int, Tensor]]] = []
        for _ in range(self.permutations):
            at = torch.randperm(len(y), generator=generator).to(y.device)
            shuffled.append(self._guessed(fit, test, y[at])[1])
        dense = self._solved(fit, test, y)
        found = []
        for c, by_k in enumerate(guesses):
            found.append({k: self._estimate(by_k[k], c, [one[c][k] for one in shuffled]) for k in by_k})
        return orders, found, [self._estimate(dense[:, c], c, []) for c in range(dense.shape[1])]

    def _guessed(
        self, fit: Float[Tensor, "a t"], test: Float[Tensor, "m t"], y: Bool[Tensor, "a c"]
    ) -> tuple[list[Int[Tensor, " k"]], list[dict[int, Bool[Tensor, " m"]]]]:
        """Features of every class by rank, and which test rows the first k of them call so."""
        weight = y.to(fit) / y.sum(0).clamp_min(1) - (~y).to(fit) / (~y).sum(0).clamp_min(1)
        most = min(max(self.ks), fit.shape[1])
        orders = (weight.T @ fit).abs().topk(most, dim=1).indices
        found = []
        for c, order in enumerate(orders):
            found.append({
                k: self._solved(fit[:, order[:k]], test[:, order[:k]], y[:, c : c + 1])[:, 0] for k in self.ks
            })  # fmt: skip
        return [order.cpu() for order in orders], found

    def _solved(
        self, fit: Float[Tensor, "a k"], test: Float[Tensor, "m k"], y: Bool[Tensor, "a c"]
    ) -> Bool[Tensor, "m c"]:
        """Which rows a logistic regression of each class against the rest calls so. Two columns of weights are a
        sigmoid with half the penalty."""
        penalty = torch.full((y.shape[1],), 2 / (self.C * len(fit)), dtype=fit.dtype, device=fit.device)
        weight = (
            torch.where(y, 0.5 / y.sum(0).clamp_min(1), 0.5 / (~y).sum(0).clamp_min(1)).to(fit)
            if self.balanced
            else None
        )
        fits = logistic(fit, y.long(), penalty, 2, weight=weight)
        scores = fits.scores(test)
        return (scores[:, 1] > scores[:, 0]).cpu()

    def _estimate(self, guess: Bool[Tensor, " m"], c: int, shuffled: list[Tensor]) -> Estimate:
        truth = self.truth[self.split.test, c]
        absent = missing(self.truth[:, c], self.split)
        if absent is not None:
            return absent
        columns = torch.stack([guess & truth, guess, truth], 1).double()
        found = resampled(columns, None, self.split.test_group, level=self.level, seed=self.seed, statistic=f1_of_sums)
        if not shuffled:
            return found
        null = [float(f1_of_sums(torch.stack([g & truth, g, truth], 1).double().sum(0))) for g in shuffled]
        low, high = percentiles(np.array(null), self.level)
        p = (1 + sum(one >= found.value for one in null)) / (1 + len(null))
        return replace(found, null=float(np.mean(null)), null_low=low, null_high=high, p=p, permutations=len(null))


def _standardized(
    fit: Float[Tensor, "a t"], test: Float[Tensor, "m t"]
) -> tuple[Float[Tensor, "a t"], Float[Tensor, "m t"]]:
    """By the mean and the deviation of the rows fitted on; a feature that is constant there stays at 0."""
    mean = fit.double().mean(0)
    moved = fit.double() - mean
    deviation = moved.square().mean(0).sqrt()
    scale = torch.where(deviation > 1e-12 * (mean.abs() + 1), 1 / deviation.clamp_min(1e-300), 0.0)
    return (moved * scale).float(), ((test.double() - mean) * scale).float()
