"""Nulls in closed form against all pairings, and the p-values and intervals that are read off them."""

import itertools
import math

import numpy as np
import pytest
import torch
from comparison.recipes import gaussians, pairs, slow_cka
from scipy import stats
from sklearn.linear_model import Ridge

from repana.comparison import cka, distance_correlation, neighbourhoods, predictivity, rsa
from repana.comparison._layer_matrix import Options
from repana.comparison._layer_measures import MEASURES
from repana.comparison._matrices import (
    Centred,
    LinearMatrix,
    StoredMatrix,
    feature_products,
    matrix_of,
    products,
    u_centred,
    without_groups,
)
from repana.comparison._predictivity import without_parts
from repana.statistics.pairing import Pairing, PairSums, estimated_trace, pairing, trace_cubed
from repana.summaries.cross_moments import CrossMoments


def all_pairings(a, b):
    found = [float((a * b[list(p)][:, list(p)]).sum()) for p in itertools.permutations(range(len(a)))]
    x = np.array(found)
    return x.mean(), x.std(), float(stats.skew(x))


def random_matrix(n, seed, *, symmetric=True, skewed=False):
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(n, n, generator=g, dtype=torch.float64)
    a = a.exp() if skewed else a
    return (a + a.T if symmetric else a).fill_diagonal_(0)


@pytest.mark.parametrize(("n", "skewed"), [(6, False), (7, True)])
def test_three_moments_over_all_pairings(n, skewed):
    a, b = random_matrix(n, 0, skewed=skewed), random_matrix(n, 1)
    got = pairing(PairSums.of(a, third=True), PairSums.of(b, third=True))
    assert (got.mean, got.sd, got.skewness) == pytest.approx(all_pairings(a, b), rel=1e-9, abs=1e-9)


def test_u_centred_matrices_need_three_sums():
    a, b = (u_centred(random_matrix(7, seed, skewed=True)) for seed in (0, 1))
    sums = [PairSums.centred(7, float(m.square().sum()), float((m**3).sum()), trace_cubed(m)) for m in (a, b)]
    got = pairing(*sums)
    assert (got.mean, got.sd, got.skewness) == pytest.approx(all_pairings(a, b), rel=1e-9, abs=1e-9)
    assert got.sd == pytest.approx(math.sqrt(2 / (7 * 4)) * float(a.norm() * b.norm()), rel=1e-12)


def test_directed_matrices_and_lists():
    a, b = (random_matrix(7, seed, symmetric=False) for seed in (0, 1))
    got = pairing(PairSums.of(a, symmetric=False), PairSums.of(b, symmetric=False))
    assert (got.mean, got.sd) == pytest.approx(all_pairings(a, b)[:2], rel=1e-9)
    g = torch.Generator().manual_seed(3)
    lists = [torch.stack([torch.randperm(6, generator=g)[:2] + 0 for _ in range(7)]) for _ in range(2)]
    lists = [torch.where(t >= torch.arange(7)[:, None], t + 1, t) for t in lists]
    dense = [torch.zeros(7, 7, dtype=torch.float64).scatter_(1, t, 1.0) for t in lists]
    got = pairing(*map(PairSums.of_lists, lists))
    assert (got.mean, got.sd) == pytest.approx(all_pairings(*dense)[:2], rel=1e-9)
    assert got.mean == pytest.approx(7 * 2 * 2 / 6)


def test_the_estimated_trace():
    x = torch.randn(400, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a = x @ x.T
    exact = float(((a @ a) * a).sum())
    assert estimated_trace(lambda z: a @ z, 400, a.device) == pytest.approx(exact, rel=1e-9)
    wide = torch.randn(400, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    b = wide @ wide.T
    assert estimated_trace(lambda z: b @ z, 400, b.device) == pytest.approx(float(((b @ b) * b).sum()), rel=0.1)


@pytest.mark.parametrize("name", "ABCE")
def test_leaving_one_out_is_exact(name):
    x, y = (t[:40] for t in pairs()[name])
    made = [matrix_of(t) for t in (x, y)]
    got = products(made[:1], made[1:]).without_each[:, 0, 0]
    keep = [[j for j in range(40) if j != i] for i in range(40)]
    slow = torch.tensor([slow_cka(x[k], y[k]) for k in keep], dtype=torch.float64)
    assert float((got - slow).abs().max()) < 1e-12


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_leaving_groups_out_is_exact(kernel):
    x, y = (t[:60] for t in pairs()["B"])
    group = torch.arange(60) % 7
    made = [matrix_of(t, kernel) for t in (x, y)]
    got = without_groups(made[:1], made[1:], products(made[:1], made[1:]), group)[:, 0, 0]
    slow = []
    for g in range(7):  # the bandwidth is that of all samples
        parts = [StoredMatrix(m._u[group != g][:, group != g], torch.float64) for m in map(stored, made)]
        slow.append(float(products(parts[:1], parts[1:]).values))
    assert got.tolist() == pytest.approx(slow, abs=1e-12)


def stored(matrix):
    if isinstance(matrix, StoredMatrix):
        return matrix
    whole = torch.empty(matrix.n, matrix.n, dtype=matrix.dtype)
    matrix.fill(torch.arange(matrix.n), whole)
    return StoredMatrix(whole, torch.float64)


def test_features_and_matrices_give_the_same():
    x, y = pairs()["C"]
    layers = [LinearMatrix(Centred.of(t)) for t in (x, y, x[:, :4])]
    for b in (None, layers[1:]):
        one, other = products(layers, b), feature_products(layers, b)
        assert float((one.values - other.values).abs().max()) < 1e-12
        assert float((one.without_each - other.without_each).abs().max()) < 1e-12


@pytest.mark.parametrize("size", [1, 7, 569])
def test_streamed_sums_give_the_same_from_any_batches(size):
    x, y = pairs()["C"]
    shifts = {"shift_x": torch.full((10,), 2.0), "shift_y": torch.full((10,), -1.0)}
    parts = [CrossMoments.of(p, q, **shifts) for p, q in zip(x.split(size), y.split(size))]
    whole = sum(parts)
    assert whole.cka() == pytest.approx(float(cka(x, y)), abs=1e-12)
    assert float(cka(whole)) == whole.cka()
    assert cka(whole).p < 1e-10


def test_folds_of_streamed_sums_give_an_interval():
    x, y = pairs()["C"]
    fold = torch.arange(len(x)) % 20
    found = cka(CrossMoments.of(x, y, fold, 20))
    beside = cka(x, y, groups=fold)
    assert (found.low, found.high) == pytest.approx((beside.low, beside.high), abs=1e-9)


@pytest.mark.parametrize("measure", [cka, distance_correlation, rsa])
def test_p_values_are_uniform_for_unrelated_layers(measure):
    """Two dimensions, where the null is skewest: one in twenty below .05, one in a hundred below .01."""
    options = {"jackknife": 0} if measure is rsa else {}
    p = []
    for seed in range(240):
        x, y = gaussians(60, 2, 2, seed)
        p.append(measure(x**3, y, **options).p)
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.09
    assert np.mean(np.array(p) < 0.01) <= 0.03


def test_unrelated_wide_layers():
    """n < d: the biased value is high, the debiased one is about 0."""
    x, y = gaussians(64, 512, 512, 0)
    found = cka(x, y, debiased=False)
    assert found.value > 0.85
    assert found.null == pytest.approx(found.value, abs=0.02)
    assert abs(found.calibrated.value) < 0.05
    assert "biased upwards" in found.note
    assert cka(x, y).p > 0.01


def test_an_equal_layer():
    x, _ = pairs()["C"]
    found = cka(x, 3 * x + 1)
    assert found.value == pytest.approx(1, abs=1e-12)
    assert (found.low, found.high) == pytest.approx((1, 1), abs=1e-12)
    assert found.p < 1e-100


def test_one_sample_that_decides():
    x, y = (t.clone() for t in pairs()["C"])
    x[17, 0] += 1000
    found = cka(x, y)
    assert "without sample 17 alone it is" in found.note
    assert found.value < 0.3
    assert not cka(*pairs()["C"]).note
    for measure in (
        lambda a, b: rsa(a, b, jackknife=0),
        lambda a, b: neighbourhoods(a, b, jackknife=0, permutations=0).overlap,
    ):
        assert abs(float(measure(x, y)) - float(measure(*pairs()["C"]))) < 0.02


def test_minibatches_are_a_ratio_of_sums():
    x, y = pairs()["C"]
    found = cka(x, y, minibatch=len(x))
    assert float(found) == pytest.approx(float(cka(x, y)), abs=1e-12)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    small = cka(x[order], y[order], minibatch=16)
    assert float(small) == pytest.approx(float(cka(x, y)), abs=0.06)
    assert "ratio of sums over batches of 16 rows" in small.note
    assert float(cka(x[order], y[order], minibatch=64, kernel="rbf")) == pytest.approx(
        float(cka(x, y, kernel="rbf")), abs=0.05
    )


def test_a_bandwidth_in_units_of_the_features():
    x, y = pairs()["C"]
    got = cka(x, y, kernel="rbf", bandwidth=3.0)
    assert float(got) == pytest.approx(
        float(cka(x, y, kernel=lambda t: torch.exp(-(torch.cdist(t, t) ** 2) / 18))), abs=1e-9
    )
    assert float(cka(1000 * x, 1000 * y, kernel="rbf", bandwidth=3000.0)) == pytest.approx(float(got), abs=1e-9)


def test_a_pairing_without_spread():
    assert Pairing(0.0, 0.0).p(0.0) == 1.0
    assert Pairing(0.0, 0.0).p(1.0) == 0.0
    assert Pairing(0.5, 0.0).interval(0.95) == (0.5, 0.5)


SETTINGS = [  # n, d, exponent of the spectrum, how much of x is in y, tails
    (200, 10, 0.5, 0.8, "normal"),
    (200, 50, 0.5, 0.8, "normal"),
    (100, 50, 0.5, 0.8, "normal"),
    (500, 50, 1.0, 0.99, "normal"),
    (200, 20, 0.5, 0.65, "normal"),
    (200, 20, 0.5, 0.8, "t8"),
    (200, 20, 0.5, 0.95, "normal"),
    (60, 200, 1.0, 0.8, "normal"),
]


def drawn(n, d, exponent, mix, tails, seed):
    """Samples whose variances fall as a power, and a turned copy with noise of the same variances."""
    g = torch.Generator().manual_seed(seed + 77)
    turn = torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(5), dtype=torch.float64))[0]
    spread = torch.arange(1, d + 1).double() ** -exponent
    z, noise = (torch.randn(n, d, generator=g, dtype=torch.float64) for _ in range(2))
    x = (torch.from_numpy(stats.t.rvs(8, size=(n, d), random_state=seed)) if tails == "t8" else z) * spread
    return x, (mix * x + (1 - mix**2) ** 0.5 * noise * spread) @ turn


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_the_interval_of_cka_covers(setting):
    """92 to 97 in 100 (of 400 draws), here of 150 within their own error; the truth from sums of 120,000 samples."""
    n, *others = setting
    shifts = {"shift_x": torch.zeros(setting[1]), "shift_y": torch.zeros(setting[1])}
    truth = sum(CrossMoments.of(*drawn(20_000, *others, 9_000 + s), **shifts) for s in range(6)).cka()
    hits = 0
    for seed in range(150):
        found = cka(*drawn(n, *others, seed))
        hits += found.low <= truth <= found.high
    assert 0.88 <= hits / 150 <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cka", "knn", "rsa", "cka_rbf", "distance_correlation", "procrustes", "cca"])
def test_intervals_of_a_matrix_cover_their_mean(name):
    """Of layers with few features, the mean over other draws of as many samples: nearly all, knn conservative."""
    part = torch.arange(150) % 20
    options = Options(0.95, 0, None, part, 10, "cosine")
    found = [MEASURES[name]([x], [y], options) for x, y in (gaussians(150, 4, 4, seed, 0.6) for seed in range(80))]
    centre = np.mean([f.value[0, 0] for f in found])
    hits = np.mean([f.low[0, 0] <= centre <= f.high[0, 0] for f in found])
    assert hits >= 0.88
    for f in found[:5]:
        assert f.low[0, 0] <= f.value[0, 0] <= f.high[0, 0]


def regressed(n, d, e, noise, seed):
    """Features, and linear maps of them with noise."""
    g = torch.Generator().manual_seed(seed + 77)
    weight = torch.randn(d, e, generator=torch.Generator().manual_seed(5), dtype=torch.float64) / d**0.5
    x, more = (torch.randn(n, k, generator=g, dtype=torch.float64) for k in (d, e))
    return x, x @ weight + noise * more


@pytest.mark.parametrize(("n", "d"), [(60, 20), (40, 70)])
def test_r2_without_parts_equals_refits(n, d):
    """From sums with few features, from inner products of rows with many: ridge fits on the rows that are left."""
    x, y = regressed(n, d, 7, 1.0, 0)
    fold, part = torch.arange(n) % 5, torch.arange(n) * 7 % n % 20
    strengths = [0.5, 1.0, 2.0, 4.0, 8.0]
    for g, got in enumerate(without_parts(x, y, fold, 5, strengths, part)):
        error = spread = 0.0
        for f, strength in enumerate(strengths):
            train, test = (part != g) & (fold != f), (part != g) & (fold == f)
            model = Ridge(alpha=strength).fit(x[train], y[train])
            error += np.square(y[test].numpy() - model.predict(x[test])).sum()
            spread += float((y[test] - y[train].mean(0)).square().sum())
        assert float(got) == pytest.approx(1 - error / spread, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("setting", [(200, 10, 10, 1.0), (60, 20, 20, 0.5), (80, 200, 5, 0.5)])
def test_intervals_of_held_out_r2_cover(setting):
    """94 to 98 in 100 (of 300 draws), here of 60 within their own error."""
    found = [predictivity(*regressed(*setting, seed), seed=seed).forward for seed in range(60)]
    centre = np.mean([f.value for f in found])
    assert 0.86 <= np.mean([f.low <= centre <= f.high for f in found]) <= 1.0


def test_r2_of_unrelated_layers_has_no_interval():
    """Where the strongest penalty does best the values have an atom at 0, and the jackknife does not cover."""
    found = [predictivity(*regressed(200, 10, 3, 1000.0, seed)).forward for seed in range(6)]
    without = [f for f in found if math.isnan(f.low)]
    assert without
    assert all("no linear map is told from the mean" in f.note for f in without)
    x, y = regressed(200, 10, 3, 1000.0, 0)
    assert not math.isnan(predictivity(x, y, alpha=1.0).forward.low)  # a strength that was not chosen from the data
