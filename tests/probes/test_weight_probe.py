"""Probes of few samples: left-out predictions against refits, the reference zoo, intervals, nulls, figures."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

import repana
from repana.errors import InputError
from repana.probes import lda_probe, nearest_mean, ridge_probe, weight_probe
from repana.summaries.left_out import left_out, products_of
from tests.extraction.test_zoo import LABELS, TREES, ZOO, W

X, Y, T = torch.from_numpy(W.reshape(36, -1)), torch.tensor(LABELS), torch.tensor(TREES)


def refitted(x: np.ndarray, y: np.ndarray, fold: np.ndarray, share: float, scale: str) -> np.ndarray:
    """Predictions by scikit-learn, one fold after the other."""
    found = np.empty_like(y, dtype=float)
    for f in np.unique(fold):
        fit, test = fold != f, fold == f
        scaler = StandardScaler(with_std=scale == "standard").fit(x[fit])
        z = scaler.transform(x)
        alpha = share * np.trace(z[fit] @ z[fit].T) / fit.sum()
        found[test] = Ridge(alpha=alpha).fit(z[fit], y[fit]).predict(z[test]).reshape(test.sum(), -1)
    return found


@pytest.mark.parametrize("scale", ["centre", "standard"])
@pytest.mark.parametrize("groups", [False, True])
def test_left_out_predictions_are_those_of_refits(scale: str, groups: bool) -> None:
    r = np.random.default_rng(3)
    x, y = r.standard_normal((24, 40)) + 5, r.standard_normal((24, 2))
    fold = np.arange(24) % 4 if groups else np.arange(24)
    found, _ = left_out(
        products_of(torch.from_numpy(x), scale), torch.from_numpy(y)[:, None], torch.from_numpy(fold), [0.1]
    )
    assert np.allclose(found[:, 0], refitted(x, y, fold, 0.1, scale), atol=1e-10)


@pytest.mark.parametrize("groups", [False, True])
def test_the_penalty_is_the_best_of_refits_inside(groups: bool) -> None:
    r = np.random.default_rng(4)
    x, y = r.standard_normal((20, 30)), r.standard_normal((20, 1))
    y += x[:, :1]
    fold = np.arange(20) % 5 if groups else np.arange(20)
    shares = (1.0, 0.1, 0.01)
    _, chosen = left_out(
        products_of(torch.from_numpy(x), "centre"), torch.from_numpy(y)[:, None], torch.from_numpy(fold), shares
    )
    for f, share in zip(np.unique(fold), chosen[:, 0].tolist()):
        inside = fold != f
        z = x - x[inside].mean(0)
        alphas = [s * np.trace(z[inside] @ z[inside].T) / inside.sum() for s in shares]
        errors = []
        for alpha in alphas:
            missed = 0.0
            for g in np.unique(fold[inside]):
                fit = inside & (fold != g)
                part = Ridge(alpha=alpha).fit(z[fit], y[fit])
                test = inside & (fold == g)
                missed += float(((part.predict(z[test]).reshape(-1, 1) - y[test]) ** 2).sum())
            errors.append(missed)
        assert share == shares[int(np.argmin(errors))]


@pytest.mark.parametrize(
    ("kind", "inside", "across"),
    [("flat", 1.0, 0.527777778), ("statistics", 0.75, 0.5), ("responses", 0.861111111, None)],
)
def test_the_reference_zoo_is_read_among_siblings_alone(kind: str, inside: float, across: float | None) -> None:
    zoo = repana.read_weights(ZOO, kind, labels=LABELS, width=40, seed=50)
    found = weight_probe(zoo, alpha=0.01, permutations=19)["w"]
    assert float(found.leave_one_out) == pytest.approx(inside, abs=1e-9)
    if across is not None:
        assert float(found.leave_tree_out) == pytest.approx(across, abs=1e-9)
    assert float(found.chance) == 0.5


def test_within_each_tree_all_are_right_and_without_tree_means_fewer_than_by_chance() -> None:
    for k in range(3):
        at = k == T
        alone = repana.read_weights([m for m, t in zip(ZOO, TREES) if t == k], "flat", labels=Y[at], groups=None)
        assert float(weight_probe(alone, alpha=0.01, permutations=0)["w"].leave_one_out) == 1
    centred = torch.stack([x - X[t == T].mean(0) for x, t in zip(X, T)])
    zoo = repana.Activations({"w": centred}, Y)
    found = weight_probe(zoo, groups=TREES, alpha=0.01, permutations=0)["w"]
    assert float(found.leave_tree_out) == pytest.approx(13 / 36)


def test_what_is_read_among_siblings_is_said_to_be_so() -> None:
    found = weight_probe(repana.read_weights(ZOO, "flat", labels=LABELS))
    assert found["w"].leave_one_out.p == 1 / 200
    assert found["w"].leave_tree_out.p > 0.05
    assert "the probe reads the tree" in found.says()
    report = repana.profile(repana.read_weights(ZOO, "flat", labels=LABELS), analyzers=["weight_probe"])
    from repana.findings import find

    said = {f.code: f for f in find(report)}
    assert said["RF507"].severity == "issue"
    assert "reads the tree" in said["RF507"].text
    assert said["RF508"].severity == "passed"


def test_few_models_are_a_tip() -> None:
    from repana.findings import find

    zoo = repana.read_weights(ZOO[:14], labels=LABELS[:14], groups=None)
    said = {f.code: f for f in find(repana.profile(zoo, analyzers=["weight_probe"]))}
    assert said["RF508"].severity == "tip"
    assert said["RF507"].severity == "not applicable"


def test_what_holds_across_trees_is_read_across_them() -> None:
    r = np.random.default_rng(5)
    shift = r.standard_normal((10, 8))
    zoo = [{"w": torch.from_numpy(w + 0.3 * y * shift)} for w, y in zip(W, LABELS)]
    found = weight_probe(repana.read_weights(zoo, "flat", labels=LABELS))["w"]
    assert float(found.leave_tree_out) > 0.9
    assert found.leave_tree_out.p == 1 / 200


@pytest.mark.parametrize("probe", [ridge_probe, lda_probe, nearest_mean])
def test_every_row_is_reported(probe) -> None:
    y = np.where(Y.numpy() > 0, "odd", "even")
    x = X + 0.4 * torch.where(Y > 0, 1.0, -1.0)[:, None]
    found = probe(x, y, cross="leave-group-out", groups=TREES, scale="centre", permutations=19)
    assert len(found.targets) == 36
    assert found.classes == ("even", "odd")
    assert float(found.accuracy) > 0.9
    assert found.accuracy.p == 1 / 20
    assert found.weight is not None
    assert found.weight.shape == (80, 2)
    assert torch.equal((x.double() @ found.weight + found.bias).argmax(1), found.targets)
    alone = probe(x, y, cross="leave-one-out", scale="centre", permutations=0)
    assert len(alone.targets) == 36
    assert np.isnan(alone.accuracy.p)


def test_each_sample_is_predicted_without_itself() -> None:
    r = np.random.default_rng(6)
    x, y = torch.from_numpy(r.standard_normal((20, 50))), torch.arange(20) % 2
    first = ridge_probe(x, y, cross="leave-one-out", permutations=0)
    moved = y.clone()
    moved[7] = 1 - y[7]
    second = ridge_probe(x, moved, cross="leave-one-out", permutations=0)
    heat = float(first.settings["temperature"])
    assert heat > 0
    scores = [p.log_probabilities[7].argmax() for p in (first, second)]
    assert scores[0] == scores[1]


def test_real_values_have_r2() -> None:
    r = np.random.default_rng(7)
    x = r.standard_normal((40, 6))
    y = x[:, 0] + 0.1 * r.standard_normal(40)
    zoo = repana.Activations({"w": x}, y, provenance={"kind": "statistics"})
    found = weight_probe(zoo, groups=np.arange(40) % 5, alpha=0.001)
    assert found.score == "R2"
    for cross, fold in (("leave_one_out", np.arange(40)), ("leave_tree_out", np.arange(40) % 5)):
        predicted = refitted(x, y[:, None], fold, 0.001, "standard")[:, 0]
        base = np.array([y[fold != f].mean() for f in fold])
        expected = 1 - ((y - predicted) ** 2).sum() / ((y - base) ** 2).sum()
        assert float(getattr(found["w"], cross)) == pytest.approx(expected, abs=1e-10)
        assert getattr(found["w"], cross).p == 1 / 200


def test_two_trees_have_no_interval() -> None:
    zoo = repana.read_weights(ZOO[:24], "flat", labels=LABELS[:24])
    found = weight_probe(zoo, permutations=9)["w"].leave_tree_out
    assert np.isfinite(found.value)
    assert np.isnan(found.low)
    assert "2 group(s)" in found.note


def test_equal_shares_of_all_trees_have_an_interval_of_some_width() -> None:
    from repana.probes._cross import Folds

    group = torch.arange(3).repeat_interleave(12)
    found = Folds(group, group, "leave-group-out").share(torch.arange(36) % 2 == 0, 0.95)
    assert found.high - found.low > 0.25


@pytest.mark.slow
def test_intervals_over_trees_cover() -> None:
    from repana.probes._cross import Folds

    r = np.random.default_rng(0)
    for trees in (3, 8):
        group = torch.arange(trees).repeat_interleave(12)
        folds, hits = Folds(group, group, "leave-group-out"), 0
        for _ in range(400):
            right = r.random((trees, 12)) < r.beta(6, 4, trees)[:, None]
            found = folds.share(torch.from_numpy(right.ravel()), 0.95)
            hits += found.low <= 0.6 <= found.high
        assert hits / 400 > 0.9


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"cross": "leave-group-out"}, "needs `groups=`"),
        ({"cross": "leave-group-out", "groups": [0] * 36}, "1 group"),
        ({"cross": "jackknife"}, "'leave-one-out', 'leave-group-out'"),
        ({"cross": "leave-one-out", "split": repana.Split.of(Y, 36)}, "`cross` reports every row"),
    ],
)
def test_what_cannot_be_left_out_is_refused(options, text) -> None:
    with pytest.raises(InputError, match=text):
        ridge_probe(X, Y, **options)


def test_what_is_no_zoo_or_no_label_is_refused() -> None:
    zoo = repana.read_weights(ZOO, labels=LABELS)
    with pytest.raises(InputError, match="expected the `Activations`"):
        weight_probe(ZOO, LABELS)
    with pytest.raises(InputError, match="RA204"):
        weight_probe(zoo, np.where(np.arange(36) == 3, np.nan, 1.5))
    with pytest.raises(InputError, match="RA213"):
        weight_probe(repana.read_weights(ZOO))
    crossed = {name: ridge_probe(x, Y, cross="leave-one-out", permutations=0) for name, x in (("a", X), ("b", X**2))}
    with pytest.raises(InputError, match="without `cross=`"):
        repana.best_layer(crossed)


def test_the_figure_draws_both_scores() -> None:
    from repana import plots

    found = weight_probe(repana.read_weights(ZOO, "flat", labels=LABELS), permutations=9)
    ax = plots.weight_probe_depth(found)
    heights = sorted(float(line.get_ydata()[0]) for line in ax.lines if len(line.get_ydata()) == 1)
    assert heights == pytest.approx(sorted([float(found["w"].leave_one_out), float(found["w"].leave_tree_out)]))
    assert set(found.frame().quantity) == {"leave_one_out", "leave_tree_out", "chance"}
