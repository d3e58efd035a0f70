"""Scored pairs: reference values, closed forms, intervals, and what is refused."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import f1_score, roc_auc_score, roc_curve

from repana.errors import InputError
from repana.ranking import pair_scores
from repana.ranking._pair_scores import delong


def p0():
    r = np.random.default_rng(1)
    a = r.standard_normal((60, 8))
    h = r.integers(0, 6, 60)
    return a, 0.8 * (h / 5)[:, None] * a + r.standard_normal((60, 8)), h


A, B, H = p0()


def test_graded_reference_values():
    found = pair_scores(A, B, H, bootstrap=0)
    spearman, pearson = found.spearman, found.pearson
    expected = (0.5283140523, 0.3010524, 0.6987893)
    assert (spearman.value, spearman.low, spearman.high) == pytest.approx(expected, abs=5e-8)
    assert pearson.value == pytest.approx(0.5097357050, abs=1e-10)
    theirs = stats.pearsonr(found.scores.numpy(), H)
    interval = theirs.confidence_interval()
    assert (pearson.low, pearson.high) == pytest.approx((interval.low, interval.high), abs=1e-12)
    assert "targets are graded" in found.auc.note


def test_binary_reference_values():
    found = pair_scores(A, B, H >= 3, bootstrap=0)
    assert found.auc.value == pytest.approx(0.7730812013, abs=1e-10)
    assert delong(found.scores.numpy(), H >= 3) == pytest.approx(0.0640582869, abs=1e-10)
    assert found.tar[0.1].value == pytest.approx(0.2580645161, abs=1e-10)
    assert found.threshold[0.1] == pytest.approx(0.6676338804, abs=1e-10)
    assert found.realised_far[0.1] == pytest.approx(2 / 29)
    assert found.overlap.value == pytest.approx(0.3959955506, abs=1e-10)
    assert found.d_prime.value == pytest.approx(0.9949673832, abs=1e-10)
    assert math.isnan(found.tar[0.01].value)
    assert "needs 100 non-matches; 29 came" in found.tar[0.01].note
    rounded = pair_scores(np.round(found.scores.numpy(), 1), None, H >= 3, score="precomputed", bootstrap=0)
    assert rounded.auc.value == pytest.approx(0.7697441602, abs=1e-10)
    assert rounded.tar[0.1].value == pytest.approx(0.2258064516, abs=1e-10)


@pytest.mark.parametrize("seed", range(4))
def test_against_scikit_learn_and_scipy(seed):
    r = np.random.default_rng(seed)
    s, y = np.round(r.standard_normal(200), seed), r.random(200) < 0.4
    s = s + 0.5 * y
    found = pair_scores(s, None, y, score="precomputed", far=(0.2, 0.05), bootstrap=0)
    assert found.auc.value == pytest.approx(roc_auc_score(y, s), abs=1e-14)
    false, true, _ = roc_curve(y, s, drop_intermediate=False)
    for far, tar in found.tar.items():
        assert tar.value == pytest.approx(true[false <= far].max(), abs=1e-14)
    assert 1 - found.overlap.value == pytest.approx(stats.ks_2samp(s[y], s[~y]).statistic, abs=1e-14)
    graded = pair_scores(s, None, r.integers(0, 9, 200), score="precomputed", bootstrap=0)
    assert abs(graded.spearman.value) <= 1


@pytest.mark.parametrize("score", ["cosine", "dot", "euclidean"])
def test_sides_can_be_swapped_turned_and_scaled(score):
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((8, 8)))[0]
    first = pair_scores(A, B, H, score=score, bootstrap=0)
    for a, b in ((B, A), (A @ turn, B @ turn), (3 * A, 3 * B), (torch.tensor(A), torch.tensor(B))):
        other = pair_scores(a, b, H, score=score, bootstrap=0)
        assert other.spearman.value == pytest.approx(first.spearman.value, abs=1e-12)
        assert other.pearson.value == pytest.approx(first.pearson.value, abs=1e-12)


def test_a_threshold_needs_pairs_of_its_own():
    r = np.random.default_rng(0)
    y = np.arange(200) % 2 == 0
    s = r.standard_normal(200) + 2 * y
    train = np.arange(200) < 100
    found = pair_scores(s, None, y, score="precomputed", train=train, bootstrap=0)
    best = max(((s[train] >= t) == y[train]).mean() for t in s[train])
    t = min(t for t in s[train] if ((s[train] >= t) == y[train]).mean() == best)
    assert found.accuracy.value == pytest.approx(((s[~train] >= t) == y[~train]).mean())
    assert found.accuracy.null == 0.5
    assert found.accuracy.n == 100
    of_f1 = max(s[train], key=lambda t: f1_score(y[train], s[train] >= t))
    assert found.f1.value == pytest.approx(f1_score(y[~train], s[~train] >= of_f1))
    without = pair_scores(s, None, y, score="precomputed", bootstrap=0).accuracy
    assert "give `train`" in without.note


def test_one_match_has_no_interval_by_delong():
    s = np.arange(20.0)
    found = pair_scores(s, None, s == 19, score="precomputed", bootstrap=0)
    assert found.auc.value == 1
    assert math.isnan(found.auc.low)


@pytest.mark.slow
def test_pairs_that_share_items_need_items():
    """40 items with an effect of their own, pairs of all of them: the bootstrap of items holds the mean rank
    correlation, that of pairs does not."""
    r = np.random.default_rng(0)
    at = np.array([(i, j) for i in range(40) for j in range(i)])
    truth, held = [], {"items": 0, "pairs": 0}

    def drawn():
        effect, known = r.standard_normal(40), r.standard_normal(40)
        s = effect[at].sum(1) + known[at].sum(1)
        return s, known[at].sum(1) + 0.3 * r.standard_normal(len(at))

    truth = np.mean([stats.spearmanr(*drawn()).statistic for _ in range(400)])
    for _ in range(60):
        s, y = drawn()
        items = pair_scores(s, None, y, score="precomputed", items=(at[:, 0], at[:, 1]), bootstrap=100).spearman
        pairs = pair_scores(s, None, y, score="precomputed", bootstrap=0).spearman
        held["items"] += items.low <= truth <= items.high
        held["pairs"] += pairs.low <= truth <= pairs.high
        assert "pairs share items" in items.note
    assert held["items"] >= 50, held
    assert held["pairs"] <= 36, held


@pytest.mark.slow
def test_closed_intervals_cover():
    r = np.random.default_rng(0)
    held = {"spearman": 0, "auc": 0, "d_prime": 0}
    rho = 6 / math.pi * math.asin(0.6 / 2)
    for _ in range(150):
        s = r.standard_normal(60)
        y = 0.6 * s + 0.8 * r.standard_normal(60)
        found = pair_scores(s, None, y, score="precomputed", bootstrap=0).spearman
        held["spearman"] += found.low <= rho <= found.high
        z = np.arange(80) < 40
        pairs = pair_scores(r.standard_normal(80) + z, None, z, far=0.1, score="precomputed", bootstrap=100)
        held["auc"] += pairs.auc.low <= stats.norm.cdf(1 / 2**0.5) <= pairs.auc.high
        held["d_prime"] += pairs.d_prime.low <= 1 <= pairs.d_prime.high
    assert all(135 <= count <= 149 for count in held.values()), held


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: pair_scores(A, B[:5], H), "RA295: The two sides have 60 and 5 rows"),
        (lambda: pair_scores(A, B, H[:5]), "RA295: `targets` is of shape (5,)"),
        (lambda: pair_scores(A, B, ["a"] * 60), "RA295: `targets` is a list that is not an array"),
        (lambda: pair_scores(A, B, np.full(60, np.nan)), "RA295: `targets` is not finite in 60 places"),
        (lambda: pair_scores(A, B, np.ones(60)), "RA295: `targets` are constant"),
        (lambda: pair_scores(A, B, np.where(H > 2, 5, 1)), "RA295: `targets` takes the two values 1 and 5"),
        (lambda: pair_scores(A, B, H, kind="binary"), "RA295: `kind='binary'` needs targets of two values; got 6"),
        (lambda: pair_scores(A, B, H > 2, far=1.5), "RA295: A false accept rate is above 0"),
        (lambda: pair_scores(A, B, H > 2, items=np.arange(60)), "RA295: `items` is a pair"),
        (lambda: pair_scores(A, B, H > 2, train=np.ones(60, bool)), "RA295: `train` is a boolean mask"),
        (lambda: pair_scores(0 * A, B, H), "RA293: 60 rows of `a` are zero vectors"),
        (lambda: pair_scores(A, B[:, :3], H), "RA293: `a` has 8 features"),
        (lambda: pair_scores([np.nan, 1], None, [0, 1], score="precomputed"), "RA293: `a` has 1 scores"),
    ],
)
def test_what_does_not_fit_is_refused(call, code):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value).startswith(code)
