"""Many samples of float32 features, whose distances come from products in float32, against float64 throughout."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import ks_2samp

from repana import data_complexity, separability
from repana.separation._dsi import BinnedDistances, OrderedPairs
from repana.summaries.distances import EXACT, Distances
from repana.summaries.neighbour_graph import NeighbourGraph
from repana.summaries.pairwise_distances import PairwiseDistances

N = EXACT + 276


def blobs(c: int, d: int = 12, gap: float = 1.0, noise: float = 1.0, seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(0, c, (N,), generator=g)
    y[:c] = torch.arange(c)
    return gap * torch.randn(c, d, generator=g)[y] + noise * torch.randn(N, d, generator=g), y


CASES = {
    "ten classes": lambda: blobs(10),
    "two classes": lambda: blobs(2, d=3),
    "a hundred classes": lambda: blobs(100, d=40),
    "collapsed": lambda: blobs(5, gap=5.0, noise=1e-3),
    "collapsed under other labels": lambda: (blobs(5, gap=5.0, noise=1e-3)[0], torch.arange(N) % 3),
    "far from the origin": lambda: (blobs(4)[0] + 1e3, blobs(4)[1]),
    "copies": lambda: (blobs(6)[0][torch.arange(N) // 2], torch.arange(N) % 6),
    "a grid": lambda: (torch.randint(0, 3, (N, 4), generator=torch.Generator().manual_seed(0)).float(), blobs(3)[1]),
    "most are copies": lambda: (blobs(3)[0][(torch.arange(N) - 1200).clamp_min(0)], torch.arange(N) % 3),
    "an uneven one": lambda: (blobs(3)[0], (torch.arange(N) < 9).long() + (torch.arange(N) < 4).long()),
}


@pytest.fixture(params=CASES, scope="module")
def both(request):
    x, y = CASES[request.param]()
    return (x, y), (x.double(), y)


def test_values_are_those_of_float64(both):
    (x, y), (wide, _) = both
    got, want = (separability(z, y, jackknife=3, permutations=19) for z in (x, wide))
    loose = {"dsi": 2e-5, "sample_uniformity": 2e-6}  # 1.2e-5 where products are of AMX
    copies = len(x.unique(dim=0)) < N  # which of samples as near is taken under shuffled labels is open
    for name in ("silhouette", "silhouette_balanced", "gdv", "dsi", "sample_uniformity", "thornton", "knn_purity",
                 "alignment", "tolerance", "label_cka", "calinski_harabasz", "davies_bouldin"):  # fmt: skip
        a, b = getattr(got, name), getattr(want, name)
        assert a.value == pytest.approx(b.value, rel=2e-6, abs=loose.get(name, 5e-7)), name
        assert a.low == pytest.approx(b.low, rel=1e-4, abs=max(loose.get(name, 0.0), 1e-5), nan_ok=True), name
        if not (copies and name == "knn_purity"):
            assert a.p == pytest.approx(b.p, abs=1e-12, nan_ok=True), name
            assert a.null == pytest.approx(b.null, rel=1e-3, abs=1e-4, nan_ok=True), name


def test_neighbours_are_those_of_float64(both):
    (x, y), (wide, _) = both
    got, want = PairwiseDistances.of(x, y), PairwiseDistances.of(wide, y)
    assert torch.equal(got.nearest, want.nearest)
    np.testing.assert_allclose(got.same, want.same, atol=1e-9)
    np.testing.assert_allclose(got.sums, want.sums, rtol=2e-6)
    np.testing.assert_allclose(got.reach, want.reach, rtol=1e-6)
    for name in ("own_at", "enemy_at", "inside"):
        assert torch.equal(getattr(got.by_class, name), getattr(want.by_class, name)), name
    for name in ("own", "enemy"):
        np.testing.assert_allclose(getattr(got.by_class, name), getattr(want.by_class, name), rtol=1e-6)


def test_complexity_is_that_of_float64(both):
    (x, y), (wide, _) = both
    got, want = (data_complexity(z, y, jackknife=0, permutations=3) for z in (x, wide))
    for name in ("n2", "n3", "lsc"):
        assert getattr(got, name).value == pytest.approx(getattr(want, name).value, rel=1e-6, abs=1e-9), name
        assert getattr(got, name).null == pytest.approx(getattr(want, name).null, rel=1e-6, abs=1e-9), name


@pytest.mark.parametrize("kept", [True, False])
def test_distances_are_those_of_scipy(monkeypatch, kept):
    """Kept, or formed again for every block."""
    monkeypatch.setattr("repana.summaries.distances.KEPT", 2**40 if kept else 0)
    for x, _ in (blobs(4, d=20), blobs(5, gap=5.0, noise=1e-3)):
        want = cdist(x.double(), x.double())
        for single in (True, False):
            distances = Distances(x.double(), single)
            assert distances.exact is not single
            found = torch.cat([block for _, block in distances.columns()], 1)
            np.testing.assert_allclose(found, want, rtol=2e-4 if single else 1e-7, atol=0)
            np.testing.assert_allclose(torch.cat([block for _, block in distances.rows()]), want, rtol=2e-4)
            np.testing.assert_allclose(distances.of_rows(torch.tensor([700, 3])), want[[700, 3]], rtol=2e-4)
            lower = np.full_like(want, np.nan)
            for part, block in distances.lower_columns():
                lower[part.start :, part] = block
            low = np.tril_indices(N)
            np.testing.assert_allclose(lower[low], want[low], rtol=2e-4)


def test_lists_of_a_graph_serve():
    """Those of the layer's graph give what an own search gives, also where it holds other samples."""
    for x, y in (blobs(5), (blobs(5)[0][torch.arange(N) // 2], blobs(5)[1])):
        graph = NeighbourGraph.of(x, y)
        got, want = PairwiseDistances._of(x, y, 10, 5000, 0, graph), PairwiseDistances.of(x, y)
        assert torch.equal(got.near, want.near)
        assert torch.equal(got.same, want.same)


@pytest.mark.parametrize("c", [2, 7])
def test_dsi_by_bins_is_the_statistic_of_scipy(c):
    x, y = blobs(c, d=5)
    apart = cdist(x.double(), x.double())
    want = []
    for k in range(c):
        mine = (y == k).numpy()
        inner = apart[mine][:, mine][np.triu_indices(mine.sum(), 1)]
        want.append(ks_2samp(inner, apart[mine][:, ~mine].ravel(), method="asymp").statistic)
    exact = BinnedDistances.of(Distances(x.double()), 0).exact(y, c)
    np.testing.assert_allclose(exact, want, atol=1e-12)
    np.testing.assert_allclose(BinnedDistances.of(Distances(x.double(), True), 0).exact(y, c), want, atol=2e-6)
    square = torch.from_numpy(apart).square()
    np.testing.assert_allclose(OrderedPairs.of(square).dsi(y, c), want, atol=1e-12)
    left = torch.arange(N) % 5 != 2
    some = OrderedPairs.of(square).among(left.numpy()).dsi(y[left], c)
    np.testing.assert_allclose(some, OrderedPairs.of(square[left][:, left]).dsi(y[left], c), atol=1e-12)


def test_dsi_of_a_class_of_one_sample_is_undefined():
    x, _ = blobs(2)
    y = torch.zeros(N, dtype=torch.int64)
    y[0] = 1
    for found in (separability(x, y, jackknife=0).class_dsi, separability(x[:50], y[:50], jackknife=0).class_dsi):
        assert not math.isnan(float(found[0]))
        assert math.isnan(float(found[1]))
