"""Every estimator of dimension: what must not change it, what it says of bad input, and its peers and closed forms."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import repana
from repana import Covariance, InputError, Moments, abid, danco, fisher_s, local_pca, mind_ml, spectral_rank, tle
from repana.dimension._angles import _divergence
from repana.dimension._eigenvalue_rules import marchenko_pastur_median


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def plane(n, d, width, seed, noise=0.0):
    """A Gaussian in d of `width` dimensions, with noise in all."""
    generator = seeded(seed)
    x = torch.randn(n, d, generator=generator) @ torch.randn(d, width, generator=generator)
    return (x + noise * torch.randn(n, width, generator=generator)).double()


FLAT = plane(400, 5, 30, 0)
NOISY = plane(600, 5, 30, 1, 0.3)
WIDE = plane(80, 5, 200, 2, 0.3)

ESTIMATORS = {
    "two_nn": repana.two_nn,
    "mle": repana.mle,
    "gride": repana.gride,
    "mom": repana.mom,
    "mada": repana.mada,
    "mind_ml": mind_ml,
    "tle": tle,
    "abid": lambda x, **o: abid(x, k=20, **o),
    "rabid": lambda x, **o: abid(x, k=20, diagonal=False, **o),
    "danco": danco,
    "ess": lambda x, **o: repana.ess(x, k=30, **o),
    "correlation": repana.correlation_dimension,
    "local_pca": lambda x, **o: local_pca(x, k=30, **o),
    "ph": repana.ph_dimension,
}
SPECTRAL = {
    "fisher_s": fisher_s,
    "marchenko_pastur": spectral_rank,
    "kaiser": lambda x, **o: spectral_rank(x, rule="kaiser", **o),
}
BLIND_TO_ORDER = [name for name in [*ESTIMATORS, *SPECTRAL] if name != "ph"]  # trees are of subsets drawn by place


def found(name, x, **options):
    return (ESTIMATORS | SPECTRAL)[name](x, **options)


@pytest.mark.parametrize("name", [*ESTIMATORS, *SPECTRAL])
def test_every_estimate_carries_an_interval(name):
    e, narrow = found(name, NOISY), found(name, NOISY, level=0.5)
    assert e.low <= float(e) <= e.high
    assert 2 < float(e) < 8
    assert narrow.high - narrow.low <= e.high - e.low


@pytest.mark.parametrize("name", [*ESTIMATORS, *SPECTRAL])
@pytest.mark.parametrize("factor", [2.0**40, 2.0**-40])
def test_a_power_of_two_changes_no_digit(name, factor):
    assert float(found(name, FLAT * factor)) == pytest.approx(float(found(name, FLAT)), rel=1e-12)


@pytest.mark.parametrize("name", [*ESTIMATORS, *SPECTRAL])
@pytest.mark.parametrize("factor", [1e20, 1e-20])
def test_scale_changes_nothing(name, factor):
    assert float(found(name, FLAT.float() * factor)) == pytest.approx(float(found(name, FLAT.float())), rel=1e-5)


@pytest.mark.parametrize("name", [*ESTIMATORS, *SPECTRAL])
@pytest.mark.parametrize("factor", [2.0**530, 2.0**-560, 2.0**-1030])
def test_features_whose_squares_overflow(name, factor):
    """2^-1030 is below the normal range: digits are lost there."""
    assert float(found(name, FLAT * factor)) == pytest.approx(float(found(name, FLAT)), rel=1e-6)


def test_subnormal_float32():
    assert float(repana.two_nn(NOISY.float() * 1e-40)) == pytest.approx(float(repana.two_nn(NOISY.float())), rel=0.02)


@pytest.mark.parametrize("name", [*ESTIMATORS, *SPECTRAL])
@given(seed=st.integers(0, 2**16))
def test_rotation_translation_and_constant_columns_change_nothing(name, seed):
    x = FLAT[:150]
    turn = torch.linalg.qr(torch.randn(30, 30, generator=seeded(seed), dtype=torch.float64))[0]
    moved = torch.nn.functional.pad(x @ turn + 1e3 * float(x.std()), (0, 3), value=7.0)
    assert float(found(name, moved)) == pytest.approx(float(found(name, x)), rel=1e-6)


@pytest.mark.parametrize("name", BLIND_TO_ORDER)
def test_the_order_of_samples_changes_nothing(name):
    shuffled = FLAT[torch.randperm(len(FLAT), generator=seeded(5))]
    assert float(found(name, shuffled)) == pytest.approx(float(found(name, FLAT)), rel=1e-9)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_duplicates_are_dropped_and_counted(name):
    again = torch.cat([FLAT, FLAT[:9]])
    got, want = found(name, again), found(name, FLAT)
    assert float(got) == pytest.approx(float(want), rel=1e-9)
    assert "9 duplicates dropped" in got.note


@pytest.mark.parametrize("name", [*ESTIMATORS, *SPECTRAL])
def test_what_is_not_finite_is_refused(name):
    x = FLAT.clone()
    x[3, 4] = math.nan
    with pytest.raises(InputError, match="RA204: `features` has 1 NaN or infinite"):
        found(name, x)


@pytest.mark.parametrize("name", [*ESTIMATORS, "fisher_s", "marchenko_pastur"])
def test_identical_samples_give_a_reason_and_no_number(name):
    if name in ("ph", "ess", "local_pca"):
        got = found(name, torch.ones(60, 4), duplicates="keep")
    else:
        got = found(name, torch.ones(80, 4))
    assert math.isnan(float(got))
    assert got.note


@pytest.mark.parametrize("name", ["mle", "mind_ml", "tle", "danco", "mom"])
def test_a_grid_gives_a_number_above_zero_or_a_reason(name):
    got = found(name, torch.cartesian_prod(torch.arange(20.0), torch.arange(25.0)))
    assert float(got) > 0 or (math.isnan(float(got)) and got.note)
    assert "ties of the two nearest" in got.note or name == "danco"


@pytest.mark.parametrize("name", ["two_nn", "mle", "tle", "abid", "danco", "ess", "ph"])
def test_half_precision_is_taken_up(name):
    x = FLAT.bfloat16()
    assert float(found(name, x)) == pytest.approx(float(found(name, x.double())), rel=1e-5)


@pytest.mark.parametrize("name", [*ESTIMATORS, *SPECTRAL])
def test_more_features_than_samples(name):
    """A plane of five dimensions in 400, of 90 samples."""
    e = found(name, plane(90, 5, 400, 7, 0.01))
    assert e.low <= float(e) <= e.high
    assert 2 < float(e) < 8


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("name", [*ESTIMATORS, *SPECTRAL])
def test_the_device_changes_nothing(name):
    here, there = found(name, NOISY), found(name, NOISY.cuda())
    assert (there.value, there.low, there.high) == pytest.approx((here.value, here.low, here.high), rel=1e-6)


# --- against peers ----------------------------------------------------------------------------------------------------


def peer(name, x, fit=None, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import skdim.id

        return float(np.squeeze(getattr(skdim.id, name)(**options).fit(x.numpy(), **(fit or {})).dimension_))


@pytest.mark.parametrize("k", [5, 10, 20])
def test_mind_is_that_of_scikit_dimension(k):
    """The peer's optimiser stops at 1e-6 or so of the root; ours is found to the last digit."""
    assert float(mind_ml(NOISY, k=k)) == pytest.approx(peer("MiND_ML", NOISY, k=k, D=100), rel=1e-5)
    assert float(mind_ml(NOISY, k=k, integer=True)) == peer("MiND_ML", NOISY, k=k, D=100, ver="MLi")


def test_mind_is_at_the_top_of_its_likelihood():
    r = repana.NeighbourGraph.of(NOISY).neighbours.distances
    rho = r[:, 0] / r[:, 20]

    def likelihood(d):
        return len(rho) * math.log(20 * d) + float(((d - 1) * rho.log() + 19 * (1 - rho**d).log()).sum())

    d = float(mind_ml(NOISY))
    assert likelihood(d) > max(likelihood(d * 1.001), likelihood(d / 1.001))


def test_mind_has_no_largest_dimension():
    assert float(mind_ml(torch.randn(500, 60, generator=seeded(0)))) > 25


def test_tle_is_that_of_scikit_dimension():
    x = NOISY / NOISY.std()
    for average in ("mean", "median"):
        assert float(tle(x, average=average)) == pytest.approx(
            peer("TLE", x, fit={"n_neighbors": 20, "comb": average}), rel=1e-9
        )


@pytest.mark.parametrize(
    "rule", ["fukunaga_olsen", "ratio", "kaiser", "broken_stick", "marchenko_pastur", "gavish_donoho"]
)
@pytest.mark.parametrize(
    "x", [NOISY, WIDE, torch.randn(300, 300, generator=seeded(3)).double()], ids=["n > d", "n < d", "noise"]
)
def test_rules_are_those_of_scikit_dimension(rule, x):
    theirs = {
        "fukunaga_olsen": {"ver": "FO"},
        "ratio": {"ver": "ratio", "alphaRatio": 0.95},
        "kaiser": {"ver": "Kaiser"},
        "broken_stick": {"ver": "broken_stick"},
        "marchenko_pastur": {"ver": "MP"},
        "gavish_donoho": {"ver": "GD"},
    }[rule]
    assert float(spectral_rank(x, rule=rule)) == peer("lPCA", x, **theirs)


def test_local_rules_are_those_of_scikit_dimension():
    import skdim.id

    for rule, ver in (("fukunaga_olsen", "FO"), ("kaiser", "Kaiser"), ("broken_stick", "broken_stick")):
        theirs = skdim.id.lPCA(ver=ver).fit_pw(NOISY.numpy(), n_neighbors=40).dimension_pw_.mean()
        assert float(local_pca(NOISY, k=40, rule=rule)) == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("x", [NOISY, torch.rand(900, 6, generator=seeded(4)).double()], ids=["plane", "cube"])
def test_fisher_s_is_that_of_scikit_dimension(x):
    assert float(fisher_s(x)) == pytest.approx(peer("FisherS", x), rel=1e-9)


def test_danco_sees_what_scikit_dimension_sees():
    """Both calibrate by simulated balls of their own, so that they agree to about the noise of those."""
    for d in (3, 8, 15):
        x = torch.nn.functional.pad(torch.randn(1000, d, generator=seeded(d)), (0, 5)).double()
        assert float(danco(x)) == pytest.approx(peer("DANCo", x, ver="DANCoFit", D=d + 5), rel=0.08)
        assert float(danco(x, integer=True)) == pytest.approx(d, abs=1)


# --- closed forms -----------------------------------------------------------------------------------------------------


def test_angles_of_even_directions():
    """In d dimensions the mean squared cosine of independent directions is 1/d."""
    x = torch.randn(3000, 4, generator=seeded(0))
    hub = torch.cat([torch.zeros(1, 4), x / torch.linalg.vector_norm(x, dim=1, keepdim=True)])  # one centre, one shell
    cloud = repana.NeighbourGraph.of(hub, k=2999)
    unit = hub[cloud.neighbours.indices[0]].double()
    squares = (unit @ unit.T).square()
    assert float(squares.mean()) == pytest.approx(1 / 4, rel=0.01)
    flat = torch.rand(5000, 4, generator=seeded(1))
    inner = flat[((flat > 0.3) & (flat < 0.7)).all(1)]
    assert len(inner) > 100
    assert float(abid(flat, k=64, diagonal=False)) == pytest.approx(4, rel=0.12)
    assert float(abid(flat, k=64)) < float(abid(flat, k=64, diagonal=False))


@pytest.mark.parametrize(("n", "want"), [(2, 0.63662), (3, 0.78540), (10, 0.946066), (50, 0.989849)])
def test_skewness_of_even_neighbourhoods(n, want):
    """Table of the specification: the curve that `ess` inverts."""
    from repana.dimension._local import _inverted

    assert float(_inverted(torch.tensor([want], dtype=torch.float64))[0]) == pytest.approx(n, rel=1e-3)


def test_rules_on_spectra_that_are_known():
    values = torch.tensor([10.0, 5.0, 4.0, 0.4, 0.3, 0.3])
    x = torch.randn(5000, 6, generator=seeded(0)).double()
    x = torch.linalg.qr(x - x.mean(0))[0] * math.sqrt(4999) * values.sqrt().double()
    assert {rule: float(spectral_rank(x, rule=rule)) for rule in ("max_gap", "kaiser", "fukunaga_olsen")} == {
        "max_gap": 3.0,
        "kaiser": 3.0,
        "fukunaga_olsen": 3.0,
    }
    assert float(spectral_rank(x, rule="broken_stick")) == 3.0  # 0.5 > 0.408, 0.25 > 0.242, 0.2 > 0.158, 0.02 < 0.103
    assert float(spectral_rank(x, rule="ratio", share=0.4)) == 1.0
    assert float(spectral_rank(x, rule="ratio", share=0.9)) == 3.0


@pytest.mark.parametrize("rule", ["marchenko_pastur", "gavish_donoho"])
def test_without_noise_the_rank_is_given(rule):
    got = spectral_rank(FLAT, rule=rule)
    assert float(got) == 5
    assert got.note == "no noise floor: the covariance has rank 5, which is given"


@pytest.mark.parametrize("rule", ["ratio", "kaiser", "broken_stick", "marchenko_pastur", "gavish_donoho"])
def test_dead_units_change_no_count(rule):
    """Noise of full rank, so that the rules do not fall back on the rank."""
    x = torch.randn(500, 60, generator=seeded(0))
    x[:, :5] *= torch.tensor([1.9, 1.7, 1.6, 1.5, 1.45])
    want = spectral_rank(x, rule=rule)
    for dead in (1, 60):
        got = spectral_rank(torch.nn.functional.pad(x, (0, dead)), rule=rule)
        assert (got.value, got.low, got.high, got.note) == (want.value, want.low, want.high, want.note)


@pytest.mark.parametrize("rule", ["marchenko_pastur", "gavish_donoho", "max_gap"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_clean_sheet_has_two_local_dimensions(rule, dtype):
    """Neighbourhoods without noise give their rank, whatever constant columns there are beside it."""
    sheet = (torch.randn(800, 2, generator=seeded(0)).double() @ torch.randn(2, 9, generator=seeded(1)).double()).to(
        dtype
    )
    for x in (sheet, torch.nn.functional.pad(sheet, (0, 7), value=3.0)):
        assert float(local_pca(x, k=40, rule=rule)) == 2
    assert local_pca(sheet, k=40, rule="marchenko_pastur").note.startswith("no noise floor in most neighbourhoods")


def test_local_noise_is_told_from_a_sheet():
    x = torch.nn.functional.pad(torch.rand(4000, 2, generator=seeded(0)), (0, 28))
    x = x + 2e-3 * torch.randn(4000, 30, generator=seeded(1))
    assert float(local_pca(x, k=64, rule="gavish_donoho")) == pytest.approx(2, abs=0.05)
    assert float(local_pca(torch.nn.functional.pad(x, (0, 5)), k=64, rule="gavish_donoho")) == pytest.approx(
        float(local_pca(x, k=64, rule="gavish_donoho")), rel=1e-9
    )


def test_gaps():
    assert float(spectral_rank(FLAT, rule="max_gap")) == 5
    assert spectral_rank(FLAT, rule="max_gap").note == "an infinite gap: the covariance has rank 5, which is given"
    assert float(spectral_rank(FLAT[:, :1], rule="max_gap")) == 1
    assert float(spectral_rank(WIDE, rule="max_gap")) == 5  # n - 1 components at most: no gap behind the last


def test_the_median_of_marchenko_and_pastur_is_that_of_its_density():
    from scipy import integrate

    def density(x, beta):
        root = ((1 + beta**0.5) ** 2 - x) * (x - (1 - beta**0.5) ** 2)
        return max(root, 0.0) ** 0.5 / (2 * math.pi * beta * x)

    for beta in (0.01, 0.3, 1.0):
        least, middle = (1 - beta**0.5) ** 2, marchenko_pastur_median(beta)
        assert integrate.quad(density, least, middle, args=(beta,))[0] == pytest.approx(0.5, abs=1e-7)


def test_components_that_are_mostly_signal_are_said():
    x = torch.randn(500, 10, generator=seeded(0)) * torch.tensor([9.0] * 7 + [1.0] * 3)
    assert "more than half" in spectral_rank(x, rule="marchenko_pastur").note or float(spectral_rank(x)) < 6


@pytest.mark.parametrize("k", [31, 64])
def test_danco_with_many_neighbours(k):
    """The divergence of eq. 8 by quadrature."""
    from scipy import integrate

    balls = np.array([[math.log(2.0), 1.0, 0.3], [math.log(7.0), 1.0, 0.3], [math.log(60.0), 1.0, 0.3]])
    got = _divergence([5.0, 1.0, math.exp(0.3)], balls, k)

    def density(r, d):
        return k * d * r ** (d - 1) * (1 - r**d) ** (k - 1)

    def integrand(r, d):
        return density(r, 5.0) * (math.log(density(r, 5.0)) - math.log(density(r, d)))

    want = [integrate.quad(integrand, 1e-9, 1 - 1e-9, args=(d,), limit=500)[0] for d in (2.0, 7.0, 60.0)]
    assert np.diff(got) == pytest.approx(np.diff(want), rel=1e-5)


@pytest.mark.parametrize("name", ["abid", "rabid", "ess", "local_pca"])
@pytest.mark.parametrize("d", [1, 2, 5])
def test_jackknife_intervals_hold_the_mean_over_clouds(name, d):
    def torus(seed):
        turn = torch.rand(300, d, generator=seeded(seed), dtype=torch.float64) * 2 * math.pi
        return torch.cat([turn.cos(), turn.sin()], 1)

    drawn = [found(name, torus(seed)) for seed in range(30)]
    middle = np.mean([e.value for e in drawn])
    assert np.mean([e.low - 1e-9 <= middle <= e.high + 1e-9 for e in drawn]) >= 0.85


def test_noise_has_no_components():
    """Of pure noise Marchenko and Pastur keep next to none, Gavish and Donoho none."""
    kept = [float(spectral_rank(torch.randn(400, 200, generator=seeded(s)))) for s in range(10)]
    assert np.mean(kept) < 1.5
    assert all(
        float(spectral_rank(torch.randn(400, 200, generator=seeded(s)), rule="gavish_donoho")) == 0 for s in range(10)
    )


def test_intervals_of_counts_hold_those_of_other_samples():
    """Over fresh samples of one population, the count lies within the interval of the first most of the time."""
    deep = torch.linspace(3, 0.2, 40).sqrt()
    counts, hits = [], 0
    for seed in range(20):
        e = spectral_rank(torch.randn(2000, 40, generator=seeded(seed)) * deep, rule="kaiser")
        counts.append(float(e))
        hits += e.low <= 20 <= e.high
    assert hits >= 18
    assert np.std(counts) > 0


def test_fisher_s_needs_samples():
    moments = Moments.of(FLAT, torch.zeros(400, dtype=torch.int64), scatter=True)
    with pytest.raises(InputError) as error:
        fisher_s(Covariance.from_moments(moments))
    assert str(error.value) == (
        "RA237: fisher_s reads single samples, which a summary of moments does not hold; call it on the features."
    )


def test_separable_data_have_no_dimension():
    got = fisher_s(torch.randn(500, 80, generator=seeded(0)))
    assert math.isnan(float(got))
    assert got.note == "no two samples have a cosine above 0.6: the dimension is too high for n"


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: mind_ml(FLAT[:12], k=20),
            "RA233: neighbours 20 to 21 were asked for; expected 2 to 11 with these samples.",
        ),
        (lambda: tle(FLAT, k=2), "RA233: neighbours 2 were asked for; expected 3 to 399 with these samples."),
        (lambda: abid(FLAT, average="sum"), "RA212: `average` is 'sum'; expected one of 'inverse', 'mean', 'median'."),
        (lambda: fisher_s(FLAT[:2]), "RA227: fisher_s needs at least 3 samples; 2 came."),
        (lambda: fisher_s(FLAT, alpha=1.0), "RA212: `alpha` is 1.0; expected a number from 1e-06 to 0.999999."),
        (
            lambda: local_pca(repana.NeighbourGraph.of(FLAT), k=70),
            "RA233: `k` is 70; there are 64 other samples, so expected 1 to 64.",
        ),
        (lambda: repana.two_nn(FLAT[:2]), "RA227: an estimate from 2 neighbours needs at least 3 samples; 2 came."),
        (
            lambda: tle(FLAT[:3], k=5),
            "RA233: neighbours 5 were asked for and there are 3 samples that differ; expected at least 4.",
        ),
        (
            lambda: repana.ess(FLAT, k=30, neighbourhoods=3),
            "RA212: `neighbourhoods` is 3; expected a whole number of at least 10.",
        ),
        (lambda: repana.mle(FLAT, k=10.0), "RA212: `k` is 10.0; expected a whole number."),
        (
            lambda: repana.mle(FLAT, level=1.0),
            "RA212: `level` is 1.0; expected a number between 0 and 1, such as 0.95.",
        ),
        (
            lambda: repana.mle(FLAT.to_sparse()),
            "RA206: `features` is a sparse tensor; expected a dense array of real numbers: call `.to_dense()`.",
        ),
        (
            lambda: repana.mle(FLAT.to(torch.complex64)),
            "RA206: `features` is complex numbers; expected a dense array of real numbers: take its real and imaginary "
            "part as features.",
        ),
    ],
)
def test_refusals(call, text):
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value) == text
