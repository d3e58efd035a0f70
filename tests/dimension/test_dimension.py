"""Intrinsic dimension: scikit-dimension on the same data, flat tori, the exact model, degenerate data."""

import math
import re
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import repana
from repana import (
    InputError,
    NeighbourGraph,
    Neighbours,
    correlation_dimension,
    ess,
    gride,
    local_dimension,
    mada,
    mle,
    mom,
    plots,
    two_nn,
)
from repana.dimension._distance_ratios import _linear

SHEET = torch.randn(600, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) @ torch.randn(
    5, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64
)


CUBE = torch.rand(700, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def distances(x):
    return torch.stack([torch.linalg.vector_norm(x - row, dim=1) for row in x])


def peer(name, x, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import skdim.id

        made = getattr(skdim.id, name)(**{k: v for k, v in options.items() if k not in ("n_neighbors", "comb")})
        return made.fit(x.numpy(), **{k: v for k, v in options.items() if k in ("n_neighbors", "comb")}).dimension_


@pytest.mark.parametrize("x", [SHEET, CUBE], ids=["sheet", "cube"])
@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        (two_nn, "TwoNN", {}),
        (lambda x: two_nn(x, discard=0.25), "TwoNN", {"discard_fraction": 0.25}),
        (lambda x: mle(x, k=5), "MLE", {"n_neighbors": 5}),
        (mle, "MLE", {"n_neighbors": 20}),
        (lambda x: mle(x, average="median"), "MLE", {"n_neighbors": 20, "comb": "median"}),
        (
            lambda x: mle(x, average="mean", normalizer="k-2"),
            "MLE",
            {"n_neighbors": 20, "comb": "mean", "unbiased": True},
        ),
        (lambda x: mom(x, k=100, average="mean"), "MOM", {"n_neighbors": 100}),
        (lambda x: mada(x, average="mean"), "MADA", {}),
        (correlation_dimension, "CorrInt", {"DM": True}),
        (lambda x: correlation_dimension(x, k1=4, k2=60), "CorrInt", {"k1": 4, "k2": 60, "DM": True}),
        (lambda x: gride(x, n1=1), "GRIDE", {}),
        (lambda x: gride(x, n1=4), "GRIDE", {"n1": 4, "n2": 8}),
    ],
)
def test_values_are_those_of_scikit_dimension(x, ours, theirs, options):
    """The peer counts pairs for its correlation dimension by rounded distances, so that it gets exact ones."""
    given = distances(x) if options.get("DM") else x
    assert float(ours(x)) == pytest.approx(peer(theirs, given, **options), rel=1e-6)


@pytest.mark.parametrize(
    "x", [SHEET[:40], torch.randn(60, 9, generator=torch.Generator().manual_seed(3)).double(), CUBE[:50, :2]]
)
def test_ess_of_one_neighbourhood_is_that_of_scikit_dimension(x):
    import skdim.id

    assert float(ess(x, k=None)) == pytest.approx(skdim.id.ESS().fit_once(x.numpy()).dimension_, rel=1e-9)


@pytest.mark.parametrize("d", [2, 5, 20])
def test_ess_fills_gaussian_dimensions(d):
    got = ess(torch.randn(900, d, generator=torch.Generator().manual_seed(d)))
    assert float(got) == pytest.approx(d, rel=0.05)
    assert got.low < float(got) < got.high


def test_correlation_dimension_counts_beyond_the_graph():
    """Half of the samples in a clump that holds more within the outer radius than the graph has neighbours."""
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(300, 3, generator=generator), 0.02 * torch.randn(300, 3, generator=generator)]).double()
    assert float(correlation_dimension(x)) == pytest.approx(peer("CorrInt", distances(x), DM=True), rel=1e-9)


def test_correlation_intervals_cover():
    """The cube has edges; a torus of points in the plane by two circles has none, and dimension 2 on small scales."""
    hits = 0
    for seed in range(60):
        angle = 2 * math.pi * torch.rand(1500, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        e = correlation_dimension(torch.cat([angle.cos(), angle.sin()], 1))
        hits += e.low <= 2 <= e.high
    assert hits >= 52


def model(d, n, k, seed):
    """Distances of independent samples of the exact model: r_j^d is a sum of j exponentials."""
    steps = -torch.rand(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).log()
    return _cloud(steps.cumsum(1) ** (1 / d), torch.arange(n)[:, None].expand(n, k).clone())


def torus(d, n, k, seed):
    x = torch.rand(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    gap = (x[:, None] - x).abs()
    r = torch.minimum(gap, 1 - gap).square().sum(2).sqrt().fill_diagonal_(math.inf)
    return _cloud(*r.topk(k, largest=False))


def _cloud(distances, indices):
    n = len(distances)
    return NeighbourGraph(Neighbours(distances, indices, n, 1), torch.arange(n), n, 0)


ESTIMATORS = {
    "linear": two_nn,
    "ml": lambda c, **o: two_nn(c, method="ml", **o),
    "censored": lambda c, **o: two_nn(c, method="ml", discard=0.1, **o),
    "log_moment": lambda c, **o: two_nn(c, method="log_moment", **o),
    "mle": mle,
    "mle mean": lambda c, **o: mle(c, average="mean", normalizer="k-2", **o),
    "gride 2": gride,
    "gride 8": lambda c, **o: gride(c, n1=8, **o),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_unbiased_on_the_exact_model_with_the_fisher_error(name):
    """Samples are independent here, so that the naive error is right, and the sandwich has no edges."""
    found = [ESTIMATORS[name](model(6.0, 400, 24, seed)) for seed in range(200)]
    values = np.array([float(e) for e in found])
    assert values.mean() == pytest.approx(6.0, rel=0.02)
    half = np.mean([math.log(e.high / e.value) / 1.959964 * e.value for e in found])
    assert half == pytest.approx(values.std(), rel=0.2)
    if name in ("ml", "mle", "gride 2", "gride 8"):
        naive = ESTIMATORS[name](model(6.0, 400, 24, 0), error="fisher")
        assert math.log(naive.high / naive.value) / 1.959964 * naive.value == pytest.approx(values.std(), rel=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("d", [2, 5, 10])
def test_intervals_cover_on_flat_tori(d):
    """95 % intervals over 40 draws of 800 samples; the naive ones cover less often than the sandwich."""
    clouds = [torus(d, 800, 20, seed) for seed in range(40)]
    covered = {}
    for error in ("sandwich", "fisher"):
        for name in ("linear", "ml", "mle", "gride 8"):
            found = [ESTIMATORS[name](c, error=error) for c in clouds]
            covered[error, name] = sum(e.low <= d <= e.high for e in found)
            assert np.mean([float(e) for e in found]) == pytest.approx(d, rel=0.02), name  # its own error is 0.006
    for name in ("linear", "ml", "mle", "gride 8"):
        assert covered["sandwich", name] >= 34, name
    assert sum(v for (e, _), v in covered.items() if e == "fisher") < sum(
        v for (e, _), v in covered.items() if e == "sandwich"
    )


def test_normalizers_are_what_they_say():
    """Table of the specification: flat torus of dimension 5, k = 3."""
    found = [torus(5, 1000, 3, seed) for seed in range(12)]

    def mean(**options):
        return np.mean([float(mle(c, k=3, **options)) for c in found])

    assert mean() == pytest.approx(5.07, rel=0.03)
    assert mean(normalizer="k-2") == pytest.approx(2.54, rel=0.03)
    assert mean(average="mean", normalizer="k-2") == pytest.approx(5.07, rel=0.05)
    assert mean(average="mean") == pytest.approx(10.14, rel=0.05)


def test_the_influence_of_the_slope_is_its_derivative():
    """A sample's weight raised by a little: a fifth of a percent more samples at its place."""
    n, more = 20_000, 40
    log = -torch.rand(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64).log()
    base, psi = _linear(log, 0.1)
    for q in (0.05, 0.4, 0.8, 0.97):
        i = int((log - log.quantile(q)).abs().argmin())
        heavier, _ = _linear(torch.cat([log, log[i].repeat(more)]), 0.1)
        assert (heavier - base) * n / more == pytest.approx(float(psi[i]) * n, rel=0.03, abs=0.01)


def test_k_max_averages():
    values = [float(mle(SHEET, k=k)) for k in (10, 11, 12)]
    assert float(mle(SHEET, k=10, k_max=12)) == pytest.approx(np.mean(values), rel=1e-12)


def test_bayes_is_the_posterior_mean():
    r = NeighbourGraph.of(SHEET).neighbours.distances
    total = float((r[:, 1] / r[:, 0]).log().sum())
    got = two_nn(SHEET, method="bayes")
    assert float(got) == pytest.approx((2 + 600) / (5 + total), rel=1e-12)
    ends = stats.gamma(602, scale=1 / (5 + total)).interval(0.95)
    assert (got.low, got.high) == pytest.approx(ends, rel=1e-9)


def test_local_dimension_joins_to_the_global():
    local = local_dimension(SHEET)
    assert local.shape == (600,)
    assert float(local.mean()) == pytest.approx(float(mle(SHEET, average="mean", normalizer="k-2")), rel=1e-12)
    smooth = local_dimension(SHEET, smooth=True)
    assert float(smooth.std()) < 0.6 * float(local.std())


@given(seed=st.integers(0, 2**16))
def test_duplicates_dropped_are_as_if_never_there(seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(80, 3, generator=generator, dtype=torch.float64)
    again = torch.cat([x, x[torch.randint(80, (15,), generator=generator)]])
    for function in (two_nn, mle, gride):
        got, want = function(again), function(x)
        assert float(got) == pytest.approx(float(want), rel=1e-9)
        assert got.note.startswith("15 duplicates dropped")
    with pytest.raises(InputError, match="RA236: 15 of 95 samples repeat another exactly; take `duplicates='drop'`"):
        two_nn(again, duplicates="raise")
    assert two_nn(again, duplicates="keep").note.startswith("15 duplicates kept")


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_scale_changes_nothing(scale):
    x = SHEET.float()
    for function in (two_nn, mle, gride, mom, mada):
        assert float(function(x * scale)) == pytest.approx(float(function(x)), rel=1e-5)


@pytest.mark.parametrize(
    ("x", "note"),
    [
        (torch.zeros(40, 3), "39 duplicates kept; 0 usable samples; 10 are needed"),
        (torch.randn(3, 2), "3 usable samples; 10 are needed"),
        (torch.randn(30, 2).repeat(30, 1)[:35], "5 duplicates dropped"),
        (
            torch.cartesian_prod(torch.arange(20.0), torch.arange(25.0)),
            "500 ties of the two nearest: quantised features?; every ratio of distances is 1",
        ),
    ],
    ids=["identical", "three", "some", "grid"],
)
def test_degenerate_data_say_why(x, note):
    got = two_nn(x)
    assert got.note == note
    assert math.isnan(got.value) is not note.endswith("dropped")
    assert not got.value <= 0


def test_a_grid_has_no_ratio_of_one_passed_off_as_a_dimension():
    got = two_nn(torch.cartesian_prod(torch.arange(20.0), torch.arange(25.0)), method="ml")
    assert math.isnan(got.value)
    assert got.note.endswith("; every ratio of distances is 1")


def test_high_dimensions_are_lower_bounds():
    note = two_nn(torch.randn(800, 60, generator=torch.Generator().manual_seed(0))).note
    assert re.fullmatch(r"a lower bound: a ball of \d\d.* dimensions gives this from 800 samples", note)


def test_noise_falls_away_with_scale():
    """A 2-d sheet in 50 dimensions with noise: the curve comes down to 2."""
    generator = torch.Generator().manual_seed(0)
    sheet = torch.nn.functional.pad(torch.rand(3000, 2, generator=generator), (0, 48))
    noisy = sheet + 2e-3 * torch.randn(3000, 50, generator=generator)
    profile = repana.dimension_profile(noisy)
    curve = profile.scale[:, 2]
    assert curve[0] > 4
    assert curve[-1] == pytest.approx(2.0, abs=0.35)
    assert (curve.diff() < 0).all()


def test_a_large_layer_is_sampled_and_says_so():
    got = NeighbourGraph.of(torch.randn(300, 3), max_samples=100)
    assert (got.n, got.seen) == (100, 300)
    assert two_nn(torch.randn(300, 3), max_samples=100).note == "100 of 300 samples"


def test_the_scale_figure_draws_the_curve():
    made = repana.Activations({"a": SHEET, "b": SHEET[:, :2]}, sample=torch.arange(600), seen=600)
    report = repana.profile(made)
    ax = plots.dimension_scale(report)
    want = repana.dimension_profile(SHEET).scale
    np.testing.assert_allclose(ax.lines[0].get_xdata(), 2 * want[:, 0])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), want[:, 2])
    assert report.select("dimension.two_nn")[1].value == pytest.approx(float(two_nn(SHEET[:, :2])))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: mle(SHEET[:10], k=12), "RA233: neighbours 12 were asked for; expected 2 to 9 with these samples."),
        (
            lambda: mle(SHEET, k=2, normalizer="k-2"),
            "RA233: neighbours 2 were asked for; expected 3 to 599 with these samples.",
        ),
        (
            lambda: gride(SHEET, n1=5, n2=4),
            "RA233: neighbours 5 to 3 were asked for; expected 1 to 598 with these samples.",
        ),
        (
            lambda: two_nn(SHEET, method="ols"),
            "RA212: `method` is 'ols'; expected one of 'linear', 'ml', 'bayes', 'log_moment'.",
        ),
        (lambda: two_nn(SHEET, discard=1.0), "RA212: `discard` is 1.0; expected a number from 0 to 0.999."),
        (lambda: ess(SHEET[:50]), "RA233: neighbours 100 were asked for; expected 3 to 49 with these samples."),
        (lambda: ess(NeighbourGraph.of(SHEET)), "RA233: `k` is 100; there are 64 other samples, so expected 1 to 64."),
        (lambda: two_nn(SHEET[:1]), "RA227: an estimate from neighbours needs at least 2 samples; 1 came."),
    ],
)
def test_refusals(call, text):
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value) == text
