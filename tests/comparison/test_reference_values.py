"""Every measure at the values of its definition on five pairs of layers, to ten digits."""

import math

import numpy as np
import pytest
import torch
from comparison.recipes import cosine, double_centred, pairs, slow_cka
from scipy.spatial.distance import pdist
from scipy.stats import norm, spearmanr
from sklearn import datasets

from repana.comparison import (
    cca,
    cka,
    distance_correlation,
    gulp,
    neighbourhoods,
    output_agreement,
    predictivity,
    procrustes,
    rsa,
    shape_distance,
    unit_matching,
)
from repana.comparison._drift import geometry
from repana.comparison._neighbourhoods import Lists, null_of_lists
from repana.comparison._procrustes import held_out
from repana.comparison._rsa import Ranked, distance_matrix

NAMES = "ABCDE"
DIGITS = 5e-11


def near(value, digits=DIGITS):
    return pytest.approx(value, abs=digits, rel=digits)


def values(call, expected, digits=DIGITS, skip=()):
    for name, value in zip(NAMES, expected):
        if value is not None and name not in skip:
            assert float(call(*pairs()[name])) == near(value, digits), name


def test_cka():
    debiased = (0.5883350598, 0.4583094647, 0.8206053056, 0.7697278628, 0.7866428735)  # D in rational numbers
    values(cka, debiased, 1e-10)
    values(
        lambda x, y: cka(x, y, debiased=False), (0.5939773588, 0.4675552163, 0.8207436214, 0.7702935540, 0.8363299057)
    )
    null = (0.0173397194, 0.0217452813, 0.0046574986, 0.0083111312, 0.2519579630)
    values(lambda x, y: cka(x, y, debiased=False).null, null, 1e-9)
    for name, value in zip(NAMES, debiased):
        assert slow_cka(*pairs()[name]) == near(value, 1e-10)


def test_the_jackknife_of_cka():
    def error(x, y):
        found = cka(x, y)
        return (math.atanh(found.high) - math.atanh(found.value)) * (1 - found.value**2) / norm.ppf(0.975)

    values(error, (0.0125806232, 0.0430242140, 0.0156822993, 0.0290218184, 0.0366282622), 1e-10)


def test_kernels():
    rule = {"kernel": "rbf"}
    values(lambda x, y: cka(x, y, **rule), (0.6441649620, 0.5298406225, 0.8142563096, 0.7740448390, 0.8121433757))
    values(
        lambda x, y: cka(x, y, debiased=False, **rule),
        (0.6523745621, 0.5438073401, 0.8162837797, 0.7758725114, 0.8707069982),
    )
    values(lambda x, y: cka(x, y, debiased=False, bandwidth="google", **rule),
           (0.6524249293, 0.5440470938, 0.8162062908, 0.7754692633, 0.8710777449))  # fmt: skip
    x, y = pairs()["C"]
    assert float(cka(x, y, kernel=lambda t: t @ t.T)) == near(float(cka(x, y)))


def test_distance_correlation():
    values(distance_correlation, (0.6519531812, 0.5265229454, 0.8316375241, 0.7814735175, 0.8217800328))
    values(lambda x, y: distance_correlation(x, y, debiased=False),
           (0.8178492464, 0.7451889089, 0.9134179653, 0.8852727220, 0.9546593228))  # fmt: skip


def test_cca():
    found = {k: cca(*pairs()[k], jackknife=0, permutations=0) for k in NAMES}
    table = {
        "mean": (0.5519693287, 0.4874844266, 0.7921203514, 0.5324529391, 1),
        "mean_square": (0.3915672536, 0.3093855341, 0.6452818145, 0.4503915019, 1),
        "svcca": (0.6888918545, 0.4874844266, 0.7912510590, 0.9251970898, 0.8862652928),
        "pwcca_forward": (None, 0.5388199026, 0.8661961553, 0.6029148444, 1),
        "pwcca_backward": (None, 0.6071210506, 0.8535945138, 0.7885574874, 1),
    }
    for quantity, expected in table.items():
        for name, value in zip(NAMES, expected):
            if value is not None:
                assert float(getattr(found[name], quantity)) == near(value), (quantity, name)
    assert [found[k].kept for k in NAMES] == [(40, 23), (6, 7), (7, 7), (2, 1), (26, 27)]
    # of A two correlations are 1, and their weights are no more than those of a plane: LAPACK's paths differ by 1e-3
    assert float(found["A"].pwcca_forward) == pytest.approx(0.66968, abs=1e-3)
    assert float(found["A"].pwcca_backward) == pytest.approx(0.74459, abs=2e-3)


def test_equal_correlations_have_weights_of_the_data():
    """Turned and mirrored features give other singular vectors, and the same weights."""
    x, y = pairs()["A"]
    g = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(64, 64, generator=g, dtype=torch.float64))[0]
    before = cca(x, y, jackknife=0, permutations=0)
    after = cca(x, y[:, torch.randperm(48, generator=g)], jackknife=0, permutations=0)
    turned = cca(x @ turn, y, jackknife=0, permutations=0)
    assert float(after.pwcca_forward) == near(float(before.pwcca_forward), 1e-8)
    assert float(turned.pwcca_backward) == near(float(before.pwcca_backward), 1e-8)


def test_procrustes():
    found = {k: procrustes(*pairs()[k], jackknife=0, permutations=0) for k in NAMES}
    table = {
        "similarity": (0.7102130697, 0.5685435150, 0.8812285130, 0.7946120174, 0.9072879561),
        "angular": (0.7809955022, 0.9660620297, 0.4923414099, 0.6524280716, 0.4340072367),
        "size_and_shape": (96.28419157, 31.65893898, 36.76437845, 15.97804248, 21.93129050),
    }
    for quantity, expected in table.items():
        for name, value in zip(NAMES, expected):
            assert float(getattr(found[name], quantity)) == near(value, 1e-9), (quantity, name)
    for name, value in zip("ABCD", (0.6762605814, 0.5168486414, 0.8818246845, 0.7919543246)):
        x, y = (t - t.mean(0) for t in pairs()[name])
        assert held_out(x, y, torch.arange(len(x)) % 2 == 0) == near(value)


def test_shape_distances():
    quick = {"jackknife": 0, "permutations": 0, "alpha": 0.5}
    values(lambda x, y: shape_distance(x, y, convention="netrep", **quick),
           (0.7967992698, 0.9728132442, 0.4957315574, 0.6733328631, 0.3711231083))  # fmt: skip
    values(
        lambda x, y: shape_distance(x, y, **quick),
        (0.8730967908, 1.0257306474, 0.5621495020, 0.8033944053, 0.2440410574),
    )
    matched = {"group": "permutation", "jackknife": 0, "permutations": 0}
    values(lambda x, y: math.cos(float(shape_distance(x, y, **matched))),
           (0.3273264147, 0.3640853029, 0.8743697540, 0.6406117490, 0.4568431005))  # fmt: skip


def test_gulp():
    values(lambda x, y: gulp(x, y, jackknife=0, permutations=0),
           (8.191017858, 7.134637139, 2.703874022, 1.399908527, 2.324707925), 1e-9)  # fmt: skip


def test_rsa():
    def of(**options):
        return lambda x, y: rsa(x, y, jackknife=0, permutations=0, **options)

    values(of(), (0.4590968841, 0.4115987997, 0.8095859057, 0.7257538196, 0.6500390091))
    values(of(compare="pearson"), (0.4993379528, 0.4015206511, 0.7996110001, 0.7326486184, 0.7446380642))
    values(of(compare="tau_a"), (0.3188174434, 0.2794906785, None, 0.5233827650, 0.4730061552))
    values(of(distance="correlation"), (0.5022835918, 0.4493882688, 0.7576875491, None, 0.6595357020))
    x, y = pairs()["C"]
    assert float(of(distance="sqeuclidean", compare="whitened")(x, y)) == near(float(cka(x, y, debiased=False)))
    assert float(of()(x, y)) == near(spearmanr(pdist(x), pdist(y)).statistic)
    between = [double_centred(distance_matrix(t, "euclidean").numpy()) for t in (x, y)]
    assert float(of(compare="whitened")(x, y)) == near(cosine(*between))


def test_the_null_of_rsa():
    def sd(x, y):
        return Ranked(distance_matrix(x, "euclidean")).null(Ranked(distance_matrix(y, "euclidean"))).sd

    values(sd, (0.0132955095, 0.0255095078, 0.0214532866, 0.0154125279, 0.0421248464))


def test_neighbourhoods():
    def of(quantity, metric):
        options = {"jackknife": 0, "permutations": 0, "metric": metric}
        return lambda x, y: getattr(neighbourhoods(x, y, **options), quantity)

    values(of("overlap", "euclidean"), (0.4572, 0.2033707865, 0.2623901582, None, 0.6525), 2.1e-4)
    values(of("overlap", "cosine"), (0.4672, 0.2241573034, 0.2550087873, None, 0.66))
    values(of("jaccard", "euclidean"), (None, 0.1198545355, 0.1613907868, None, 0.5013132701))
    values(of("rank", "euclidean"), (None, 0.1132294334, 0.1746528479, None, None))
    values(of("second_order", "cosine"), (0.7536487855, 0.4541324458, 0.5086553185, None, 0.9599379566))

    def sd(x, y):
        return null_of_lists(Lists.of(x, 10, "euclidean", 0), Lists.of(y, 10, "euclidean", 1)).sd

    values(sd, (0.0023878365, 0.0063513370, 0.0020118973, None, 0.0238134522), 1e-8)


def test_predictivity():
    def of(quantity, **options):
        return lambda x, y: getattr(predictivity(x, y, **options), quantity)

    values(of("in_sample_forward"), (0.8940510502, 0.4938616428, 0.8142983596, 0.8480810284, 1))
    values(of("in_sample_backward"), (0.6565804031, 0.3934985804, 0.8317413766, 0.6462523081, 1))
    values(lambda x, y: predictivity(x, y, alpha=1.0, folds=torch.arange(len(x)) % 5).forward,
           (0.8591916814, 0.4473494294, 0.7959998706, 0.8443300191, 0.5183949796))  # fmt: skip


def test_unit_matching():
    def of(quantity, signed):
        return lambda x, y: getattr(unit_matching(x, y, signed=signed, jackknife=0, permutations=0), quantity)

    values(of("bipartite", True), (0.3325550122, 0.3932570734, 0.8743697540, 0.2528139217, 0.5185771538))
    values(of("forward", True), (0.4103382911, 0.4692367497, 0.8747230300, 0.2528139217, 0.5500185411))
    values(of("bipartite", False), (0.3538114597, 0.4878048023, 0.8743697540, 0.6231906153, 0.5776367949))
    found = unit_matching(*pairs()["C"], jackknife=0, permutations=0)
    assert (round(float(found.within_a), 3), round(float(found.within_b), 3)) == (0.789, 0.802)


def test_published_values_of_the_google_research_demo():
    state = np.random.RandomState(1337)  # the demo's own generator
    x = state.randn(100, 10)
    y = state.randn(100, 10) + x
    assert float(cka(x, y, debiased=False)) == near(0.5576132566, 1e-9)
    assert float(cka(x, y)) == near(0.5134564895, 1e-9)
    assert float(cka(x, y, debiased=False, kernel="rbf", bandwidth="google", fraction=0.5)) == near(0.6548311823, 1e-9)
    assert float(cca(x, y, jackknife=0, permutations=0).mean_square) == near(0.5453963322, 1e-9)


def outputs():
    x, y = datasets.load_digits(return_X_y=True)
    x, held = x / 16, slice(1200, 1797)

    def logits(rows):
        means = np.stack([x[rows][y[rows] == c].mean(0) for c in range(10)])
        return 2 * x[held] @ means.T - (means**2).sum(1)

    return logits(slice(0, 300)), logits(slice(300, 1200)), y[held]


def test_outputs():
    a, b, y = outputs()
    found = output_agreement(a, b, y)
    expected = {
        "accuracy_a": 0.7872696817,
        "accuracy_b": 0.8626465662,
        "disagreement": 0.2060301508,
        "negative_flips": 0.0519262982,
        "positive_flips": 0.1273031826,
        "kl_forward": 0.3141450130,
        "jsd": 0.1019622141,
        "total_variation": 0.2319829573,
        "kappa": 0.7709847243,
        "error_kappa": 0.3854538458,
    }
    for name, value in expected.items():
        assert float(getattr(found, name)) == near(value, 2e-10), name
    assert found.disagreement_least == near(abs(0.7872696817 - 0.8626465662), 1e-9)
    assert found.disagreement_least <= float(found.disagreement) <= found.disagreement_most


def test_drift():
    found = geometry(*pairs()["C"])
    expected = {
        "total": 0.2512604921,
        "after_rotation": 0.2375429741,
        "best_scale": 0.8812285130,
        "residual_share": 0.2234363079,
        "row_cosine": 0.8638137037,
    }
    for name, value in expected.items():
        assert found[name] == near(value), name
    from comparison.recipes import mixed

    x, before = pairs()["A"]
    w = mixed(64, 48)
    after = torch.from_numpy(np.maximum(x.numpy() @ (1.1 * w + 0.05 * w[::-1]) - 0.4, 0))
    moved = geometry(before, after)
    assert moved["total"] == near(0.0277178668)
    assert moved["mean_share"] == near(0.9089716359)
    assert moved["residual_share"] == near(0.0048111873)
    assert float(cka(before, after)) == near(0.9958334215)
