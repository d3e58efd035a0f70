"""Topology: closed forms, peers, what the label-free score can do and where it is known to fail, bad input."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import linkage
from scipy.stats import spearmanr

import repana
from repana import InputError, Persistence, diagram_distance, h0_separability, persistence, rtd
from repana.summaries.subsample import Subsample
from repana.topology._persistence import rips_cost


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def circle(n=60):
    turn = 2 * math.pi * torch.arange(n, dtype=torch.float64) / n
    return torch.stack([turn.cos(), turn.sin()], 1)


# --- H0 ---------------------------------------------------------------------------------------------------------------


def test_collinear_points_have_no_clusters():
    found = h0_separability(torch.arange(20.0)[:, None] * 0.3, normalize="none")
    np.testing.assert_allclose(found.deaths, 0.3, rtol=1e-6)
    assert float(found.h0_mean) == pytest.approx(0, abs=1e-6)
    assert float(found.h0_entropy) == pytest.approx(0, abs=1e-6)


def test_two_runs_of_points():
    m, e, gap = 12, 0.5, 9.0
    x = torch.cat([torch.arange(m) * e, (m - 1) * e + gap + torch.arange(m) * e])[:, None].double()
    found = h0_separability(x, normalize="none")
    assert float(found.h0_mean) == pytest.approx(1 - (2 * (m - 1) * e / gap + 1) / (2 * m - 1))
    assert float(found.clusters) == 2
    assert float(found.gap_ratio) == pytest.approx(gap / e)


@pytest.mark.parametrize("c", [2, 4, 7])
def test_collapsed_classes(c):
    n = 20 * c
    found = h0_separability(torch.eye(c).repeat(20, 1), normalize="none")
    assert found.deaths[: n - c].abs().max() == 0
    np.testing.assert_allclose(found.deaths[n - c :], math.sqrt(2))
    assert float(found.h0_mean) == pytest.approx((n - c) / (n - 1))
    assert float(found.clusters) == c
    assert found["mean"] is found.h0_mean


def test_a_regular_simplex_scores_nothing():
    found = h0_separability(torch.eye(30), normalize="none")
    assert float(found.h0_mean) == pytest.approx(0, abs=1e-12)
    assert float(found.h0_entropy) == pytest.approx(0, abs=1e-12)


def test_uniform_points_in_the_square():
    deaths = repana.minimum_spanning_tree(torch.rand(4000, 2, generator=seeded(0))).lengths
    assert 0.645 < float(deaths.sum()) / math.sqrt(4000) < 0.658


def test_duplicates_and_zero_bars():
    """Five points, two pairs equal: deaths 0, 0, 1, 4."""
    found = h0_separability([[0.0], [0.0], [1.0], [1.0], [5.0]], normalize="none")
    assert found.deaths.tolist() == [0, 0, 1, 4]


def test_betti_counts_components():
    x = torch.cat([torch.randn(40, 3, generator=seeded(1)), torch.randn(40, 3, generator=seeded(2)) + 30])
    found = h0_separability(x, normalize="none")
    assert found.betti[0, 1] == 80
    assert found.betti[-1, 1] == 1
    middle = found.betti[found.betti[:, 0].sub(0.5).abs().argmin(), 1]
    assert middle == 2


def blobs(delta, c, d, seed, n=400):
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(seed // 100).normal(size=(c, d))
    centres *= delta / np.sqrt(2) / np.linalg.norm(centres, axis=1, keepdims=True)
    y = np.arange(n) % c
    return torch.from_numpy(
        generator.normal(size=(n, d)) + (centres[y] if c > 2 else delta * y[:, None] * np.eye(1, d))
    ), y


def correlation(c, d, normalize, statistic):
    """Spearman's r of the score with Fisher's trace ratio over the distance of classes, median of three seeds."""
    found = []
    for seed in range(3):
        scores, ratios = [], []
        for delta in range(0, 15, 2):
            x, y = blobs(delta, c, d, 100 * seed + delta)
            scores.append(float(h0_separability(x, normalize=normalize)[statistic]))
            ratios.append(float(repana.fisher(x, y, jackknife=0).trace_ratio))
        found.append(spearmanr(scores, ratios)[0])
    return float(np.median(found))


@pytest.mark.parametrize("c", [2, 5])
@pytest.mark.parametrize("d", [10, 50])
def test_it_follows_fisher_on_centred_directions(c, d):
    assert correlation(c, d, "center+l2", "mean") >= 0.85


@pytest.mark.slow
def test_it_follows_a_training_with_layernorm():
    """An MLP on the digits with LayerNorm: entropy on centred directions against Fisher's ratio, held-out samples."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = torch.from_numpy(x[order]).float() / 16, torch.from_numpy(y[order])
    found = []
    for seed in range(4):
        torch.manual_seed(seed)
        parts = [torch.nn.Linear(64, 64), torch.nn.LayerNorm(64), torch.nn.ReLU()]
        parts += [torch.nn.Linear(64, 32), torch.nn.LayerNorm(32), torch.nn.ReLU()]
        body, head = torch.nn.Sequential(*parts), torch.nn.Linear(32, 10)
        optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=1e-3)
        scores, ratios = [], []
        for _ in range(26):
            with torch.no_grad():
                z = body(x[1197:])
            scores.append(float(h0_separability(z).h0_entropy))
            ratios.append(float(repana.fisher(z, y[1197:], jackknife=0).trace_ratio))
            for at in torch.randperm(1197).split(64):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(head(body(x[at])), y[at]).backward()
                optimizer.step()
        found.append(spearmanr(scores, ratios)[0])
    assert np.median(found) >= 0.9


def test_raw_features_in_many_dimensions_say_nothing():
    """A documented failure."""
    assert abs(correlation(2, 768, "none", "mean")) < 0.5


def test_a_common_offset_hides_clusters_unless_centred():
    plain, centred = [], []
    for delta in (0, 4, 8, 12):
        x, _ = blobs(delta, 2, 10, 0)
        plain.append(float(h0_separability(x + 10, normalize="l2").h0_mean))
        centred.append(float(h0_separability(x + 10).h0_mean))
    assert centred[-1] - centred[0] > 2 * (plain[-1] - plain[0])
    assert centred == sorted(centred)


def test_one_outlier_moves_the_mean_and_not_the_entropy():
    x = torch.randn(300, 10, generator=seeded(0))
    spoilt = x.clone()
    spoilt[0] = 50 / math.sqrt(10)
    a, b = h0_separability(x, normalize="none"), h0_separability(spoilt, normalize="none")
    assert float(b.h0_mean) - float(a.h0_mean) > 0.3
    assert abs(float(b.h0_entropy) - float(a.h0_entropy)) < 0.05
    assert abs(float(b.h0_quantile) - float(a.h0_quantile)) < 0.05


def test_rotation_translation_and_scale_change_nothing():
    x = torch.randn(150, 8, generator=seeded(0), dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(8, 8, generator=seeded(1), dtype=torch.float64))[0]
    a, b = h0_separability(x), h0_separability((x @ turn + 7) * 1e5)
    for name in ("entropy", "mean", "quantile"):
        assert float(b[name]) == pytest.approx(float(a[name]), rel=1e-6)


@pytest.mark.parametrize("memory", [2**20, 2**29])
def test_three_ways_to_the_same_deaths(memory):
    """Prim on a matrix, Boruvka without one, and scipy's single linkage."""
    x = torch.randn(900, 20, generator=seeded(0), dtype=torch.float64)
    want = np.sort(linkage(x.numpy(), "single")[:, 2])
    got = repana.summaries.tree.Tree.of(x, memory=memory).lengths
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_labels_are_not_read():
    """Bit for bit."""
    x, y = blobs(6, 3, 8, 0, n=120)
    reports = []
    for labels in (y, np.random.default_rng(0).permutation(y)):
        made = repana.Activations({"a": x}, torch.from_numpy(labels), sample=torch.arange(120), seen=120)
        reports.append(repana.profile(made, analyzers=["topology"], permutations=0, bootstrap=0))
    a, b = ([(r.quantity, r.value, r.low, r.high) for r in report.rows] for report in reports)
    assert a == b


def test_the_subset_follows_from_the_seed_alone():
    x = torch.randn(500, 6, generator=seeded(0))
    a, b = Subsample.of(x, max_samples=100), Subsample.of(x * 2 + 1, max_samples=100)
    assert a.rows.tolist() == b.rows.tolist()
    found = h0_separability(x, max_samples=100)
    assert found.h0_entropy.note == "100 of 500 samples"
    assert float(found.h0_entropy) != float(h0_separability(x, max_samples=100, seed=1).h0_entropy)


def test_intervals_hold_the_mean_over_samples():
    drawn = [h0_separability(blobs(8, 3, 6, seed, n=200)[0]).h0_entropy for seed in range(30)]
    middle = np.mean([e.value for e in drawn])
    assert np.mean([e.low <= middle <= e.high for e in drawn]) >= 0.8


def test_equal_samples_and_zeros():
    nothing = h0_separability(torch.ones(30, 4))
    assert math.isnan(float(nothing.h0_entropy))
    assert nothing.h0_entropy.note == "all samples are equal"
    x = torch.randn(40, 4, generator=seeded(0))
    x[:3] = 0
    found = h0_separability(x, normalize="l2")
    assert found.h0_entropy.note == "3 samples of zeros have no direction"


# --- persistence ------------------------------------------------------------------------------------------------------


def test_the_circle_has_one_hole():
    found = persistence(circle())
    np.testing.assert_allclose(found.diagram(1), [[2 * math.sin(math.pi / 60), math.sqrt(3)]], rtol=1e-6)
    assert found.total[1] == pytest.approx(math.sqrt(3) - 2 * math.sin(math.pi / 60))
    assert found.betti[1].max() == 1
    assert found.betti[0][0] == 60


def test_the_square():
    found = persistence(torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]))
    np.testing.assert_allclose(found.diagram(0), [[0, 1]] * 3)
    np.testing.assert_allclose(found.diagram(1), [[1, math.sqrt(2)]], rtol=1e-6)


def test_diagrams_are_those_of_ripser():
    ripser = pytest.importorskip("ripser")
    x = torch.randn(120, 4, generator=seeded(0), dtype=torch.float64)
    found = persistence(x)
    theirs = ripser.ripser(x.numpy(), maxdim=1)["dgms"]
    np.testing.assert_allclose(np.sort(found.diagram(1), 0), np.sort(theirs[1], 0), rtol=1e-5)
    np.testing.assert_allclose(np.sort(found.diagram(0)[:, 1]), np.sort(theirs[0][:-1, 1]), rtol=1e-5)


def test_a_sphere_has_a_void():
    x = torch.randn(150, 3, generator=seeded(0), dtype=torch.float64)
    x = x / x.norm(dim=1, keepdim=True)
    found = persistence(x, dimension=2)
    lengths = np.diff(found.diagram(2), axis=1)[:, 0]
    assert lengths[0] > 0.5
    assert len(lengths) == 1 or lengths[0] > 3 * lengths[1]


def test_farthest_points_keep_the_hole():
    x = circle(2000) + 0.01 * torch.randn(2000, 2, generator=seeded(0), dtype=torch.float64)
    found = persistence(x, max_samples=80, choose="farthest")
    assert found.settings["samples"] == 80
    assert np.diff(found.diagram(1), axis=1)[0, 0] > 1.4


def test_entropy_of_bars():
    found = persistence(torch.tensor([[0.0], [1.0], [3.0], [7.0]]), dimension=0)  # deaths 1, 2, 4
    w = np.array([1, 2, 4]) / 7
    assert found.entropy[0] == pytest.approx(-(w * np.log(w)).sum() / math.log(3))
    assert found.total[0] == 7


def test_landscapes_and_images_are_those_of_gudhi():
    found = persistence(circle(40))
    landscape, image = found.landscape(landscapes=2, resolution=50), found.image(resolution=10)
    assert landscape.shape == (2, 50)
    birth, death = found.diagram(1)[0]
    assert landscape[0].max() == pytest.approx((death - birth) / 2 * math.sqrt(2), rel=0.05)
    assert image.shape == (10, 10)
    assert image.max() > 0


def test_a_dead_layer_has_a_distance():
    """All bars of length 0, with which the optimiser of the Wasserstein distance never ends."""
    dead, alive = persistence(torch.ones(20, 3)), persistence(circle(20))
    total = alive.total[0] / 2  # every bar goes to the diagonal
    assert diagram_distance(dead, alive, dimension=0, kind="wasserstein").value == pytest.approx(total, rel=0.02)
    assert diagram_distance(dead, alive, dimension=0).value == pytest.approx(alive.diagram(0)[0, 1] / 2)


def test_distances_of_diagrams():
    a, b = persistence(circle()), persistence(circle() * 1.1)
    assert diagram_distance(a, a).value == 0
    moved = 0.1 * np.abs(a.diagram(1)).max()
    assert diagram_distance(a, b).value == pytest.approx(moved, rel=1e-6)
    assert diagram_distance(a, b, kind="wasserstein").value == pytest.approx(moved, rel=0.02)


@pytest.mark.parametrize("dimension", [0, 1])
def test_high_orders_end_and_go_to_the_bottleneck(dimension):
    g = np.random.default_rng(0)
    a, b = (persistence(g.normal(size=(60, 3))) for _ in range(2))
    found = [
        diagram_distance(a, b, dimension=dimension, kind="wasserstein", order=order).value
        for order in (1.0, 4.0, 15.0, 17.0, 40.0, 100.0, 1e4, math.inf)
    ]
    assert all(after <= before * 1.01 for before, after in itertools.pairwise(found))
    assert found[3] == pytest.approx(found[2], rel=0.02)  # gudhi and the assignment
    bottleneck = diagram_distance(a, b, dimension=dimension).value
    assert found[-1] == bottleneck
    assert found[-2] == pytest.approx(bottleneck, rel=1e-3)


# --- representation topology divergence -------------------------------------------------------------------------------


def test_rtd_of_a_layer_with_itself():
    x = torch.randn(80, 5, generator=seeded(0))
    assert float(rtd(x, x, size=40, batches=2)) == 0
    assert float(rtd(x, 3 * x + 1, size=40, batches=2)) == pytest.approx(0, abs=1e-6)
    other = rtd(x, torch.randn(80, 5, generator=seeded(1)), size=40, batches=3)
    assert 0 < other.low < float(other) < other.high
    assert float(rtd(x, x[:, :4], size=40, batches=3)) < float(other)


@pytest.mark.slow
def test_rtd_of_the_authors_readme():
    legacy = np.random.RandomState(7)
    a, b = legacy.rand(1000, 2), legacy.rand(1000, 2)
    rows = []
    for _ in range(10):
        order = np.arange(1000)
        legacy.shuffle(order)
        rows.append(order[:500])
    assert float(rtd(a, b, rows=rows)) == pytest.approx(35.55234398557805, abs=1e-4)


# --- bad input --------------------------------------------------------------------------------------------------------


def test_too_large_a_request_is_refused_before_it_starts():
    needed, seconds = rips_cost(20_000, 1)
    assert needed > 2**34
    assert seconds > 600
    with pytest.raises(InputError) as error:
        persistence(torch.randn(20_000, 2), max_samples=20_000)
    assert str(error.value) == (
        "RA246: persistent homology of 20000 samples needs about 19.4 GB and 1115 s, and `memory` is 2.0 GB; take "
        "`max_samples=` fewer samples, or raise `memory=`."
    )


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x: h0_separability(x[:2]), "RA227: topology needs at least 3 samples; 2 came."),
        (lambda x: h0_separability(x, tau=1.0), "RA212: `tau` is 1.0; expected a number from 1e-06 to 0.999999."),
        (lambda x: h0_separability(x, normalize="unit"), "RA212: `normalize` is 'unit'; expected one of 'center+l2', "),
        (lambda x: persistence(x, choose="first"), "RA212: `choose` is 'first'; expected one of 'random', 'farthest'."),
        (lambda x: persistence(x, dimension=-1), "RA212: `dimension` is -1; expected a whole number of at least 0."),
        (lambda x: persistence(x).diagram(2), "RA212: `dimension` is 2; this persistence has 0, 1."),
        (
            lambda x: h0_separability(x, max_samples=2),
            "RA212: `max_samples` is 2; expected a whole number of at least 3.",
        ),
        (
            lambda x: rtd(x, x, rows=[[0, 1, 2, 99]]),
            "RA212: `rows` must hold batches of at least 4 places from 0 to 29, ",
        ),
        (lambda x: rtd(x[:3], x[:3]), "RA227: rtd needs at least 4 samples; 3 came."),
        (
            lambda x: diagram_distance(persistence(x), persistence(x), kind="wasserstein", order=0.5),
            "RA212: `order` is 0.5; expected a number of at least 1.",
        ),
        (
            lambda x: rtd(x, x[:9]),
            "RA201: the two layers have 30 and 9 samples; expected the same samples in the same ",
        ),
        (lambda x: persistence(x * math.nan), "RA204: `features` has 90 NaN or infinite value(s)"),
    ],
)
def test_refusals(call, text):
    with pytest.raises(InputError) as error:
        call(torch.randn(30, 3, generator=seeded(0)))
    assert str(error.value).startswith(text)


def test_the_result_shows_itself():
    found = persistence(circle())
    assert isinstance(found, Persistence)
    assert repr(found) == "Persistence(H0: 59 bars, H1: 1 bars; 60 samples)"
    assert "h0_entropy" in h0_separability(circle())._repr_html_()
