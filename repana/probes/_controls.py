"""Control tasks: whether a probe reads the labels or remembers the types that carry them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from repana import _check
from repana._estimate import NAN, Estimate, Flag, shown
from repana._renamed import renamed
from repana._typing import FeatureArray, LabelArray
from repana.probes import _refusals, _scores
from repana.probes._classifiers import AFFINE, head_named
from repana.probes._data import TEST, TRAIN_AND_VALIDATION, Labelled, Rows, standardised
from repana.probes._protocol import chosen, probed
from repana.statistics import resampling
from repana.statistics.splits import SHARES, Split, parts_of_rows


@shown
@dataclass(frozen=True)
class Selectivity:
    """A task and its control; see `selectivity`."""

    selectivity: Estimate
    task: Estimate
    control: Estimate
    unseen: Estimate
    task_unseen: Estimate
    selectivity_bits: Estimate
    memorization: Estimate
    settings: Mapping[str, Any] = field(default_factory=dict)


@shown
@dataclass(frozen=True)
class ProbeBaselines:
    """What needs no training; see `probe_baselines`."""

    reinitialised: Estimate
    random_projection: Estimate
    settings: Mapping[str, Any] = field(default_factory=dict)


def probe_baselines(
    reinitialised: Sequence[Any],
    labels: LabelArray,
    inputs: Any = None,
    *,
    width: int = 0,
    groups: LabelArray | None = None,
    split: Split | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> ProbeBaselines:
    """How well a linear probe reads the labels where nothing was learnt.

    - `reinitialised`: mean accuracy over the features (n, d) that copies of the network with new random weights give at
      this layer (see `repana.reinitialised`), interval their range. What the trained layer has above that, training put
      there.
    - `random_projection`: the same of as many random projections relu(xR + b) of the raw `inputs` (n, e), standardised
      by the training split, to `width` features, R of variance 1/e and b standard normal: what width alone makes
      readable.

    Each as `linear_probe`, on the same split. NaN where there are no copies, or no inputs.

    Raises InputError as `linear_probe`.

    Sources: Belinkov 2022, doi:10.1162/coli_a_00422; Saxe et al. 2011 (random weights).

    >>> import torch
    >>> from repana import probe_baselines
    >>> x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    >>> float(probe_baselines([x[:, 1:]], x[:, 0] > 0).reinitialised) < 0.7
    True
    """
    _check.level_of(level)
    given = [*reinitialised, *([] if inputs is None else [inputs])]
    if not given:
        return ProbeBaselines(
            Estimate(NAN, note=Flag.MISSING_INPUT.note("no re-initialised copies")),
            Estimate(NAN, note=Flag.MISSING_INPUT.note("no raw inputs")),
        )
    first = Rows.of(given[0], labels, groups=groups, seed=seed, split=split, quantity="probe_baselines")
    keep = Labelled.of(given[0], labels, "probe_baselines").keep

    def read(features: FeatureArray) -> float:
        x = _check.features_of(features)
        rows = Rows.few(x[keep.to(x.device)], first.codes, first.values, first.split, "standard")
        return probed(head_named("linear"), rows, permutations=0, level=level, seed=seed).accuracy.value

    projections = []
    if inputs is not None and width:
        raw = _check.features_of(inputs)
        x = standardised(raw, keep[first.split.train].to(raw.device), "standard")[0].double()
        for k in range(max(len(reinitialised), 1)):
            generator = torch.Generator().manual_seed(seed + k)
            r = torch.randn(x.shape[1], width, generator=generator, dtype=torch.float64).to(x) / x.shape[1] ** 0.5
            b = torch.randn(width, generator=generator, dtype=torch.float64).to(x)
            projections.append(torch.relu(x @ r + b).float())
    return ProbeBaselines(
        reinitialised=resampling.range_of(
            [read(f) for f in reinitialised], "seeds", Flag.MISSING_INPUT.note("no re-initialised copies")
        ),
        random_projection=resampling.range_of(
            [read(f) for f in projections], "seeds", Flag.MISSING_INPUT.note("no raw inputs")
        ),
        settings={"copies": len(reinitialised), "width": width, "level": level, "seed": seed},
    )


@renamed(draws="repeats", strength="C")
def selectivity(
    features: FeatureArray,
    labels: LabelArray,
    types: Any,
    *,
    probe: str = "linear",
    C: float | None = None,
    distribution: str = "empirical",
    repeats: int = 3,
    held_out: float = 0.2,
    scale: str = "standard",
    level: float = 0.95,
    seed: int = 0,
) -> Selectivity:
    """Accuracy on the task, less that on a control task that can only be learnt by heart.

    `types` (n,) says what each row is a case of, as the word of a token. In a control every type has one random label
    for all of its rows, drawn from the shares of the labels (`distribution="empirical"`) or evenly ("uniform"). The
    control has the same rows, the same split and the same strength as the task, which is chosen on the task, or given
    (C of the logistic probe).

    - `task` and `control`: accuracy on test samples whose type was fitted on; `selectivity` their difference, the mean
      over `repeats` controls. A probe that remembers types has a control near 1, and what it reads on the task says
      little of the features.
    - `unseen`: the control on rows of types that were held out (`held_out` of the types): chance, whatever the probe.
      `task_unseen`: the task there.
    - `selectivity_bits`: log-loss of the control less that of the task, bits per row. `memorization`: accuracy of the
      control on the rows that it was fitted on.

    Intervals: bootstrap of types, the difference paired. Where every row is a type of its own (images), a control is a
    permutation of labels: see `accuracy.null` and `memorization` of the probes.

    Raises InputError as `linear_probe`, and for fewer than 6 types or where every row is a type of its own.

    Source: Hewitt & Liang 2019, arXiv:1909.03368.

    >>> import torch
    >>> from repana import selectivity
    >>> types = torch.arange(400) % 8
    >>> words = torch.eye(8)[types]
    >>> round(float(selectivity(words, types % 2, types).control), 1)
    1.0
    """
    _check.choice(probe, "probe", AFFINE)
    _check.choice(distribution, "distribution", ("empirical", "uniform"))
    _check.level_of(level)
    _check.at_least(repeats, "repeats", 1)
    _check.in_range(held_out, "held_out", 0.0, 0.8)
    given = Labelled.of(features, labels, "selectivity")
    x, y, values = given.x, given.codes, given.values
    every = torch.from_numpy(_check.groups_of(types, len(given.given), "types"))
    kind = torch.unique(every[given.keep], return_inverse=True)[1]
    t, c = int(kind.max()) + 1, len(values)
    if t < 6 or t == len(y):
        raise _refusals.bad_types(t, len(y))
    random = np.random.default_rng(seed)
    away = torch.zeros(t, dtype=torch.bool)
    away[torch.from_numpy(random.permutation(t)[: round(held_out * t)])] = True
    split = _split(y, kind, away, random)
    rows = Rows.prepared(x, y, values, (), split, scale)
    shares = torch.bincount(y, minlength=c).double().numpy() if distribution == "empirical" else np.ones(c)
    controls = [torch.from_numpy(random.choice(c, t, p=shares / shares.sum()))[kind] for _ in range(repeats)]
    head = head_named(probe)
    if C is not None:
        _check.positive(C, "C")
        head = replace(head, strengths=(C,), factor=0.0)
    choice = chosen(head, rows)
    sets = torch.stack([y, *controls], 1).to(rows.x.device)
    fitted = head.fit(rows, sets, TRAIN_AND_VALIDATION, torch.tensor([choice.strength], dtype=torch.float64))
    report, train = fitted.scores(TEST) * choice.temperature, fitted.scores(TRAIN_AND_VALIDATION)
    truth, known = sets[rows.at(TEST)], sets[rows.at(TRAIN_AND_VALIDATION)]
    right = (report.argmax(1) == truth).double().cpu()
    losses = torch.stack(
        [
            _scores.losses(_scores.log_probabilities(report[:, :, k], len(known)), truth[:, k]).cpu()
            for k in range(sets.shape[1])
        ],
        1,
    )
    group = kind[split.test]
    fitted_types = torch.zeros(t, dtype=torch.bool)
    fitted_types[kind[split.train_and_validation]] = True
    old, new = fitted_types[group], away[group]

    def over(values: Tensor, where: Tensor) -> Estimate:
        if not bool(where.any()):
            return Estimate(NAN, note=Flag.MISSING_INPUT.note("no such types"))
        return resampling.resampled(values[where][:, None], None, group[where], level=level, seed=seed)

    gap = right[:, 0] - right[:, 1:].mean(1)
    memorization = (train.argmax(1)[:, 1:] == known[:, 1:]).double().mean(0)
    chance = float((shares / shares.sum()).max())
    return Selectivity(
        selectivity=over(gap, old),
        task=over(right[:, 0], old),
        control=replace(over(right[:, 1:].mean(1), old), null=chance),
        unseen=replace(over(right[:, 1:].mean(1), new), null=chance),
        task_unseen=over(right[:, 0], new),
        selectivity_bits=_scores.bits(over(losses[:, 1:].mean(1) - losses[:, 0], old)),
        memorization=Estimate(
            float(memorization.mean()), float(memorization.min()), float(memorization.max()), len(known), "range"
        ),
        settings={
            "probe": probe,
            head.strength_name or "C": choice.strength,
            "types": t,
            "held_out_types": int(away.sum()),
            "repeats": repeats,
            "distribution": distribution,
            "scale": scale,
            "split": split.fingerprint,
            "level": level,
            "seed": seed,
        },
    )


def _split(y: Int[Tensor, " n"], kind: Int[Tensor, " n"], away: Tensor, random: np.random.Generator) -> Split:
    """Rows of known types in three parts, those of the types held out all reported."""
    part = np.full(len(y), 2)
    inside = ~away[kind].numpy()
    part[inside] = parts_of_rows(y.numpy()[inside], None, SHARES, random)
    train, validation, test = (torch.from_numpy(np.flatnonzero(part == k)) for k in range(3))
    return Split(train, validation, test)
