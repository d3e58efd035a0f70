"""Intervals, counts and secondary fields of topology, each against a reference written out."""

import math

import gudhi
import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import cdist, pdist

from repana import diagram_distance, persistence, rtd
from repana.topology._persistence import _alive, _relative


def test_entropy_is_over_all_bars():
    found = persistence(torch.tensor([[0.0], [0.0], [1.0], [4.0]]), dimension=0)
    assert found.entropy[0] == pytest.approx(stats.entropy([3, 1]) / math.log(3))  # three bars, one of length 0


def test_the_quantile_of_rtd_is_over_all_entries():
    x = torch.randn(12, 2, dtype=torch.float64)
    d = cdist(x, x)
    np.testing.assert_allclose(
        _relative(x), d / np.quantile(d, 0.9), err_msg="over all entries, the diagonal too", atol=1e-12
    )


def test_the_interval_of_rtd_is_students():
    x, y = torch.randn(60, 3), torch.randn(60, 3)
    parts = [range(20), range(20, 40), range(40, 60)]
    each = [rtd(x, y, rows=[part]).value for part in parts]
    e = rtd(x, y, rows=parts)
    assert e.high == pytest.approx(stats.t.interval(0.95, 2, np.mean(each), stats.sem(each))[1])


def test_a_bar_is_not_alive_at_its_death():
    assert _alive(np.array([[0.0, 1.0]]), np.array([0.0, 1.0])).tolist() == [
        1.0,
        0.0,
    ]  # born at its birth, dead at its death


def test_the_median_distance_has_the_features_unit():
    x = 10 * torch.randn(30, 2, dtype=torch.float64)
    assert persistence(x, dimension=0).median == pytest.approx(
        np.sort(pdist(x))[217]
    )  # of 435, in the units of the features


def test_rtd_written_out():
    x, y = np.random.default_rng(0).normal(size=(2, 12, 2))
    d, e = (m / np.quantile(m, 0.9) for m in (cdist(x, x), cdist(y, y)))

    def bars(a, b):
        both = np.block([[np.zeros_like(a), a], [a, np.minimum(a, b)]])
        tree = gudhi.RipsComplex(distance_matrix=both).create_simplex_tree(max_dimension=2)
        tree.compute_persistence()
        return np.diff(tree.persistence_intervals_in_dimension(1)).sum()

    assert rtd(x, y, rows=[range(12)]).value == pytest.approx((bars(d, e) + bars(e, d)) / 2)


def test_a_distance_of_diagrams_counts_both():
    a, b = (persistence(torch.randn(n, 2), dimension=0) for n in (10, 15))
    assert diagram_distance(a, b, dimension=0).n == 9 + 14
