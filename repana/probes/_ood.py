"""A probe of one distribution on others: which information of a layer survives a shift."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._estimate import NAN, Estimate, Flag, shown
from repana._typing import IGNORED, FeatureArray, LabelArray
from repana.probes import _refusals, _scores
from repana.probes._classifiers import AFFINE, head_named
from repana.probes._data import Rows
from repana.probes._protocol import PERMUTATIONS, Probe, probed
from repana.statistics import resampling
from repana.statistics.splits import Split

SMALLEST = 10  # rows of a subgroup


@shown
@dataclass(frozen=True)
class OODProbe:
    """A probe in and out of its distribution; see `ood_probe`. `probe` is the whole result in distribution."""

    accuracy: Estimate
    ood_accuracy: Estimate
    worst_distribution: Estimate
    gap: Estimate
    worst_group: Estimate
    by_distribution: Mapping[str, Estimate]
    log_loss: Mapping[str, Estimate]
    by_group: Mapping[str, Estimate]
    probe: Probe
    settings: Mapping[str, Any] = field(default_factory=dict)


def ood_probe(
    features: FeatureArray,
    labels: LabelArray,
    others: Mapping[str, tuple[Any, Any]],
    *,
    attributes: Any = None,
    probe: str = "linear",
    groups: LabelArray | None = None,
    split: Split | None = None,
    scale: str = "standard",
    permutations: int = PERMUTATIONS,
    level: float = 0.95,
    seed: int = 0,
) -> OODProbe:
    """Fit on one distribution, select on its validation split, read others once: intermediate-layer classifiers.

    `others` maps a name to (features, labels) of the same layer under another distribution. Nothing of them is used to
    choose or to scale; give the probes of several layers to `best_layer` to select one in distribution
    (`best_layer({name: r.probe for ...})`).

    - `accuracy` on the test split of its own distribution; `by_distribution` and `log_loss` elsewhere; `ood_accuracy`
      their mean, `worst_distribution` the lowest (its note says which), `gap` = accuracy - ood_accuracy.
    - `attributes` (n,), or a mapping with one array for "id" and one for every other, name a subgroup of every row
      (a background, a hospital): `by_group` has the accuracy of every class in every subgroup that has at least 10
      rows, over the test split and all others, and `worst_group` the lowest.

    Intervals: Wilson's; of `ood_accuracy` and `gap`, combined from those. Labels that the training split does not have
    count as wrong, and the note says how many.

    Raises InputError as `linear_probe`, for no others, or features of another width.

    Sources: Uselis & Oh 2025, arXiv:2504.05461 (intermediate-layer classifiers); Sagawa et al. 2020, arXiv:1911.08731
    (worst-group accuracy).

    >>> import torch
    >>> from repana import ood_probe
    >>> x = torch.arange(200.0)[:, None]
    >>> y = x[:, 0] >= 100
    >>> round(float(ood_probe(x, y, {"shifted": (x + 50, y)}).ood_accuracy), 1)
    0.8
    """
    _check.choice(probe, "probe", AFFINE)
    _check.choice(scale, "scale", ("standard", "centre", "none"))
    if not others:
        raise _refusals.no_others()
    if "id" in others:
        raise _refusals.reserved_name("id")
    rows = Rows.of(features, labels, groups=groups, seed=seed, split=split, scale=scale, quantity="ood_probe")
    home = probed(head_named(probe), rows, permutations=permutations, level=level, seed=seed)
    assert home.weight is not None
    assert home.bias is not None
    heat = home.settings.get("temperature", 1.0)
    correct, codes, losses = {"id": home.correct}, {"id": home.targets}, {}
    by_name = {}
    own_labels, named = _check.labels_of(labels, len(_check.features_of(features)))
    kept = {"id": (own_labels != IGNORED).nonzero()[:, 0]}
    lengths = {"id": len(own_labels)}
    numbers = {int(v): k for k, v in enumerate(rows.values)}
    for name, (x, y) in others.items():
        z, own, kept[name] = _labelled(x, y, numbers, rows, name, bool(named))
        lost, lengths[name] = int((own < 0).sum()), len(y)
        log_p = _scores.log_probabilities(
            (z.double() @ home.weight + home.bias) * heat, len(rows.split.train_and_validation)
        ).cpu()
        correct[name], codes[name] = log_p.argmax(1) == own, own
        note = Flag.MISSING_CLASSES.note(f"{lost} rows of classes without training samples") if lost else ""
        by_name[name] = _scores.accuracy(correct[name], None, level=level, seed=seed, note=note)
        known = own >= 0
        if bool(known.any()):
            losses[name] = resampling.resampled(
                _scores.losses(log_p[known], own[known])[:, None], own[known], None, level=level, seed=seed
            )
    worst = min(by_name, key=lambda name: by_name[name].value)
    mean = _mean(list(by_name.values()))
    by_group = {}
    if attributes is not None:
        by_group = _by_group(attributes, correct, codes, kept, lengths, rows, level)
    lowest = min(by_group, key=lambda name: by_group[name].value) if by_group else ""
    return OODProbe(
        accuracy=home.accuracy,
        ood_accuracy=mean,
        worst_distribution=replace(by_name[worst], note=worst, label=worst),
        gap=_difference(home.accuracy, mean),
        worst_group=replace(by_group[lowest], note=lowest, label=lowest) if by_group else Estimate(NAN),
        by_distribution=by_name,
        log_loss=losses,
        by_group=by_group,
        probe=home,
        settings={**home.settings, "distributions": list(others)},
    )


def _labelled(
    x: Any, y: Any, numbers: Mapping[int, int], rows: Rows, name: str, named: bool
) -> tuple[Float[Tensor, "k d"], Int[Tensor, " k"], Int[Tensor, " k"]]:
    """Features of another distribution, the columns of its labels (-1 for classes not fitted), and which rows count."""
    z = _check.features_of(x)
    if z.shape[1] != rows.d:
        raise _check.other_width_of(name, z.shape[1], rows.d)
    codes, names = _check.labels_of(y, len(z), name)
    if bool(names) != named:
        raise _refusals.labels_of_two_kinds(name)
    if not bool((codes != IGNORED).any()):
        raise _refusals.nothing_labelled(name)
    if names:
        place = {text: k for k, text in enumerate(rows.names)}
        own = torch.tensor([place.get(names[int(c)], -1) for c in codes])
    else:
        own = torch.tensor([numbers.get(int(c), -1) for c in codes])
    keep = (codes != IGNORED).nonzero()[:, 0]
    return z[keep.to(z.device)], own[keep], keep


def _by_group(
    attributes: Any,
    correct: Mapping[str, Tensor],
    codes: Mapping[str, Tensor],
    kept: Mapping[str, Int[Tensor, " k"]],
    lengths: Mapping[str, int],
    rows: Rows,
    level: float,
) -> dict[str, Estimate]:
    """Accuracy of every class in every subgroup. `kept` are the rows whose labels count, of `lengths`."""
    given = attributes if isinstance(attributes, Mapping) else {"id": attributes}
    found: dict[str, list[Tensor]] = {}
    for name, values in given.items():
        if name not in correct:
            raise _refusals.unknown_distribution(name, list(correct))
        shown, numbers = _refusals.attribute_of(values, lengths[name])
        part = torch.from_numpy(numbers)[kept[name]]
        part = part[rows.split.test] if name == "id" else part
        for k, label in enumerate(shown):
            for c in range(rows.classes):
                at = (part == k) & (codes[name] == c)
                if int(at.sum()):
                    found.setdefault(f"{rows.names[c]}, {label}", []).append(correct[name][at])
    together = {name: torch.cat(parts) for name, parts in found.items()}
    return {
        name: _scores.accuracy(right, None, level=level, seed=0)
        for name, right in together.items()
        if len(right) >= SMALLEST
    }


def _mean(estimates: list[Estimate]) -> Estimate:
    """The mean of independent shares: half-widths add in squares."""
    k = len(estimates)
    value = sum(e.value for e in estimates) / k
    down = sum((e.value - e.low) ** 2 for e in estimates) ** 0.5 / k
    up = sum((e.high - e.value) ** 2 for e in estimates) ** 0.5 / k
    return Estimate(value, value - down, value + up, sum(e.n for e in estimates))


def _difference(a: Estimate, b: Estimate) -> Estimate:
    """a - b of independent shares (Zou & Donner 2008)."""
    value = a.value - b.value
    low = value - ((a.value - a.low) ** 2 + (b.high - b.value) ** 2) ** 0.5
    high = value + ((a.high - a.value) ** 2 + (b.value - b.low) ** 2) ** 0.5
    return Estimate(value, low, high, a.n + b.n)
