"""Separability from distances: published values, scikit-learn, closed forms, the definitions written out, bad input."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn import metrics
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.preprocessing import StandardScaler

import repana
from repana import InputError, class_divergences, data_complexity, separability
from repana.separation import _formulas as formulas
from repana.summaries.pairwise_distances import PairwiseDistances, drawn


def tensors(x, y):
    return torch.from_numpy(np.asarray(x, float)), torch.from_numpy(np.asarray(y))


def scaled(x):
    return (x - x.min(0)) / (x.max(0) - x.min(0))


def uci_iris():
    """The version of the UCI repository: two rows of scikit-learn's differ."""
    x, y = load_iris(return_X_y=True)
    x = x.copy()
    x[[34, 37]] = [4.9, 3.1, 1.5, 0.1]
    return x, y


DATA = {
    "iris": load_iris(return_X_y=True),
    "wine": (StandardScaler().fit_transform(load_wine().data), load_wine().target),
    "cancer": (StandardScaler().fit_transform(load_breast_cancer().data), load_breast_cancer().target),
    "digits": load_digits(return_X_y=True),
}


# --- published values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("load", "want"), [(load_digits, 0.4933647148073444), (load_wine, 0.6449753215024018)])
def test_dsi_of_the_authors_readme(load, want):
    x, y = tensors(StandardScaler().fit_transform(load().data), load().target)
    assert float(separability(x, y, jackknife=0).dsi) == pytest.approx(want, abs=1e-12)


def test_data_complexity_of_the_peers_tests():
    """The values of pymfe's tests on iris; N* on features scaled to [0, 1]."""
    x, y = tensors(*uci_iris())
    raw, unit = data_complexity(x, y), data_complexity(*tensors(scaled(uci_iris()[0]), y))
    assert float(raw.f1_mean) == pytest.approx(0.279814645, abs=5e-10)
    assert float(raw.per_feature.std()) == pytest.approx(0.264900694, abs=5e-10)
    assert float(raw.f1v) == pytest.approx(0.026773189, abs=5e-10)
    assert float(raw.per_pair[:, 0].std()) == pytest.approx(0.033791788, abs=5e-10)
    assert float(raw.f2) == pytest.approx(0.006381766, abs=5e-10)
    assert float(raw.f3) == pytest.approx(0.1233333, abs=5e-8)
    assert float(unit.n1) == pytest.approx(0.1, abs=1e-12)
    against = data_complexity(*tensors(scaled(uci_iris()[0]), y), ties="against")
    assert float(against.n3) == pytest.approx(0.0466667, abs=5e-8)
    assert float(unit.n3) == pytest.approx(0.04)  # one flower is as near to another class, which comes later
    assert float(unit.n2) == pytest.approx(0.21094362, abs=5e-8)
    parts = formulas.n2_of_points(PairwiseDistances.of(*tensors(scaled(uci_iris()[0]), y)).by_class)
    assert float(parts.std()) == pytest.approx(0.1366869, abs=5e-8)
    assert float(unit.lsc) == pytest.approx(0.81791, abs=5e-5)  # pymfe has 0.8164, by another convention
    own = data_complexity(*tensors(*DATA["iris"]))
    assert float(own.f1_mean) == pytest.approx(0.2775642, abs=5e-8)
    assert float(own.f1v) == pytest.approx(0.0267996, abs=5e-8)
    assert float(data_complexity(*tensors(scaled(DATA["iris"][0]), y)).n2) == pytest.approx(0.2120684, abs=5e-8)


@pytest.mark.parametrize(("spread", "want"), [(0.04, -0.7225264446), (1.0, -0.1383763565)])
def test_gdv_of_the_authors_routine(spread, want):
    parts = [np.random.RandomState(978820).multivariate_normal([m, m], spread * np.eye(2), 1000) for m in (0, 1)]
    x, y = tensors(np.concatenate(parts), np.repeat([0, 1], 1000))
    assert float(separability(x, y).gdv) == pytest.approx(want, abs=1e-9)


@pytest.mark.parametrize(("name", "want"), [("iris", -0.4439878466), ("digits", -0.1478990941)])
def test_gdv_of_known_data(name, want):
    assert float(separability(*tensors(*DATA[name])).gdv) == pytest.approx(want, abs=1e-9)


REFERENCE = {  # trace ratio, quotient, largest eigenvalue, silhouette, CH, DB, Thornton, D of He & Su
    "iris": (6.63035206, 32.47732024, 32.1919292, 0.5034774407, 487.3308764, 0.7513707095, 0.96, 5.124226878),
    "wine": (0.7800220214, 13.21020848, 9.081739435, 0.2797798206, 68.25192687, 1.406587076, 0.9550561798, 0.522013138),
    "cancer": (
        0.3975120947,
        3.431144171,
        3.431144171,
        0.294065273,
        225.3893577,
        1.418512498,
        0.9507908612,
        0.5147465408,
    ),
    "digits": (
        0.7261961434,
        26.23348043,
        7.584634609,
        0.1629432052,
        144.1902787,
        2.151709738,
        0.9883138564,
        9.272073095,
    ),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_regression_values_of_independent_code(name):
    x, y = tensors(*DATA[name])
    ratio, quotient, largest, silhouette, ch, db, thornton, fuzziness = REFERENCE[name]
    fisher, found = repana.fisher(x, y), separability(x, y)
    assert float(fisher.trace_ratio) == pytest.approx(ratio, rel=1e-8)
    assert float(fisher.quotient) == pytest.approx(quotient, rel=1e-7)
    assert float(fisher.max_eigenvalue) == pytest.approx(largest, rel=1e-7)
    assert float(found.silhouette) == pytest.approx(silhouette, rel=1e-8)
    assert float(found.calinski_harabasz) == pytest.approx(ch, rel=1e-8)
    assert float(found.davies_bouldin) == pytest.approx(db, rel=1e-8)
    assert float(found.thornton) == pytest.approx(thornton, rel=1e-8)
    assert float(repana.neural_collapse(x, y, bootstrap=0).fuzziness) == pytest.approx(fuzziness, rel=1e-6)


@pytest.mark.parametrize("name", DATA)
def test_cluster_indices_are_those_of_scikit_learn(name):
    (x, y), found = DATA[name], separability(*tensors(*DATA[name]))
    each = metrics.silhouette_samples(x, y)
    assert float(found.silhouette) == pytest.approx(each.mean(), rel=1e-10)
    np.testing.assert_allclose(found.class_silhouette, [each[y == k].mean() for k in np.unique(y)], rtol=1e-9)
    assert float(found.silhouette_balanced) == pytest.approx(np.mean([each[y == k].mean() for k in np.unique(y)]))
    assert float(found.calinski_harabasz) == pytest.approx(metrics.calinski_harabasz_score(x, y), rel=1e-10)
    assert float(found.davies_bouldin) == pytest.approx(metrics.davies_bouldin_score(x, y), rel=1e-10)


# --- the definitions written out --------------------------------------------------------------------------------------


def cloud(seed, n=60, d=4, c=3, gap=1.0):
    generator = np.random.default_rng(seed)
    y = generator.integers(0, c, n)
    y[:c] = range(c)
    return generator.normal(size=(n, d)) + gap * np.eye(c, d)[y], y


@pytest.mark.parametrize("seed", range(4))
def test_nearest_neighbours_written_out(seed):
    x, y = cloud(seed)
    n, d = len(x), cdist(x, x)
    np.fill_diagonal(d, np.inf)
    same = y[:, None] == y
    own, enemy = np.where(same, d, np.inf).min(1), np.where(same, np.inf, d).min(1)
    found, complexity = separability(*tensors(x, y), k=5), data_complexity(*tensors(x, y))
    assert float(found.thornton) == pytest.approx((y[d.argmin(1)] == y).mean())
    near = np.argsort(d, 1)[:, :5]
    counts = np.bincount(y)
    chance = (counts * (counts - 1)).sum() / n / (n - 1)
    assert float(found.knn_purity) == pytest.approx(((y[near] == y[:, None]).mean() - chance) / (1 - chance))
    known = np.isfinite(own)
    assert float(complexity.n2) == pytest.approx((own / (own + enemy))[known].mean())
    q = own[known].sum() / enemy[known].sum()
    assert float(data_complexity(*tensors(x, y), ratio="sums").n2) == pytest.approx(q / (1 + q))
    assert float(complexity.lsc) == pytest.approx(1 - ((d < enemy[:, None]).sum() + n) / n**2)
    edges = repana.minimum_spanning_tree(x).edges.numpy()
    across = y[edges[:, 0]] != y[edges[:, 1]]
    assert float(complexity.n1) == pytest.approx(len(np.unique(edges[across])) / n)
    assert float(data_complexity(*tensors(x, y), vertices=False).n1) == pytest.approx(across.sum() / n)


@pytest.mark.parametrize("seed", range(3))
def test_dsi_is_the_statistic_of_scipy(seed):
    x, y = cloud(seed)
    d, parts = cdist(x, x), []
    for k in range(3):
        inner = d[y == k][:, y == k][np.triu_indices((y == k).sum(), 1)]
        parts.append(stats.ks_2samp(inner, d[y == k][:, y != k].ravel()).statistic)
    found = separability(*tensors(x, y))
    np.testing.assert_allclose(found.class_dsi, parts, rtol=1e-12)
    assert float(found.dsi) == pytest.approx(np.mean(parts))


@pytest.mark.parametrize("normalize", ["l2", "center+l2"])
def test_directions_written_out(normalize):
    x, y = cloud(0)
    u = x - x.mean(0) if normalize == "center+l2" else x
    u = u / np.linalg.norm(u, axis=1, keepdims=True)
    found = separability(*tensors(x, y), normalize=normalize)
    upper = np.triu_indices(len(x), 1)
    squares, dots = cdist(u, u)[upper] ** 2, (u @ u.T)[upper]
    same = (y[:, None] == y)[upper]
    assert float(found.alignment) == pytest.approx(squares[same].mean())
    assert float(found.sample_uniformity) == pytest.approx(np.log(np.exp(-2 * squares).mean()))
    assert float(found.tolerance) == pytest.approx(dots[same].mean())
    over_all = separability(*tensors(x, y), normalize=normalize, tolerance_over="all")
    assert float(over_all.tolerance) == pytest.approx((dots * same).mean())


@pytest.mark.parametrize("d", [3, 90])
def test_cka_written_out(d):
    """Biased: the cosine of centred kernels. Unbiased: HSIC_1 of Song et al. 2012, eq. 5."""
    x, y = cloud(1, n=40, d=d)
    k, labels = x @ x.T, (y[:, None] == y).astype(float)
    n = len(x)
    h = np.eye(n) - 1 / n
    a, b = h @ k @ h, h @ labels @ h
    plain = separability(*tensors(x, y), unbiased=False)
    assert float(plain.label_cka) == pytest.approx((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))

    def hsic(p, q):
        p, q = p - np.diag(np.diag(p)), q - np.diag(np.diag(q))
        one = np.ones(n)
        both = one @ p @ one * (one @ q @ one) / (n - 1) / (n - 2)
        return (np.trace(p @ q) + both - 2 / (n - 2) * (one @ p @ q @ one)) / n / (n - 3)

    want = hsic(k, labels) / math.sqrt(hsic(k, k) * hsic(labels, labels))
    assert float(separability(*tensors(x, y)).label_cka) == pytest.approx(want)


# --- closed forms -----------------------------------------------------------------------------------------------------


def two(n=20_000, d=6, delta=3.0, seed=0):
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    y = torch.arange(n) % 2
    x[:, 0] += delta * (y - 0.5)
    return x, y


def test_two_gaussians():
    x, y = two()
    fisher = repana.fisher(x, y)
    assert float(fisher.trace_ratio) == pytest.approx(9 / 24, rel=0.05)
    assert float(fisher.quotient) == pytest.approx(9 / 4, rel=0.05)
    assert float(repana.neural_collapse(x, y, bootstrap=0).fuzziness) == pytest.approx(4 / 9, rel=0.05)
    found = class_divergences(x, y)
    assert found.closest_mahalanobis.low < 3.0 < found.closest_mahalanobis.high
    assert found.closest_bhattacharyya.low < 9 / 8 < found.closest_bhattacharyya.high
    assert float(found.kl[0, 1]) == pytest.approx(4.5, rel=0.05)
    assert float(found.hellinger[0, 1]) ** 2 == pytest.approx(1 - math.exp(-9 / 8), rel=0.03)
    assert float(data_complexity(x, y, max_samples=4000).f1v) == pytest.approx(1 / 10, rel=0.1)
    assert float(found.noise) < 0.01


def test_without_structure():
    x = torch.randn(1500, 5, generator=torch.Generator().manual_seed(1))
    y = torch.randint(0, 4, (1500,), generator=torch.Generator().manual_seed(2))
    found = separability(x, y, permutations=39)
    for name in ("silhouette", "gdv", "dsi", "knn_purity", "label_cka", "thornton"):
        e = getattr(found, name)
        assert e.low < e.null + 0.02, name
        assert e.high > e.null - 0.02, name
        assert e.p > 0.01, name
    assert abs(float(found.knn_purity)) < 0.05
    assert float(found.dsi) < 0.1


@pytest.mark.parametrize("c", [2, 3, 5, 10])
def test_gdv_of_a_simplex(c):
    y = torch.arange(40 * c) % c
    assert float(separability(torch.eye(c)[y], y).gdv) == pytest.approx(-math.sqrt(c / (2 * (c - 1))))


def test_dead_units_and_gdv():
    x, y = tensors(*cloud(0))
    padded = torch.nn.functional.pad(x, (0, 4), value=3.0)
    assert float(separability(padded, y).gdv) == pytest.approx(float(separability(x, y).gdv) / math.sqrt(2))
    assert float(separability(padded, y, drop_constant=True).gdv) == pytest.approx(float(separability(x, y).gdv))


def test_uniformity_of_pairs():
    """Half of the samples at +e, half at -e: a share p of the pairs is equal, the others at distance 2."""
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).repeat(20, 1)
    p = 19 / 39
    found = separability(x, torch.arange(40) // 20)
    assert float(found.sample_uniformity) == pytest.approx(math.log(p + (1 - p) * math.exp(-8)))
    assert float(separability(x[:1].repeat(6, 1), torch.arange(6) % 2).sample_uniformity) == pytest.approx(0, abs=1e-12)


# --- collapse and other degenerate cases ------------------------------------------------------------------------------


def test_collapse_is_the_best_and_not_the_worst():
    y = torch.arange(30) % 3
    found = separability(torch.eye(3)[y] * 5, y, k=5)
    assert float(found.calinski_harabasz) == math.inf
    assert float(found.davies_bouldin) == 0
    assert float(found.silhouette) == float(found.thornton) == float(found.knn_purity) == 1


def test_coincident_classes_are_the_worst():
    x = torch.tensor([[-1.0], [1.0], [-2.0], [2.0]])
    assert float(separability(x, [0, 0, 1, 1]).davies_bouldin) == math.inf
    assert metrics.davies_bouldin_score(x.numpy(), [0, 0, 1, 1]) == 0  # scikit-learn says the opposite


def test_equal_samples_of_all_classes():
    found = separability(torch.ones(12, 3), torch.arange(12) % 3)
    assert math.isnan(float(found.calinski_harabasz))
    assert float(found.silhouette) == 0
    assert math.isnan(float(found.gdv))


def test_a_class_of_one_sample():
    x, y = tensors(*cloud(2, n=30))
    y[:] = torch.arange(30) % 2
    y[7] = 9
    found, complexity = separability(x, y), data_complexity(x, y)
    np.testing.assert_allclose(float(found.silhouette), metrics.silhouette_score(x, y), rtol=1e-10)
    assert math.isfinite(float(found.gdv))
    assert math.isfinite(float(complexity.n2))
    assert found.gdv.note == "1 class(es) of one sample have no spread and no neighbour of their own"
    divergences = class_divergences(x, y)
    assert divergences.closest_mahalanobis.note == (
        "1 class(es) with one sample have no covariance: of their pairs only the Mahalanobis distance"
    )
    assert float(divergences.bhattacharyya[0, 1]) > 0
    assert math.isnan(float(divergences.bhattacharyya[0, 2]))


@settings(max_examples=8)
@given(seed=st.integers(0, 2**16))
def test_names_of_classes_change_nothing(seed):
    x, y = tensors(*cloud(seed, n=40))
    want = separability(x, y)
    for labels in (y + 1, -y, np.array(["b", "a", "c"])[y.numpy()], y * 7 - 100_000):
        got = separability(x, labels)
        for name in ("silhouette", "thornton", "dsi", "gdv", "knn_purity", "label_cka"):
            assert float(getattr(got, name)) == pytest.approx(float(getattr(want, name)), rel=1e-12), name


def test_ties_do_not_depend_on_the_order_of_samples():
    """A grid, whose neighbours are all tied."""
    x = torch.cartesian_prod(torch.arange(8.0), torch.arange(8.0))
    y = (x.sum(1) % 3).long()
    order = torch.randperm(64, generator=torch.Generator().manual_seed(3))
    a, b = separability(x, y), separability(x[order], y[order])
    assert float(a.knn_purity) == pytest.approx(float(b.knn_purity), abs=1e-12)
    assert float(data_complexity(x, y).lsc) == pytest.approx(float(data_complexity(x[order], y[order]).lsc), abs=1e-12)


@pytest.mark.parametrize("factor", [1.0, 0.1, 1 / 3])
def test_ties_do_not_depend_on_rounding(factor):
    """A grid: of neighbours as near the first counts. One-hot rows have two distances: DSI compares their shares."""
    x, y = factor * torch.cartesian_prod(torch.arange(20.0), torch.arange(20.0)).double(), torch.arange(400) % 4
    assert float(separability(x, y).thornton) == pytest.approx(float(separability(x / factor, y).thornton))
    generator = torch.Generator().manual_seed(0)
    codes, labels = (torch.randint(m, (300,), generator=generator) for m in (4, 3))
    rows = factor * torch.eye(4).double()[codes]
    d, parts = cdist(np.eye(4)[codes], np.eye(4)[codes]), []
    for k in range(3):
        mine = (labels == k).numpy()
        inner = d[mine][:, mine][np.triu_indices(mine.sum(), 1)]
        parts.append(stats.ks_2samp(inner, d[mine][:, ~mine].ravel()).statistic)
    assert float(separability(rows, labels).dsi) == pytest.approx(np.mean(parts), abs=1e-9)


@pytest.mark.parametrize("far", [1e4, 1e7])
def test_one_outlier_hides_no_neighbours(far):
    x, y = tensors(*cloud(0, n=200))
    spoilt = torch.cat([x, torch.full((1, 4), far, dtype=torch.float64)])
    d = cdist(spoilt, spoilt)
    np.fill_diagonal(d, np.inf)
    labels = torch.cat([y, y[:1]])
    want = (labels.numpy()[d.argmin(1)] == labels.numpy()).mean()
    assert float(separability(spoilt, labels).thornton) == pytest.approx(want)


def test_collapsed_blobs_keep_their_neighbours():
    """Blobs of deviation 1e-7 that hold two classes each, by exact differences."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(5, 6, generator=generator, dtype=torch.float64)
    x = centres[torch.arange(200) % 5] + 1e-7 * torch.randn(200, 6, generator=generator, dtype=torch.float64)
    y = torch.arange(200) % 2
    d = (x[:, None] - x).norm(dim=2).fill_diagonal_(math.inf)
    assert float(separability(x, y).thornton) == pytest.approx(float((y[d.argmin(1)] == y).double().mean()))
    own = d.masked_fill(y[:, None] != y, math.inf).amin(1)
    enemy = d.masked_fill(y[:, None] == y, math.inf).amin(1)
    assert float(data_complexity(x, y).n2) == pytest.approx(float((own / (own + enemy)).mean()))


def test_the_null_is_that_of_permuted_labels():
    """Of all samples, also above the number that intervals read: the median of labels in other orders."""
    x, y = tensors(*cloud(1, n=700, gap=2.0))
    generator = torch.Generator().manual_seed(0)
    orders = [torch.randperm(700, generator=generator) for _ in range(5)]
    found, complexity = (
        separability(x, y, jackknife=0, permutations=5),
        data_complexity(x, y, jackknife=0, permutations=5),
    )
    others = [separability(x, y[order], jackknife=0) for order in orders]
    harder = [data_complexity(x, y[order], jackknife=0) for order in orders]
    for name in ("silhouette", "davies_bouldin", "gdv", "thornton", "knn_purity", "alignment", "label_cka"):
        want = np.median([float(getattr(one, name)) for one in others])
        assert getattr(found, name).null == pytest.approx(want, rel=1e-5, abs=1e-7), name  # products in float32
    dsi = np.median([float(one.dsi) for one in others])
    assert found.dsi.null == pytest.approx(dsi, abs=1 / 1024)
    for name in ("f1", "n1", "n2", "n3", "lsc"):
        want = np.median([float(getattr(one, name)) for one in harder])
        assert getattr(complexity, name).null == pytest.approx(want, rel=1e-9), name


def test_shrinkage_does_not_hide_what_separates():
    """Three Gaussians in 20 dimensions, 2.83 apart: the intervals of both distances hold the truth at n = 600."""
    hits = []
    for seed in range(8):
        x = torch.randn(600, 20, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        y = torch.arange(600) % 3
        x[torch.arange(600), y] += 2
        found = class_divergences(x, y)
        hits += [found.mean_mahalanobis.low <= 8**0.5 <= found.mean_mahalanobis.high]
        assert 0.8 < float(found.mean_bhattacharyya) < 1.3
        got = repana.fisher(x, y, shrinkage="ledoit_wolf", jackknife=0)
        assert float(got.quotient) == pytest.approx(float(repana.fisher(x, y, jackknife=0).quotient), rel=0.1)
    assert sum(hits) >= 6


def test_a_draw_holds_every_class_in_its_share():
    codes = torch.cat([torch.zeros(900, dtype=torch.int64), torch.ones(98, dtype=torch.int64), torch.full((2,), 2)])
    rows = drawn(codes, 100, 0)
    assert torch.bincount(codes[rows]).tolist() == [90, 9, 2]
    assert set(drawn(codes, 50, 0).tolist()) < set(rows.tolist())
    x = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))
    found = separability(x, codes, max_samples=100)
    assert found.silhouette.note == "101 of 1000 samples"
    assert found.silhouette.n == 101


@pytest.mark.parametrize("block", [2**10, 2**26])
def test_blocks_change_nothing(monkeypatch, block):
    monkeypatch.setattr("repana.summaries.pairwise_distances.BLOCK", block)
    monkeypatch.setattr("repana.summaries.distances.BLOCK", block)
    x, y = tensors(*cloud(5, n=150))
    found = separability(x, y, permutations=3)
    assert float(found.silhouette) == pytest.approx(metrics.silhouette_score(x, y), rel=1e-10)
    z = ((x - x.mean(0)) / x.std(0, correction=0) / 2).numpy()
    apart = cdist(z, z)
    inner = [apart[y == k][:, y == k].sum() / ((n := int((y == k).sum())) * (n - 1)) for k in range(3)]
    outer = [apart[y == i][:, y == j].mean() for i in range(3) for j in range(i)]
    assert float(found.gdv) == pytest.approx((np.mean(inner) - np.mean(outer)) / 2)
    assert float(found.sample_uniformity) < 0


def test_intervals_hold_the_mean_over_samples():
    """Over fresh draws of one population."""
    found = [separability(*tensors(*cloud(seed, n=300, gap=1.5))) for seed in range(20)]
    for name in ("silhouette", "gdv", "dsi", "davies_bouldin", "label_cka", "alignment"):
        estimates = [getattr(one, name) for one in found]
        middle = np.mean([e.value for e in estimates])
        assert np.mean([e.low <= middle <= e.high for e in estimates]) >= 0.8, name


# --- divergences ------------------------------------------------------------------------------------------------------


def test_divergences_written_out():
    x, y = cloud(3, n=200, c=3)
    found = class_divergences(*tensors(x, y), shrinkage=0.0)
    covs = [np.cov(x[y == k].T) for k in range(3)]
    means = [x[y == k].mean(0) for k in range(3)]
    pooled = sum((x[y == k] - means[k]).T @ (x[y == k] - means[k]) for k in range(3)) / (len(x) - 3)
    for i in range(3):
        for j in range(3):
            gap, s = means[i] - means[j], (covs[i] + covs[j]) / 2
            b = gap @ np.linalg.solve(s, gap) / 8
            b += 0.5 * math.log(np.linalg.det(s) / math.sqrt(np.linalg.det(covs[i]) * np.linalg.det(covs[j])))
            kl = np.trace(np.linalg.solve(covs[j], covs[i])) + gap @ np.linalg.solve(covs[j], gap) - 4
            kl = (kl + math.log(np.linalg.det(covs[j]) / np.linalg.det(covs[i]))) / 2
            assert float(found.bhattacharyya[i, j]) == pytest.approx(b, abs=1e-10)
            assert float(found.kl[i, j]) == pytest.approx(kl, abs=1e-10)
            assert float(found.mahalanobis[i, j]) == pytest.approx(
                math.sqrt(gap @ np.linalg.solve(pooled, gap)), abs=1e-10
            )
    np.testing.assert_allclose(found.jeffreys, found.kl + found.kl.T)
    np.testing.assert_allclose(found.transformed, 2 * (1 - np.exp(-found.jeffreys.numpy() / 8)))
    np.testing.assert_allclose(found.jeffries_matusita, 2 * found.hellinger**2)


def test_divergences_are_affine_invariant_without_shrinkage():
    x, y = tensors(*cloud(4, n=150))
    mix = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a, b = class_divergences(x, y, shrinkage=0.0), class_divergences(x @ mix + 5, y, shrinkage=0.0)
    np.testing.assert_allclose(a.bhattacharyya, b.bhattacharyya, rtol=1e-7)
    np.testing.assert_allclose(a.kl, b.kl, rtol=1e-7)


def test_constant_features_have_no_divergence():
    for shrinkage in ("ledoit_wolf", 0.0):
        found = class_divergences(torch.ones(20, 3), torch.arange(20) % 2, shrinkage=shrinkage)
        assert math.isnan(float(found.closest_mahalanobis))
        assert found.noise.note == "every feature is constant"
    x, y = tensors(*cloud(0))
    x[3, 1] = math.nan
    assert class_divergences(x, y, nan_policy="omit").closest_mahalanobis.n == 59


def test_singular_covariances_give_a_reason():
    x, y = torch.randn(30, 40, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3
    found = class_divergences(x, y, shrinkage=0.0)
    assert math.isnan(float(found.closest_bhattacharyya))
    assert found.closest_bhattacharyya.note == ("covariances are singular: use more samples or 'ledoit_wolf'")
    assert float(class_divergences(x, y).closest_bhattacharyya) > 0


def test_noise_says_how_much_the_covariances_add():
    """In 60 dimensions with 40 samples a class two halves of one class lie as far apart as two classes."""
    x, y = torch.randn(400, 60, generator=torch.Generator().manual_seed(0)), torch.arange(400) % 10
    found = class_divergences(x, y, shrinkage=0.2)
    assert float(found.noise) > 0.5 * float(found.mean_bhattacharyya)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x, y: separability(x, y * 0), "RA202: `labels` has one class (0) in 60 samples; separability compares"),
        (lambda x, y: separability(x, y, k=0), "RA212: `k` is 0; expected a whole number of at least 1."),
        (
            lambda x, y: separability(x, y, permutations=-1),
            "RA212: `null` is -1; expected a whole number of at least 0.",
        ),
        (lambda x, y: separability(x, y, jackknife=1.5), "RA212: `jackknife` is 1.5; expected a whole number."),
        (
            lambda x, y: separability(x, y, max_samples=1),
            "RA212: `max_samples` is 1; expected a whole number of at least 2.",
        ),
        (lambda x, y: separability(x, y[:9]), "RA201: `labels` has shape (9,) and `features` has 60 rows"),
        (
            lambda x, y: separability(x, y, normalize="unit"),
            "RA212: `normalize` is 'unit'; expected one of 'l2', 'cent",
        ),
        (
            lambda x, y: data_complexity(x, y, ratio="mean"),
            "RA212: `ratio` is 'mean'; expected one of 'points', 'sums'.",
        ),
        (
            lambda x, y: class_divergences(x, y, shrinkage=1.5),
            "RA212: `shrinkage` is 1.5; expected 'ledoit_wolf' or a number from 0 to 1.",
        ),
        (
            lambda x, y: class_divergences(x, y * 0),
            "RA202: `labels` has one class (0) in 60 samples; class_divergences",
        ),
        (
            lambda x, y: class_divergences(torch.ones(400, 3000), torch.arange(400) // 2),
            "RA245: 200 covariances of 3000 features take 13.4 GB; pool the layer, project it to fewer features, or "
            "give fewer classes.",
        ),
    ],
)
def test_refusals(call, text):
    x, y = tensors(*cloud(0))
    with pytest.raises(InputError) as error:
        call(x, y)
    assert str(error.value).startswith(text)
