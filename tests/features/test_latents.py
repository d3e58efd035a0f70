"""What single features of a dictionary stand for: latent-class F1, sparse probing, absorption."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score

from repana.errors import InputError
from repana.features import absorption, latent_classes, sparse_autoencoder, sparse_probe
from repana.features._absorption import absorbed_rows
from repana.features._latent_classes import _unions, f1_table
from repana.features._sparse_probe import _splitting
from repana.statistics.splits import Split


def p3():
    """Rows of three of forty directions, and labels of a network on them (frontier.md 1.5)."""
    r = np.random.default_rng(3)
    atoms = r.standard_normal((40, 16))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    z = np.zeros((600, 40))
    for i in range(600):
        z[i, r.permutation(40)[:3]] = 1 + r.random(3)
    b = 3 / 16**0.5 * np.ones(16)
    x = z @ atoms + b + 0.02 * r.standard_normal((600, 16))
    a, head = r.standard_normal((16, 12)), r.standard_normal((12, 5))
    return x, np.argmax(np.tanh((x - b) @ a) @ head + 0.5 * r.standard_normal((600, 5)), 1), (x - b) @ atoms.T, z


X, Y, A, Z = p3()
THRESHOLD = np.maximum(A, 0) * (A > 0.55)
TOP3 = np.where(np.sort(A, 1)[:, -3:-2] <= A, np.maximum(A, 0), 0)


def test_reference_values():
    assert X[0, 0] == pytest.approx(0.286419304269, abs=1e-12)
    found = latent_classes(THRESHOLD, Y)
    p = (Y == 3).mean()
    assert found.best_of_all[3].value == pytest.approx(0.38339, abs=5e-6)
    assert 2 * p / (1 + p) == pytest.approx(0.37838, abs=5e-6)
    tied = latent_classes(TOP3, Y)
    assert tied.best_of_all[0].value == pytest.approx(0.3582089552, abs=1e-10)
    assert np.quantile([tied.best_of_all[0].null_high], 0) == pytest.approx(0.2225, abs=0.01)
    p = (Y == 0).mean()
    assert 2 * p / (1 + p) == pytest.approx(0.2758620690, abs=1e-10)


def test_the_chosen_feature_is_reported_on_other_rows():
    split = Split.of(torch.from_numpy(Y), 600, seed=5)
    found = latent_classes(THRESHOLD, Y, split=split, permutations=20)
    fit, test = split.train_and_validation.numpy(), split.test.numpy()
    for c in range(5):
        scores = [f1_score(Y[fit] == c, THRESHOLD[fit, j] != 0) for j in range(40)]
        assert found.latent[c] == int(np.argmax(scores))
        chosen = THRESHOLD[test, found.latent[c]]
        assert found.best[c].value == pytest.approx(f1_score(Y[test] == c, chosen != 0))
        assert found.auroc[c] == pytest.approx(roc_auc_score(Y[test] == c, chosen))
        p = (Y[test] == c).mean()
        assert found.best[c].null == pytest.approx(2 * p / (1 + p))


def test_unions_are_the_best_of_all_sets():
    active, truth = torch.from_numpy(THRESHOLD != 0), torch.from_numpy(Y[:, None] == np.arange(5))
    f1, chosen = _unions(active, truth)
    for j in range(0, 40, 4):
        every = [
            f1_score(np.isin(Y, some), THRESHOLD[:, j] != 0)
            for size in range(1, 6)
            for some in itertools.combinations(range(5), size)
        ]
        assert float(f1[j]) == pytest.approx(max(every), abs=1e-12)
        assert f1_score(np.isin(Y, chosen[j].nonzero()[:, 0].numpy()), THRESHOLD[:, j] != 0) == pytest.approx(
            max(every)
        )
    assert float(f1_table(torch.zeros(6, 1) > 0, truth[:6]).max()) == 0


def test_order_of_features_and_size_of_codes_change_nothing():
    order = np.random.default_rng(0).permutation(40)
    first, other = (
        latent_classes(THRESHOLD, Y, permutations=5),
        latent_classes(3 * THRESHOLD[:, order], Y, permutations=5),
    )
    for c in range(5):
        assert other.best[c].value == first.best[c].value
        assert int(order[other.latent[c]]) == first.latent[c]


@pytest.mark.parametrize("balanced", [False, True])
def test_sparse_probe_is_scikit_learns_on_the_same_features(balanced):
    split = Split.of(torch.from_numpy(Y), 600, seed=2)
    found = sparse_probe(TOP3, Y, units=X, ks=(1, 5), balanced=balanced, split=split, permutations=0)
    fit, test = split.train_and_validation.numpy(), split.test.numpy()
    z = (TOP3 - TOP3[fit].mean(0)) / TOP3[fit].std(0)
    for c in range(5):
        apart = np.abs(z[fit][Y[fit] == c].mean(0) - z[fit][Y[fit] != c].mean(0))
        assert found.features[c] == tuple(np.argsort(-apart)[:5])
        for k in (1, 5):
            chosen = list(found.features[c][:k])
            weight = "balanced" if balanced else None  # a row weighs n/(2 n_c), so that all weigh n
            model = LogisticRegression(C=1.0, class_weight=weight, tol=1e-8, max_iter=1000)
            model.fit(z[fit][:, chosen], Y[fit] == c)
            expected = f1_score(Y[test] == c, model.predict(z[test][:, chosen]))
            assert found.f1[c][k].value == pytest.approx(expected, abs=0.03)


def test_a_planted_feature_is_found_and_a_split_one_is_counted():
    r = np.random.default_rng(0)
    y = np.arange(600) % 3
    codes = np.abs(r.standard_normal((600, 30))) * (r.random((600, 30)) < 0.1)
    codes[:, 7] = np.where(y == 0, 1 + r.random(600), 0)
    half = r.random(600) < 0.5  # class 1 is split over two features
    codes[:, 3] = np.where((y == 1) & half, 1 + r.random(600), 0)
    codes[:, 4] = np.where((y == 1) & ~half, 1 + r.random(600), 0)
    found = sparse_probe(codes, y, ks=(1, 2, 3), permutations=19)
    assert found.features[0][0] == 7
    assert found.f1[0][1].value == 1
    assert found.f1[0][1].p <= 0.15
    assert found.f1[0][1].null_high < 0.9
    assert set(found.features[1][:2]) == {3, 4}
    assert found.f1[1][1].value < 0.8 < found.f1[1][2].value
    assert (found.splitting[0], found.splitting[1]) == (0, 1)


def test_noise_is_at_its_null():
    r = np.random.default_rng(1)
    codes, y = r.random((400, 50)), np.arange(400) % 4
    found = sparse_probe(codes, y, ks=(5,), permutations=19)
    assert sum(found.f1[c][5].null_low <= found.f1[c][5].value <= found.f1[c][5].null_high for c in range(4)) >= 3


def test_a_class_that_one_side_lacks_has_no_value():
    """One row of it is fitted on, and none tested: NaN with a note, not an F1 of 0."""
    y = np.append(np.arange(100) % 2, 2)
    codes = np.abs(np.random.default_rng(0).standard_normal((101, 8)))
    for found in (sparse_probe(codes, y, ks=(1,), permutations=3).f1[2][1], latent_classes(codes, y).best[2]):
        assert np.isnan(found.value)
        assert "the class has no test row" in found.note
    assert np.isfinite(sparse_probe(codes, y, ks=(1,), permutations=0).mean(1))


def test_splitting_counts_rises():
    """Not the place of the last: .50, .51, .60, .61, .70 rises twice."""
    assert _splitting([0.50, 0.51, 0.60, 0.61, 0.70]) == 2
    assert _splitting([0.9, 0.9]) == 0


def toy():
    """Four features, the first of which stands for the direction (frontier.md 1.5)."""
    atoms = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 3]], dtype=torch.float64)
    atoms = atoms / atoms.norm(dim=1, keepdim=True)
    z = torch.tensor([[2, 0, 0, 0], [0, 2, 0, 0], [0.6, 1.5, 0, 0], [0, 0.5, 0, 0]], dtype=torch.float64)
    x = z @ atoms
    x[3, 0] += 1
    return atoms, z, x


def test_absorption_of_the_toy():
    atoms, z, x = toy()
    direction = torch.tensor([3.0, 0, 0, 0]).double()
    rows, whole = absorbed_rows(z, atoms, x, direction, [0])
    assert rows.tolist() == pytest.approx([0, 1, 0.63869790, 0], abs=1e-8)
    assert whole.tolist() == [False, True, False, False]
    words = sparse_autoencoder(atoms, lambda _: z)
    found = absorption(words, x, direction, [0], direction_f1=0.9)
    assert found.absorbed.value == pytest.approx(rows.mean())
    assert found.full.value == pytest.approx(0.25)
    assert not found.absorbed.note
    assert np.isnan(absorption(words, x, direction, [0], direction_f1=0.6).absorbed.value)
    assert "give `direction_f1`" in absorption(words, x, direction, [0]).absorbed.note
    long = sparse_autoencoder(2 * atoms, lambda _: z / 2)
    assert "rescale them first" in absorption(long, x, direction, [0], direction_f1=0.9).absorbed.note


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda w, x: absorption(w, x, torch.zeros(4), [0]), "RA254: `direction` is zero"),
        (lambda w, x: absorption(w, x, torch.ones(4), [4]), "RA254: `main` is 4"),
        (lambda w, x: absorption(w, x, torch.ones(4), []), "RA254: `main` is none"),
        (lambda w, x: absorption(w, x, torch.ones(3), [0]), "RA234: "),
        (lambda w, x: latent_classes(np.full((6, 2), np.nan), np.arange(6) % 2), "RA204: "),
        (lambda w, x: latent_classes(np.ones((6, 2)), np.zeros(6, int)), "RA"),
        (lambda w, x: sparse_probe(np.ones((60, 2)), np.arange(60) % 2, ks=()), "RA212: "),
        (lambda w, x: sparse_probe(np.ones((60, 2)), np.arange(60) % 2, units=np.ones((50, 2))), "RA201: "),
    ],
)
def test_what_does_not_fit_is_refused(call, code):
    atoms, z, x = toy()
    words = sparse_autoencoder(atoms, lambda _: z)
    with pytest.raises(InputError) as caught:
        call(words, x)
    assert str(caught.value).startswith(code)
