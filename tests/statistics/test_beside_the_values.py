"""Intervals, counts and secondary fields of statistics, each against a reference written out."""

import math

import pytest
import torch
from scipy import stats

from repana.statistics.intervals import from_error, mean_of, quantile_of


def test_the_interval_of_a_mean_is_students():
    x = torch.tensor([1.0, 2.0, 4.0, 7.0], dtype=torch.float64)
    want = stats.t.interval(0.9, 3, x.mean(), stats.sem(x))
    assert [float(v) for v in mean_of(x, 0.9)[1:]] == pytest.approx(want)


def test_an_error_with_a_bias_on_the_log_scale():
    e, half = from_error(2.0, 0.8, n=9, bias=0.5), stats.norm.ppf(0.975) * 0.8 / 2.0
    assert (e.low, e.high) == pytest.approx(
        (1.6 * math.exp(-half), 1.6 * math.exp(half))
    )  # 2 - 0.5 on the log scale: 2^2/2.5


def test_bounds_of_a_place_among_shares():
    shares, errors = torch.tensor([0.5, 0.8, 0.95, 1.0]), torch.tensor([0.1, 0.1, 0.05, 0.0])
    assert quantile_of(shares, errors, 0.9, 0.95) == (2.0, 4.0)  # share + 1.96 error, and less it, reach 0.9
