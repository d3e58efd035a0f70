"""Comparisons of probes: exact tests, their level under no difference, and the bias of a best layer."""

import numpy as np
import pytest
import torch
from scipy import stats

from repana import InputError, Split, best_layer, compare_probes, corrected_difference, linear_probe, nearest_mean
from repana.probes._layer_selection import _bias, holm, mcnemar
from repana.probes._scores import balanced_accuracy
from repana.statistics.intervals import proportion
from repana.statistics.resampling import resampled


def layers(n=1500, seed=0):
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    return {
        f"layer{k}": s * torch.randn(3, 12, generator=g)[y] + torch.randn(n, 12, generator=g)
        for k, s in enumerate((0.1, 0.5, 1.0, 1.0))
    }, y


def test_a_paired_interval_is_shorter_and_holds_the_difference():
    x, y = layers()
    split = Split.of(y, len(y))
    a, b = (probe(x["layer1"], y, split=split, permutations=0) for probe in (linear_probe, nearest_mean))
    found = compare_probes(a, b)
    assert found.accuracy.value == pytest.approx(b.accuracy.value - a.accuracy.value)
    single = a.accuracy.high - a.accuracy.low
    assert found.accuracy.high - found.accuracy.low < single
    assert found.log_loss.value == pytest.approx(b.log_loss.value - a.log_loss.value)
    assert found.only_b - found.only_a == round(found.accuracy.value * len(split.test))
    with pytest.raises(InputError, match="RA248"):
        compare_probes(a, linear_probe(x["layer1"], y, seed=1, permutations=0))


@pytest.mark.parametrize(("a", "b"), [(0, 0), (3, 9), (10, 10), (0, 6)])
def test_mcnemar_is_the_binomial_test(a, b):
    want = stats.binomtest(min(a, b), a + b).pvalue if a + b else 1.0
    assert mcnemar(a, b) == pytest.approx(want)
    assert mcnemar(a, b, mid=True) <= mcnemar(a, b)


def test_mcnemar_and_holm_keep_their_level():
    random = np.random.default_rng(0)
    p = []
    for _ in range(400):
        common = random.normal(size=500)
        right = [(0.8 * common + 0.6 * random.normal(size=500)) < 0.8 for _ in range(2)]
        p.append(mcnemar(int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum()), mid=True))
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.08
    families = [min(holm(random.random(11).tolist())) < 0.05 for _ in range(2000)]
    assert 0.03 < np.mean(families) < 0.07


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


@pytest.mark.parametrize(("n", "bias"), [(200, 0.045), (1000, 0.020)])
def test_the_bias_of_the_best_of_twelve_layers(n, bias):
    """Twelve layers of accuracy .8, independent: the largest is .845 of 200 rows and .82 of 1000."""
    random = torch.Generator().manual_seed(0)
    found = []
    for _ in range(20):
        correct = (torch.rand(n, 12, generator=random) < 0.8).double()
        found.append(float(_bias(correct, None, 0, 0.95)))
    assert np.mean(found) == pytest.approx(bias, abs=0.35 * bias)


def test_the_best_layer_is_chosen_without_the_report_rows():
    x, y = layers()
    split = Split.of(y, len(y))
    probes = {name: linear_probe(v, y, split=split, permutations=0) for name, v in x.items()}
    found = best_layer(probes)
    assert found.layer in ("layer2", "layer3")
    assert found.chosen_accuracy == probes[found.layer].accuracy
    assert found.oracle_accuracy.value == max(p.accuracy.value for p in probes.values())
    assert found.adjusted["layer0"] < 1e-6
    assert all(found.adjusted[k] >= p for k, p in found.p_values.items())
    with pytest.raises(InputError, match="RA218"):
        best_layer({"one": probes["layer0"]})


def test_corrected_difference():
    d = [0.02, 0.03, -0.01, 0.02, 0.015]
    both = corrected_difference(d, 800, 200)
    found, p = both.difference, both.p_value.value
    naive = stats.ttest_1samp(d, 0)
    t = naive.statistic / np.sqrt(5 * (1 / 5 + 0.25))
    assert p == pytest.approx(2 * stats.t.sf(abs(t), 4))
    assert found.value == pytest.approx(np.mean(d))
    assert corrected_difference([0.1, 0.1], 8, 2).p_value.value == 0.0
    with pytest.raises(InputError):
        corrected_difference([0.1], 8, 2)


def test_intervals_hold_the_truth_as_often_as_they_say():
    random = torch.Generator().manual_seed(0)
    held = {"wilson": 0, "balanced": 0, "groups": 0, "rows of groups": 0}
    codes = torch.cat([torch.zeros(150), torch.ones(50)]).long()
    group = torch.arange(200) // 5
    for seed in range(200):
        right = torch.rand(200, generator=random) < torch.where(codes == 0, 0.9, 0.7)
        one = balanced_accuracy(right, codes, 2, None, level=0.95, seed=seed)
        held["balanced"] += one.low <= 0.8 <= one.high
        wilson = proportion(int(right.sum()), 200)
        held["wilson"] += wilson.low <= 0.85 <= wilson.high
        together = (torch.rand(40, generator=random) < 0.8)[group]
        for name, g in (("groups", group), ("rows of groups", None)):
            e = resampled(together.double()[:, None], None, g, level=0.95, seed=seed)
            held[name] += e.low <= 0.8 <= e.high
    assert all(held[name] >= 182 for name in ("wilson", "balanced", "groups"))
    assert held["rows of groups"] < 140  # five rows that agree are not five rows


def test_rows_of_groups_have_no_exact_test():
    x, y = layers(n=600)
    split = Split.of(y, 600, groups=torch.arange(600) // 6)
    found = best_layer({k: linear_probe(v, y, split=split, permutations=0) for k, v in x.items()})
    assert all(np.isnan(p) for p in found.p_values.values())
    assert found.oracle_bias.low <= found.oracle_bias.value <= found.oracle_bias.high


def test_the_bias_of_one_row_a_class():
    correct = (torch.rand(10, 3, generator=torch.Generator().manual_seed(0)) < 0.5).double()
    found = _bias(correct, None, 0, 0.95)
    assert found.value < float(correct.mean(0).max())


def test_refusals_of_differences():
    with pytest.raises(InputError, match="NaN or infinite"):
        corrected_difference([0.1, float("nan")], 8, 2)
    with pytest.raises(InputError, match="`train`"):
        corrected_difference([0.1, 0.2], 0, 2)
