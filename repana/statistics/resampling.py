"""Bootstrap intervals and ranges of repetitions, of whatever is a function of sums over rows."""

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana._estimate import NAN, Estimate, Flag, noted
from repana.summaries.resampling import by_first_row

DRAWS = 2000
FEWEST_GROUPS = 3
FEWEST_DRAWS = 200
AFFORDABLE = 4e7  # draws times rows
KEPT = 2**22  # numbers of draws that are kept


def range_of(found: list[float], of: str, absent: str, n: int | None = None) -> Estimate:
    """The mean of a few repetitions, with their range; NaN with the reason where there are none."""
    if not found:
        return Estimate(NAN, n=n or 0, note=absent)
    n = len(found) if n is None else n
    return Estimate(sum(found) / len(found), min(found), max(found), n, f"range of {len(found)} {of}")


def percentiles(drawn: np.ndarray, level: float) -> tuple[float, float]:
    """The central range of draws; NaN without any."""
    if not len(drawn):
        return NAN, NAN
    low, high = np.percentile(drawn, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)


def with_percentiles(value: float, drawn: np.ndarray, n: int, level: float, note: str = "") -> Estimate:
    """A value with the central range of its draws, widened where needed to hold it."""
    low, high = percentiles(drawn, level)
    return Estimate(value, min(low, value), max(high, value), n, note)


def resampled(
    columns: Float[Tensor, "m q"],
    strata: Int[Tensor, " m"] | None,
    group: Int[Tensor, " m"] | None,
    *,
    level: float,
    seed: int,
    note: str = "",
    statistic: Callable[[Tensor], Tensor] | None = None,
) -> Estimate:
    """A function of column sums (by default the mean of the one column) with its percentile bootstrap interval."""
    columns, m = columns.detach().double().cpu(), len(columns)
    few = "" if group is None else few_groups(group)
    if statistic is None:
        columns, statistic = torch.cat([columns, torch.ones(m, 1)], 1), _mean
    value = float(statistic(columns.sum(0)))
    if few:
        return Estimate(value, n=m, note=noted(note, few))
    drawn = torch.cat([statistic(w @ columns) for w in bootstrap_weights(m, strata, group, seed)])
    return with_percentiles(value, drawn.numpy(), m, level, note)


def few_groups(group: Int[Tensor, " m"]) -> str:
    """Why rows of so few groups have no interval, or nothing."""
    count = int(group.unique().numel())
    if count >= FEWEST_GROUPS:
        return ""
    return Flag.NO_INTERVAL.note(f"no interval: the rows are of {count} group(s), and {FEWEST_GROUPS} are needed")


def _mean(sums: Tensor) -> Tensor:
    return sums[..., 0] / sums[..., 1]


def bootstrap_weights(
    m: int, strata: Int[Tensor, " m"] | None, group: Int[Tensor, " m"] | None, seed: int
) -> Iterator[Float[Tensor, "b m"]]:
    """How often each row is drawn, with replacement: whole groups where there are some, else inside every stratum.

    The same seed, strata and groups give the same draws, whatever is measured: differences of two are paired. The last
    draws are kept where they are not many, since all scores of a split read the same.
    """
    codes, of_groups = b"", group is not None
    if group is not None:
        codes = torch.unique(group.cpu(), return_inverse=True)[1].numpy().tobytes()
    elif strata is not None:
        codes = by_first_row(strata).numpy().tobytes()
    if _draws(m) * m <= KEPT:
        yield from _kept(m, codes, of_groups, seed)
    else:
        yield from _drawn(m, codes, of_groups, seed)


def _draws(m: int) -> int:
    """How many draws of so many rows are affordable."""
    return max(FEWEST_DRAWS, min(DRAWS, int(AFFORDABLE / max(m, 1))))


@lru_cache(maxsize=1)
def _kept(m: int, codes: bytes, groups: bool, seed: int) -> tuple[Float[Tensor, "b m"], ...]:
    return tuple(_drawn(m, codes, groups, seed))


def _drawn(m: int, codes: bytes, groups: bool, seed: int) -> Iterator[Float[Tensor, "b m"]]:
    generator = torch.Generator().manual_seed(seed)
    by, at = torch.from_numpy(np.frombuffer(codes, np.int64).copy()), torch.arange(m)
    members = [at]
    if groups:
        members = [torch.arange(int(by.max()) + 1)]
    elif len(by):
        members = [(by == k).nonzero()[:, 0] for k in range(int(by.max()) + 1)]
    draws = _draws(m)
    block, units = max(1, int(2e6 / max(m, 1))), sum(len(some) for some in members)
    for start in range(0, draws, block):
        size = min(block, draws - start)
        weight = torch.zeros(size, units)
        for some in members:
            drawn = some[torch.randint(len(some), (size, len(some)), generator=generator)]
            weight.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=weight.dtype))
        yield (weight[:, by] if groups else weight).double()
