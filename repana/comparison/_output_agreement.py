"""How far two networks give the same outputs: disagreement, divergences, flips, and agreement beyond chance."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._activations import Activations
from repana._ambient import settled
from repana._estimate import NAN, Estimate, Flag, noted, shown
from repana._typing import IGNORED, Array, LabelArray
from repana.comparison import _refusals
from repana.comparison._inputs import groups_of
from repana.comparison._paired import check_paired

FEWEST_GROUPS = 3


@shown
@dataclass(frozen=True)
class OutputAgreement:
    """How far two networks agree in their outputs; see `output_agreement`. `agrees` (n,) says where the predictions
    do."""

    NULL: ClassVar[str] = "samples paired at random"
    SIMILAR: ClassVar[str] = "kappa: higher is more similar; divergences and shares that differ: lower"

    disagreement: Estimate
    jsd: Estimate
    kl_forward: Estimate
    kl_backward: Estimate
    total_variation: Estimate
    kappa: Estimate
    accuracy_a: Estimate
    accuracy_b: Estimate
    accuracy_difference: Estimate
    negative_flips: Estimate
    positive_flips: Estimate
    error_kappa: Estimate
    disagreement_least: float
    disagreement_most: float
    agrees: Tensor
    settings: Mapping[str, Any] = field(default_factory=dict)


@settled()
def output_agreement(
    logits_a: "Array | Activations",
    logits_b: "Array | Activations",
    labels: LabelArray | None = None,
    *,
    groups: LabelArray | None = None,
    level: float = 0.95,
) -> OutputAgreement:
    """Agreement of the outputs of two networks (n, classes) on the same samples; p and q are their probabilities.

    - `disagreement`: share of samples whose predicted classes differ, lower is more similar; its null is what the two
      networks' class shares give at random pairing. With labels it lies between `disagreement_least` = |accuracy_a -
      accuracy_b| and `disagreement_most` = min(1, error_a + error_b).
    - `jsd`: mean Jensen-Shannon divergence of p and q in bits, in [0, 1]; `kl_forward` the mean of KL(p|q),
      `kl_backward` of KL(q|p), in nats; `total_variation` the mean of sum |p - q|/2. A temperature changes these four
      and not the others.
    - `kappa`: Cohen's kappa of the predictions, (agreement - chance)/(1 - chance), at most 1, 0 by chance.
    - With `labels`: `accuracy_a`, `accuracy_b` and their paired `accuracy_difference` (b less a, with McNemar's exact
      p, two-sided); `negative_flips`, right in a and wrong in b, `positive_flips` the reverse, as shares of all
      samples; `error_kappa`, agreement of the two in being right beyond what their accuracies give by chance.

    Labels -100 are left out. Two `Activations` give their logits and labels. Intervals: Wilson's of shares, normal of
    the others, by the delta method; of whole `groups` where rows depend on each other.

    Raises InputError for arrays of other lengths, other numbers of classes or other class names, or without logits.

    Sources: Lin 1991, doi:10.1109/18.61115 (Jensen-Shannon); Cohen 1960, doi:10.1177/001316446002000104; Yan et al.
    2021, arXiv:2011.09161 (negative flips); Geirhos, Meding & Wichmann 2020, arXiv:2006.16736 (error consistency);
    Fort, Hu & Lakshminarayanan 2019, arXiv:1912.02757 (disagreement).

    >>> import torch
    >>> from repana.comparison import output_agreement
    >>> z = torch.eye(4)
    >>> float(output_agreement(z, z[[0, 1, 3, 2]]).disagreement)
    0.5
    """
    _check.level_of(level)
    z, w, labels = _logits(logits_a, logits_b, labels)
    n = len(z)
    log_p, log_q = (t.double().log_softmax(1) for t in (z, w))
    p, q = log_p.exp(), log_q.exp()
    middle = torch.logaddexp(log_p, log_q) - math.log(2)
    bits = ((p * (log_p - middle)).sum(1) + (q * (log_q - middle)).sum(1)) / (2 * math.log(2))
    group = groups_of(groups, n)
    own, other = z.argmax(1), w.argmax(1)
    differs = own != other
    missing = Estimate(NAN, n=n, note=Flag.MISSING_INPUT.note("no labels"))
    found = {
        "jsd": _mean(bits.clamp(0, 1), group, level, (0.0, 1.0)),
        "kl_forward": _mean((p * (log_p - log_q)).sum(1).clamp_min(0), group, level, (0.0, math.inf)),
        "kl_backward": _mean((q * (log_q - log_p)).sum(1).clamp_min(0), group, level, (0.0, math.inf)),
        "total_variation": _mean((p - q).abs().sum(1) / 2, group, level, (0.0, 1.0)),
        "kappa": _kappa(own, other, z.shape[1], group, level),
    }
    chance = _chance(own, other, z.shape[1])
    found["disagreement"] = replace(share(differs, group, level), null=1 - chance)
    named = ("accuracy_a", "accuracy_b", "accuracy_difference", "negative_flips", "positive_flips", "error_kappa")
    found |= dict.fromkeys(named, missing)
    least, most = NAN, NAN
    if labels is not None:
        y, names = _check.labels_of(labels, n)
        if names:
            raise _check.names_without_numbers(names, "logits")
        keep = y != IGNORED
        if not bool(keep.any()):
            raise _refusals.unlabelled_data("accuracy", f"no label but {IGNORED}")
        y, at = y[keep].to(z.device), keep.to(z.device)
        _check.class_columns(y.cpu(), z.shape[1], "logits")
        right, correct = own[at] == y, other[at] == y
        group = None if group is None else group[keep]
        found["accuracy_a"], found["accuracy_b"] = (share(t, group, level) for t in (right, correct))
        found["negative_flips"] = share(right & ~correct, group, level)
        found["positive_flips"] = share(~right & correct, group, level)
        found["accuracy_difference"] = paired_accuracy(right, correct, group, level)
        found["error_kappa"] = _kappa(right.long(), correct.long(), 2, group, level)
        first, second = float(right.double().mean()), float(correct.double().mean())
        least, most = abs(first - second), min(1.0, 2 - first - second)
    return OutputAgreement(
        **found, disagreement_least=least, disagreement_most=most, agrees=~differs.cpu(), settings={"level": level}
    )


def _logits(a: Any, b: Any, labels: Any) -> tuple[Tensor, Tensor, Any]:
    if isinstance(a, Activations) and isinstance(b, Activations):
        check_paired(a, b, "check", inputs=False)
    names = []
    for place, given in enumerate((a, b)):
        if isinstance(given, Activations):
            if given.logits is None:
                raise _refusals.no_logits(place)
            names.append(tuple(given.provenance.get("class_names") or ()))
            labels = given.labels if labels is None else labels
    if len(set(filter(None, names))) > 1:
        raise _refusals.other_classes(*names)
    z, w = (
        _check.matrix(t.logits if isinstance(t, Activations) else t, name, None, None, "one row per sample")
        for t, name in ((a, "logits_a"), (b, "logits_b"))
    )
    if len(z) != len(w):
        raise _check.unlike_samples(len(z), len(w))
    if z.shape[1] != w.shape[1] or z.shape[1] < 2:
        raise _refusals.class_counts(z.shape[1], w.shape[1])
    return z, w.to(z.device), labels


def share(hits: Tensor, group: Int[Tensor, " n"] | None, level: float) -> Estimate:
    """A share with Wilson's interval, or that of whole groups."""
    from repana.statistics.intervals import proportion

    if group is None:
        return proportion(int(hits.sum()), len(hits), level=level)
    return _mean(hits.double(), group, level, (0.0, 1.0))


def _mean(values: Float[Tensor, " n"], group: Tensor | None, level: float, bounds: tuple[float, float]) -> Estimate:
    value = float(values.mean())
    return _around(value, (values - value) / len(values), group, level, bounds)


def _around(
    value: float, parts: Float[Tensor, " n"], group: Tensor | None, level: float, bounds: tuple[float, float]
) -> Estimate:
    """A normal interval from what each row adds to the value's error."""
    n = len(parts)
    if group is not None:
        parts = parts.new_zeros(int(group.max()) + 1).index_add_(0, group.to(parts.device), parts)
        if int((torch.bincount(group) > 0).sum()) < FEWEST_GROUPS:
            return Estimate(value, n=n, note=Flag.NO_INTERVAL.note(f"no interval: fewer than {FEWEST_GROUPS} groups"))
    m = len(parts)
    if m < 2 or not math.isfinite(value):
        return Estimate(value, n=n, note=noted(Flag.NO_INTERVAL.note("no interval")))
    half = NormalDist().inv_cdf(0.5 + level / 2) * math.sqrt(m / (m - 1) * float(parts.square().sum()))
    return Estimate(value, max(value - half, bounds[0]), min(value + half, bounds[1]), n)


def _chance(one: Tensor, other: Tensor, classes: int) -> float:
    """The agreement of the two at random pairing."""
    first, second = (torch.bincount(t, minlength=classes).double() / len(t) for t in (one, other))
    return float(first @ second)


def _kappa(one: Tensor, other: Tensor, classes: int, group: Tensor | None, level: float) -> Estimate:
    """Cohen's kappa, with its large-sample error (Fleiss, Cohen & Everitt 1969)."""
    n = len(one)
    first, second = (torch.bincount(t, minlength=classes).double() / n for t in (one, other))
    same = (one == other).double()
    agreed, chance = float(same.mean()), float(first @ second)
    if chance >= 1:
        return Estimate(NAN, n=n, note=Flag.UNDEFINED.note("both always give one class"))
    value = (agreed - chance) / (1 - chance)
    moved = (same - agreed) / (1 - chance)
    moved = moved - (1 - agreed) / (1 - chance) ** 2 * (second[one] + first[other] - 2 * chance)
    return replace(_around(value, moved / n, group, level, (-1.0, 1.0)), null=0.0)


def paired_accuracy(right: Tensor, correct: Tensor, group: Tensor | None, level: float) -> Estimate:
    from scipy.stats import binomtest

    moved = correct.double() - right.double()
    found = _mean(moved, group, level, (-1.0, 1.0))
    gained, lost = int((moved > 0).sum()), int((moved < 0).sum())
    p = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    return replace(found, null=0.0, p=p if group is None else NAN)
