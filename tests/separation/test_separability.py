"""The Fisher family and the law of data separation: reference, closed forms, nulls, degenerate cases."""

import math

import numpy as np
import pytest
import torch
from clouds import clouds
from reference import collapse as slow

from repana import Discriminant, InputError, Moments, fisher, neural_collapse, separation_law


@pytest.mark.parametrize("counts", [None, [100, 60, 20, 5]])
@pytest.mark.parametrize("d", [2, 12, 40])
def test_equals_the_reference(counts, d):
    x, y = clouds(d=d, counts=counts)
    got, want = fisher(x, y), slow.fisher(x.numpy(), y.numpy())
    for name in ("trace_ratio", "quotient", "max_eigenvalue", "bounded", "explained"):
        assert float(getattr(got, name)) == pytest.approx(want[name], rel=1e-8), name
    np.testing.assert_allclose(got.per_feature.numpy(), want["per_feature"], rtol=1e-9)
    assert float(got.feature_mean) == pytest.approx(want["per_feature"].mean())
    assert float(got.feature_max) == pytest.approx(want["per_feature"].max())
    assert got.feature_max.note == f"feature {want['per_feature'].argmax()}"


def test_equals_scikit_learn():
    """Calinski-Harabasz is the trace ratio times (n - c)/(c - 1); LDA's explained variance ratio is lambda's share."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.metrics import calinski_harabasz_score

    x, y = clouds(n=400, d=9, c=4)
    got = fisher(x, y)
    assert float(got.trace_ratio) * (400 - 4) / (4 - 1) == pytest.approx(calinski_harabasz_score(x, y))
    lda = LinearDiscriminantAnalysis(solver="eigen").fit(x, y)
    np.testing.assert_allclose(
        (got.eigenvalues / got.eigenvalues.sum())[:3], lda.explained_variance_ratio_[:3], rtol=1e-8
    )


def test_two_classes_give_the_mahalanobis_distance():
    x, y = clouds(c=2, d=6)
    got = fisher(x, y)
    _, counts, _, sw, _ = slow.scatter(x.numpy(), y.numpy(), "sample", "sample", "sample")
    p = counts / counts.sum()
    gap = x[y == 0].mean(0) - x[y == 1].mean(0)
    expected = p[0] * p[1] * float(gap @ torch.linalg.solve(torch.from_numpy(sw), gap))
    assert float(got.quotient) == pytest.approx(expected)
    assert float(got.max_eigenvalue) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "d", "c"), [(1000, 200, 10), (400, 5, 3)])
def test_null_has_its_closed_form(n, d, c):
    y = torch.arange(n) % c
    found = [fisher(torch.randn(n, d, dtype=torch.float64), y, jackknife=0) for _ in range(20)]
    for name, expected in (
        ("quotient", d * (c - 1) / (n - c - d - 1)),
        ("trace_ratio", (c - 1) / (n - c)),
        ("bounded", d * (c - 1) / (n - 1)),
        ("explained", (c - 1) / (n - 1)),
    ):
        assert np.mean([float(getattr(f, name)) for f in found]) == pytest.approx(expected, rel=0.1), name
        assert getattr(found[0], name).null == pytest.approx(expected), name


def test_the_jackknife_interval_covers_and_is_not_idle():
    c, d, n = 4, 6, 800
    means = torch.randn(c, d, dtype=torch.float64)
    y = torch.arange(n) % c
    truth = float((means - means.mean(0)).square().sum() / c / d)  # unit variance in every direction
    hits, widths = 0, []
    for _ in range(60):
        e = fisher(means[y] + torch.randn(n, d, dtype=torch.float64), y).trace_ratio
        hits += e.low <= truth <= e.high
        widths.append((e.high - e.low) / truth)
    assert hits >= 52
    assert 0.01 < np.mean(widths) < 0.5


def test_singular_within_scatter_is_nan_with_the_reason_and_shrinkage_helps():
    x, y = clouds(n=30, d=40, c=3)
    got = fisher(x, y)
    assert math.isnan(float(got.quotient))
    assert got.quotient.note == (
        "the within-class scatter is singular (n = 30, d = 40, c = 3); use more samples or `shrinkage=`"
    )
    assert math.isfinite(float(got.trace_ratio))
    shrunk = fisher(x, y, shrinkage=0.1)
    assert float(shrunk.quotient) > 0
    assert shrunk.settings["shrinkage"] == 0.1


def test_constant_and_dead_features():
    x, y = clouds(d=6)
    padded = torch.cat([x, torch.zeros(len(x), 2, dtype=x.dtype), torch.full((len(x), 1), 7.0, dtype=x.dtype)], 1)
    got, want = fisher(padded, y), fisher(x, y)
    assert float(got.quotient) == pytest.approx(float(want.quotient))
    assert got.per_feature[6:].tolist() == [0, 0, 0]
    separated = torch.cat([x, y[:, None].double()], 1)
    assert float(fisher(separated, y).feature_max) == math.inf


def test_no_spread_within_classes():
    x = torch.arange(12.0)[:, None].floor_divide(4).double()
    got = fisher(x, torch.arange(12) // 4)
    assert float(got.trace_ratio) == math.inf
    assert got.trace_ratio.note == "no spread within any class"


def test_from_moments_alone():
    x, y = clouds()
    summary = Discriminant.from_moments(Moments.of(x, y, scatter=True))
    got, want = fisher(summary), fisher(x, y)
    assert float(got.quotient) == pytest.approx(float(want.quotient))
    assert math.isnan(got.quotient.low)
    assert math.isfinite(want.quotient.low)
    without = fisher(Discriminant.from_moments(Moments.of(x, y)))
    assert math.isnan(float(without.quotient))
    assert "pooled scatter" in without.quotient.note


def test_bounded_form_and_vci_are_one_statistic():
    x, y = clouds(c=5)
    assert float(neural_collapse(x, y).vci) == pytest.approx(1 - float(fisher(x, y).bounded) / 4)


# --- the law ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rho", [0.3, 0.9, 1.2])
def test_a_planted_law_is_found(rho):
    got = separation_law([5 * rho**k for k in range(8)])
    assert float(got.rho) == pytest.approx(rho)
    assert abs(float(got.correlation)) == pytest.approx(1)
    assert float(got.half_life) == pytest.approx(-math.log(2) / math.log(rho))
    assert got.rho.note == ("" if rho < 1 else "fuzziness does not fall with depth")


def test_the_interval_of_the_rate_covers():
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        log = np.log(0.7) * np.arange(10) + 0.3 * generator.standard_normal(10)
        e = separation_law(np.exp(log).tolist()).rho
        hits += e.low <= 0.7 <= e.high
    assert 180 <= hits <= 199


def test_isotropic_two_class_value():
    """D = 4 sigma^2 / delta^2 for two balanced isotropic classes; delta = 3 gives 0.4444."""
    y = torch.arange(20_000) % 2
    x = torch.randn(20_000, 20, dtype=torch.float64)
    x[:, 0] += 3 * y
    assert float(neural_collapse(x, y, bootstrap=0).fuzziness) == pytest.approx(4 / 9, rel=0.05)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1.0, 0.5], "RA218: separation_law fits a line through the layers and needs at least 3; 2 came."),
        (
            {"a": 1.0, "b": 0.0, "c": math.inf, "d": 1.0},
            "RA219: separation fuzziness must be positive and finite; it is not at 'b', 'c'. Leave those out.",
        ),
    ],
)
def test_refusals(values, text):
    with pytest.raises(InputError) as error:
        separation_law(values)
    assert str(error.value) == text


def test_shrinkage_is_that_of_ledoit_and_wolf():
    """On class-centred features in units of their own deviation, by scikit-learn's class; towards the diagonal."""
    from sklearn.covariance import LedoitWolf

    x, y = clouds(d=40, n=60, c=3)
    residual = x - torch.stack([x[y == k].mean(0) for k in range(3)])[y]
    residual = residual / residual.std(0, correction=0)
    want = LedoitWolf(assume_centered=True).fit(residual.numpy()).shrinkage_
    got = fisher(x, y, shrinkage="ledoit_wolf")
    assert got.settings["shrinkage"] == pytest.approx(want)
    assert float(got.quotient) == pytest.approx(float(fisher(x, y, shrinkage=float(want)).quotient))
    with pytest.raises(InputError, match="RA212: `shrinkage` is 'oas'; expected one of 'ledoit_wolf'."):
        fisher(x, y, shrinkage="oas")


def test_permutations_stand_beside_what_has_no_closed_form():
    """N = 1000, d = 100, no structure: the permuted quotient is the closed form, and the value lies in its range."""
    x = torch.randn(1000, 100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.arange(1000) % 10
    plain, permuted = fisher(x, y, jackknife=0), fisher(x, y, jackknife=0, permutations=39)
    assert permuted.quotient.null == pytest.approx(plain.quotient.null, rel=0.05)
    assert permuted.quotient.null_low < float(permuted.quotient) < permuted.quotient.null_high
    assert plain.quotient.null == pytest.approx(100 * 9 / (1000 - 10 - 100 - 1))
    shrunk = fisher(x, y, jackknife=0, shrinkage="ledoit_wolf", permutations=39)
    assert math.isnan(fisher(x, y, jackknife=0, shrinkage="ledoit_wolf").quotient.null)
    assert shrunk.quotient.null_low <= float(shrunk.quotient) <= shrunk.quotient.null_high * 1.1
    assert permuted.max_eigenvalue.null > 0


def test_fisher_leaves_ignored_samples_out():
    x, y = clouds(c=3)
    marked = y.clone()
    marked[::4] = -100
    keep = marked != -100
    assert float(fisher(x, marked).trace_ratio) == pytest.approx(float(fisher(x[keep], y[keep]).trace_ratio))


def test_shrinkage_out_of_range():
    x, y = clouds()
    with pytest.raises(InputError) as error:
        fisher(x, y, shrinkage=2.0)
    assert str(error.value) == "RA212: `shrinkage` is 2.0; expected 'ledoit_wolf' or a number from 0 to 1."
