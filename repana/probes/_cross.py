"""Probes of few samples: every one is predicted by a probe of all others, or every group by one of all other groups.

A split of 36 samples reports 7 of them; left-out predictions report all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._estimate import Estimate, Flag, noted
from repana._typing import FeatureArray, LabelArray
from repana.probes import _refusals, _scores
from repana.probes._classifiers import Head
from repana.probes._data import SCALES, TRAIN, Labelled, Rows, standardised
from repana.probes._protocol import REFITS, Probe
from repana.statistics import resampling
from repana.statistics.intervals import from_jackknife, proportion
from repana.statistics.permutation import against
from repana.statistics.splits import Split
from repana.summaries.left_out import PENALTIES, dual, left_out, products_of
from repana.summaries.resampling import permuted_labels

CROSS = ("leave-one-out", "leave-group-out")
FEWEST = 3  # samples of which each is left out once
FEWEST_GROUPS = 2


@dataclass(frozen=True)
class Folds:
    """Which samples are left out together, and which of them depend on each other."""

    fold: Int[Tensor, " n"]
    group: Int[Tensor, " n"] | None
    cross: str

    @classmethod
    def of(cls, cross: str, n: int, groups: Any) -> "Folds":
        _check.choice(cross, "cross", CROSS)
        group = None if groups is None else torch.from_numpy(_check.groups_of(groups, n))
        if cross == CROSS[0]:
            if n < FEWEST:
                raise _check.too_few_samples("leaving one out", n, FEWEST)
            return cls(torch.arange(n), group, cross)
        if group is None:
            raise _refusals.groups_to_leave_out()
        if int(group.max()) + 1 < FEWEST_GROUPS:
            raise _refusals.few_groups_to_leave_out(int(group.max()) + 1, FEWEST_GROUPS)
        return cls(group, group, cross)

    def share(self, correct: Tensor, level: float, note: str = "") -> Estimate:
        """The share of right samples: Wilson's interval where one is left out, that of left-out groups otherwise."""
        hits, n = int(correct.sum()), len(correct)
        if self.cross == CROSS[0] or self.group is None:
            return proportion(hits, n, level=level, note=note)
        return self.over_groups(correct.double(), level, note)

    def over_groups(self, values: Float[Tensor, " n"], level: float, note: str = "") -> Estimate:
        """The mean over samples with the jackknife interval over groups, never narrower than Wilson's of samples; where
        all groups are right, or wrong, that of as many groups; NaN for fewer than 3."""
        assert self.group is not None
        n, g = len(values), int(self.group.max()) + 1
        if g < resampling.FEWEST_GROUPS:
            return Estimate(float(values.mean()), n=n, note=noted(note, resampling.few_groups(self.group)))
        sums = torch.zeros(g, dtype=torch.float64).index_add_(0, self.group, values)
        counts = torch.bincount(self.group, minlength=g)
        deleted = (sums.sum() - sums) / (n - counts)
        mean = float(values.mean())
        if float(deleted.std()) == 0 and mean in (0.0, 1.0):
            whole = proportion(round(mean * g), g, level=level)
            return Estimate(mean, whole.low, whole.high, n, note)
        found = from_jackknife(mean, deleted.tolist(), n=n, level=level, bounds=(0.0, 1.0), note=note, corrected=False)
        alone = proportion(round(mean * n), n, level=level)
        return replace(found, low=min(found.low, alone.low), high=max(found.high, alone.high))

    @property
    def resampled(self) -> Int[Tensor, " n"] | None:
        """What a bootstrap draws together."""
        return None if self.cross == CROSS[0] else self.group


@dataclass(frozen=True)
class _Scores:
    """Left-out scores (n, c, s) of every label set; of a probe of all samples its training scores and its weights."""

    scores: Float[Tensor, "n c s"]
    trained: Float[Tensor, "n c s"]
    weight: Float[Tensor, "d c"] | None
    bias: Float[Tensor, " c"] | None
    strengths: Float[Tensor, " f"] | None
    dead: int


def crossed(
    head: Head,
    features: FeatureArray,
    labels: LabelArray,
    *,
    cross: str,
    groups: Any = None,
    split: Split | None = None,
    scale: str = "standard",
    penalties: Sequence[float] = PENALTIES,
    permutations: int = 199,
    level: float = 0.95,
    seed: int = 0,
) -> Probe:
    """A probe whose test split is all samples; every permutation of the labels (inside `groups`) goes the whole way."""
    if split is not None:
        raise _refusals.cross_and_split()
    _check.choice(scale, "scale", SCALES)
    given = Labelled.of(features, labels, f"{head.name} probe")
    folds = Folds.of(cross, len(given.codes), given.kept(groups))
    x, y = given.x.cpu(), given.codes.cpu()
    sets = [y, *permuted_labels(y, folds.group, permutations, seed)]
    codes = torch.stack(sets, 1)
    classes = len(given.values)
    ridge = head.name == "ridge"
    made = (
        _ridge(x, codes, classes, folds.fold, scale, penalties)
        if ridge
        else _of_head(head, x, codes, given, folds, scale)
    )
    heat = _temperatures(made.scores[:, :, 0], y, folds.fold)
    n = len(y)
    log_p = _scores.log_probabilities(made.scores[:, :, 0] * heat[:, None], n)
    outcomes = _scores.outcomes(log_p, y)
    correct, losses, count = outcomes["correct"], outcomes["losses"], outcomes["counts"]
    note = Flag.DEPENDENT.note("samples of one group stand on both sides") if _straddles(folds) else ""
    hits = (made.scores.argmax(1) == codes).double()
    null = hits[:, 1:].mean(0).tolist()
    prior = (count.double() / n).log()
    log_loss = resampling.resampled(losses[:, None], y, folds.resampled, level=level, seed=seed, note=note)
    log_loss = replace(log_loss, null=float(-(prior.exp() * prior).sum()))
    trained = (made.trained.argmax(1) == codes).double().mean(0).tolist()
    accuracy = against(folds.share(correct, level, note), null, better="higher", level=level)
    balanced = _scores.balanced_accuracy(correct, y, classes, folds.resampled, level=level, seed=seed, note=note)
    names = tuple(given.names[int(v)] for v in given.values) if given.names else tuple(map(str, given.values.tolist()))
    recalls = _balanced(hits[:, 1:], codes[:, 1:], classes)
    none = torch.empty(0, dtype=torch.int64)
    return Probe(
        accuracy=accuracy,
        balanced_accuracy=against(balanced, recalls, better="higher", level=level),
        log_loss=log_loss,
        log_loss_bits=_scores.bits(log_loss),
        chance=folds.share(y == int(count.argmax()), level),
        memorization=resampling.range_of(trained[1 : 1 + REFITS], "permutations", "no permutations", n),
        gap=Estimate(trained[0] - accuracy.value, trained[0] - accuracy.high, trained[0] - accuracy.low, n),
        predictions=given.values[log_p.argmax(1)],
        **outcomes,
        curve=torch.empty(0, 3, dtype=torch.float64),
        classes=names,
        split=Split(none, none, torch.arange(n), folds.group, seed),
        weight=made.weight,
        bias=made.bias,
        settings={
            "probe": head.name, "cross": cross, "folds": int(folds.fold.max()) + 1, "scale": scale,
            "features": x.shape[1], "constant": made.dead, "temperature": float(heat.median()),
            **({} if made.strengths is None else {"strength": float(made.strengths.median())}), **head.options,
            "train": n, "test": n, "groups": folds.group is not None, "permutations": permutations, "level": level,
            "seed": seed,
        },
    )  # fmt: skip


def _straddles(folds: Folds) -> bool:
    return folds.cross == CROSS[0] and folds.group is not None and int(folds.group.max()) + 1 < len(folds.fold)


def _ridge(
    x: Tensor, codes: Int[Tensor, "n s"], classes: int, fold: Tensor, scale: str, penalties: Sequence[float]
) -> _Scores:
    """Least squares on the indicators of classes, centred; the penalty in units of tr K/n."""
    indicators = torch.nn.functional.one_hot(codes, classes).double()
    prior, products = indicators.mean(0), products_of(x, scale)
    scores, strengths = left_out(products, indicators, fold, penalties, prior)
    n = len(x)
    everything = torch.arange(n)
    kernel = products(everything)
    _, solved = dual(kernel, indicators, fold, penalties)
    trained = (kernel @ solved.flatten(1)).view(indicators.shape) + prior
    z, mean, spread, dead = standardised(x, everything, scale)
    weight = bias = None
    if scale != "unit":
        weight = (z.double().T @ solved[:, 0]) / spread[:, None]
        bias = prior[0] - mean @ weight
    return _Scores(scores.transpose(1, 2), trained.transpose(1, 2), weight, bias, strengths[:, 0], dead)


def _of_head(head: Head, x: Tensor, codes: Int[Tensor, "n s"], given: Labelled, folds: Folds, scale: str) -> _Scores:
    """A head fitted anew without each fold."""
    n, classes = len(x), len(given.values)
    strength = torch.tensor(head.strengths[:1], dtype=torch.float64)
    scores = torch.empty(n, classes, codes.shape[1], dtype=torch.float64)
    none = torch.empty(0, dtype=torch.int64)
    for f in range(int(folds.fold.max()) + 1):
        test, fit = (folds.fold == f).nonzero()[:, 0], (folds.fold != f).nonzero()[:, 0]
        rows = Rows.few(x, codes[:, 0], given.values, Split(fit, none, test), scale)
        scores[test] = head.fit(rows, codes, TRAIN, strength).scores((2,)).double()
    rows = Rows.few(x, codes[:, 0], given.values, Split(torch.arange(n), none, none), scale)
    whole = head.fit(rows, codes, TRAIN, strength)
    weight = bias = None
    if whole.weight is not None and whole.bias is not None and scale != "unit":
        weight, bias = rows.original(whole.weight[:, :, 0], whole.bias[:, 0])
    return _Scores(scores, whole.scores(TRAIN).double(), weight, bias, None, rows.dead)


def _temperatures(
    scores: Float[Tensor, "n c"], codes: Int[Tensor, " n"], fold: Int[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Of every sample the factor that is best for the left-out scores of all other folds."""
    found = torch.empty(len(codes), dtype=torch.float64)
    for f in range(int(fold.max()) + 1):
        others = fold != f
        found[fold == f] = _scores.temperature(scores[others][:, :, None], codes[others])[0]
    return found


def _balanced(hits: Float[Tensor, "n s"], codes: Int[Tensor, "n s"], classes: int) -> list[float]:
    """The mean recall of every label set."""
    right = torch.zeros(classes, hits.shape[1], dtype=torch.float64).scatter_add_(0, codes, hits)
    there = torch.zeros_like(right).scatter_add_(0, codes, torch.ones_like(hits))
    return (right / there.clamp_min(1)).where(there > 0, torch.nan).nanmean(0).tolist()
