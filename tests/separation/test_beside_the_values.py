"""Intervals, counts and secondary fields of separation, each against a reference written out."""

import math
from unittest import mock

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist

from repana import class_divergences, data_complexity, separability
from repana.separation import _separability as s
from repana.summaries.class_groups import within_class_groups
from repana.summaries.pairwise_distances import drawn


def test_the_interval_of_sample_uniformity_is_that_of_a_u_statistic():
    x = torch.randn(60, 3, dtype=torch.float64)
    e, u = (
        separability(x, torch.arange(60) % 2, jackknife=0).sample_uniformity,
        (x / x.norm(dim=1, keepdim=True)).numpy(),
    )
    k = np.exp(-2 * ((u[:, None] - u) ** 2).sum(2)) - np.eye(60)
    deleted = [math.log(np.delete(np.delete(k, i, 0), i, 1).sum() / (59 * 58)) for i in range(60)]
    error = math.sqrt(59 / 60 * np.square(deleted - np.mean(deleted)).sum())
    assert e.high - e.low == pytest.approx(2 * stats.norm.ppf(0.975) * error, rel=0.1)


def test_errors_of_a_few_samples_shrink_by_the_root():
    x, y = torch.randn(200, 3, dtype=torch.float64), torch.arange(200) % 2
    with mock.patch.object(s, "FEW", 50):
        whole, few = separability(x, y).gdv, separability(x[drawn(y, 50, 0)], y[drawn(y, 50, 0)]).gdv
    assert (whole.high - whole.low) / (few.high - few.low) == pytest.approx(0.5, rel=0.1)  # sqrt(50/200)


def test_f1v_weighs_covariances_by_class_size():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(40, 2)), rng.normal(size=(10, 2)) * [3, 1] + 1
    w, gap = 0.8 * np.cov(a.T) + 0.2 * np.cov(b.T), a.mean(0) - b.mean(0)
    found = data_complexity(np.concatenate([a, b]), [0] * 40 + [1] * 10, jackknife=0).f1v.value
    assert found == pytest.approx(1 / (1 + gap @ np.linalg.solve(w, gap)))


def test_the_interval_of_n1_follows_the_tree():
    x, y = np.random.default_rng(0).normal(size=(80, 2)), np.arange(80) % 2
    x[:, 0] += 2 * y
    a = minimum_spanning_tree(cdist(x, x)).toarray() > 0
    a |= a.T
    crossed = (a & (y[:, None] != y)).any(1)
    psi, e = crossed - crossed.mean(), data_complexity(x, y, jackknife=0).n1
    assert (e.high - e.low) / 2 == pytest.approx(stats.norm.ppf(0.975) * math.sqrt(psi @ (a + np.eye(80)) @ psi) / 80)


def test_split_half_is_the_bhattacharyya_distance_of_two_halves():
    x, y = torch.randn(60, 3, dtype=torch.float64), torch.arange(60) % 2
    half = within_class_groups(y, 2, 0)
    a, b = (x[(y == 0) & (half == h)].numpy() for h in (0, 1))
    s, gap = [np.cov(v.T) for v in (a, b)], a.mean(0) - b.mean(0)
    mid = (s[0] + s[1]) / 2
    logs = [np.linalg.slogdet(m)[1] for m in (mid, *s)]
    want = gap @ np.linalg.solve(mid, gap) / 8 + (logs[0] - (logs[1] + logs[2]) / 2) / 2
    assert float(class_divergences(x, y, shrinkage=0.0).split_half[0]) == pytest.approx(want)
