"""Intervals, counts and secondary fields of features, each against a reference written out."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from scipy import stats
from torch.utils.data import DataLoader, TensorDataset

from repana import (
    complexity,
    complexity_vs_importance,
    conductance,
    feature_merging,
    flow,
    importance,
    layer_readings,
    redundancy,
    sensitivity,
    superposition,
    variance_explained,
)
from repana.features._complexity import _error, _floor, _quantile


def net():
    return torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 2))


def test_features_kept_are_rounded():
    assert redundancy(torch.randn(40, 7), torch.randn(40, 1), keep=0.25).settings["keep"] == 2 / 7  # round(1.75)


def test_the_gap_of_conductance_is_of_absolute_values():
    net, x = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2)), torch.randn(20, 2)
    with torch.no_grad():
        h0, h, change = net[0](torch.zeros(1, 2)), net[0](x), (net(x) - net(torch.zeros(1, 2)))[:, 0]
        flow = ((h0 > 0).float() + (h > 0)) / 2 * net[2].weight[0] * (h - h0)  # one trapezoid
        want = (flow.sum(1) - change).abs().mean() / change.abs().mean()
    assert conductance(net, x, ["0"], target=0, steps=1).gap["0"].value == pytest.approx(float(want), rel=1e-4)


def test_intervals_of_variance_explained_are_two_sided():
    f, x = torch.randn(150, 1), torch.randn(150, 3)
    x[:, 0] += f[:, 0]
    found = [variance_explained(x, f, level=level).joint for level in (0.5, 0.9)]
    a, b = (e.high - e.low for e in found)
    assert a / b == pytest.approx(stats.norm.ppf(0.75) / stats.norm.ppf(0.95), rel=0.2)


def test_equal_paths_carry_nothing():
    x = torch.randn(60, 2)
    same = flow({"a": x, "b": x}, x, [SimpleNamespace(block="0", skip="a", branch="b")])
    assert same.carried.value == 0.0  # no path tells more than the other


def test_the_error_over_folds_is_that_of_a_mean():
    x = torch.randn(5, dtype=torch.float64)
    corrected = stats.sem(x) * (1 + 5 / 4) ** 0.5  # of a mean over five folds that share training samples
    assert float(_error((x - x.mean()) / 5)) == pytest.approx(corrected)


def test_a_feature_at_the_threshold_is_decoded():
    found = complexity({"a": torch.randn(60, 2)}, torch.randn(60, 1))
    at = replace(found, curve=torch.full_like(found.curve, 0.8))
    assert layer_readings(at).layers["a"].decoded.value == 1.0


def test_the_welch_bound_counts_live_rows():
    w = torch.cat([torch.randn(6, 2), torch.zeros(4, 2)])
    assert superposition(w).welch.value == pytest.approx((6 - 2) / (2 * 5))  # rows of zeros are no directions


def test_inhibitors_are_told_by_their_interval():
    net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(4, 2))
    torch.nn.init.ones_(net[1].weight)
    x = torch.tensor([1.0, -1.0]).repeat(20)[:, None] + torch.tensor([-3.0, -0.05, 0.05, 3.0])
    assert (
        importance(net, x, "0", "units", target=0).inhibitors.value == 0.25
    )  # the second mean is below 0, its interval is not


def test_the_gap_of_importance_is_of_absolute_values():
    model, x = net(), torch.randn(40, 4)
    found = importance(model, x, "0", "units", target=0, method="gradient_x_input")
    with torch.no_grad():

        def f(h):
            return model[2](model[1](h))[:, 0]

        change = f(model[0](x)) - f(torch.zeros(1, 6))
    assert found.gap.value == pytest.approx(
        float((found.values.sum(1) - change).abs().mean() / change.abs().mean()), rel=1e-4
    )


def test_mean_sensitivity_is_at_the_upper_middle_strength():
    found = sensitivity(net(), torch.randn(20, 4), "0", sigmas=(0.1, 0.2), repeats=3)
    assert found.mean_sensitivity.value == pytest.approx(float(found.variance[1].mean()))  # of two, the larger


def test_the_noise_floor_is_two_sided():
    e = _floor(torch.arange(101.0)[None], 0.9)
    assert (e.value, e.low, e.high) == pytest.approx((50, 5, 95))


def test_accuracy_of_a_merge_is_over_labelled_rows():
    torch.manual_seed(0)
    net, x = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 2)), torch.randn(20, 4)
    y = net(x).argmax(1)
    y[:10] = -100
    found = feature_merging(net, DataLoader(TensorDataset(x, y), 20), beta=0.0, betas=[])
    assert found.accuracy_before.value == 1.0
    assert found.accuracy_before.n == 10


def test_support_is_split_at_the_median():
    found = complexity_vs_importance([0.0, 0.0, 0.0, 0.2, 1.0], [1.0, 1.0, 1.0, 1.0, 4.0])
    assert found.support.value == pytest.approx(5 / 8)  # the median is 0, the mean .24


def test_the_quantile_over_folds_is_two_sided():
    assert _quantile(5, 0.9) == pytest.approx(stats.t.interval(0.9, 4)[1])


def test_the_top_share_is_of_absolute_values():
    net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(4, 2))
    torch.nn.init.ones_(net[1].weight)
    x = torch.tensor([3.0, -3.0]).repeat(20)[:, None] * torch.tensor([1.0, 0, 0, 0]) + torch.tensor(
        [0.0, 1.0, 0.0, 0.0]
    )
    assert importance(net, x, "0", "units", target=0).top_share.value == pytest.approx(
        3 / 4
    )  # by size, though it cancels


def test_the_interval_of_mean_redundancy_holds_it():
    x = torch.randn(60, 4)
    e = redundancy(x, x[:, :2]).mean_redundancy
    assert e.low < e.value < e.high
