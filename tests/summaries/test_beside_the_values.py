"""Intervals, counts and secondary fields of summaries, each against a reference written out."""

import numpy as np
import pytest
import torch

from repana import Moments, fisher
from repana.summaries.covariance import Covariance
from repana.summaries.discriminant import within_class_groups
from repana.summaries.pairwise_distances import PairwiseDistances
from repana.summaries.resampling import bootstrapped


def test_shrinkage_goes_towards_the_diagonal():
    x, y = torch.randn(60, 3, dtype=torch.float64) * torch.tensor([1.0, 5.0, 25.0]), torch.arange(60) % 3
    x += y[:, None] * torch.tensor([1.0, 0.0, 30.0])
    m = np.stack([x[y == k].mean(0).numpy() for k in range(3)])
    e = x.numpy() - m[y]
    w, b = e.T @ e / 60, (m - m.mean(0)).T @ (m - m.mean(0)) / 3
    mixed = 0.7 * w + 0.3 * np.diag(np.diag(w))
    assert fisher(x, y, shrinkage=0.3).quotient.value == pytest.approx(np.trace(np.linalg.solve(mixed, b)))


def test_places_left_at_a_tie_count_in_part():
    x, y = torch.tensor([[0.0], [1.0], [2.0], [-2.0], [9.0]]), torch.tensor([0, 1, 0, 1, 1])
    assert float(PairwiseDistances.of(x, y, k=2).same[0]) == 0.5  # 1 is nearer, and one place is left for 2 and -2


def test_traces_of_a_bootstrap_are_around_its_means():
    x, slot = torch.randn(40, 3, dtype=torch.float64), torch.arange(40) % 2
    s = next(bootstrapped(x, slot, Moments.of(x, slot), 1, torch.Generator().manual_seed(0)))
    want = [np.repeat(x[slot == k].numpy(), s.weight[slot == k].int().numpy(), 0).var(0).sum() * 20 for k in (0, 1)]
    np.testing.assert_allclose(s.trace, want, err_msg="trace")


def test_spread_around_given_centres():
    x, y, at = torch.randn(30, 3, dtype=torch.float64), torch.arange(30) % 2, torch.randn(2, 3, dtype=torch.float64)
    np.testing.assert_allclose(Moments.of(x, y).around(at).spread, (x - at[y]).square().sum(0), err_msg="spread")


def test_a_single_sample_is_in_no_group():
    assert within_class_groups(torch.tensor([0, 0, 1]), 2, 0)[2] == -1


def test_features_that_vary_are_counted():
    x = torch.randn(30, 4)
    x[:, 1] = 2.0
    assert Covariance.from_moments(Moments.of(x, torch.arange(30) % 2, scatter=True)).varying == 3
