"""Accuracy against the number of labels: which probe is best with few, and where the others overtake it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._estimate import NAN, Estimate, Flag, shown
from repana._renamed import renamed
from repana._typing import FeatureArray, LabelArray
from repana.probes import _refusals
from repana.probes._classifiers import Head, head_named, knn_head
from repana.probes._data import TEST, TRAIN, Rows
from repana.statistics.splits import Split

SIZES = (20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)
PROBES = ("naive_bayes", "nearest_mean", "lda", "linear", "1nn")
ONE_NEIGHBOUR = "1nn"


@shown
@dataclass(frozen=True)
class SampleEfficiency:
    """Curves over the number of labels; see `sample_efficiency`."""

    crossing: Estimate
    sizes: Int[Tensor, " s"]
    curves: Mapping[str, Float[Tensor, "s r"]]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def mean(self, probe: str) -> Float[Tensor, "s 3"]:
        """Mean accuracy over draws at every size, with the interval of Student's t over draws."""
        from scipy import stats

        found = self.curves[probe]
        r = found.shape[1]
        t = float(stats.t.ppf(0.5 + self.settings["level"] / 2, r - 1))
        centre, half = found.mean(1), t * found.std(1) / math.sqrt(r)
        return torch.stack([centre, (centre - half).clamp_min(0), (centre + half).clamp_max(1)], 1)


@renamed(strength="C")
def sample_efficiency(
    features: FeatureArray,
    labels: LabelArray,
    sizes: Iterable[int] | None = None,
    *,
    probes: Iterable[str] = PROBES,
    C: float = 1.0,
    repeats: int = 10,
    groups: LabelArray | None = None,
    split: Split | None = None,
    scale: str = "standard",
    level: float = 0.95,
    seed: int = 0,
) -> SampleEfficiency:
    """Accuracy on the test split of probes fitted to few labels: naive Bayes, nearest mean, LDA, logistic, 1-NN.

    For every size m in `sizes` (20, 50, 100, ... as far as the training and validation splits go) and each of `repeats`
    draws, m rows are drawn with at least one of every class; they are all that mean, scale and probe see. With so few
    there is nothing to choose on: C of the logistic probe is `C`, LDA is shrunk by Ledoit & Wolf's share, the neighbour
    is Euclidean. The draws of all probes are the same rows, and larger ones hold the smaller.

    `curves[name]` (s, r): accuracy by size and draw; `mean(name)` their mean and interval. `crossing`: the number of
    labels from which the logistic probe is ahead of naive Bayes (the two regimes of Ng & Jordan), between sizes on the
    log scale, with the interval of bootstrap draws of the repeats; NaN where they do not cross in the sizes.

    Raises InputError as `linear_probe`, and for sizes below the number of classes or above the rows there are.

    Sources: Ng & Jordan 2001; Zheng et al. 2023, arXiv:2302.02334.

    >>> import torch
    >>> from repana import sample_efficiency
    >>> x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    >>> found = sample_efficiency(x, x[:, 0] > 0, [20, 100], repeats=3)
    >>> bool(found.mean("linear")[1, 0] > 0.8)
    True
    """
    _check.level_of(level)
    _check.at_least(repeats, "repeats", 2)
    _check.positive(float(C), "C")
    names = list(probes)
    for name in names:
        _check.choice(name, "probes", PROBES)
    rows = Rows.of(features, labels, groups=groups, seed=seed, split=split, scale="none", quantity="sample_efficiency")
    _check.choice(scale, "scale", ("standard", "centre", "none", "unit"))
    train = rows.split.train_and_validation
    c = int(torch.unique(rows.codes[train.to(rows.x.device)]).numel())
    given = (
        [m for m in SIZES if c <= m <= len(train)]
        if sizes is None
        else sorted({_check.whole(m, "sizes") for m in sizes})
    )
    if not given or min(given) < c or max(given) > len(train):
        raise _refusals.bad_sizes(given, c, len(train))
    heads = {name: _head(name, C) for name in names}
    found = {name: torch.zeros(len(given), repeats, dtype=torch.float64) for name in names}
    nothing = torch.empty(0, dtype=torch.int64)
    for r in range(repeats):
        generator = torch.Generator().manual_seed(seed + r)
        order = _balanced_order(rows.codes.cpu()[train], generator)
        for i, m in enumerate(given):
            at = train[order[:m]].sort().values
            both = torch.cat([at, rows.split.test])
            part = Split(torch.arange(m), nothing, torch.arange(m, len(both)))
            where = both.to(rows.x.device)
            some = Rows.few(rows.x[where], rows.codes[where], rows.values, part, scale)
            y = some.codes[some.at(TEST)]
            for name, (head, strengths) in heads.items():
                scores = head.fit(some, some.codes[:, None], TRAIN, strengths).scores(TEST)[:, :, 0]
                found[name][i, r] = float((scores.argmax(1) == y).double().mean())
    return SampleEfficiency(
        crossing=_crossing(given, found, level, seed),
        sizes=torch.tensor(given),
        curves=found,
        settings={
            "C": C,
            "repeats": repeats,
            "scale": scale,
            "test": len(rows.split.test),
            "split": rows.split.fingerprint,
            "level": level,
            "seed": seed,
        },
    )


def _head(name: str, strength: float) -> tuple[Head, Tensor]:
    if name == ONE_NEIGHBOUR:
        return knn_head((1,), "euclidean", "uniform"), torch.tensor([1.0])
    head = head_named(name)
    return head, torch.tensor([float(strength) if name == "linear" else 1.0], dtype=torch.float64)


def _balanced_order(codes: Int[Tensor, " t"], generator: torch.Generator) -> Int[Tensor, " t"]:
    """A random order whose first rows are one of every class, and of which every beginning is random otherwise."""
    order = torch.randperm(len(codes), generator=generator)
    shuffled = codes[order]
    first = torch.tensor([int((shuffled == k).nonzero()[0, 0]) for k in torch.unique(codes)])
    rest = torch.ones(len(codes), dtype=torch.bool)
    rest[first] = False
    return torch.cat([order[first], order[rest]])


def _crossing(sizes: list[int], curves: Mapping[str, Tensor], level: float, seed: int) -> Estimate:
    if not {"naive_bayes", "linear"} <= set(curves) or len(sizes) < 2:
        return Estimate(NAN, note=Flag.MISSING_INPUT.note("needs naive_bayes and linear at two sizes"))
    gap = curves["linear"] - curves["naive_bayes"]
    value = _zero(sizes, gap.mean(1))
    if math.isnan(value):
        ahead = "the logistic probe" if float(gap.mean()) > 0 else "naive Bayes"
        return Estimate(
            NAN, note=Flag.OUT_OF_RANGE.note(f"no crossing in {sizes[0]} to {sizes[-1]} labels; {ahead} is ahead")
        )
    generator = torch.Generator().manual_seed(seed)
    r = gap.shape[1]
    drawn = [_zero(sizes, gap[:, torch.randint(r, (r,), generator=generator)].mean(1)) for _ in range(500)]
    missing = sum(map(math.isnan, drawn))
    low, high = np.nanpercentile([*drawn, value], [50 * (1 - level), 50 * (1 + level)])
    note = Flag.OUT_OF_RANGE.note(f"{missing} of {len(drawn)} draws do not cross in these sizes") if missing else ""
    return Estimate(value, float(low), float(high), r, note)


def _zero(sizes: list[int], gap: Float[Tensor, " s"]) -> float:
    """The last size at which the gap rises through zero."""
    up = ((gap[:-1] < 0) & (gap[1:] >= 0)).nonzero()[:, 0]
    if not len(up):
        return NAN
    k = int(up[-1])
    share = float(-gap[k] / (gap[k + 1] - gap[k]))
    return math.exp(math.log(sizes[k]) + share * math.log(sizes[k + 1] / sizes[k]))
