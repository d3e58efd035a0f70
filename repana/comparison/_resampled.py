"""Interval and null of a measure of two layers that is no sum over rows: samples left out, and samples paired anew."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from scipy import stats
from torch import Tensor

from repana._estimate import NAN, Estimate, Flag, noted
from repana.comparison._cka import EQUAL, jackknife_error, on_atanh
from repana.comparison._inputs import FEWEST_GROUPS, group_orders
from repana.statistics.permutation import against

Values = Mapping[str, float]


def deleted_values(
    statistic: Callable[[Int[Tensor, " m"]], Values], part: Int[Tensor, " n"] | None
) -> dict[str, Float[Tensor, " g"]]:
    """The values without each part of the rows; none where there are no parts."""
    if part is None:
        return {}
    found = [statistic((part != g).nonzero()[:, 0]) for g in range(int(part.max()) + 1)]
    return {name: torch.tensor([f[name] for f in found], dtype=torch.float64) for name in found[0]}


def permuted_values(
    statistic: Callable[[Int[Tensor, " n"]], Values],
    n: int,
    permutations: int,
    seed: int,
    group: Int[Tensor, " n"] | None = None,
) -> dict[str, list[float]]:
    """The values with the samples of the second layer in random orders, or with its whole groups."""
    if group is None:
        generator = torch.Generator().manual_seed(seed + 1)
        orders = [torch.randperm(n, generator=generator) for _ in range(permutations)]
    else:
        orders = group_orders(group, permutations, seed + 1)
    found = [statistic(order) for order in orders]
    return {name: [f[name] for f in found] for name in found[0]} if found else {}


def interval_of(
    value: float, deleted: Float[Tensor, " g"] | None, level: float, scale: str = "similarity"
) -> tuple[float, float]:
    """Student's interval of a delete-a-group jackknife: of a similarity on atanh, of a positive number on log, of a
    share, of R^2 and of an angle as they are, cut at the ends of their range. NaN where all replicates are at one."""
    if (
        deleted is None
        or len(deleted) < FEWEST_GROUPS
        or not bool(deleted.isfinite().all())
        or not math.isfinite(value)
    ):
        return NAN, NAN
    quantile, error = float(stats.t.ppf(0.5 + level / 2, len(deleted) - 1)), jackknife_error(deleted)
    if error < EQUAL and bool((deleted - value).abs().max() > EQUAL):  # all at the end of their range
        return NAN, NAN
    if scale == "similarity" and -1 <= value <= 1:
        return on_atanh(value, error, quantile)
    if scale == "positive":
        if value <= EQUAL:
            return max(value - quantile * error, 0.0), value + quantile * error
        half = min(quantile * error / value, 700.0)
        return value * math.exp(-half), value * math.exp(half)
    low, high = value - quantile * error, value + quantile * error
    bounds = {"angle": (0.0, math.pi), "share": (0.0, 1.0), "r2": (-math.inf, 1.0)}.get(scale, (-math.inf, math.inf))
    return max(low, bounds[0]), min(high, bounds[1])


def estimated(
    values: Values,
    deleted: Mapping[str, Float[Tensor, " g"]],
    permuted: Mapping[str, list[float]],
    *,
    n: int,
    level: float,
    better: Mapping[str, str],
    scales: Mapping[str, str] | None = None,
    notes: Mapping[str, str] | None = None,
) -> dict[str, Estimate]:
    """Every value with its interval and its null."""
    found, scales, notes = {}, scales or {}, notes or {}
    few = "" if deleted else Flag.NO_INTERVAL.note("no interval: samples were not left out")
    for name, value in values.items():
        low, high = interval_of(value, deleted.get(name), level, scales.get(name, "similarity"))
        note = noted(notes.get(name, ""), few)
        estimate = Estimate(value, low, high, n, note)
        estimate = against(estimate, permuted.get(name, []), better=better.get(name, "higher"), level=level)
        found[name] = estimate if math.isfinite(value) or estimate.note else replace(estimate, note="undefined here")
    return found
