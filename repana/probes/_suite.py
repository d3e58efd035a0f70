"""The probes that a profile takes of every layer, on one split, with their controls."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from repana import _check
from repana._ambient import release_memory
from repana._estimate import NAN, Estimate, Flag, shown
from repana._typing import FeatureArray, LabelArray
from repana.errors import InputError
from repana.probes import _scores
from repana.probes._classifiers import AFFINE, KS, head_named, knn_head, usable_neighbours
from repana.probes._data import Rows
from repana.probes._information import FEW, mdl
from repana.probes._protocol import PERMUTATIONS, Probe, probed
from repana.statistics import resampling
from repana.statistics.intervals import proportion, without_groups
from repana.statistics.splits import Split

FIELDS = {"nearest_mean": "nearest_mean", "naive_bayes": "naive_bayes"}  # of probes that are not called so
PROBES = (*AFFINE, "knn")
MANY_SCORES = 10**6  # samples times classes, from which the memory of one probe is given back before the next


@shown
@dataclass(frozen=True)
class Probing:
    """What a layer says of the labels; see `probing`."""

    linear_probe: Estimate
    ridge_probe: Estimate
    lda_probe: Estimate
    nearest_mean: Estimate
    naive_bayes: Estimate
    knn_probe: Estimate
    balanced_accuracy: Estimate
    log_loss: Estimate
    usable_information: Estimate
    compression: Estimate
    chance: Estimate
    memorization: Estimate
    gap: Estimate
    validation_accuracy: Estimate
    recall: Float[Tensor, " c"]
    confusion: Int[Tensor, "c c"]
    correct: Shaped[Tensor, "m p"]
    counts: Int[Tensor, " c"]
    classes: tuple[int, ...]
    probes: Mapping[str, Probe] = field(default_factory=dict)
    jackknife: Mapping[str, Float[Tensor, " g"]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


def probing(
    features: FeatureArray,
    labels: LabelArray,
    *,
    groups: LabelArray | None = None,
    split: Split | None = None,
    permutations: int = PERMUTATIONS,
    level: float = 0.95,
    seed: int = 0,
) -> Probing:
    """Six probes of one layer on the same split: what linear, generative and nearest-neighbour classifiers decode.

    - `linear_probe`, `ridge_probe`, `lda_probe`, `nearest_mean`, `naive_bayes` (`gaussian_naive_bayes`), `knn_probe`:
      accuracy on the test split, each as the function of its name says; their null is the accuracy on shuffled labels.
    - Of the linear probe: `balanced_accuracy`; `log_loss` in bits; `usable_information` = H(y|0) - H(y|x) on the
      test samples, bits; `memorization`, its training accuracy on shuffled labels; `gap`, training less test accuracy;
      `validation_accuracy`, on the rows that chose its strength: to choose a layer by.
    - `compression`: of the labels by an online code with LDA (`mdl(probe="lda")`).
    - `chance`: share of the most frequent class.
    - `recall`, `confusion` of the linear probe, `correct` (m, 6) of all; `probes` the whole results.

    With the seed the split is the same for every layer, so layers can be compared row by row.

    Shares in [0, 1], bits a row. Raises InputError as `linear_probe`.

    Sources: those of the functions.

    >>> import torch
    >>> from repana import probing
    >>> x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    >>> float(probing(x, x[:, 0] > 0).linear_probe) > 0.9
    True
    """
    _check.level_of(level)
    _check.at_least(permutations, "permutations", 0)
    rows = Rows.of(features, labels, groups=groups, seed=seed, split=split, quantity="probing")
    compression, without = _compression(rows, level, seed)
    made: dict[str, Probe] = {}
    reasons: dict[str, str] = {}
    for name in reversed(PROBES):  # neighbours first, before the decompositions that the others share are in memory
        try:
            made[name] = _probe(name, rows, permutations, level, seed)
        except InputError as error:
            reasons[name] = str(error)
    found = {name: made[name] for name in PROBES if name in made}
    linear = found["linear"]

    def accuracy(name: str) -> Estimate:
        return found[name].accuracy if name in found else Estimate(NAN, note=reasons[name])

    gained = (linear.log_loss.null - linear.losses)[:, None]
    information = resampling.resampled(gained, linear.targets, rows.split.test_group, level=level, seed=seed)
    selected = len(rows.split.validation)
    return Probing(
        linear_probe=accuracy("linear"),
        ridge_probe=accuracy("ridge"),
        lda_probe=accuracy("lda"),
        nearest_mean=accuracy("nearest_mean"),
        naive_bayes=accuracy("naive_bayes"),
        knn_probe=accuracy("knn"),
        balanced_accuracy=linear.balanced_accuracy,
        log_loss=linear.log_loss_bits,
        usable_information=replace(
            _scores.bits(information), p=linear.log_loss.p, permutations=linear.log_loss.permutations
        ),
        compression=compression,
        chance=linear.chance,
        memorization=linear.memorization,
        gap=linear.gap,
        validation_accuracy=proportion(round(float(linear.selected[2]) * selected), selected, level=level),
        recall=linear.recall,
        confusion=linear.confusion,
        correct=torch.stack([p.correct for p in found.values()], 1).double(),
        counts=torch.bincount(rows.codes.cpu(), minlength=rows.classes),
        classes=tuple(rows.values.tolist()),
        probes=found,
        jackknife=_without_rows(found, linear) | without,
        settings={**linear.settings, "probes": list(found)},
    )


def _probe(name: str, rows: Rows, permutations: int, level: float, seed: int) -> Probe:
    """One of the probes; neighbours are those of features that are centred alone."""
    if name == "knn":
        rows, head = rows.rescaled("centre"), knn_head(usable_neighbours(KS, rows))
    else:
        head = head_named(name)
    found = probed(head, rows, permutations=permutations, level=level, seed=seed)
    if rows.n * rows.classes > MANY_SCORES:
        release_memory()
    return found


def _without_rows(found: Mapping[str, Probe], linear: Probe) -> dict[str, Tensor]:
    """Accuracies and losses without groups of test samples: the same groups in all runs on the same split."""
    if linear.split.group is not None:
        return {}
    names = {name: FIELDS.get(name, f"{name}_probe") for name in found}
    made = {names[name]: _deleted(probe.correct.double()) for name, probe in found.items()}
    losses = _scores.in_bits(linear.losses)
    chance = linear.log_loss_bits.null
    return made | {"log_loss": _deleted(losses), "usable_information": _deleted(chance - losses)}


def _deleted(rows: Tensor) -> Tensor:
    return without_groups(float(rows.mean()), rows - rows.mean())


def _compression(rows: Rows, level: float, seed: int) -> tuple[Estimate, dict[str, Tensor]]:
    """The compression of the online code, and its values without groups of rows."""
    if rows.n < FEW:
        return Estimate(NAN, n=rows.n, note=Flag.FEW_SAMPLES.note(f"an online code needs {FEW} rows")), {}
    code = mdl(rows.x, rows.codes, probe="lda", level=level, seed=seed)
    return code.compression, {name: v for name, v in code.jackknife.items() if name == "compression"}
