"""When to stop a training: a patience rule on any score, and what stopping there would have cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from repana import _check
from repana._estimate import NAN, Estimate, Flag

ENTROPY = "training.h0_entropy"
NAMES = {"h0_separability": ENTROPY, "h0_entropy": ENTROPY}
FEWEST = 4  # records of which a rank correlation is given


@dataclass(frozen=True)
class StoppingRule:
    """Stop once the best smoothed score has not improved by more than `min_delta` for `patience` records.

    `quantity`: the score, `analyzer.quantity` of the records; "h0_separability" is "training.h0_entropy", which needs
    no labels. `layer`: where it is read, by default at the input of the classifier ("" for scores of the whole
    network). The first `burn_in` records are left out; the score is the mean over the last `smooth` records. `better`:
    "higher" or "lower"; by default what the quantity says.
    """

    quantity: str = "h0_separability"
    layer: str | None = None
    patience: int = 3
    min_delta: float = 0.0
    burn_in: int = 0
    smooth: int = 1
    better: str | None = None

    def __post_init__(self) -> None:
        _check.at_least(self.patience, "patience", 1)
        _check.at_least(self.burn_in, "burn_in", 0)
        _check.at_least(self.smooth, "smooth", 1)
        if not (math.isfinite(self.min_delta) and self.min_delta >= 0):
            raise _check.negative("min_delta", self.min_delta)
        if self.better is not None:
            _check.choice(self.better, "better", ("higher", "lower"))
        object.__setattr__(self, "quantity", NAMES.get(self.quantity, self.quantity))

    @property
    def needs_labels(self) -> bool:
        return self.quantity not in LABEL_FREE


LABEL_FREE = tuple(
    f"training.{name}" for name in ("h0_entropy", "participation_ratio", "cka_first", "cka_previous", "cka_best")
)


@dataclass(frozen=True)
class StoppingPoint:
    """`best` is the record with the best smoothed score, `stop` that at which the rule stops (None: it does not), both
    as places among the records; `smoothed` the scores that the rule reads, NaN in the burn-in and before `smooth`
    records are there."""

    best: int | None
    stop: int | None
    smoothed: np.ndarray


def stopping_point(scores: Sequence[int | float], rule: StoppingRule | None = None) -> StoppingPoint:
    """Where a patience rule stops a sequence of scores, and the best record up to there.

    With s_t the mean of the last `smooth` scores, b_t the best s up to t and past `burn_in`: stop at the first t at
    which the last improvement of b by more than `min_delta` lies `patience` records back. Records without a score
    (NaN) are passed over. Whatever the units.

    Raises InputError for a rule with impossible numbers.

    Source: Prechelt 1998, doi:10.1007/3-540-49430-8_3 (early stopping, criterion UP).

    >>> from repana.dynamics import StoppingRule, stopping_point
    >>> stopping_point([0.1, 0.5, 0.4, 0.45, 0.3], StoppingRule(patience=2)).stop
    3
    """
    rule = rule or StoppingRule()
    given = np.asarray(scores, float)
    sign = -1.0 if rule.better == "lower" else 1.0
    smoothed = np.full(len(given), NAN)
    window: list[float] = []
    best: int | None = None
    reference, waiting, stop = -math.inf, 0, None
    for t, value in enumerate(given):
        if t < rule.burn_in or not math.isfinite(value):
            continue
        window = [*window, float(value)][-rule.smooth :]
        if len(window) < rule.smooth:
            continue
        smoothed[t] = sum(window) / len(window)
        if stop is not None:
            continue
        score = sign * smoothed[t]
        if best is None or score > sign * smoothed[best]:
            best = t
        if score > reference + rule.min_delta or not math.isfinite(reference):
            reference, waiting = score, 0
        else:
            waiting += 1
            stop = t if waiting >= rule.patience else None
    return StoppingPoint(best, stop, smoothed)


def regret(point: StoppingPoint, accuracy: Sequence[int | float]) -> float:
    """The best accuracy over all records less that of the record that the rule names; NaN without either."""
    curve = np.asarray(accuracy, float)
    if point.best is None or not np.isfinite(curve).any() or not math.isfinite(curve[point.best]):
        return NAN
    return float(np.nanmax(curve) - curve[point.best])


def rank_correlation(scores: Sequence[int | float], accuracy: Sequence[int | float]) -> Estimate:
    """Spearman's correlation of a score and the accuracy over the records of one training, in [-1, 1].

    Records of one training follow on each other, so that it has no interval: it says whether the score went with the
    accuracy here, not that it will elsewhere. NaN with fewer than 4 records, or where one of the two never changes.
    """
    x, y = (np.asarray(v, float) for v in (scores, accuracy))
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    if len(x) < FEWEST:
        return Estimate(NAN, n=len(x), note=Flag.FEW_SAMPLES.note(f"{len(x)} records, {FEWEST} are needed"))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return Estimate(NAN, n=len(x), note=Flag.UNDEFINED.note("the score or the accuracy never changes"))
    note = Flag.NO_INTERVAL.note("no interval: records of one training depend on each other")
    x, y = (stats.rankdata(v) for v in (x, y))
    return Estimate(float(np.corrcoef(x, y)[0, 1]), n=len(x), note=note)
