"""A measure of all pairs of layers: values, intervals, null."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import stats
from torch import Tensor

from repana._estimate import Estimate, Flag, noted
from repana.comparison._cka import EQUAL, MEMORY, influential
from repana.statistics.pairing import Pairing

CONSTANT = "every feature of a layer is constant"
Layers = Sequence[Float[Tensor, "n _"]]


@dataclass(frozen=True)
class LayerMatrix:
    """Of layers a (rows) and b (columns): `value`, `low`, `high`, the mean `null` and its deviation `null_sd` under
    random pairings, one-sided `p`; NaN where there is none. `deleted` (g, a, b) are the values without each group of
    samples, for paired differences.
    """

    value: Float[np.ndarray, "a b"]
    low: Float[np.ndarray, "a b"]
    high: Float[np.ndarray, "a b"]
    null: Float[np.ndarray, "a b"]
    null_sd: Float[np.ndarray, "a b"]
    p: Float[np.ndarray, "a b"]
    deleted: Float[np.ndarray, "g a b"] | None = None
    form: str = ""
    notes: tuple[str, ...] = ()
    without_interval: str = ""  # the note of pairs that have none
    skewness: Float[np.ndarray, "a b"] | None = None  # of the null, where it is known
    draws: int = 0  # of which the null was estimated; 0 where it is exact
    reasons: Mapping[tuple[str, int], str] = field(default_factory=dict)  # why a layer of a or b has no value
    left_out: str = ""  # "sample" or "group" where `deleted` says how much each of them moves a value

    def estimate(self, i: int, j: int, n: int, level: float) -> Estimate:
        """One pair."""
        value, note = float(self.value[i, j]), "; ".join(self.notes)
        if not math.isfinite(value):
            why = [self.reasons[at] for at in (("a", i), ("b", j)) if at in self.reasons]
            note = noted(*(why or [Flag.CONSTANT.note(CONSTANT)]), note)
        elif math.isnan(self.low[i, j]):
            note = noted(note, self.without_interval)
        if self.left_out and self.deleted is not None and math.isfinite(value):
            note = noted(influential(value, torch.from_numpy(self.deleted[:, i, j]), self.left_out), note)
        found = Estimate(value, float(self.low[i, j]), float(self.high[i, j]), n, note)
        if not math.isfinite(self.null[i, j]):
            return found
        skewness = math.nan if self.skewness is None else float(self.skewness[i, j])
        null = Pairing(float(self.null[i, j]), float(self.null_sd[i, j]), skewness, self.draws)
        low, high = null.interval(level)
        return replace(found, null=null.mean, null_low=low, null_high=high, p=float(self.p[i, j]))


@dataclass(frozen=True)
class Options:
    """What all measures of a call share."""

    level: float
    seed: int
    group: Int[Tensor, " n"] | None  # of rows that depend on each other
    part: Int[Tensor, " n"] | None  # the groups of a delete-a-group jackknife
    k: int
    metric: str
    memory: int = MEMORY


def student(level: float, groups: int) -> float:
    return float(stats.t.ppf(0.5 + level / 2, max(groups - 1, 1)))


def on_atanh_each(value: Tensor, error: Tensor, quantile: float) -> tuple[Tensor, Tensor]:
    whole = value.abs() >= 1 - EQUAL
    inside = value.clamp(-1 + EQUAL, 1 - EQUAL)
    centre, half = inside.atanh(), quantile * error / (1 - inside.square())
    return (torch.where(whole, value, (centre - half).tanh()), torch.where(whole, value, (centre + half).tanh()))


def layer_matrix(
    value: Tensor, low: Tensor, high: Tensor, null: Tensor, sd: Tensor, p: np.ndarray, deleted: Tensor | None,
    form: str = "", notes: tuple[str, ...] = (),
) -> LayerMatrix:  # fmt: skip
    first, *others = (t.cpu().numpy() for t in (value, low, high, null, sd))
    p = np.where(np.isnan(first), np.nan, p)
    return LayerMatrix(
        first,
        others[0],
        others[1],
        others[2],
        others[3],
        p,
        None if deleted is None else deleted.cpu().numpy(),
        form,
        notes,
    )
