"""p and null of shuffled labels: their level, their exactness, and what is read together over layers."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from levels import headlines
from planted import planted

from repana import Estimate, data_complexity, fisher, linear_probe, neural_collapse, separability
from repana.statistics.permutation import adjusted, against, undecided
from repana.summaries.resampling import permuted_orders

COLLAPSE = (
    "nc1", "quotient", "cdnv", "cdnv_median", "cdnv_max", "fuzziness", "equinorm", "equiangularity", "cosine_std",
    "etf_error", "of_error", "gof_error", "uniformity", "uniformity_variance", "ncc_accuracy", "vci",
)  # fmt: skip
FISHER = ("trace_ratio", "quotient", "max_eigenvalue", "bounded", "explained", "feature_mean", "feature_max")
DISTANCES = (
    "silhouette", "silhouette_balanced", "calinski_harabasz", "davies_bouldin", "gdv", "thornton", "knn_purity",
    "alignment", "tolerance", "label_cka",
)  # fmt: skip


@pytest.mark.parametrize(("better", "p"), [("higher", 0.2), ("lower", 1.0), ("", math.nan)])
def test_p_counts_permutations_that_are_at_least_as_good(better, p):
    found = against(Estimate(3.0), [0.0, 1.0, 2.0, -1.0], better=better)
    assert found.p == pytest.approx(p, nan_ok=True)
    assert (found.null, found.permutations) == (0.5, 4)
    assert math.isnan(found.null_low)  # four permutations have no 95 % range


def test_equal_values_count_as_as_good():
    assert against(Estimate(0.1 + 0.2), [0.3, 0.3, 0.1], better="higher").p == pytest.approx(3 / 4)


def test_the_range_holds_an_exchangeable_value_as_often_as_it_says():
    random = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        value, *others = random.normal(size=200).tolist()
        e = against(Estimate(value), others, better="higher")
        held += e.null_low <= value <= e.null_high
    assert 0.93 <= held / 2000 <= 0.97


def cloud(c: int, n: int, d: int, uneven: bool):
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(c)).double() + 50
    y = torch.arange(n) % c
    return x, torch.cat([torch.zeros(n - n // 2), y[: n // 2]]).long() if uneven else y


@pytest.mark.parametrize("convention", ["papyan", "he_su", "galanti", "zhu"])
@pytest.mark.parametrize(("c", "n", "d", "uneven"), [(5, 120, 16, False), (4, 90, 6, True), (70, 210, 20, False)])
def test_nulls_of_collapse_are_medians_of_relabelled_data(convention, c, n, d, uneven):
    x, y = cloud(c, n, d, uneven)
    found = neural_collapse(x, y, permutations=9, bootstrap=0, convention=convention)
    others = [neural_collapse(x, y[order], bootstrap=0, convention=convention) for order in permuted_orders(n, 9, 0)]
    for name in COLLAPSE:
        median = np.median([float(getattr(one, name)) for one in others])
        assert getattr(found, name).null == pytest.approx(median, rel=1e-6, abs=1e-9), name


@pytest.mark.parametrize(("c", "n", "d", "uneven"), [(5, 120, 16, False), (4, 90, 6, True), (8, 40, 60, False)])
def test_nulls_of_fisher_and_distances_are_medians_of_relabelled_data(c, n, d, uneven):
    x, y = cloud(c, n, d, uneven)
    orders = permuted_orders(n, 9, 0)
    found = fisher(x, y, permutations=9, jackknife=0), separability(x, y, permutations=9, jackknife=0)
    others = [(fisher(x, y[o], jackknife=0), separability(x, y[o], jackknife=0)) for o in orders]
    for k, names in enumerate((FISHER, DISTANCES)):
        for name in names:
            median = np.median([float(getattr(one[k], name)) for one in others])
            got = getattr(found[k], name).null
            assert got == pytest.approx(median, rel=1e-5, abs=1e-6, nan_ok=True), name


@pytest.mark.slow
def test_p_of_headlines_has_its_level_on_noise():
    """n = 300, c = 5, d = 32: below 0.05 in 2 to 8 % of 200 sets. In a process of its own, without type checks."""
    script = Path(__file__).parents[1] / "levels.py"
    text = subprocess.run([sys.executable, script, "200"], check=True, capture_output=True, text=True).stdout
    shares = {name: float(np.mean(np.array(p) < 0.05)) for name, p in json.loads(text).items()}
    assert {name: share for name, share in shares.items() if not 0.02 <= share <= 0.08} == {}
    assert len(shares) == 10


def test_p_of_headlines_is_small_where_classes_are_apart():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(300) % 5
    x = torch.randn(300, 32, generator=generator) + 2 * torch.randn(5, 32, generator=generator)[y]
    found = headlines(x, y)
    assert all(p == 1 / 200 for name, p in found.items() if name != "etf_error"), found


def test_many_layers_do_not_hide_what_every_one_shows():
    """p of 1/200 at each of 50 layers, far beyond every permutation, is still found after Holm."""
    far = Estimate(9.0, null=0.0, null_low=-2.0, null_high=2.0, p=1 / 200, permutations=199)
    near = Estimate(0.1, null=0.0, null_low=-2.0, null_high=2.0, p=0.4, permutations=199)
    found = adjusted(planted([str(i) for i in range(50)], [far] * 49 + [near]).rows)
    assert max(found[str(i)] for i in range(49)) < 1e-6
    assert found["49"] == pytest.approx(0.4)


@pytest.mark.parametrize("layers", [1, 14, 25, 60])
def test_a_skewed_null_of_a_positive_ratio_hides_no_layer(layers):
    """The null of NC1 is skewed: a value near 0 is few linear deviations below its median, and many on logarithms."""
    found = Estimate(0.054, null=28.5, null_low=12.5, null_high=87.6, p=1 / 200, permutations=199)
    assert max(adjusted(planted([f"l{i}" for i in range(layers)], [found] * layers).rows).values()) < 0.01


@pytest.mark.parametrize("layers", [1, 5])
def test_few_permutations_decide_nothing_about_the_best_value(layers):
    """19 permutations: p is 0.05 at least. A value better than all of them is undecided, one that is not is unclear."""
    best = Estimate(0.1, null=1.0, p=1 / 20, permutations=19)
    worse = Estimate(0.9, null=1.0, p=0.4, permutations=19)
    rows = planted([f"l{i}" for i in range(layers + 1)], [best] * layers + [worse]).rows
    assert undecided(rows) == {f"l{i}" for i in range(layers)}
    assert list(adjusted(rows)) == [f"l{layers}"]


def test_complexity_has_a_p():
    x = torch.cat([torch.randn(40, 2), torch.randn(40, 2) + 6])
    found = data_complexity(x, torch.arange(80) // 40, permutations=39, jackknife=0)
    assert found.n1.p == found.f1.p == found.n3.p == 1 / 40


def test_codes_of_classes_decide_nothing():
    """Splits, groups and draws follow the rows: classes by other numbers give the same values, intervals and p."""
    x, y = cloud(3, 150, 6, uneven=False)
    x = x + torch.eye(6, dtype=torch.float64)[y]
    other = torch.tensor([2, 0, 1])[y]
    for function in (neural_collapse, fisher, separability, linear_probe):
        a, b = (function(x, codes, permutations=19) for codes in (y, other))
        for name, e in vars(a).items():
            if isinstance(e, Estimate):
                f = getattr(b, name)
                want = pytest.approx((e.value, e.low, e.high, e.null, e.p), rel=1e-5, abs=1e-6, nan_ok=True)
                assert (f.value, f.low, f.high, f.null, f.p) == want, name
