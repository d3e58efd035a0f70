"""Estimators from the neighbours of some samples, each among all: the scale of the whole, the error of fewer."""

import math

import pytest
import torch

import repana
from repana import InputError, NeighbourGraph, dimension
from repana.dimension._profile import dimension_profile

FUNCTIONS = {
    "two_nn": dimension.two_nn,
    "two_nn ml": lambda x, **o: dimension.two_nn(x, method="ml", **o),
    "two_nn bayes": lambda x, **o: dimension.two_nn(x, method="bayes", **o),
    "two_nn log_moment": lambda x, **o: dimension.two_nn(x, method="log_moment", **o),
    "mle": dimension.mle,
    "gride": lambda x, **o: dimension.gride(x, n1=4, **o),
    "mom": dimension.mom,
    "mada": dimension.mada,
    "correlation": dimension.correlation_dimension,
    "ess": dimension.ess,
    "mind_ml": dimension.mind_ml,
    "tle": dimension.tle,
    "abid": dimension.abid,
    "danco": dimension.danco,
    "local_pca": dimension.local_pca,
}


def noisy_surface(n, seed):
    """A surface of two dimensions with noise in eight more, small against the surface, large against its spacing."""
    g = torch.Generator().manual_seed(seed)
    flat = torch.rand(n, 2, generator=g)
    return torch.cat([flat, 0.02 * torch.randn(n, 8, generator=g)], 1)


X = noisy_surface(3000, 0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_some_samples_estimate_what_all_give(name):
    whole, some = FUNCTIONS[name](X), FUNCTIONS[name](X, queries=1000)
    assert math.isfinite(some.value)
    assert (0.4 if name in ("ess", "local_pca") else 0.8) < (some.high - some.low) / (whole.high - whole.low) < 3
    half = math.hypot(whole.high - whole.low, some.high - some.low) / 2
    assert abs(some.value - whole.value) < half
    if name not in ("ess", "local_pca"):  # which count neighbourhoods
        assert some.n == whole.n == 3000
        assert "averaged over 1000 of the samples, each among all 3000" in some.note
        assert "averaged" not in whole.note


def test_a_subset_sees_a_coarser_scale():
    whole, some, part = (dimension.two_nn(X, **o) for o in ({}, {"queries": 500}, {"max_samples": 500}))
    assert abs(some.value - whole.value) < 0.35
    assert whole.value - part.value > 0.8
    assert part.n == 500


def test_as_many_queries_as_samples_change_nothing():
    for name in ("two_nn", "mle", "correlation", "abid", "local_pca"):
        assert FUNCTIONS[name](X[:300], queries=300) == FUNCTIONS[name](X[:300]), name


def test_lists_are_those_of_the_whole_graph():
    whole, some = NeighbourGraph.of(X, k=20), NeighbourGraph.of(X, k=20, queries=300, seed=4)
    assert some.n == whole.n == 3000
    assert len(some.rows) == 300
    assert torch.equal(some.neighbours.indices, whole.neighbours.indices[some.rows])
    torch.testing.assert_close(some.neighbours.distances, whole.neighbours.distances[some.rows])
    assert torch.equal(some.features[some.own], X[some.rows])


def test_duplicates_are_dropped_from_all_samples():
    x = torch.cat([X, X[:400], X[:200]])[torch.randperm(3600, generator=torch.Generator().manual_seed(1))]
    some = NeighbourGraph.of(x, k=5, queries=200)
    assert (some.n, some.seen, some.duplicates) == (3000, 3600, 600)
    assert float(some.neighbours.distances.min()) > 0
    found = dimension.two_nn(x, queries=200)
    assert "600 duplicates dropped" in found.note
    assert found.n == 3000
    with pytest.raises(InputError, match="RA2"):
        dimension.two_nn(x, queries=200, duplicates="raise")
    assert NeighbourGraph.of(x, k=5, queries=200, duplicates="keep").n == 3600


def test_profile_of_scales():
    whole, some = dimension_profile(NeighbourGraph.of(X)), dimension_profile(NeighbourGraph.of(X, queries=1000))
    for name in ("two_nn", "two_nn_ml", "two_nn_calibrated", "mle", "gride_2", "gride_8", "gride_32"):
        a, b = getattr(whole, name), getattr(some, name)
        assert abs(a.value - b.value) < math.hypot(a.high - a.low, b.high - b.low) / 2, name
        assert b.n == 3000, name
    torch.testing.assert_close(some.scale[:, :2], whole.scale[:, :2], rtol=0.03, atol=0)
    common = min(len(whole.decimation), len(some.decimation))
    assert common >= 4
    assert torch.equal(some.decimation[:common, 0], whole.decimation[:common, 0])
    torch.testing.assert_close(some.decimation[:common, 1:3], whole.decimation[:common, 1:3], rtol=0.12, atol=0)
    assert set(some.jackknife) == set(whole.jackknife)


def test_local_dimension_of_the_samples_drawn():
    found = dimension.local_dimension(X, queries=100)
    assert int(found.isfinite().sum()) == 100
    torch.testing.assert_close(found[found.isfinite()], dimension.local_dimension(X)[found.isfinite()])
    smooth = dimension.local_dimension(X, queries=1500, smooth=True)
    assert int(smooth.isfinite().sum()) == 1500


@pytest.mark.slow
def test_intervals_of_some_samples_cover():
    """Over draws of the data: the interval of 400 of 4000 samples holds the mean of estimates from all."""
    wholes = [float(dimension.two_nn(noisy_surface(4000, 100 + s), method="ml")) for s in range(60)]
    middle = sum(wholes) / len(wholes)
    inside = [dimension.two_nn(noisy_surface(4000, 300 + s), method="ml", queries=400, seed=s) for s in range(100)]
    assert 88 <= sum(e.low <= middle <= e.high for e in inside) <= 100


def test_profile_measures_many_samples_by_some():
    x = torch.rand(21_000, 3, generator=torch.Generator().manual_seed(0))
    report = repana.profile({"layer": x}, analyzers="dimension")
    (row,) = [r for r in report.rows if (r.analyzer, r.quantity) == ("dimension", "two_nn")]
    assert row.n == 21_000
    assert "averaged over 20000 of the samples, each among all 21000" in row.note
    assert abs(row.value - 3) < 0.1


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_parts_have_their_share_of_the_queries(seed):
    some = dimension_profile(NeighbourGraph.of(X, queries=1500, seed=seed))
    assert bool(some.decimation.isfinite().all())
    assert bool((some.decimation[1:, 1] > some.decimation[:-1, 1]).all())  # the scale grows


def test_quantised_features_have_no_correlation_dimension():
    corners = torch.cartesian_prod(*[torch.arange(2.0)] * 10)
    found = dimension.correlation_dimension(corners)
    assert math.isnan(found.value)
    assert "no pair is nearer than the smaller radius" in found.note


def test_what_became_of_duplicates_is_said():
    x = torch.cat([X[:1000], X[:100]])
    kept = dimension.two_nn(x, duplicates="keep", queries=50, seed=3)
    assert "100 duplicates kept" in kept.note
    assert "1100" in kept.note
    fewer = dimension.two_nn(x, queries=1050)  # as many as are left
    assert "averaged" not in fewer.note
    assert "100 duplicates dropped" in fewer.note
    same = dimension.two_nn(torch.ones(300, 2), queries=100)
    assert math.isnan(same.value)
    assert "kept" in same.note
    with pytest.raises(InputError, match="RA212: `max_samples` is -1"):
        dimension.two_nn(X, max_samples=-1)
