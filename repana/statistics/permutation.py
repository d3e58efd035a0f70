"""What shuffled labels give beside a value: its null, and the one-sided p-value."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from repana._estimate import NAN, Estimate
from repana._results import Row

ALPHA = 0.05
WIDE = 1.96  # deviations of a normal to the ends of its 95% range
ROUNDING = 1e-9  # relatively: values nearer than that count as equal


def against(
    estimate: Estimate,
    permuted: Sequence[float],
    *,
    better: str,
    level: float = 0.95,
    value: float | None = None,
    null: bool = True,
) -> Estimate:
    """The estimate with what the same estimator gives under shuffled labels.

    `null` is their median. `null_low` and `null_high` are order statistics r and P + 1 - r of the P permutations, with
    the largest r for which a value that is exchangeable with them lies between with probability `level` or more,
    1 - 2r/(P + 1); NaN where there are too few. `p` = (1 + #{permuted at least as good})/(1 + P), one-sided in the
    direction of `better` ("higher" or "lower"; NaN for ""). `value` stands for the estimate's own where that was read
    from other rows than the permuted ones; with `null=False` the estimate keeps the null that it has, which is of all
    rows. Without permutations the estimate comes back as it is.

    Source: Phipson & Smyth 2010, doi:10.2202/1544-6115.1585 (p is never 0).
    """
    found = np.sort([v for v in permuted if not math.isnan(v)])
    count, own = len(found), estimate.value if value is None else value
    if not count:
        return estimate
    rank = math.floor((1 - level) / 2 * (count + 1) + ROUNDING)
    low, high = (float(found[rank - 1]), float(found[count - rank])) if rank else (NAN, NAN)
    p = NAN
    if better and not math.isnan(own):
        margin = ROUNDING * abs(own) if math.isfinite(own) else 0.0
        as_good = found >= own - margin if better == "higher" else found <= own + margin
        p = (1 + int(as_good.sum())) / (1 + count)
    if not null:
        return replace(estimate, p=p, permutations=count)
    middle = float(found[(count - 1) // 2] / 2 + found[count // 2] / 2)
    return replace(estimate, null=middle, null_low=low, null_high=high, p=p, permutations=count)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values of Holm 1979: the r-th smallest of m times m - r + 1, never below a smaller one's."""
    order = np.argsort(p_values)
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def adjusted(rows: Sequence[Row]) -> dict[str, float]:
    """p of one quantity at several layers by layer, after Holm over those that have one.

    A p of 1/(1 + P), as small as P permutations can tell, would be lost among many layers: there the normal tail beyond
    the value stands for it, with the median and the end of the 95% range of the permuted values on the value's side, on
    logarithms where all three are positive and the tail is thinner there (nulls of ratios are skewed). Layers that so
    few permutations cannot decide (`undecided`) are left out.
    """
    return {r.layer: p for r, p in _after_holm(rows) if not _open(r, p, ALPHA)}


def undecided(rows: Sequence[Row], alpha: float = ALPHA) -> set[str]:
    """Layers whose value is better than all permuted ones, which are too few to bring p below `alpha` after Holm."""
    return {r.layer for r, p in _after_holm(rows) if _open(r, p, alpha)}


def _after_holm(rows: Sequence[Row]) -> list[tuple[Row, float]]:
    """The rows that have a p, each with it after Holm."""
    known = [r for r in rows if not math.isnan(r.p)]
    return list(zip(known, holm([_tail(r) for r in known])))


def _open(row: Row, p: float, alpha: float) -> bool:
    """Whether the value is the best of permutations that have no range and leave p at `alpha` or more."""
    return p >= alpha and _best(row) and not math.isfinite(row.null_high - row.null_low)


def _best(row: Row) -> bool:
    """Whether no permutation is as good as the value."""
    return row.permutations > 0 and row.p <= 1.5 / (1 + row.permutations)


def _tail(row: Row) -> float:
    if not _best(row) or not math.isfinite(row.null_high - row.null_low):
        return row.p
    end = row.null_low if row.value < row.null else row.null_high
    deviations = [_deviations(row.value, row.null, end)]
    if min(row.value, row.null, end) > 0:
        deviations.append(_deviations(*map(math.log, (row.value, row.null, end))))
    return min(row.p, math.erfc(max(deviations) / math.sqrt(2)) / 2)


def _deviations(value: float, middle: float, end: float) -> float:
    """How many deviations a value is from the middle of a normal whose 95% range ends there."""
    spread = abs(end - middle) / WIDE
    return abs(value - middle) / spread if spread else 0.0
