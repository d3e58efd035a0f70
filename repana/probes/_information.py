"""How much of the labels a probe can use: description length, usable information, and accuracy against complexity."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import stats
from torch import Tensor

from repana import _check
from repana._estimate import Estimate, Flag, shown
from repana._renamed import renamed
from repana._typing import FeatureArray, Features, LabelArray
from repana.probes import _scores
from repana.probes._classifiers import AFFINE, Head, head_named, ridge_head
from repana.probes._data import TEST, TRAIN, TRAIN_AND_VALIDATION, VALIDATION, Labelled, Rows
from repana.probes._protocol import chosen, permuted
from repana.statistics import resampling
from repana.statistics.intervals import replicates_with
from repana.statistics.splits import Split

FRACTIONS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)
FEWEST = 8  # rows of the first block, so that something can be chosen on them
GROUPS = 20  # of rows, for differences of two runs
FEW = 4 * FEWEST  # rows below which there is no online code


@shown
@dataclass(frozen=True)
class MDL:
    """The online code of one layer; see `mdl`."""

    codelength: Estimate
    compression: Estimate
    compression_entropy: Estimate
    uniform: float
    entropy: float
    curve: Float[Tensor, "b 2"]
    jackknife: Mapping[str, Float[Tensor, " g"]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@shown
@dataclass(frozen=True)
class UsableInformation:
    """Usable information of one layer; see `usable_information`."""

    bits: Estimate
    nats: Estimate
    share: Estimate
    accuracy: Estimate
    pointwise: Float[Tensor, " n"]
    settings: Mapping[str, Any] = field(default_factory=dict)


@shown
@dataclass(frozen=True)
class Pareto:
    """Accuracy against complexity; see `pareto`."""

    hypervolume: Estimate
    best: Estimate
    half: Estimate
    curve: Float[Tensor, "r 4"]
    front: Int[Tensor, " f"]
    settings: Mapping[str, Any] = field(default_factory=dict)


@renamed(orders="repeats")
def mdl(
    features: FeatureArray,
    labels: LabelArray,
    *,
    probe: str = "linear",
    classes: int | None = None,
    repeats: int = 3,
    scale: str = "standard",
    level: float = 0.95,
    seed: int = 0,
) -> MDL:
    """Minimum description length of the labels given the features, by the online (prequential) code, in bits.

    Rows come in random order. The first block, of t_1 rows, costs t_1 log2 c; block i costs
    -sum log2 p(y|x) under the probe fitted on all rows before it, which chose its strength (and temperature) on the
    later half of those: nothing is used that was not transmitted. Blocks end at .1, .2, .4, .8, 1.6, 3.2, 6.25, 12.5,
    25, 50 and 100% of the rows, from 8 rows and two a class on. Probabilities are mixed with 1/(t + c) of the uniform
    ones, so that a class not seen yet has a code.

    - `codelength`: bits, mean over `repeats` orders; its interval holds what other samples would give: the variance of
      the rows' bits inside blocks, and that of the orders (Student's; none for one order).
    - `compression` = n log2 c/codelength, above 1 where the features say something; at most 1 on labels without
      meaning, but for luck. `compression_entropy` = n H(y)/codelength, H the entropy of the class shares: above 1 only
      where the features say more than the shares do.
    - `uniform` = n log2 c, `entropy` = n H(y); `curve`: rows known, and bits per row of the next block; `jackknife`:
      the three estimates without each of 20 groups of rows, to first order, for `compare`.

    `classes` counts those that could have come, by default those that did. `probe`: "linear", "ridge", "lda",
    "nearest_mean", "naive_bayes". Published code adds the first block in bits to sums in nats: random labels then seem
    compressed by 1.29 to 1.44.

    Raises InputError as `linear_probe`, and for fewer `classes` than there are.

    Source: Voita & Titov 2020, arXiv:2003.12298, equations 2 and 3; Rissanen 1984.

    >>> import torch
    >>> from repana import mdl
    >>> x = torch.arange(400.0)[:, None]
    >>> float(mdl(x, x[:, 0] >= 200).compression) > 3
    True
    """
    _check.choice(probe, "probe", AFFINE)
    _check.level_of(level)
    _check.at_least(repeats, "repeats", 1)
    x, codes, c = _coded(features, labels, classes)
    n = len(x)
    ends = _ends(n, c)
    uniform = n * math.log2(c)
    share = torch.bincount(codes, minlength=c).double() / n
    entropy = n * float(-(share[share > 0] * share[share > 0].log2()).sum())
    lengths, curves, variances, excess = [], [], [], torch.zeros(n, dtype=torch.float64)
    for order in range(repeats):
        generator = torch.Generator().manual_seed(seed + order)
        at = torch.randperm(n, generator=generator).to(x.device)
        rows = _online(head_named(probe), x[at], codes[at.cpu()], c, ends, scale)
        blocks = [float(block.sum()) for block in rows]
        excess[at[ends[0] :].cpu()] += torch.cat([block.double() - block.double().mean() for block in rows])
        lengths.append(ends[0] * math.log2(c) + sum(blocks))
        variances.append(sum(len(block) * float(block.var()) for block in rows if len(block) > 1))
        sizes = np.diff(ends)
        curves.append([bits / size for bits, size in zip(blocks, sizes)])
    length = _over_orders(lengths, float(np.mean(variances)), n, level)
    return MDL(
        codelength=length,
        compression=_inverse(uniform, length),
        compression_entropy=_inverse(entropy, length),
        uniform=uniform,
        entropy=entropy,
        curve=torch.tensor([ends[:-1], np.mean(curves, 0).tolist()], dtype=torch.float64).T,
        jackknife=_without_rows(excess, length, uniform, entropy, level),
        settings={
            "probe": probe,
            "classes": c,
            "repeats": repeats,
            "first_block": ends[0],
            "scale": scale,
            "level": level,
            "seed": seed,
        },
    )


def usable_information(
    features: FeatureArray,
    labels: LabelArray,
    *,
    baseline: Any = None,
    probe: str = "linear",
    groups: LabelArray | None = None,
    folds: int = 5,
    scale: str = "standard",
    level: float = 0.95,
    seed: int = 0,
) -> UsableInformation:
    """What a family of probes can use of the features: I_V(X -> Y) = H_V(Y|0) - H_V(Y|X).

    H_V(Y|X) is the mean loss -log p(y|x) of the best probe of the family on rows that it was not fitted on, and
    H_V(Y|0) that of the best without features, the class shares of the other rows. Every row is held out once: of
    `folds` folds, stratified or of whole `groups`, one is read, the next chooses the strength, the others are fitted
    on.

    - `pointwise` (n,), in bits: log2 p(y|x) - log2 p(y); low or negative for rows that the probe finds hard. NaN where
      the label is -100. `bits` and `nats` are its mean, with the bootstrap interval of rows inside classes, or of
      groups. May be below 0: the family overfits.
    - With `baseline=` (n, e), conditional: H_V(Y|B) - H_V(Y|[B; X]), what the features add to another layer's.
    - `share` = nats/H_V(Y|0) (or H_V(Y|B)), at most 1. `accuracy` of the probe on all rows.

    A mean over rows fitted on would be too large. More is not lost with depth: later layers can hold more usable
    information, since they do some of the reading.

    Raises InputError as `linear_probe`.

    Sources: Xu et al. 2020, arXiv:2002.10689, definition 2; Ethayarajh, Choi & Swayamdipta 2022, arXiv:2110.08420
    (pointwise); Hewitt et al. 2021, arXiv:2109.09234 (conditional).

    >>> import torch
    >>> from repana import usable_information
    >>> x = torch.arange(400.0)[:, None]
    >>> 0.9 < float(usable_information(x, x[:, 0] >= 200).bits) <= 1
    True
    """
    _check.choice(probe, "probe", AFFINE)
    _check.level_of(level)
    _check.at_least(folds, "folds", 3)
    given = Labelled.of(features, labels, "usable_information")
    x, y, values, keep, n = given.x, given.codes, given.values, given.keep, len(given.given)
    before = None if baseline is None else _check.matrix(baseline, "baseline", n, None, "the same rows")
    less = None if before is None else before[keep.to(before.device)].to(x.device)
    both = x.dtype if less is None else torch.promote_types(x.dtype, less.dtype)
    wide = x if less is None else torch.cat([less.to(both), x.to(both)], 1)
    splits = Split.folds(y, folds, groups=given.kept(groups), seed=seed)
    loss, right = _crossfitted(head_named(probe), wide, y, values, splits, scale)
    if less is None:
        without = torch.empty_like(loss)
        for split in splits:
            seen = y[split.train_and_validation]
            share = torch.bincount(seen, minlength=len(values)).double().log()
            log_p = _scores.log_probabilities(share[None].expand(len(split.test), -1), len(seen))
            without[split.test] = _scores.losses(log_p, y[split.test])
    else:
        without, _ = _crossfitted(head_named(probe), less, y, values, splits, scale)
    group_of = splits[0].group
    nats = resampling.resampled((without - loss)[:, None], y, group_of, level=level, seed=seed)
    base = float(without.mean())
    share = Estimate(nats.value / base, nats.low / base, nats.high / base, nats.n) if base > 0 else Estimate(math.nan)
    pointwise = torch.full((n,), math.nan, dtype=torch.float64)
    pointwise[keep] = _scores.in_bits(without - loss)
    return UsableInformation(
        bits=_scores.bits(nats),
        nats=nats,
        share=share,
        accuracy=_scores.accuracy(right, group_of, level=level, seed=seed),
        pointwise=pointwise,
        settings={
            "probe": probe,
            "folds": folds,
            "conditional": before is not None,
            "groups": group_of is not None,
            "scale": scale,
            "level": level,
            "seed": seed,
        },
    )


def pareto(
    features: FeatureArray,
    labels: LabelArray,
    *,
    groups: LabelArray | None = None,
    split: Split | None = None,
    scale: str = "standard",
    permutations: int = 3,
    level: float = 0.95,
    seed: int = 0,
) -> Pareto:
    """Accuracy against the complexity of the probe: one probe for every strength of a ridge, all from one X'X.

    `curve` (r, 4) from simple to complex: the effective dimension sum_j s_j/(s_j + a), which is the trace of the hat
    matrix; the accuracy of the same probe on shuffled labels that it was fitted on, which is what it can memorise; the
    accuracy on the test split; their log-loss in nats. `front` (f,) numbers the rows of `curve` that nothing simpler
    matches.

    - `hypervolume`: the area under the front over effective dimension/d, in [0, 1]: high where much is read simply.
    - `best`: the largest accuracy of the curve, an oracle over strengths; `half`: the effective dimension at which half
      of the way from chance to it is made.

    Intervals are those of bootstrap draws of the test split, the front of each draw its own. Fitted on fit and select
    rows; nothing is chosen but the temperature of the log-loss, on the validation split.

    Raises InputError as `linear_probe`.

    Source: Pimentel et al. 2020, arXiv:2010.02180, whose complexities are the rank or nuclear norm of the probe and its
    accuracy on shuffled labels.

    >>> import torch
    >>> from repana import pareto
    >>> x = torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
    >>> float(pareto(x, x[:, 0] > 0).best) > 0.9
    True
    """
    _check.level_of(level)
    _check.at_least(permutations, "permutations", 0)
    rows = Rows.of(features, labels, groups=groups, seed=seed, split=split, scale=scale, quantity="pareto")
    strengths = torch.logspace(2, -6, 25, dtype=torch.float64)
    codes = torch.stack([rows.codes, *permuted(rows, permutations, seed)], 1)
    fitted = ridge_head().fit(rows, codes, TRAIN_AND_VALIDATION, strengths)
    r, m = len(strengths), len(rows.split.test)
    report, seen = fitted.scores(TEST)[:, :, :r], rows.at(TRAIN_AND_VALIDATION)
    y = rows.codes[rows.at(TEST)]
    right = (report.argmax(1) == y[:, None]).double()
    learnt = fitted.scores(TRAIN_AND_VALIDATION)[:, :, r:].argmax(1).view(len(seen), permutations, r)
    memorization = (
        (learnt == codes[seen, 1:, None]).double().mean((0, 1)) if permutations else torch.full((r,), math.nan)
    )
    first = ridge_head().fit(rows, rows.codes[:, None], TRAIN, strengths).scores(VALIDATION)
    heat = _scores.temperature(first, rows.codes[rows.at(VALIDATION)])
    losses = [
        _scores.losses(_scores.log_probabilities(report[:, :, k] * heat[k], len(seen)), y).mean() for k in range(r)
    ]
    effective = fitted.known["effective"][:r].cpu()
    d = max(rows.d - rows.dead, 1)
    chance = float(torch.bincount(rows.codes[seen]).max()) / len(seen)
    accuracy = right.mean(0).cpu()

    def area(a: Float[Tensor, "*b r"]) -> Float[Tensor, "*b"]:
        best = torch.cummax(a, -1).values
        width = torch.cat([effective[1:], torch.tensor([float(d)], dtype=torch.float64)]) - effective
        return (best * width.clamp_min(0)).sum(-1) / d

    def halfway(a: Float[Tensor, "*b r"]) -> Float[Tensor, "*b"]:
        requested = chance + (a.max(-1, keepdim=True).values - chance) / 2
        return effective[(a >= requested).double().argmax(-1)]

    columns, group = torch.cat([right.cpu(), torch.ones(m, 1)], 1), rows.split.test_group

    def over(function: Callable[[Tensor], Tensor]) -> Estimate:
        def of_sums(t: Tensor) -> Tensor:
            return function(t[..., :-1] / t[..., -1:])

        return resampling.resampled(columns, y.cpu(), group, level=level, seed=seed, statistic=of_sums)

    better = torch.cat([torch.ones(1, dtype=torch.bool), accuracy[1:] > torch.cummax(accuracy, 0).values[:-1]])
    return Pareto(
        hypervolume=over(area),
        best=over(lambda a: a.max(-1).values),
        half=over(halfway),
        curve=torch.stack([effective, memorization.cpu().double(), accuracy, torch.stack(losses).cpu()], 1),
        front=better.nonzero()[:, 0],
        settings={
            "features": rows.d,
            "chance": chance,
            "permutations": permutations,
            "split": rows.split.fingerprint,
            "scale": scale,
            "level": level,
            "seed": seed,
        },
    )


def _coded(features: FeatureArray, labels: LabelArray, classes: int | None) -> tuple[Features, Int[Tensor, " n"], int]:
    given = Labelled.of(features, labels, "mdl", several=classes is None)
    n, c = len(given.x), len(given.values)
    c = c if classes is None else _check.at_least(classes, "classes", max(c, 2))
    if n < FEW:
        raise _check.too_few_samples("an online code", n, FEW)
    return given.x, given.codes, c


def _ends(n: int, classes: int) -> list[int]:
    """Where blocks end."""
    least = min(max(FEWEST, 2 * classes), n // 4)
    found = [round(f * n) for f in FRACTIONS]
    return sorted({max(e, least) for e in found})


def _online(head: Head, x: Features, codes: Int[Tensor, " n"], c: int, ends: list[int], scale: str) -> list[Tensor]:
    """Bits of every row, in every block but the first."""
    found = []
    for start, stop in zip(ends, ends[1:]):
        half = (start + 1) // 2
        everything = torch.arange(stop)
        split = Split(everything[:half], everything[half:start], everything[start:])
        rows = Rows.few(x[:stop], codes[:stop].to(x.device), torch.arange(c), split, scale)
        found.append(_scores.in_bits(_read(head, rows)[0]))
    return found


def _read(head: Head, rows: Rows) -> tuple[Float[Tensor, " m"], Tensor]:
    """Nats of the test split under the probe chosen and fitted on the others, and which of them are read right."""
    choice = chosen(head, rows)
    strength = torch.tensor([choice.strength], dtype=torch.float64)
    z = head.fit(rows, rows.codes[:, None], TRAIN_AND_VALIDATION, strength).scores(TEST)[:, :, 0] * choice.temperature
    log_p, y = _scores.log_probabilities(z, len(rows.split.train_and_validation)), rows.codes[rows.at(TEST)]
    return _scores.losses(log_p, y).cpu(), (log_p.argmax(1) == y).cpu()


def _crossfitted(
    head: Head, x: Features, y: Int[Tensor, " n"], values: Tensor, splits: list[Split], scale: str
) -> tuple[Float[Tensor, " n"], Tensor]:
    """The loss of every row, in nats, and whether it is read right, each by a probe that has not seen it."""
    loss, right = torch.empty(len(y), dtype=torch.float64), torch.empty(len(y), dtype=torch.bool)
    for split in splits:
        rows = Rows.few(x, y.to(x.device), values, split, scale)
        loss[split.test], right[split.test] = _read(head, rows)
    return loss, right


def _over_orders(lengths: list[float], variance: float, n: int, level: float) -> Estimate:
    """The mean over orders; `variance` is that of a code's length over samples."""
    mean, k = float(np.mean(lengths)), len(lengths)
    if k < 2:
        return Estimate(mean, n=n, note=Flag.NO_INTERVAL.note("one order"))
    q = 0.5 + level / 2
    orders = float(stats.t.ppf(q, k - 1) * np.std(lengths, ddof=1) / math.sqrt(k))
    half = math.hypot(orders, float(stats.norm.ppf(q)) * math.sqrt(variance))
    return Estimate(mean, max(mean - half, 0.0), mean + half, n)


def _without_rows(
    excess: Float[Tensor, " n"], length: Estimate, uniform: float, entropy: float, level: float
) -> dict[str, Float[Tensor, " g"]]:
    """The code without groups of rows, by what their bits exceed those of their blocks."""
    if not (0 < length.low < length.high):
        return {}
    group = torch.arange(len(excess)) % GROUPS
    parts = torch.zeros(GROUPS, dtype=torch.float64).index_add_(0, group, excess)
    error = (length.high - length.low) / (2 * float(stats.norm.ppf(0.5 + level / 2)) * length.value)
    found = replicates_with(length.value, parts, error, log=True)
    return {"codelength": found, "compression": uniform / found, "compression_entropy": entropy / found}


def _inverse(total: float, length: Estimate) -> Estimate:
    """total/length with its interval."""
    low, high = total / length.high, total / length.low if length.low > 0 else math.inf
    return Estimate(total / length.value, low, high, length.n, length.note)
