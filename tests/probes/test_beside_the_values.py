"""Intervals, counts and secondary fields of probes, each against a reference written out."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from repana import Split, concept_use, corrected_difference, erase, linear_probe, pareto, selectivity, transferability
from repana._estimate import Estimate
from repana.probes._information import _over_orders
from repana.probes._label_complexity import _complexity
from repana.probes._layer_combination import _moments
from repana.probes._layer_selection import mcnemar
from repana.probes._ood import _difference, _mean
from repana.probes._sample_efficiency import SampleEfficiency, _zero
from repana.probes._transferability import few_shot

Z = stats.norm.ppf(0.975)


def test_the_few_shot_bound_written_out():
    x, y = torch.randn(60, 4, dtype=torch.float64) + 5 * (torch.arange(60) % 2)[:, None], torch.arange(60) % 2
    a, b = x[y == 0].numpy(), x[y == 1].numpy()
    cdnv = (a.var(0).sum() + b.var(0).sum()) / (2 * np.square(a.mean(0) - b.mean(0)).sum())
    assert transferability(x, y, shots=2, jackknife=0, repeats=2).few_shot_bound.value == pytest.approx(
        12 * 1.25 * cdnv
    )


def test_the_few_shot_error_weighs_classes_alike():
    x = torch.cat([torch.zeros(40), torch.tensor([1.0, 1.0, -8.0, -8.0])]).double()[:, None]
    y, means = torch.arange(44).ge(40).long(), torch.tensor([[0.0], [1.0]]).double()
    error, _ = few_shot(
        x, y, means, 1, 20, 0.95, 0
    )  # whichever is drawn, none of 39 and two of the other three are wrong
    assert error.value == pytest.approx(1 / 3)


def test_the_few_shot_interval_shrinks_with_episodes():
    x, y = torch.randn(90, 2), torch.arange(90) % 3
    wide = [transferability(x, y, jackknife=0, repeats=r).few_shot_error for r in (20, 320)]
    a, b = (e.high - e.low for e in wide)
    assert a / b == pytest.approx(4, rel=0.5)  # the error of a mean over 16 times as many episodes


def test_moved_is_over_the_variance():
    x, y = 100 + torch.randn(120, 4, dtype=torch.float64), torch.arange(120) % 2
    found = erase(x, y, repeats=1)
    split = Split.of(y, 120)
    m, test = x[split.train_and_validation].mean(0), x[split.test]
    want = (test - found(test)).square().sum(1).mean() / (test - m).square().sum(1).mean()
    assert found.moved.value == pytest.approx(float(want))


def test_a_mean_over_data_sets_adds_errors_in_squares():
    e = _mean([Estimate(0.5, 0.2, 0.7, 10), Estimate(0.7, 0.3, 0.8, 10)])
    assert (e.value, e.low) == pytest.approx((0.6, 0.6 - math.hypot(0.3, 0.4) / 2))


def test_a_difference_of_two_intervals():
    e = _difference(Estimate(0.9, 0.6, 0.94, 10), Estimate(0.5, 0.47, 0.9, 10))
    assert (e.low, e.high) == pytest.approx((0.4 - math.hypot(0.3, 0.4), 0.4 + math.hypot(0.04, 0.03)))


def test_the_interval_over_orders_is_students():
    e = _over_orders([100.0, 110.0, 130.0], 0.0, 50, 0.9)
    assert (e.low, e.high) == pytest.approx(stats.t.interval(0.9, 2, 340 / 3, stats.sem([100, 110, 130])))
    e = _over_orders([100.0, 100.0], 9.0, 50, 0.9)  # samples vary as well
    assert (e.low, e.high) == pytest.approx(stats.norm.interval(0.9, 100, 3))


def test_the_mid_p_of_mcnemar():
    pmf = stats.binom(12, 0.5).pmf
    assert mcnemar(3, 9, mid=True) == pytest.approx(2 * (pmf(range(3)).sum() + pmf(3) / 2))


def test_the_interval_of_a_corrected_difference_is_two_sided():
    d = [0.02, 0.03, -0.01, 0.02, 0.015]
    e, error = corrected_difference(d, 800, 200).difference, np.std(d, ddof=1) * math.sqrt(1 / 5 + 1 / 4)
    assert (e.low, e.high) == pytest.approx(stats.t.interval(0.95, 4, np.mean(d), error))


def test_the_control_of_selectivity_has_the_majority_as_null():
    y, kind = torch.tensor([0] * 8 + [1] * 2).repeat(12), torch.arange(120) % 20
    assert selectivity(torch.randn(120, 3), y, kind).control.null == pytest.approx(0.8)


def test_the_interval_over_draws_is_students():
    a = torch.tensor([[0.5, 0.6, 0.55]], dtype=torch.float64)
    found = SampleEfficiency(Estimate(0.0), torch.tensor([9]), {"lda": a}, {"level": 0.95}).mean("lda")[0]
    assert found[1:].tolist() == pytest.approx(stats.t.interval(0.95, 2, 0.55, stats.sem(a[0])))


def test_crossings_are_interpolated_on_the_log_scale():
    assert _zero([10, 1000], torch.tensor([-1.0, 1.0])) == pytest.approx(100.0)


def test_concept_use_is_two_sided():
    x, net = torch.randn(60, 3), torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2))
    with torch.no_grad():
        net[2].weight[1] = -net[2].weight[0]
        h = net[0](x)
    probe = linear_probe(h, (h[:, 0] > 0).long(), permutations=0)
    p = [concept_use(net, x, "0", probe, 1, target=k).p_value.value for k in (0, 1)]
    assert p[0] == p[1]  # two-sided: the two logits have opposite gradients


def test_mean_and_deviation_over_tokens():
    x, at = torch.randn(12, 3, dtype=torch.float64), torch.arange(12) // 4
    found = _moments(x, at, 3, "mean_std", 1, 0)
    np.testing.assert_allclose(found[:, 3:], x.view(3, 4, 3).numpy().std(1), err_msg="std")


def test_label_complexity_has_the_width_of_its_share():
    bits = torch.randn(2, 50, dtype=torch.float64)
    e = _complexity(torch.tensor([0.4, 0.6]), bits, 3.0, 0.95)
    assert e.high - e.low == pytest.approx(2 * Z * stats.sem(bits.mean(0) / 3.0))


def test_the_hypervolume_is_over_all_features():
    x = torch.randn(200, 6) * torch.logspace(0, -4, 6)
    found = pareto(x, x[:, 0] > 0, permutations=0, scale="centre")
    effective, _, accuracy, _ = found.curve.T
    best, width = np.maximum.accumulate(accuracy.numpy()), np.diff(effective.numpy(), append=6.0)
    assert found.hypervolume.value == pytest.approx(best @ width / 6)
