"""Sessions of a continual training: reference values, equality with joint fits, and what they decompose into."""

import math

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestCentroid

from repana.dynamics import sessions
from repana.dynamics._running_heads import Head
from repana.dynamics._sessions import summary
from repana.errors import InputError


def c0():
    """Three sessions of two classes, and three bodies (language_models.md 4.2)."""
    r = np.random.default_rng(0)
    m = r.standard_normal((6, 5))
    k = np.eye(5) + 0.5 * r.standard_normal((5, 5)) / 5**0.5
    y, z = np.repeat(np.arange(6), 30), np.repeat(np.arange(6), 40)
    x, t = m[y] + r.standard_normal((180, 5)) @ k, m[z] + r.standard_normal((240, 5)) @ k
    turn, off = [np.eye(5)], [np.zeros(5)]
    for _ in (1, 2):
        turn.append(turn[-1] @ (np.eye(5) + 0.25 * r.standard_normal((5, 5)) / 5**0.5))
    for _ in (1, 2):
        off.append(off[-1] + 0.4 * r.standard_normal(5))
    return x, y, t, z, [(x @ d + o, t @ d + o) for d, o in zip(turn, off)]


X, Y, T, Z, BODIES = c0()


def test_the_recipe():
    assert X[0, 0] == pytest.approx(0.3000893404, abs=1e-10)


@pytest.mark.parametrize(
    ("head", "rows", "values"),
    [
        ("nmc", [[0.825], [0.65, 0.7875], [0.5875, 0.6625, 0.625]], (0.625, 0.7229166667, 0.18125, 0.6143401015)),
        ("lda", [[0.9], [0.8, 0.8625], [0.75, 0.7125, 0.6125]], (0.6916666667, 0.8076388889, 0.15, 0.7035398230)),
        ("ridge", [[0.9], [0.6875, 0.875], [0.675, 0.7625, 0.5875]], (0.675, 0.7854166667, 0.16875, 0.675)),
    ],
)
def test_reference_values(head, rows, values):
    found = sessions(X, Y, Y // 2, held_out=(T, Z), heads=(head,))[head]
    for t, row in enumerate(rows):
        assert found.accuracy[t, : t + 1].tolist() == pytest.approx(row, abs=1e-10)
        assert found.accuracy[t, t + 1 :].isnan().all()
    got = (found.final, found.incremental, found.forgetting, found.harmonic)
    assert [float(e) for e in got] == pytest.approx(values, abs=1e-10)
    assert float(found.competition) == float(found.forgetting)  # a frozen body forgets nothing else
    assert all(e.low < e.value < e.high for e in got)


def test_aware_accuracy_of_a_frozen_body_never_falls():
    found = sessions(X, Y, Y // 2, held_out=(T, Z), heads=("nmc",))["nmc"]
    for u, want in enumerate((0.825, 0.8875, 0.8)):
        assert found.aware[u:, u].tolist() == pytest.approx([want] * (3 - u), abs=1e-12)


def test_bodies_are_told_apart_from_heads():
    found = sessions(None, Y, Y // 2, held_out=(None, Z), bodies=BODIES, heads=("nmc",))
    one = found["nmc"]
    assert float(one.final) == pytest.approx(0.5041666667, abs=1e-10)
    assert float(one.refit[-1].mean()) == pytest.approx(0.6166666667, abs=1e-10)
    assert (float(one.head_loss), float(one.body_loss)) == pytest.approx((0.1125, 0.0083333333), abs=1e-10)
    for c, squared, unbiased, relative in (
        (0, 4.3819416623, 4.3623877844, 0.8643917120),
        (2, 1.3144955294, 1.3029453291, 0.4724018139),
    ):
        drift = found.drift[c]
        assert (drift.squared, drift.unbiased, drift.relative) == pytest.approx((squared, unbiased, relative), abs=1e-9)
    assert found.chance.tolist() == pytest.approx([1 / 2, 1 / 4, 1 / 6])
    assert "18.1 of the 37.5 points" in found.says("nmc")


def test_the_matrix_of_the_specification():
    a = np.array([[0.80, 0.20, 0.15], [0.90, 0.85, 0.30], [0.75, 0.60, 0.95]])
    got = summary(a, [0.1, 0.12, 0.11])
    want = {
        "final": 0.7666666667, "incremental": 0.8138888889, "learning": 0.8666666667, "forgetting": 0.2,
        "backward": -0.15, "forward": 0.135, "harmonic": 0.7622950820,
    }  # fmt: skip
    assert got == pytest.approx(want, abs=1e-10)


@pytest.mark.parametrize("name", ["nmc", "lda", "ridge"])
def test_added_sums_are_the_joint_fit_in_any_order_and_split(name):
    """Against scikit-learn on all rows at once."""
    x, test = torch.from_numpy(X), torch.from_numpy(T)
    strength = 0.01 * float(np.square(X - X.mean(0)).sum() / 5)
    joint = {
        "nmc": lambda: NearestCentroid().fit(X, Y).predict(T),
        "lda": lambda: LinearDiscriminantAnalysis("lsqr", priors=np.full(6, 1 / 6)).fit(X, Y).predict(T),
        "ridge": lambda: Ridge(strength).fit(X, np.eye(6)[Y]).predict(T).argmax(1),
    }[name]()
    rng = np.random.default_rng(0)
    reference = None
    for cuts in ([180], [30, 31, 119], [90, 90], [1] * 180):
        order = torch.from_numpy(rng.permutation(180))
        head = Head(name)
        for rows in order.split(cuts):
            head = head.plus(x[rows], torch.from_numpy(Y)[rows])
        scores = head.scores(test, list(range(6)))
        assert (scores.argmax(1).numpy() == joint).mean() == 1.0
        reference = scores if reference is None else reference
        torch.testing.assert_close(scores, reference, rtol=1e-10, atol=1e-10)


def test_precision_and_array_kinds():
    far = (X + 1e4).astype(np.float32), (T + 1e4).astype(np.float32)
    near = sessions(far[0] - np.float32(1e4), Y, Y // 2, held_out=(far[1] - np.float32(1e4), Z))
    for other in (
        sessions(far[0], Y, Y // 2, held_out=(far[1], Z)),
        sessions(torch.from_numpy(far[0]), torch.from_numpy(Y), torch.from_numpy(Y // 2),
                 held_out=(torch.from_numpy(far[1]), torch.from_numpy(Z))),
    ):  # fmt: skip
        for name in ("nmc", "lda", "ridge"):
            torch.testing.assert_close(other[name].accuracy, near[name].accuracy, rtol=0, atol=1e-12, equal_nan=True)


def test_classes_by_name_and_rows_split_by_seed():
    names = np.array(["a", "b", "c", "d", "e", "f"])
    by_name = sessions(X, names[Y], Y // 2, held_out=(T, names[Z]))
    by_code = sessions(X, Y, Y // 2, held_out=(T, Z))
    assert by_name["lda"].final == by_code["lda"].final
    halves = sessions(X, Y, Y // 2, seed=3)
    assert halves.settings["fitted"] == halves.settings["held_out"] == 90
    assert halves["nmc"].final == sessions(X, Y, Y // 2, seed=3)["nmc"].final


def test_sessions_that_bring_no_classes():
    """Domain-incremental: the forward transfer is defined, the competition is none."""
    domain = np.arange(180) % 3
    shifted = X + domain[:, None]
    found = sessions(shifted, Y, domain, held_out=(T + (np.arange(240) % 3)[:, None], Z, np.arange(240) % 3))["lda"]
    assert math.isfinite(float(found.forward))
    assert not found.accuracy.isnan().any()
    other = sessions(X, Y, Y // 2, held_out=(T, Z))["lda"]
    assert math.isnan(float(other.forward))
    assert "no head can name" in other.forward.note


def test_one_session_and_fewer_rows_than_features():
    one = sessions(X, Y, np.zeros(180), held_out=(T, Z))["nmc"]
    assert math.isnan(float(one.forgetting))
    assert math.isnan(float(one.backward))
    assert float(one.final) == float(one.incremental)
    g = torch.Generator().manual_seed(0)
    y = torch.arange(24) % 4
    x = 3 * torch.eye(4, 40)[y] + 0.3 * torch.randn(24, 40, generator=g)
    found = sessions(x, y, y // 2, heads=("nmc", "lda", "ridge"))
    assert all(float(h.final) > 0.9 for h in found.heads.values())  # the shrunken scatter keeps what the means tell
    assert float(found["lda"].intransigence) == 0.0


@pytest.mark.slow
def test_intervals_of_forgetting_cover():
    """Over fresh held-out rows, those that were fitted on being as they are."""
    many = np.random.default_rng(1)
    values = []
    m, k = np.random.default_rng(5).standard_normal((6, 5)), np.eye(5)

    def held(n):
        z = np.repeat(np.arange(6), n)
        return m[z] + many.standard_normal((6 * n, 5)) @ k, z

    x = m[Y] + np.random.default_rng(6).standard_normal((180, 5)) @ k
    truth = float(sessions(x, Y, Y // 2, held_out=held(5000), heads=("nmc",), bootstrap=0)["nmc"].forgetting)
    for _ in range(120):
        found = sessions(x, Y, Y // 2, held_out=held(40), heads=("nmc",), bootstrap=100)["nmc"].forgetting
        values.append(found.low <= truth <= found.high)
    assert np.mean(values) >= 0.88


def test_refusals():
    nan = X.copy()
    nan[3, 2] = np.nan
    for given, options in (
        ((nan, Y, Y // 2), {}),
        ((X, Y, Y[:-1] // 2), {}),
        ((X[:-1], Y, Y // 2), {}),
        ((X, np.zeros(180, int), Y // 2), {}),
        ((X, Y, Y // 2), {"heads": ("svm",)}),
        ((X, Y, Y // 2), {"held_out": (T, Z + 1)}),
        ((X, Y, Y // 2), {"held_out": (T[Z < 4], Z[Z < 4])}),
        ((X, Y, np.arange(180) % 3), {"held_out": (T, Z)}),
        ((X, Y, Y // 2), {"held_out": (T, Z, Z)}),
        ((X, Y, Y // 2), {"bodies": [X, X]}),
        ((X, Y, Y // 2), {"held_out": (T, Z), "bodies": [X, X, X]}),
        ((X, Y, Y // 2), {"held_out": (T,)}),
        ((X, Y, Y // 2), {"base": [0.1]}),
        ((None, Y, Y // 2), {"bodies": [X, X, X[:, :3]]}),
    ):
        with pytest.raises(InputError, match="RA2"):
            sessions(*given, **options)


def test_what_is_missing_is_said():
    with pytest.raises(InputError, match="RA291: Class 0 comes in sessions 0, 1, 2"):
        sessions(X, Y, np.arange(180) % 3, held_out=(T, Z))
    with pytest.raises(InputError, match="RA291: `bodies` has 2 entries; expected one for each of 3 sessions"):
        sessions(None, Y, Y // 2, bodies=[X, X])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"session": np.where(np.arange(120) == 3, np.nan, np.arange(120) % 4 // 2)}, "1 values that are not finite"),
        ({"base": [np.nan, 0.1]}, "`base` is an accuracy from 0 to 1"),
        ({"base": [50, 50]}, "`base` is an accuracy from 0 to 1"),
        ({"base": 0.1}, "`base` is an accuracy"),
        ({"base": [0.1]}, "`base` has 1 accuracies"),
        ({"bodies": 3}, "`bodies` has int entries"),
        ({"heads": 3}, "`heads` is 3"),
        ({"heads": "knn"}, "`heads` is 'knn'"),
        ({"seed": "a"}, "`seed` is 'a'"),
        ({"held_out": (torch.ones(4, 3), torch.arange(4))}, "Rows to fit on have 4 features and held-out rows 3"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(unchecked, options, text):
    y = torch.arange(120) % 4
    x = 3 * torch.eye(4)[y] + torch.randn(120, 4, generator=torch.Generator().manual_seed(0))
    given = {"session": y // 2, **options}
    with pytest.raises(InputError, match=text):
        sessions(x, y, given.pop("session"), **given)
