"""The slope of a positive quantity over training, with an interval that knows that records follow on each other."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from repana import _check
from repana._estimate import NAN, Estimate, Flag
from repana.dynamics import _refusals

FEWEST = 8  # records of which a slope has an interval


def log_slope(steps: Sequence[int | float], values: Sequence[int | float], *, level: float = 0.95) -> Estimate:
    """Least-squares slope of ln(value) over the step: the relative change per step, so that exp(1000 b) is the factor
    over 1000 steps.

    Interval: Student's, with as many records as they are worth independently, m = n (1 - r)/(1 + r), r the
    autocorrelation of neighbouring residuals corrected for its bias, (r + 2/n)/(1 - 4/n), and never below 0; m - 2
    degrees of freedom. Of 8 to 40 records it held the slope in 96 of 100 draws with independent residuals, in 87 to 93
    with an AR(1) of .5 and in 76 to 92 with one of .8 (least with 8 records): short series that swing slowly look like
    trends. No interval, and a note, with fewer than 8 records or where m is not above 2.2; NaN with fewer than two
    steps.

    Raises InputError for steps and values of different lengths, or values that are not positive.

    Source: Santer et al. 2000, doi:10.1029/1999JD901105 (trends of autocorrelated series).

    >>> from repana.dynamics import log_slope
    >>> import math
    >>> round(float(log_slope([0, 10, 20], [1.0, math.exp(-1), math.exp(-2)])), 6)
    -0.1
    """
    _check.level_of(level)
    x, y = np.asarray(steps, float), np.asarray(values, float)
    if x.shape != y.shape or x.ndim != 1:
        raise _refusals.unlike_series(x.shape, y.shape)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if (y <= 0).any():
        raise _refusals.not_positive(int((y <= 0).sum()))
    n = len(x)
    if n < 2 or np.ptp(x) == 0:
        return Estimate(NAN, n=n, note=Flag.FEW_SAMPLES.note(f"{n} records, two at different steps are needed"))
    order = np.argsort(x, kind="stable")
    x, z = x[order], np.log(y[order])
    moved = x - x.mean()
    spread = float(moved @ moved)
    slope = float(moved @ z) / spread
    residual = z - z.mean() - slope * moved
    if n < FEWEST:
        return Estimate(slope, n=n, note=Flag.NO_INTERVAL.note(f"no interval: {n} records, {FEWEST} are needed"))
    worth = n * (1 - (r := _autocorrelation(residual))) / (1 + r)
    if worth <= 2.2:
        note = Flag.NO_INTERVAL.note("no interval: records follow on each other too closely to tell noise from a trend")
        return Estimate(slope, n=n, note=note)
    error = math.sqrt(float(residual @ residual) / (worth - 2) / spread)
    half = float(stats.t.ppf(0.5 + level / 2, worth - 2)) * error
    return Estimate(slope, slope - half, slope + half, n)


def _autocorrelation(residual: np.ndarray) -> float:
    """Of neighbours, corrected for its bias; in [0, .99]."""
    n, size = len(residual), float(residual @ residual)
    if not size > 0:
        return 0.0
    r = float(residual[1:] @ residual[:-1]) / size
    return min(max((r + 2 / n) / (1 - 4 / n), 0.0), 0.99)
