"""Intervals, counts and secondary fields of dimension, each against a reference written out."""

import math
from unittest import mock

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import pdist

import repana
from repana import fisher_s, local_dimension, mle, spectral_rank, two_nn
from repana.dimension import _binary as b
from repana.dimension import _calibration as c
from repana.dimension._calibration import SIZES, _interpolated
from repana.dimension._eigenvalue_rules import _influences
from repana.dimension._linear import _sphere
from repana.dimension._ph_dimension import from_slopes
from repana.dimension._profile import _decimated
from repana.summaries.covariance import Covariance
from repana.summaries.neighbour_graph import NeighbourGraph

Z = stats.norm.ppf(0.975)


def test_binary_pairs_left_out_of_a_group():
    x, seen = torch.randn(50, 6), []
    with mock.patch.object(b, "_smallest_divergence", lambda total, *_: seen.append(total.numpy()) or 1.0):
        b.binary_dimension(x)
    left = [np.delete(x.numpy() > 0, rows.numpy(), 0) for rows in b._groups(50)]
    want = [np.bincount(np.rint(6 * pdist(rows, "hamming")).astype(int), minlength=7) for rows in left]
    np.testing.assert_array_equal(seen[1 : len(left) + 1], want, err_msg="the whole, then each group left out")


def test_the_interval_of_fisher_s_is_that_of_a_u_statistic():
    x = np.random.default_rng(0).normal(size=(100, 3))
    u = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    above, e = (u @ u.T > 0.8) - np.eye(100), fisher_s(x, alpha=0.8)
    left = [math.log(_sphere(np.delete(np.delete(above, i, 0), i, 1).sum() / (99 * 98), 0.8)) for i in range(100)]
    error = math.sqrt(99 / 100 * np.square(left - np.mean(left)).sum())  # delete-one jackknife
    assert math.log(e.high / e.low) == pytest.approx(2 * Z * error, rel=0.1)


def test_a_clear_rank_has_no_width():
    x = torch.randn(300, 20) * torch.where(torch.arange(20) < 3, 10.0, 1.0)
    e = spectral_rank(x, rule="kaiser")
    assert (e.low, e.value, e.high) == (3.0, 3.0, 3.0)


def test_the_interval_of_ph_dimension_is_a_jackknife():
    slopes = [0.5, *np.linspace(0.48, 0.52, 10)]
    e = from_slopes(slopes, 1.0, n=100, level=0.95, note="")
    logs = -np.log1p(-np.array(slopes[1:]))
    assert math.log(e.high / e.low) == pytest.approx(2 * Z * math.sqrt(9 / 10 * np.square(logs - logs.mean()).sum()))


def test_the_interval_of_thinned_samples():
    x = torch.randn(200, 3)
    graph = NeighbourGraph.of(x)
    row = _decimated(graph, two_nn(graph), 0.95)[1]
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    halves = [two_nn(x[part], method="ml") for part in order.split(100)]
    assert float(row[2]) == pytest.approx(math.sqrt(halves[0].value * halves[1].value), rel=1e-6)
    assert math.log(row[4] / row[3]) == pytest.approx(
        math.hypot(*(math.log(e.high / e.low) for e in halves)) / 2, rel=1e-6
    )


def test_the_error_of_a_curve_is_that_of_a_mean():
    drawn = np.random.default_rng(0).normal(size=(24, c.draws(5000)))
    values = iter(drawn.ravel())
    with mock.patch.object(c, "NeighbourGraph"), mock.patch.object(c, "ball"):
        found = c.simulated(lambda graph: [next(values)], 5, 5000)
    np.testing.assert_allclose(found.error[:, 0], stats.sem(drawn, axis=1))


def test_the_error_of_mle_by_fisher_information():
    x = torch.randn(100, 2)
    e = mle(x, k=5, error="fisher")
    assert math.log(e.high / e.low) == pytest.approx(2 * Z / math.sqrt(100 * 4))


def test_kaisers_threshold_has_an_error_too():
    x = torch.randn(40, 4, dtype=torch.float64)
    c = Covariance.of(x)
    found = torch.cat(list(_influences(c, 40, 4, "kaiser")))
    z = c.coordinates.square()
    np.testing.assert_allclose(found, (z - c.eigenvalues) - (z.sum(1) - c.eigenvalues.sum())[:, None] / 4, atol=1e-12)


def test_smoothed_local_dimension_written_out():
    x = torch.randn(60, 2, dtype=torch.float64)
    plain, smooth = (local_dimension(x, k=5, smooth=s) for s in (False, True))
    near = torch.cdist(x, x).argsort(1)[:, :6]  # the sample and its neighbours
    np.testing.assert_allclose(smooth, 4 / (3 / plain)[near].mean(1))


def test_errors_of_two_sizes_add_in_squares():
    mean, error = np.zeros((len(SIZES), 1, 1)), np.ones((len(SIZES), 1, 1))
    middle = round(math.sqrt(SIZES[0] * SIZES[1]))
    assert float(_interpolated(mean, error, middle).error[0, 0]) == pytest.approx(
        math.sqrt(0.5), rel=0.01
    )  # half of each of two independent


def test_near_duplicates_are_said():
    x = torch.rand(300, 3, dtype=torch.float64)
    twice = torch.cat([x, x * (1 + 1e-7 * torch.randn(300, 3, dtype=torch.float64))])
    assert "600 of 600 samples have a near-duplicate" in repana.two_nn(twice).note
    assert "near-duplicate" not in repana.two_nn(x).note


def test_a_sample_far_from_all_others_is_said_beside_danco():
    g = np.random.default_rng(0)
    x = g.uniform(size=(600, 3)) @ g.normal(size=(3, 10))
    assert "far from all others" not in repana.dimension.danco(x).note
    assert "1 sample(s) far from all others" in repana.dimension.danco(np.r_[x, np.full((1, 10), 1e3)]).note
