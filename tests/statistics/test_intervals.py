"""Do the intervals cover? Repeated draws from populations whose values are known."""

import math

import numpy as np
import pytest
import torch
from clouds import simplex

from repana import neural_collapse
from repana.statistics.intervals import from_jackknife, from_replicates, proportion


@pytest.mark.slow
def test_bootstrap_intervals_of_nc1_quotient_and_cdnv_cover():
    c, d, n, sd = 4, 12, 60, 0.3
    y = torch.arange(c).repeat(n)
    truth = {
        "nc1": sd**2 * (c - 1) ** 2 / c,
        "quotient": d * sd**2,
        "cdnv": d * sd**2 * (c - 1) / (2 * c),
    }
    hits = dict.fromkeys(truth, 0)
    draws = 120
    for seed in range(draws):
        x = simplex(c, d)[y] + sd * torch.randn(len(y), d, dtype=torch.float64)
        got = neural_collapse(x, y, families=("nc1",), seed=seed)
        for name, value in truth.items():
            e = getattr(got, name)
            hits[name] += e.low <= value <= e.high
    for name, count in hits.items():
        assert count / draws > 0.88, (name, count)
        assert count < draws or name != "nc1", "an interval that never misses is too wide"


def test_wilson_equals_the_published_values():
    """Reference values: Newcombe 1998, Statistics in Medicine 17, 857-872, table I."""
    for hits, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        e = proportion(hits, n)
        assert (round(e.low, 4), round(e.high, 4)) == (low, high)


def test_jackknife_of_a_mean_is_the_textbook_interval():
    from scipy import stats

    x = np.random.default_rng(0).normal(5, 2, 20)
    deleted = [float(np.delete(x, i).mean()) for i in range(20)]
    e = from_jackknife(float(x.mean()), deleted, n=20, bounds=(-math.inf, math.inf))
    half = stats.t.ppf(0.975, 19) * x.std(ddof=1) / math.sqrt(20)
    assert e.low == pytest.approx(x.mean() - half)
    assert e.high == pytest.approx(x.mean() + half)


def test_bias_is_taken_off_and_the_value_stays_inside():
    e = from_replicates(1.0, [1.2, 1.21, 1.19, 1.2], n=4)
    assert e.low < 1 / 1.2
    assert e.high == pytest.approx(1.0)


@pytest.mark.parametrize("replicates", [[], [1.0], [math.nan, math.nan]])
def test_no_interval_from_nothing(replicates):
    e = from_replicates(1.0, replicates, n=4)
    assert math.isnan(e.low)
    assert math.isnan(e.high)
