"""Intervals, counts and secondary fields of collapse, each against a reference written out."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from repana import neural_collapse, separation_law
from repana.collapse._estimates import _centred


def test_the_correlation_of_the_law_has_fishers_interval():
    d = [8.0, 5.0, 2.5, 2.2, 0.7]
    got, want = separation_law(d).correlation, stats.pearsonr(range(5), np.log(d))
    assert (got.low, got.high) == pytest.approx(tuple(want.confidence_interval(0.95)))


def test_the_half_life_carries_the_ends_of_the_factor():
    law = separation_law([8.0, 5.0, 2.5, 2.2, 0.7])
    assert (law.half_life.low, law.half_life.high) == pytest.approx(
        [-math.log(2) / math.log(end) for end in (law.rho.low, law.rho.high)]
    )
    assert law.half_life.low < law.half_life.value < law.half_life.high


def test_replicates_of_a_subset_keep_their_geometric_mean():
    assert stats.gmean(_centred([1.0, 2.0, 8.0], 5.0)) == pytest.approx(5.0)


def test_the_mean_spectrum_holds_singular_values():
    x, y = torch.randn(60, 5, dtype=torch.float64), torch.arange(60) % 4
    means = np.stack([x[y == k].mean(0).numpy() for k in range(4)])
    want = np.linalg.svd(means - means.mean(0), compute_uv=False)[:3]
    np.testing.assert_allclose(neural_collapse(x, y, bootstrap=0).mean_spectrum, want, err_msg="spectrum")
