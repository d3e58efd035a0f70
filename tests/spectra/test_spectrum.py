"""The spectrum of a layer: closed forms, a peer, slow references, intervals that cover, degenerate input."""

import math

import numpy as np
import pytest
import torch

import repana
from repana import Covariance, InputError, Moments, spectrum
from repana.spectra._spectrum import _unbiased
from repana.summaries import covariance as covariances


def planted(values, n=None, seed=0, *, mean=0.0):
    """Samples whose covariance has exactly these eigenvalues."""
    d = len(values)
    n = n or 4 * d
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    x = torch.linalg.qr(x - x.mean(0))[0] * math.sqrt(n)
    turn = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))[0]
    return x * torch.as_tensor(values, dtype=torch.float64).sqrt() @ turn + mean


def gaussian(values, n, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, len(values), generator=generator, dtype=torch.float64) * values.sqrt()


def entropy(p):
    p = p / p.sum()
    return float(-(p * p.log()).sum())


@pytest.mark.parametrize("k", [1, 3, 8])
def test_equal_eigenvalues_are_counted(k):
    got = spectrum(planted([2.0] * k + [0.0] * (8 - k)))
    for name in ("participation_ratio", "effective_rank", "entropy_rank", "stable_rank"):
        assert float(getattr(got, name)) == pytest.approx(k, rel=1e-9)
    assert float(got.components_99) == k
    assert int((got.eigenvalues > 0).sum()) == k
    assert len(got.eigenvalues) == 8


def test_halving_eigenvalues_have_closed_forms():
    """lambda_i = 2^-i: participation ratio 3, entropy 2 bits, stable rank 2."""
    got = spectrum(planted([2.0**-i for i in range(1, 31)], n=200))
    assert float(got.participation_ratio) == pytest.approx(3, rel=1e-6)
    assert float(got.entropy_rank) == pytest.approx(4, rel=1e-6)
    assert float(got.stable_rank) == pytest.approx(2, rel=1e-6)
    assert float(got.top_share) == pytest.approx(0.5, rel=1e-6)
    assert [int(float(getattr(got, f"components_{p}"))) for p in (90, 95, 99)] == [4, 5, 7]
    assert float(got.stable_rank) <= float(got.participation_ratio) <= float(got.entropy_rank)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("window", [None, (1, 40), (5, 30)])
def test_a_power_law_returns_its_exponent(alpha, window):
    values = torch.arange(1, 41).double() ** -alpha
    got = spectrum(planted(values), window=window)
    assert float(got.alpha) == pytest.approx(alpha, rel=1e-8)
    first, last, slope, intercept = got.power_law.tolist()
    assert (first, last) == ((11, 40) if window is None else window)
    assert slope == pytest.approx(alpha, rel=1e-8)
    assert math.exp(intercept) == pytest.approx(1.0, rel=1e-6)


def test_rankme_reads_uncentred_singular_values():
    x = planted([3.0, 1.0, 0.5, 0.1], mean=2.0)
    s = torch.linalg.svdvals(x)
    p = s / s.sum() + 1e-7
    assert float(spectrum(x).rankme) == pytest.approx(math.exp(-float((p * p.log()).sum())), rel=1e-9)
    centred = torch.linalg.svdvals(x - x.mean(0))
    assert float(spectrum(x).effective_rank) == pytest.approx(math.exp(entropy(centred)), rel=1e-9)


@pytest.mark.parametrize(("n", "d"), [(12, 5), (30, 30), (40, 90)])
def test_the_corrected_ratio_is_that_of_the_peer(n, d):
    """`dimensionality` of Chun et al., correction for samples only."""
    import dimensionality

    x = gaussian(torch.arange(1, d + 1).double() ** -1, n, seed=n) + 3
    peer = dimensionality.participation_ratio(x.numpy(), return_all=True)
    got = spectrum(x)
    assert float(got.participation_ratio) == pytest.approx(float(peer["naive"]), rel=1e-9)
    assert float(got.participation_ratio_unbiased) == pytest.approx(float(peer["row"]), rel=1e-8)


def test_parts_of_the_corrected_ratio_are_unbiased():
    """Over all 4-subsets of a finite population, the parts average to those of distinct samples: a U-statistic."""
    values, n, draws = torch.tensor([3.0, 1.0, 0.4], dtype=torch.float64), 6, 40_000
    x = torch.randn(draws, n, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * values.sqrt()
    e = x - x.mean(1, keepdim=True)
    s = e.mT @ e / (n - 1)
    t1, t2 = s.diagonal(dim1=1, dim2=2).sum(1), s.square().sum((1, 2))
    q = e.square().sum(2).square().sum(1) / (n - 1)
    k = (n - 1) / (n * (n - 2) * (n - 3))
    above = k * (2 * t2 + (n * n - 3 * n + 1) * t1**2 - n * q)
    below = k * ((n - 1) * (n - 2) * t2 + t1**2 - n * q)
    for found, want in ((above, values.sum() ** 2), (below, values.square().sum())):
        assert float(found.mean()) == pytest.approx(float(want), abs=4 * float(found.std()) / math.sqrt(draws))
    torch.testing.assert_close(_unbiased(t1, t2, q * (n - 1), n), above / below)


def test_the_jackknife_is_that_of_samples_left_out():
    x = gaussian(torch.tensor([3.0, 1.0, 0.5, 0.2], dtype=torch.float64), 40, seed=1)
    left = [spectrum(torch.cat([x[:i], x[i + 1 :]])) for i in range(40)]
    from repana.statistics.intervals import from_jackknife

    for name in ("participation_ratio", "participation_ratio_unbiased"):
        got = getattr(spectrum(x), name)
        want = from_jackknife(float(got), [float(getattr(s, name)) for s in left], n=40)
        assert (got.low, got.high) == pytest.approx((want.low, want.high), rel=1e-9)


@pytest.mark.slow
def test_intervals_cover_the_population():
    """Nominal 95 % over 100 draws of n = 2000, d = 60; 88 or more has a chance of .995 at true coverage .95."""
    values = torch.arange(1, 61).double() ** -1
    sigma = values.sqrt()
    truth = {
        "participation_ratio_unbiased": float(values.sum() ** 2 / values.square().sum()),
        "entropy_rank": math.exp(entropy(values)),
        "effective_rank": math.exp(entropy(sigma)),
        "rankme": math.exp(entropy(sigma)),
        "stable_rank": float(values.sum() / values[0]),
        "top_share": float(values[0] / values.sum()),
        "alpha": 1.0,
    }
    found = [spectrum(gaussian(values, 2000, seed)) for seed in range(100)]
    estimates = {name: [getattr(s, name) for s in found] for name in truth}
    held = {name: sum(e.low <= truth[name] <= e.high for e in some) for name, some in estimates.items()}
    assert min(held.values()) >= 88, held


def test_corrected_ratio_does_not_depend_on_the_number_of_samples():
    """Power law i^-1, d = 768: 31.7 in the population, 18 naive at n = 50 (table of the specification)."""
    values = torch.arange(1, 769).double() ** -1
    found = [spectrum(gaussian(values, 50, seed)) for seed in range(12)]
    naive, corrected = (
        np.mean([float(getattr(s, f"participation_ratio{k}")) for s in found]) for k in ("", "_unbiased")
    )
    assert naive < 21
    assert corrected == pytest.approx(float(values.sum() ** 2 / values.square().sum()), rel=0.15)


def test_moments_give_the_same_eigenvalues():
    x = planted([4.0, 2.0, 1.0, 0.5, 0.1], mean=5.0)
    y = torch.arange(len(x)) % 3
    got = spectrum(Covariance.from_moments(Moments.of(x, y, scatter=True)))
    want = spectrum(x)
    torch.testing.assert_close(got.eigenvalues, want.eigenvalues)
    assert float(got.rankme) == pytest.approx(float(want.rankme))
    assert math.isnan(got.rankme.low)
    assert got.rankme.note == "no interval: single samples are not known"
    assert got.participation_ratio_unbiased.note == "needs the features of all samples"


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_scale_and_offset_change_nothing(scale, offset):
    x = planted([4.0, 2.0, 1.0, 0.5, 0.1])
    got, want = spectrum((x + offset) * scale), spectrum(x)
    assert float(got.participation_ratio) == pytest.approx(float(want.participation_ratio), rel=1e-9)
    assert float(got.eigenvalues[0]) == pytest.approx(4.0 * scale**2, rel=1e-9)


def test_constant_columns_change_only_the_width():
    x = planted([4.0, 2.0, 1.0])
    wide = torch.cat([x, torch.full((len(x), 3), 1e6 + 0.1, dtype=torch.float64)], 1)
    got, want = spectrum(wide), spectrum(x)
    assert len(got.eigenvalues) == 6
    assert float(got.entropy_rank) == pytest.approx(float(want.entropy_rank), rel=1e-9)


def test_constant_features_say_so():
    got = spectrum(torch.full((10, 4), 0.3))
    assert math.isnan(float(got.participation_ratio))
    assert got.alpha.note == "every feature is constant"
    assert torch.equal(got.eigenvalues, torch.zeros(4))


def test_a_layer_too_wide_says_so(monkeypatch):
    monkeypatch.setattr(covariances, "WIDEST", 3)
    note = spectrum(torch.randn(10, 4)).effective_rank.note
    assert note == "the smaller of n = 10 and d = 4 is above 3; pool the layer, or keep fewer samples"


@pytest.mark.parametrize(
    ("x", "options", "text"),
    [
        (torch.randn(1, 3), {}, "RA227: spectrum needs at least 2 samples; 1 came."),
        (
            torch.randn(9, 3),
            {"window": (0, 5)},
            "RA232: `window` is (0, 5); expected (first, last) ranks from 1 on that hold at least three.",
        ),
        (
            torch.full((3, 2), torch.nan),
            {},
            "RA204: `features` has 6 NaN or infinite value(s) in 3 of 3 samples, the first in row 0. Drop those rows, "
            "or find the layer that overflows.",
        ),
    ],
)
def test_refusals(x, options, text):
    with pytest.raises(InputError) as error:
        spectrum(x, **options)
    assert str(error.value) == text


def test_data_without_labels_are_profiled():
    features = {"a": torch.randn(50, 6), "b": torch.randn(50, 4)}
    report = repana.profile(repana.Activations(features, sample=torch.arange(50), seen=50))
    assert {r.analyzer for r in report.rows} == {
        "dimension", "spectrum", "topology", "complexity", "layer_readings",
    }  # fmt: skip
    assert not report.failures
    assert "participation_ratio_unbiased" in report.table().columns
    assert "Participation ratio" in report.to_markdown()
    assert all("effective_rank" in report.quantities for _ in report.findings())
    with pytest.raises(InputError, match="RA213: the train data gave no labels"):
        repana.profile(repana.Activations(features, sample=torch.arange(50), seen=50), analyzers="fisher")


def test_labels_that_are_no_classes_do_not_stop_the_spectrum():
    made = repana.Activations({"a": torch.randn(50, 6)}, torch.rand(50, 3), sample=torch.arange(50), seen=50)
    report = repana.profile(made)
    assert {r.analyzer for r in report.rows} == {
        "dimension",
        "spectrum",
        "topology",
    }  # of one layer there is no complexity
    assert len(report.failures) == 4
