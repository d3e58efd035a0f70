"""Slopes of positive quantities over training, and how often their interval holds the truth."""

import math

import numpy as np
import pytest
from scipy import stats

from repana.dynamics import log_slope
from repana.errors import InputError


def test_the_slope_is_that_of_least_squares():
    rng = np.random.default_rng(0)
    x, y = np.sort(rng.uniform(0, 1000, 30)), np.exp(rng.standard_normal(30))
    want = stats.linregress(x, np.log(y))
    got = log_slope(x.tolist(), y.tolist())
    assert float(got) == pytest.approx(want.slope, rel=1e-12)
    order = rng.permutation(30)
    again = log_slope(x[order].tolist(), y[order].tolist())
    assert (again.low, again.high) == pytest.approx((got.low, got.high), rel=1e-12)
    assert float(log_slope((10 * x).tolist(), (5 * y).tolist())) == pytest.approx(want.slope / 10, rel=1e-10)


def drawn(n, rho, seed):
    rng = np.random.default_rng(seed)
    noise = np.zeros(n + 50)
    for t in range(1, n + 50):
        noise[t] = rho * noise[t - 1] + rng.standard_normal()
    return np.exp(-0.02 * np.arange(n) + 0.2 * noise[50:]).tolist()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "rho", "low", "high"),
    [(8, 0.0, 0.93, 0.99), (20, 0.0, 0.93, 0.99), (40, 0.0, 0.92, 0.985), (20, 0.5, 0.88, 0.96), (40, 0.5, 0.89, 0.97),
     (40, 0.8, 0.86, 0.96)],
)  # fmt: skip
def test_intervals_cover_as_said(n, rho, low, high):
    found = [log_slope([float(t) for t in range(n)], drawn(n, rho, seed)) for seed in range(400)]
    known = [f for f in found if math.isfinite(f.low)]
    assert low <= np.mean([f.low <= -0.02 <= f.high for f in known]) <= high


def test_what_has_no_interval_says_so():
    assert "no interval: 2 records" in log_slope([0.0, 1.0], [1.0, 2.0]).note
    slow = log_slope([float(t) for t in range(12)], np.exp(np.sin(np.arange(12) / 4)).tolist())
    assert "too closely" in slow.note
    assert math.isnan(float(log_slope([1.0], [1.0])))
    assert math.isnan(float(log_slope([2.0, 2.0], [1.0, 3.0])))
    with pytest.raises(InputError, match="RA285: .*1 of them"):
        log_slope([0.0, 1.0, 2.0], [1.0, 0.0, 2.0])
    with pytest.raises(InputError, match="RA284: "):
        log_slope([0.0, 1.0], [1.0])
