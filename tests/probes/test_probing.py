"""Probes against closed forms, scikit-learn's tables and refits, and the pitfalls of the field, each with its test."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.model_selection import StratifiedKFold
from sklearn.naive_bayes import GaussianNB

import repana
from repana import (
    InputError,
    Split,
    gaussian_naive_bayes,
    knn_probe,
    lda_probe,
    linear_probe,
    nearest_mean,
    ridge_probe,
)
from repana.probes._classifiers import knn_head, lda_head, logistic_head, nearest_mean_head, ridge_head
from repana.probes._data import TEST, TRAIN, Rows
from repana.probes._scores import bits, temperature

PROBES = (linear_probe, ridge_probe, knn_probe, nearest_mean, lda_probe, gaussian_naive_bayes)


def gaussians(n=600, d=10, c=3, signal=1.5, seed=0):
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % c
    means = signal * torch.randn(c, d, generator=g)
    return means[y] + torch.randn(n, d, generator=g), y


# --- tables of scikit-learn's data, five stratified folds -------------------------------------------------------------

LOADERS = {"digits": load_digits, "breast_cancer": load_breast_cancer, "wine": load_wine, "iris": load_iris}
TABLE = {  # logistic C = 1 and .01, ridge 1, LDA with Ledoit-Wolf, nearest mean, 1, 5 and 20 neighbours
    "digits": (0.9694, 0.9471, 0.9332, 0.9549, 0.8887, 0.9733, 0.9766, 0.9566),
    "breast_cancer": (0.9789, 0.9491, 0.9596, 0.9578, 0.9315, 0.9578, 0.9649, 0.9614),
    "wine": (0.9832, 0.9776, 0.9887, 0.9832, 0.9719, 0.9548, 0.9608, 0.9719),
    "iris": (0.9600, 0.8733, 0.8267, 0.9800, 0.8600, 0.9467, 0.9533, 0.9533),
}


@pytest.mark.parametrize("name", TABLE)
def test_table_of_accuracies(name):
    features, labels = LOADERS[name](return_X_y=True)
    x, y = torch.tensor(features), torch.tensor(labels)
    classes, right = int(y.max()) + 1, np.zeros(8)
    # binary: scikit-learn's C for one column is half of ours for two
    half = 0.5 if classes == 2 else 1.0
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(features, labels):
        split = Split(torch.tensor(train), torch.empty(0, dtype=torch.int64), torch.tensor(test))
        rows = Rows.prepared(x, y, torch.arange(classes), (), split, "standard")
        unit = float(rows.moments.normal([0]).gram.diagonal().mean())
        heads = [
            (logistic_head(1e-6), half * 1.0),
            (logistic_head(1e-6), half * 0.01),
            (ridge_head(), 1 / unit),
            (lda_head(), 1.0),
            (nearest_mean_head(), 1.0),
            *((knn_head((k,), "euclidean", "uniform"), float(k)) for k in (1, 5, 20)),
        ]
        for j, (head, strength) in enumerate(heads):
            scores = head.fit(rows, rows.codes[:, None], TRAIN, torch.tensor([strength])).scores(TEST)
            right[j] += int((scores[:, :, 0].argmax(1) == y[split.test]).sum())
    found, n = right / len(y), len(y)
    # one row; votes of 20 tie: six; Ledoit-Wolf's share pooled and not by class: three
    slack = np.array([1.5, 1.5, 1.5, 3.5 if name != "digits" else 8, 1.5, 1.5, 2.5, 6]) / n
    assert (np.abs(found - TABLE[name]) <= slack).all(), found - TABLE[name]


# --- closed forms -----------------------------------------------------------------------------------------------------


def two(d, delta, n, seed=0):
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    x = torch.randn(n, d, generator=g)
    x[:, 0] += delta * y
    return x, y


@pytest.mark.parametrize(("d", "delta", "n"), [(20, 1.0, 2000), (20, 2.0, 2000), (50, 3.0, 4000)])
def test_two_gaussians_are_read_as_well_as_theory_says(d, delta, n):
    """Phi(delta/2), less what means and covariances of n rows cost; n here are the rows fitted on."""
    bayes = norm.cdf(delta / 2)
    theory = norm.cdf(delta**2 / 2 / math.sqrt(delta**2 + 4 * d / n))
    lda = norm.cdf(delta**2 / 2 / math.sqrt(delta**2 + 4 * d / n) * math.sqrt((n - d) / n))
    m = 20_000
    x, y = two(d, delta, n + m)
    split = Split(torch.arange(n * 3 // 4), torch.arange(n * 3 // 4, n), torch.arange(n, n + m))
    for probe, want in ((nearest_mean, theory), (lda_probe, lda), (linear_probe, lda), (gaussian_naive_bayes, theory)):
        found = probe(x, y, split=split, permutations=0).accuracy
        assert abs(found.value - want) < 4 * math.sqrt(want * (1 - want) / m) + 0.004
        assert found.value < bayes + 4 * math.sqrt(want * (1 - want) / m)


@pytest.mark.parametrize(("c", "m", "bayes"), [(3, 2.0, 0.8658), (10, 3.0, 0.9025)])
def test_orthogonal_means(c, m, bayes):
    """E Phi(Z + m)^(c - 1); the nearest neighbour is far below it, so it is no estimate of it."""
    n, d = 30_000, max(c, 20)
    g = torch.Generator().manual_seed(0)
    y = torch.arange(n) % c
    x = torch.randn(n, d, generator=g)
    x[torch.arange(n), y] += m
    assert float(nearest_mean(x, y, scale="centre", permutations=0).accuracy) == pytest.approx(bayes, abs=0.015)
    few = knn_probe(x[:6000], y[:6000], k=1, metric="euclidean", permutations=0)
    assert float(few.accuracy) < bayes - 0.1


@pytest.mark.parametrize("h", [0.05, 0.25, 0.5, 0.75])
def test_least_squares_memorises_random_labels_as_the_closed_form_says(h):
    """Training accuracy Phi(sqrt(h/(1 - h))), h = d/n, and half of the left-out ones right."""
    n = 2000
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(n, int(h * n), generator=g), torch.randint(2, (n,), generator=g)
    rows = Rows.prepared(x, y, torch.arange(2), (), Split(torch.arange(n), torch.arange(0), torch.arange(0)), "centre")
    fitted = ridge_head().fit(rows, y[:, None], TRAIN, torch.tensor([1e-9]))
    train = float((fitted.scores(TRAIN)[:, :, 0].argmax(1) == y).double().mean())
    assert train == pytest.approx(norm.cdf(math.sqrt(h / (1 - h))), abs=0.02)


# --- protocol ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("probe", PROBES)
def test_what_every_probe_gives(probe):
    x, y = gaussians()
    found = probe(x, y)
    m = len(found.split.test)
    assert found.accuracy.low <= found.accuracy.value <= found.accuracy.high
    assert found.accuracy.value > 0.8
    assert float(found.balanced_accuracy) == pytest.approx(float(found.recall.mean()))
    assert float(found.accuracy) == pytest.approx(float((found.predictions == y[found.split.test]).double().mean()))
    torch.testing.assert_close(found.log_probabilities.exp().sum(1), torch.ones(m, dtype=torch.float64))
    own = found.log_probabilities[torch.arange(m), y[found.split.test]]
    assert float(found.log_loss) == pytest.approx(-float(own.mean()))
    assert found.log_loss_bits.value == found.log_loss.value / math.log(2)
    assert found.log_loss.null == pytest.approx(math.log(3), abs=0.02)
    assert abs(found.accuracy.null - 1 / 3) < 0.15
    assert int(found.confusion.sum()) == m
    assert int(found.counts.sum()) == m
    assert {"split", "at_edge" if "at_edge" in found.settings else "probe"} <= set(found.settings)


def test_weights_are_of_the_features_as_they_came():
    x, y = gaussians()
    x = 100 + 7 * x
    for probe in (linear_probe, ridge_probe, lda_probe, nearest_mean, gaussian_naive_bayes):
        found = probe(x, y, permutations=0)
        scores = (x.double() @ found.weight + found.bias) * found.settings.get("temperature", 1.0)
        want = torch.log_softmax(scores[found.split.test], 1)
        assert float((want.exp() - found.log_probabilities.exp()).abs().max()) < 0.01


def test_the_report_rows_choose_nothing():
    """Rewriting the test split changes neither the fit nor the choice: no scaler, grid or temperature sees them."""
    x, y = gaussians()
    for probe in PROBES:
        before = probe(x, y, permutations=0)
        other, labels = x.clone(), y.clone()
        at = before.split.test
        other[at] = 50 * torch.randn(len(at), x.shape[1], generator=torch.Generator().manual_seed(5))
        labels[at] = labels[at].flip(0)
        after = probe(other, labels, permutations=0, split=before.split)
        torch.testing.assert_close(before.curve, after.curve, atol=1e-4, rtol=1e-4)
        for name in ("C", "strength", "k", "temperature"):
            assert before.settings.get(name, 0) == pytest.approx(after.settings.get(name, 0), rel=1e-4)
        if before.weight is not None:
            torch.testing.assert_close(before.weight, after.weight, atol=1e-3, rtol=1e-3)


def test_a_split_is_stratified_and_drawn_by_its_seed():
    y = torch.tensor([0] * 700 + [1] * 250 + [2] * 50)
    split = Split.of(y, 1000)
    assert [len(p) for p in (split.train, split.validation, split.test)] == [600, 200, 200]
    assert torch.bincount(y[split.test]).tolist() == [140, 50, 10]
    assert torch.cat([split.train, split.validation, split.test]).unique().numel() == 1000
    assert split.fingerprint == Split.of(y, 1000).fingerprint != Split.of(y, 1000, seed=1).fingerprint


def test_sorted_labels_are_shuffled():
    """An unshuffled fold of sorted labels has an accuracy of zero."""
    x, y = gaussians()
    order = torch.argsort(y)
    assert float(linear_probe(x[order], y[order], permutations=0).accuracy) > 0.9


def test_groups_stay_whole():
    y = torch.arange(900) % 3
    groups = torch.arange(900) // 9
    split = Split.of(y, 900, groups=groups)
    parts = [set(groups[p].tolist()) for p in (split.train, split.validation, split.test)]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    assert abs(len(split.test) / 900 - 0.2) < 0.02
    with pytest.raises(InputError, match="RA247"):
        Split.of(y, 900, groups=torch.arange(900) % 2)
    with pytest.raises(InputError, match="RA247: `groups` has shape"):
        Split.of(y, 900, groups=groups[:5])


def test_a_leak_through_groups_is_seen_and_closed():
    """Tokens of one sentence are alike; labels are of the sentence and mean nothing."""
    g = torch.Generator().manual_seed(0)
    sentence = torch.arange(1000) // 10
    y = torch.randint(2, (100,), generator=g)[sentence]
    x = torch.randn(100, 30, generator=g)[sentence] + 1e-4 * torch.randn(1000, 30, generator=g)
    leaking, closed = (knn_probe(x, y, groups=k, permutations=0) for k in (None, sentence))
    assert float(leaking.accuracy) > 0.99
    assert "near-duplicate" in leaking.accuracy.note
    assert abs(float(closed.accuracy) - 0.5) < 0.3
    assert "near-duplicate" not in closed.accuracy.note
    assert closed.accuracy.high - closed.accuracy.low > 0.15  # resampled sentences, not tokens


def test_the_grid_is_extended_both_ways():
    x, y = gaussians(n=900, signal=0.15)  # hardly any signal: strong penalties
    weak = linear_probe(x, y, permutations=0)
    x, y = gaussians(n=900, d=3, signal=4.0)
    strong = linear_probe(x, y, permutations=0)
    assert strong.settings["C"] >= 1
    assert weak.settings["C"] < strong.settings["C"]
    assert not strong.settings["at_edge"] or strong.settings["C"] >= 1e3


def test_temperature_is_the_minimum():
    g = torch.Generator().manual_seed(0)
    y = torch.randint(4, (500,), generator=g)
    z = torch.randn(500, 4, 1, generator=g) + torch.nn.functional.one_hot(y, 4)[:, :, None]
    t = float(temperature(z, y)[0])
    loss = {f: float(torch.nn.functional.cross_entropy(f * t * z[:, :, 0], y)) for f in (0.9, 1.0, 1.1)}
    assert loss[1.0] <= min(loss.values()) + 1e-4


def test_bits_are_nats_over_log_two():
    assert bits(math.log(2)).value == 1.0
    assert bits(repana.Estimate(1.0, 0.5, 2.0)).high == 2 / math.log(2)


# --- pitfalls and bad input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("probe", PROBES)
def test_random_labels_are_read_at_chance(probe):
    g = torch.Generator().manual_seed(3)
    x, y = torch.randn(1000, 20, generator=g), torch.randint(4, (1000,), generator=g)
    found = probe(x, y)
    assert found.accuracy.low < 0.27
    assert found.log_loss.high > math.log(4) - 0.02


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_means_far_from_the_origin(probe, offset):
    x, y = gaussians()
    a, b = probe(x.double(), y, permutations=0), probe((x + offset), y, permutations=0)
    assert abs(float(a.accuracy) - float(b.accuracy)) <= 0.01


@pytest.mark.parametrize("probe", PROBES)
def test_half_precision(probe):
    x, y = gaussians()
    a, b = probe(x, y, permutations=0), probe(x.half(), y, permutations=0)
    assert abs(float(a.accuracy) - float(b.accuracy)) <= 0.02


@pytest.mark.parametrize("probe", PROBES)
def test_more_features_than_rows(probe):
    x, y = gaussians(n=120, d=2000, signal=0.5)
    found = probe(x, y)
    assert float(found.accuracy) > 0.9
    assert found.settings["rows_per_feature"] < 0.1
    if found.weight is not None:
        assert found.weight.shape == (2000, 3)


def test_the_row_space_is_exact():
    x, y = gaussians(n=90, d=300, signal=0.3)
    split = Split.of(y, 90)
    rows = Rows.prepared(x.double(), y, torch.arange(3), (), split, "standard")
    assert rows.z.shape == (90, 90)
    torch.testing.assert_close(rows.z @ rows.z.T, rows.x @ rows.x.T, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("probe", PROBES)
def test_constant_dead_and_copied_features(probe):
    x, y = gaussians()
    more = torch.cat([x, torch.zeros(600, 2), torch.full((600, 1), 1e6), x[:, :1]], 1)
    found = probe(more, y, permutations=0)
    assert found.settings["constant"] == 3
    assert abs(float(found.accuracy) - float(probe(x, y, permutations=0).accuracy)) < 0.03


def test_names_as_labels():
    x, y = gaussians()
    names = np.array(["cat", "dog", "fox"])[y.numpy()]
    a, b = linear_probe(x, y), linear_probe(x, names)
    assert a.accuracy == b.accuracy
    assert b.classes == ("cat", "dog", "fox")


def test_labels_need_not_count_from_zero_and_some_are_ignored():
    x, y = gaussians()
    odd = torch.where(torch.arange(600) % 50 == 0, -100, 10 * y + 3)
    found = linear_probe(x, odd, permutations=0)
    assert set(found.predictions.tolist()) <= {3, 13, 23}
    assert found.split.n == 588


def test_rare_classes():
    """One sample is fitted on, of two the other is reported, and a class without training samples counts as wrong."""
    x, y = gaussians()
    y = torch.where(torch.arange(600) == 0, 7, y)
    y[1:3] = 8
    for probe in PROBES:
        found = probe(x, y, permutations=0)
        assert found.counts.tolist()[3:] == [0, 1]
        assert math.isfinite(float(found.log_loss))
        assert "4 of 5 classes" in found.balanced_accuracy.note
    split = found.split
    swapped = Split(
        torch.cat([split.train[1:], split.test[-1:]]), split.validation, torch.cat([split.test[:-1], split.train[:1]])
    )
    for probe in PROBES:  # row 0, the only one of class 7, is now reported
        found = probe(x, y, split=swapped, permutations=0)
        assert found.recall[3] == 0
        assert math.isfinite(float(found.log_loss))


def test_refusals():
    x, y = gaussians()
    with pytest.raises(InputError, match="one class"):
        linear_probe(x, torch.zeros(600, dtype=torch.int64))
    with pytest.raises(InputError, match="RA227"):
        linear_probe(x[:4], y[:4])
    with pytest.raises(InputError, match="RA248: `split` is of 100 rows"):
        linear_probe(x, y, split=Split.of(y[:100], 100))
    ignored = torch.where(torch.arange(len(y)) % 10 == 0, -100, y)
    with pytest.raises(InputError, match="RA248"):
        linear_probe(x, ignored, split=Split.of(y, len(y)))
    kept = ignored >= 0
    some = Split.of(y[kept], int(kept.sum()))
    one, other = linear_probe(x, ignored, split=some), linear_probe(x[kept], y[kept], split=some)
    assert torch.equal(one.predictions, other.predictions)
    with pytest.raises(InputError, match="`k`"):
        knn_probe(x, y, k=0)
    with pytest.raises(InputError, match="`scale`"):
        ridge_probe(x, y, scale="whiten")
    with pytest.raises(InputError, match="`tolerance`"):
        linear_probe(x, y, tolerance=-1.0)
    with pytest.raises(InputError, match="sum 1"):
        Split.of(y, 600, shares=(0.5, 0.5, 0.5))
    x[3, 2] = math.nan
    with pytest.raises(InputError, match="RA204"):
        lda_probe(x, y)


def test_neighbours_leave_themselves_out_by_index():
    """With every row twice, the nearest of a row is its copy: leaving out the nearest would leave out the copy."""
    x, y = gaussians(n=200)
    twice, labels = torch.cat([x, x]), torch.cat([y, y])
    groups = torch.arange(200).repeat(2)
    found = knn_probe(twice, labels, k=1, metric="euclidean", groups=groups, permutations=0)
    assert float(found.gap) == pytest.approx(1.0 - float(found.accuracy))


def test_more_neighbours_than_rows_are_all_of_them():
    x, y = gaussians(n=60)
    y = torch.where(torch.arange(60) < 40, 0, y)
    found = knn_probe(x, y, k=5000, weights="uniform", metric="euclidean", permutations=0)
    assert found.settings["k"] == len(found.split.train) - 1
    assert set(found.predictions.tolist()) == {0}  # the most frequent class


def test_the_seed_alone_decides():
    x, y = gaussians()
    for probe in PROBES:
        a, b = probe(x, y, seed=3), probe(x, y, seed=3)
        assert a.accuracy == b.accuracy
        assert a.log_loss == b.log_loss


def test_folds_report_every_row_once():
    x, y = gaussians()
    splits = Split.folds(y, 5, groups=torch.arange(600) // 4)
    reported = torch.cat([s.test for s in splits])
    assert reported.sort().values.tolist() == list(range(600))
    a, b = ([float(p(x, y, split=s, permutations=0).accuracy) for s in splits] for p in (linear_probe, nearest_mean))
    found = repana.corrected_difference([i - j for i, j in zip(a, b)], 480, 120)
    assert found.difference.low <= found.difference.value <= found.difference.high
    assert 0 <= found.p_value.value <= 1
    with pytest.raises(InputError, match="`folds`"):
        Split.folds(y, 2)
    assert "accuracy" in repr(linear_probe(x, y, permutations=0))


@pytest.mark.parametrize("factor", [1e200, 1e-200, 1e-310])
def test_features_whose_squares_float64_does_not_hold(factor):
    x, y = gaussians()
    for probe in (linear_probe, ridge_probe, lda_probe, nearest_mean, gaussian_naive_bayes, knn_probe):
        a, b = probe(x.double(), y, permutations=0), probe(x.double() * factor, y, permutations=0)
        assert a.accuracy.value == pytest.approx(b.accuracy.value, abs=0.01)


def test_layers_without_anything_to_read():
    """All features constant, or every class one point: chance, or all right, and never a failure."""
    y = torch.arange(80) % 2
    for probe in PROBES:
        assert probe(torch.ones(80, 4), y).accuracy.value == pytest.approx(0.5, abs=0.2)
        points = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))[y]
        assert probe(points, y, permutations=0).accuracy.value == 1
    found = repana.erase(torch.ones(80, 4), y, repeats=1)
    assert found.rank == 0
    assert repana.probing(torch.ones(80, 4), y).knn_probe.value == pytest.approx(0.5, abs=0.2)
    assert math.isnan(repana.regression_probe(torch.ones(80, 4), torch.arange(80.0)).correlation.value)


def test_leave_one_out_chooses_as_ridge_classifier_cv():
    from sklearn.linear_model import RidgeClassifierCV

    x, y = gaussians(n=300, d=30, signal=0.3)
    found = ridge_probe(x.double(), y, select="leave_one_out", permutations=0)
    split = found.split
    fit, train = x[split.train].double(), split.train_and_validation
    z = ((x.double() - fit.mean(0)) / fit.std(0, correction=0))[train].numpy()
    unit = ((z - z.mean(0)) ** 2).sum() / z.shape[1]
    peer = RidgeClassifierCV(alphas=found.curve[:, 0].numpy() * unit).fit(z, y[train].numpy())
    assert found.settings["strength"] == pytest.approx(peer.alpha_ / unit)
    assert float(found.curve[:, 1].min()) == pytest.approx(-peer.best_score_, rel=1e-6)
    guess = peer.predict(((x.double() - fit.mean(0)) / fit.std(0, correction=0))[split.test].numpy())
    assert (found.predictions.numpy() == guess).all()
    with pytest.raises(InputError, match="rows come in groups"):
        ridge_probe(x, y, select="leave_one_out", groups=torch.arange(300) // 3)


def test_accuracy_on_imbalanced_rows_is_no_achievement():
    x, y = torch.randn(1000, 5, generator=torch.Generator().manual_seed(0)), (torch.arange(1000) % 20 == 0).long()
    found = linear_probe(x, y, permutations=0)
    assert found.accuracy.value == found.chance.value == pytest.approx(0.95)
    assert found.balanced_accuracy.value == pytest.approx(0.5)


@pytest.mark.parametrize("factor", [1.0, 0.1, 0.05, 0.03, 0.01])
@pytest.mark.parametrize("scale", ["none", "centre"])
def test_a_flat_beginning_of_the_grid_is_walked_through(factor, scale):
    """Strong penalties of small features differ by nothing; what comes after them does."""
    x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    found = linear_probe(factor * x, x[:, 0] > 0, scale=scale, permutations=0)
    assert found.accuracy.value > 0.9
    assert found.log_loss.value < 0.25


def test_many_classes_of_few_rows_are_read():
    g = torch.Generator().manual_seed(0)
    y = torch.arange(3000) % 300
    x = y[:, None] / 30.0 + 0.3 * torch.randn(3000, 1, generator=g)
    found = linear_probe(x, y, permutations=0)
    assert found.log_loss.value < found.log_loss.null - 0.3
    assert found.settings["C"] >= 0.1


def test_a_split_that_is_none():
    x, y = gaussians(n=300)
    some = torch.arange(300)
    with pytest.raises(InputError, match="RA248: `split` is of 300 rows"):
        linear_probe(x, y, split=Split(some[:200], some[150:200], some[150:200]))
    with pytest.raises(InputError, match="RA247: the validation part"):
        linear_probe(x, y, split=Split(some[:200], some[:0], some[200:]))
    split = Split.of(y, 300, groups=some // 3)
    bare = Split(split.train, split.validation, split.test)
    assert linear_probe(x, y, split=bare, groups=some // 3, permutations=0).settings["groups"]
    with pytest.raises(InputError, match="a group on two sides"):
        linear_probe(x, y, split=Split.of(y, 300), groups=some // 3)


def test_strengths_of_a_ridge_count_features_and_not_coordinates():
    x, y = gaussians(n=60, d=200)
    rows = Rows.prepared(x.double(), y, torch.arange(3), (), Split.of(y, 60), "centre")
    found = ridge_head().fit(rows, y[:, None], TRAIN, torch.tensor([0.5]))
    z = x.double()[rows.split.train]
    s = torch.linalg.svdvals(z - z.mean(0)) ** 2
    strength = 0.5 * float(s.sum()) / 200
    assert float(found.known["effective"][0]) == pytest.approx(float((s / (s + strength)).sum()))


def test_labels_that_are_missing_or_in_half_precision():
    x, y = gaussians()
    assert linear_probe(x, y.bfloat16(), permutations=0).accuracy == linear_probe(x, y, permutations=0).accuracy
    with pytest.raises(InputError, match="RA203: `labels` has None"):
        linear_probe(x, [None, *y.tolist()[1:]])


def test_naive_bayes_with_a_variance_for_each_class_is_scikit_learns():
    x, y = load_digits(return_X_y=True)
    found = gaussian_naive_bayes(x, y, variance="class", scale="none", permutations=0)
    train, test = found.split.train_and_validation.numpy(), found.split.test.numpy()
    peer = GaussianNB().fit(x[train], y[train])
    assert found.predictions.tolist() == peer.predict(x[test]).tolist()
    assert float(gaussian_naive_bayes(x, y, permutations=0).accuracy) > float(found.accuracy)
