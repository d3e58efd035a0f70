"""Several labels, values, other distributions, few labels, several layers and tokens, and the use of a direction."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import Ridge
from sklearn.metrics import average_precision_score, r2_score
from torch import nn

import repana
from repana import (
    InputError,
    ModelError,
    Split,
    best_layer,
    concept_use,
    knn_probe,
    layer_combination,
    linear_probe,
    moment_probe,
    multilabel_probe,
    ood_probe,
    plots,
    probe_baselines,
    regression_probe,
    reinitialised,
    sample_efficiency,
)

DIGITS = load_digits(return_X_y=True)


def noise(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


# --- several labels, and values ---------------------------------------------------------------------------------------


def test_several_labels_a_row():
    x = noise(1500, 12)
    y = (x[:, :4] @ noise(4, 3, 1) + 0.5 * noise(1500, 3, 2) > 0).long()
    found = multilabel_probe(x, y)
    truth = y[found.split.test]
    want = average_precision_score(truth.numpy(), found.probabilities.numpy(), average=None)
    np.testing.assert_allclose(found.per_label[:, 1], want, rtol=1e-9)
    guess = found.probabilities > 0.5
    assert found.accuracy.value == pytest.approx(float((guess == truth.bool()).double().mean()))
    assert found.exact.value == pytest.approx(float((guess == truth.bool()).all(1).double().mean()))
    assert found.chance.value < found.accuracy.low
    assert found.log_loss_bits.value == found.log_loss.value / math.log(2)
    alone = linear_probe(x, y[:, 0], split=found.split, permutations=0)
    assert found.per_label[0, 0] == pytest.approx(alone.accuracy.value, abs=0.011)


def test_a_rare_label_has_no_value_where_it_does_not_come():
    y = torch.zeros(300, 2, dtype=torch.int64)
    y[:150, 0] = 1
    y[0, 1] = 1
    found = multilabel_probe(noise(300, 4), y)
    assert math.isfinite(found.accuracy.value)
    assert math.isnan(found.per_label[1, 1]) or 0 <= found.per_label[1, 1] <= 1


def test_values_are_read_as_ridge_reads_them():
    x, y = load_diabetes(return_X_y=True)
    found = regression_probe(x, y)
    train, report = found.split.train_and_validation.numpy(), found.split.test.numpy()
    spread = x[found.split.train.numpy()].std(0)
    z = (x - x[found.split.train.numpy()].mean(0)) / spread
    gram = (z[train] - z[train].mean(0)).T @ (z[train] - z[train].mean(0))
    refit = Ridge(alpha=float(found.per_target[0, 3]) * np.trace(gram) / z.shape[1]).fit(z[train], y[train])
    np.testing.assert_allclose(found.predictions[:, 0], refit.predict(z[report]), rtol=1e-8)
    np.testing.assert_allclose((torch.tensor(x) @ found.weight + found.bias)[report], found.predictions, rtol=1e-8)
    mean = y[train].mean()
    by_hand = 1 - ((y[report] - found.predictions[:, 0].numpy()) ** 2).sum() / ((y[report] - mean) ** 2).sum()
    assert found.r2.value == pytest.approx(by_hand)
    assert found.r2.value == pytest.approx(r2_score(y[report], found.predictions[:, 0].numpy()), abs=0.02)
    assert found.r2.null < 0.05
    assert found.memorization.value < 0.1


def test_gaussian_information():
    a = noise(20_000, 1)
    b = 0.8 * a[:, 0] + 0.6 * noise(20_000, 1, 1)[:, 0]
    found = regression_probe(a, b)
    assert found.information.low < -0.5 * math.log(1 - 0.64) < found.information.high


def test_more_features_than_rows_for_values():
    x = noise(90, 300)
    found = regression_probe(x, torch.stack([x[:, :40].sum(1), x[:, 0] * 0 + noise(90, 1, 2)[:, 0]], 1))
    assert found.per_target[0, 0] > found.per_target[1, 0]
    predicted = (x.double() @ found.weight + found.bias)[found.split.test]
    torch.testing.assert_close(predicted, found.predictions, atol=1e-5, rtol=1e-5)


def test_refusals_of_targets():
    x = noise(60, 3)
    with pytest.raises(InputError, match="RA203: `targets` has the value 2"):
        multilabel_probe(x, torch.full((60, 2), 2))
    with pytest.raises(InputError, match="RA211"):
        multilabel_probe(x, torch.zeros(60))
    with pytest.raises(InputError, match=r"RA251: `targets` has column\(s\) 1"):
        regression_probe(x, torch.stack([x[:, 0], torch.ones(60)], 1))
    with pytest.raises(InputError, match="RA204"):
        regression_probe(x, torch.full((60,), math.nan))


# --- other distributions ----------------------------------------------------------------------------------------------


def test_accuracy_elsewhere():
    x, y = noise(1200, 6), torch.arange(1200) % 2
    x[:, 0] += 3 * y
    moved = x.clone()
    moved[:, 0] = noise(1200, 1, 5)[:, 0]  # what was read is gone
    attributes = torch.tensor([0, 1] * 600)
    found = ood_probe(x, y, {"same": (x, y), "gone": (moved, y)}, attributes={"id": attributes, "gone": attributes})
    assert found.by_distribution["same"].value == pytest.approx(found.accuracy.value, abs=0.05)
    assert found.by_distribution["gone"].value == pytest.approx(0.5, abs=0.06)
    assert found.worst_distribution.label == "gone"
    assert found.ood_accuracy.value == pytest.approx(np.mean([e.value for e in found.by_distribution.values()]))
    assert found.gap.value == pytest.approx(found.accuracy.value - found.ood_accuracy.value)
    assert found.worst_group.value == min(e.value for e in found.by_group.values())
    assert set(found.by_group) <= {f"{c}, {a}" for c in "01" for a in "01"}
    layers = {name: ood_probe(v, y, {"gone": (v, y)}).probe for name, v in (("early", x[:, 1:]), ("late", x))}
    assert best_layer(layers).layer == "late"


def test_groups_are_named_by_their_own_values():
    """Subgroup names belong to the rows that carry them, whatever order numbers and texts sort in."""
    x, y = noise(900, 3), torch.arange(900) % 2
    x[:, 0] += 4 * y
    place = torch.where(torch.arange(900) % 3 == 0, 10, 9)
    bad = place == 10
    x[bad] = noise(int(bad.sum()), 3, 7)
    found = ood_probe(x, y, {"o": (x, y)}, attributes={"o": place})
    low = [e.value for name, e in found.by_group.items() if name.endswith(", 10")]
    high = [e.value for name, e in found.by_group.items() if name.endswith(", 9")]
    assert min(low) < 0.3 < 0.8 < min(high)
    assert found.worst_group.label == "1, 10"


def test_classes_that_are_not_fitted_count_as_wrong():
    x, y = noise(300, 4), torch.arange(300) % 3
    found = ood_probe(x, y, {"more": (x, torch.where(y == 2, 7, y))})
    assert "100 rows of classes without training samples" in found.by_distribution["more"].note
    with pytest.raises(InputError, match="RA234"):
        ood_probe(x, y, {"wide": (noise(300, 5), y)})
    with pytest.raises(InputError, match="RA205"):
        ood_probe(x, y, {})
    with pytest.raises(InputError, match="called 'id'"):
        ood_probe(x, y, {"id": (x, y)})
    with pytest.raises(InputError, match="not both names or both numbers"):
        ood_probe(x, np.array(list("abc"))[y.numpy()], {"o": (x, y)})
    with pytest.raises(InputError, match="no sample with a label"):
        ood_probe(x, y, {"o": (x, torch.full((300,), -100))})
    with pytest.raises(InputError, match="`scale` is 'unit'"):
        ood_probe(x, y, {"o": (x, y)}, scale="unit")
    with pytest.raises(InputError, match="RA212: `attributes` names 'x'"):
        ood_probe(x, y, {"o": (x, y)}, attributes={"x": y})


# --- few labels -------------------------------------------------------------------------------------------------------


def test_sample_efficiency_of_digits():
    """Nearest mean and naive Bayes lead with few labels and are overtaken between 20 and 100."""
    found = sample_efficiency(DIGITS[0], DIGITS[1], [20, 50, 100, 200, 500, 1000], repeats=5)
    means = {name: found.mean(name)[:, 0] for name in found.curves}
    for name, want in {
        "nearest_mean": (0.667, 0.893),
        "linear": (0.611, 0.961),
        "1nn": (0.673, 0.983),
        "naive_bayes": (0.571, 0.888),
    }.items():
        assert float(means[name][0]) == pytest.approx(want[0], abs=0.09)
        assert float(means[name][-1]) == pytest.approx(want[1], abs=0.03)
    assert 20 < found.crossing.value < 150
    assert found.crossing.low <= found.crossing.value <= found.crossing.high
    with pytest.raises(InputError, match="`sizes`"):
        sample_efficiency(DIGITS[0], DIGITS[1], [5])


def test_naive_bayes_needs_fewer_labels_where_its_model_is_true():
    """Ng & Jordan: O(log d) labels against O(d)."""
    g = torch.Generator().manual_seed(0)
    y = torch.arange(3000) % 2
    x = torch.randn(3000, 60, generator=g) + 0.2 * (2 * y - 1)[:, None]
    found = sample_efficiency(x, y, [40, 100, 2000], probes=("naive_bayes", "linear"), C=100.0, repeats=5)
    gap = (found.curves["naive_bayes"] - found.curves["linear"]).mean(1)
    assert float(gap[0]) > 0.02
    bayes = 0.939  # Phi(.2 sqrt(60))
    assert bool((gap[:2] > 0.02).all())
    assert float(found.mean("naive_bayes")[1, 0]) > bayes - 0.03
    assert float(found.mean("linear")[1, 0]) < bayes - 0.03


# --- several layers, several tokens -----------------------------------------------------------------------------------


def test_layers_together_read_what_none_reads_alone():
    x = noise(900, 8)
    y = (x[:, 0] + x[:, 4] > 0).long()
    layers = {"a": x[:, :4], "b": x[:, 4:], "noise": noise(900, 4, 9)}
    both = layer_combination(layers, y)
    assert both.gain.low > 0.1
    assert both.gain_p.value < 1e-4
    assert both.best in ("a", "b")
    weighted = layer_combination(layers, y, "weighted")
    assert float(weighted.weights.sum()) == pytest.approx(1)
    assert float(weighted.weights[2]) < 0.25
    for how in ("first_last", "mean", "max"):
        assert 0 < layer_combination(layers, y, how, permutations=0).accuracy.value <= 1
    ignored = torch.where(torch.arange(900) < 9, -100, y)
    assert layer_combination(layers, ignored, permutations=0).probe.split.n == 891
    with pytest.raises(InputError, match="RA234"):
        layer_combination({"a": x[:, :4], "b": x[:, :3]}, y, "mean")
    with pytest.raises(InputError, match="RA218"):
        layer_combination({"a": x}, y)


def test_whitening_is_fitted_on_the_fit_rows():
    x = noise(400, 6).double() @ noise(6, 6, 1).double()
    y = (x[:, 0] > 0).long()
    split = Split.of(y, 400)
    before = layer_combination({"a": x[:, :3], "b": x[:, 3:]}, y, whiten=True, split=split, permutations=0)
    other = x.clone()
    other[split.test] *= 50
    after = layer_combination({"a": other[:, :3], "b": other[:, 3:]}, y, whiten=True, split=split, permutations=0)
    torch.testing.assert_close(before.probe.weight, after.probe.weight, atol=1e-6, rtol=1e-6)
    assert before.settings["whitened"]


def test_moments_of_tokens():
    y = torch.arange(240) % 2
    lengths = 5 + torch.arange(240) % 7
    sample = torch.arange(240).repeat_interleave(lengths)
    tokens = (1 + y[sample])[:, None] * noise(len(sample), 4)
    mean, spread, second = (moment_probe(tokens, y, sample, moments=m) for m in ("mean", "mean_std", "second"))
    assert mean.accuracy.value < 0.7 < spread.accuracy.low
    assert second.accuracy.low > 0.7
    shuffled = torch.randperm(len(sample), generator=torch.Generator().manual_seed(0))
    again = moment_probe(tokens[shuffled], y[sample[shuffled]], sample[shuffled])
    assert again.accuracy.value == pytest.approx(second.accuracy.value, abs=0.03)
    rotated = moment_probe(tokens, y, sample, moments="mean")
    torch.testing.assert_close(rotated.weight, mean.weight)
    odd = y[sample].clone()
    odd[0] = 1 - odd[0]
    with pytest.raises(InputError, match="differ inside sample 0"):
        moment_probe(tokens, odd, sample)
    with pytest.raises(InputError, match="one label per token"):
        moment_probe(tokens, y[:5], sample)


# --- the use of a direction -------------------------------------------------------------------------------------------


class Half(nn.Module):
    """Reads the first of two hidden features and not the second."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 6)
        self.head = nn.Linear(6, 2)
        with torch.no_grad():
            self.body.weight.zero_()
            self.body.bias.zero_()
            self.body.weight[0, 0] = self.body.weight[1, 1] = 1.0
            self.body.weight[2:, 2:] = 0.3
            self.head.weight.zero_()
            self.head.weight[1, 0] = 1.0

    def forward(self, x):
        return self.head(torch.tanh(self.body(x)))


def test_what_is_found_and_what_is_used():
    model, x = Half(), noise(800, 4)
    model.train()
    h = model.body(x).detach()
    used, unused = ((x[:, k] > 0).long() for k in (0, 1))
    found = {name: linear_probe(h, y, permutations=0) for name, y in (("used", used), ("unused", unused))}
    a, b = (concept_use(model, x, "body", probe, 1, 1) for probe in found.values())
    assert a.found.value > 0.9
    assert b.found.value > 0.9
    assert a.sensitivity.value > 0.9
    assert a.p_value.value <= 0.02
    assert abs(b.sensitivity.value) < 0.3
    assert b.p_value.value > 0.2
    assert model.training
    assert model.body.weight.grad is None
    assert not model.body._forward_hooks
    inside = concept_use(model, x, "head:in", linear_probe(torch.tanh(h), used, permutations=0), "1", 1)
    assert inside.sensitivity.value > 0.9
    with pytest.raises(ModelError, match="RA101"):
        concept_use(model, x, "nowhere", found["used"], 1, 1)
    with pytest.raises(InputError, match="RA252: no class 9"):
        concept_use(model, x, "body", found["used"], 9, 1)
    with pytest.raises(InputError, match="RA252: a knn probe"):
        concept_use(model, x, "body", knn_probe(h, used, permutations=0), 1, 1)
    with pytest.raises(InputError, match="RA252: layer 'head' gives"):
        concept_use(model, x, "head", found["used"], 1, 1)


def test_a_map_moves_at_every_position():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3))
    x = torch.randn(90, 1, 8, 8)
    y = (x.mean((1, 2, 3)) > 0).long()
    h = model[1](model[0](x)).mean((2, 3)).detach()
    found = concept_use(model, x, "1", linear_probe(h, y, permutations=0), 1, 2)
    assert found.tcav.value in (0.0, 1.0)  # all behind the layer is linear
    direction = found.derivatives
    assert float(direction.std()) < 1e-5


# --- networks that have learnt nothing --------------------------------------------------------------------------------


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(8) * 3 + 0.1 * torch.randn(8))
        self.body = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.out = nn.Linear(8, 2)

    def forward(self, x):
        return self.out(self.body(x) * self.scale)


def test_a_copy_with_new_weights():
    torch.manual_seed(0)
    model = Odd().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.get_rng_state()
    x = 50 + 3 * noise(300, 5)
    fresh = reinitialised(model, x, seed=1)
    assert bool((torch.get_rng_state() == state).all())
    assert model.training
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name])
    assert not bool((fresh.body[0].weight == model.body[0].weight).any())
    assert not bool((fresh.scale == model.scale).any())
    assert abs(float(fresh.scale.detach().mean()) - 3) < 0.3
    z = fresh.body[0](x).detach()
    torch.testing.assert_close(fresh.body[1].running_mean, z.mean(0), atol=0.2, rtol=0.02)
    assert fresh.body[1].momentum == 0.1
    assert not fresh.training
    same = reinitialised(model, x, seed=1)
    torch.testing.assert_close(same.out.weight, fresh.out.weight)
    made = reinitialised(model, seed=1, factory=lambda: nn.Linear(2, 2))
    assert isinstance(made, nn.Linear)
    with pytest.raises(InputError, match="RA253: `data` is a generator"):
        reinitialised(model, (x for _ in range(2)))


def test_a_model_that_cannot_be_copied():
    class Stubborn(nn.Linear):
        def __deepcopy__(self, memo):
            raise TypeError("no")

    with pytest.raises(ModelError, match=r"RA117: Stubborn cannot be copied to be re-initialised \(no\)"):
        reinitialised(Stubborn(2, 2))


def test_baselines():
    x = noise(400, 6)
    y = (x[:, 0] > 0).long()
    found = probe_baselines([noise(400, 5, 1), noise(400, 5, 2)], y, x, width=64)
    assert found.reinitialised.value < 0.65
    assert found.reinitialised.low <= found.reinitialised.value <= found.reinitialised.high
    assert found.random_projection.value > 0.75
    assert math.isnan(probe_baselines([], y).reinitialised.value)


@pytest.fixture(scope="module")
def report():
    torch.manual_seed(0)
    x, y = torch.tensor(DIGITS[0][:600]).float() / 16, torch.tensor(DIGITS[1][:600])
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 10))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return repana.probe_layers(model, (x, y), ["input", "1", "3", "4"], baselines=2)


def test_one_call_gives_every_layer_with_its_controls(report):
    assert report.failures == ()
    names = {(r.analyzer, r.quantity) for r in report.rows}
    for analyzer, quantities in {
        "probing": ("linear_probe", "knn_probe", "lda_probe", "chance", "memorization", "compression"),
        "probe_baselines": ("reinitialised", "random_projection"),
        "layer_choice": ("chosen_accuracy", "oracle_accuracy", "oracle_bias"),
        "layer_differences": ("difference", "p_adjusted"),
    }.items():
        assert {(analyzer, q) for q in quantities} <= names
    chosen = report.select("layer_choice.chosen_accuracy")[0]
    assert chosen.label in report.layers
    assert chosen.label != "input"
    again = report.select("probing.linear_probe")
    assert chosen.value == next(r.value for r in again if r.layer == chosen.label)
    assert report.array("probing.correct", "3").shape == (again[0].n, 6)
    made = repana.Activations({"a": noise(60, 3)}, torch.arange(60) % 2, sample=torch.arange(60), seen=60)
    with pytest.raises(InputError, match="RA253: `data` is a generator"):
        repana.probe_layers(nn.Linear(3, 2), (x for x in [noise(60, 3)]))
    with pytest.raises(InputError, match="is 'baseline'; expected one of 'analysis_memory', 'analyzers', 'baselines'"):
        repana.probe_layers(nn.Linear(3, 2), noise(60, 3), baseline=2)
    with pytest.raises(InputError, match="RA213: `baselines` re-initialises a model"):
        repana.profile(made, analyzers="probing", baselines=1)


def test_rows_of_one_sample_are_a_group():
    sample = torch.arange(300) // 3
    y = torch.randint(2, (100,), generator=torch.Generator().manual_seed(0))[sample]
    x = noise(100, 20, 1)[sample] + 1e-3 * noise(300, 20, 2)
    made = repana.Activations({"a": x}, y, sample=sample, seen=100)
    report = repana.profile(made, analyzers="probing")
    assert report.select("probing.knn_probe")[0].value < 0.75
    assert report.about()["settings"]["probing"]["groups"] is True


def test_the_figures_draw_the_report(report):
    ax = plots.probe_depth(report)
    drawn = next(line for line in ax.lines if line.get_label() == "Linear probe")
    values = np.array([r.value for r in report.select("probing.linear_probe")])
    errors = np.where(values < 1, 1 - values, np.nan)  # all above 80%
    np.testing.assert_allclose(drawn.get_ydata(), errors)
    none = next(line for line in ax.lines if line.get_marker() == "v" and len(line.get_xdata()))
    np.testing.assert_allclose(none.get_xdata(), np.flatnonzero(values == 1))
    assert ax.get_yscale() == "log"
    labels = ax.get_legend_handles_labels()[1]
    assert {"re-initialised", "random projection", "shuffled labels", "most frequent class", "selected layer"} <= set(
        labels
    )
    strip = plots.layer_strip(report)
    found = report.select("layer_differences.difference")
    points = [float(line.get_ydata()[0]) for line in strip.lines if line.get_marker() in ("o", "D", "v", "^")]
    np.testing.assert_allclose(points, [100 * r.value for r in found])
    drawn = plots.confusion(report, "3")
    image, counts = drawn.images[0].get_array(), report.array("probing.confusion", "3")
    assert image.mask.diagonal().all()  # colours are those of errors alone
    errors = 1 - counts.diagonal() / counts.sum(1)
    np.testing.assert_allclose(image.sum(1).filled(0), errors, atol=1e-12)
    if errors.any():
        assert drawn.images[0].get_clim() == (0, image.max())
    else:
        assert f"no errors on {counts.sum():,.0f} test samples" in drawn.get_title("left").replace("\n", " ")
    with pytest.raises(InputError, match="RA222: 'probing.log_loss' is in bits"):
        plots.probe_depth(report, "probing.log_loss")
    page = report._repr_html_()
    assert "linear" in page.lower()


def test_figures_of_results():
    x, y = torch.tensor(DIGITS[0][:500]).float(), torch.tensor(DIGITS[1][:500])
    found = repana.mdl(x, y, probe="lda")
    ax = plots.mdl_curve({"layer": found})
    np.testing.assert_allclose(ax.lines[0].get_ydata(), found.curve[:, 1])
    front = repana.pareto(x, y)
    ax = plots.pareto_front(front)
    np.testing.assert_allclose(ax.lines[1].get_ydata(), front.curve[front.front, 2])
    few = sample_efficiency(x, y, [20, 100], probes=("linear", "lda"), repeats=2)
    ax = plots.sample_efficiency_curve(few)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), few.mean("linear")[:, 0])
    other = {"a": ood_probe(x, y, {"noisy": (x + 4 * noise(500, 64), y)}, permutations=0)}
    ax = plots.ood_scatter(other)
    assert ax.lines[0].get_xdata()[0] == other["a"].accuracy.value
    kind = torch.arange(500) % 30
    chosen = {"a": repana.selectivity(torch.eye(30)[kind], kind % 2, kind)}
    ax = plots.selectivity_depth(chosen)
    assert ax.lines[1].get_ydata()[0] == chosen["a"].control.value
    ax = plots.confusion(linear_probe(x, y, permutations=0))
    assert ax.images[0].get_array().shape == (10, 10)
    for draw in (
        plots.mdl_curve,
        plots.pareto_front,
        plots.ood_scatter,
        plots.selectivity_depth,
    ):
        with pytest.raises(InputError, match="RA205: there is no"):
            draw({})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("offset", [0.0, 1e4, 1e8])
def test_values_far_from_zero(offset, dtype):
    x = noise(400, 5)
    y = x[:, 0].double() + 0.3 * noise(400, 1, 3)[:, 0].double()
    found, there = regression_probe(x.to(dtype), y), regression_probe(x.to(dtype), y + offset)
    assert there.r2.value == pytest.approx(found.r2.value, abs=1e-5)
    assert there.correlation.value == pytest.approx(found.correlation.value, abs=1e-5)
    torch.testing.assert_close(there.predictions - offset, found.predictions, atol=1e-5, rtol=1e-5)


def test_baselines_do_not_see_the_report_rows():
    x, y = noise(300, 6), torch.arange(300) % 2
    split = Split.of(y, 300)
    other = x.clone()
    other[split.test] *= 1e4

    seen = []
    from repana.probes import _controls as controls

    original = controls.Rows.few.__func__

    def spy(cls, features, *rest):
        seen.append(features[split.train_and_validation])
        return original(cls, features, *rest)

    controls.Rows.few = classmethod(spy)
    try:
        for inputs in (x, other):
            probe_baselines([], y, inputs, width=8, split=split)
    finally:
        controls.Rows.few = classmethod(original)
    torch.testing.assert_close(seen[0], seen[1])


def test_baselines_of_tokens_are_split_as_the_layer_is():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb, self.out = nn.Embedding(30, 8), nn.Linear(8, 2)

        def forward(self, ids):
            return self.out(self.emb(ids))

    ids = torch.randint(30, (60, 5), generator=torch.Generator().manual_seed(0))
    report = repana.profile(
        Tokens(), (ids, torch.arange(60) % 2), ["emb"], "probing", pool="tokens", mask=False, baselines=1
    )
    assert report.failures == ()
    assert report.select("probe_baselines.reinitialised")[0].value < 0.8


def test_what_the_inputs_of_a_concept_must_be():
    model, x = Half(), noise(300, 4)
    probe = linear_probe(model.body(x).detach(), x[:, 0] > 0, permutations=0)
    with pytest.raises(InputError, match="RA212: `inputs` of `concept_use` is now `data`"):
        concept_use(model, inputs=x, layer="body", probe=probe, concept=1, target=1)
    with pytest.raises(InputError, match="`target` is 5; the model has 2 outputs"):
        concept_use(model, x, "body", probe, 1, 5)
    assert concept_use(model, x.numpy(), "body", probe, 1, 1).sensitivity.value > 0.9
    assert concept_use(model, x[:1], "body", probe, 1, 1).sensitivity.note == "one sample"


def test_running_statistics_of_a_last_batch_of_one():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    data = torch.utils.data.DataLoader(noise(65, 5), batch_size=64, shuffle=True)
    assert math.isfinite(float(reinitialised(Odd(), data).body[1].running_mean.sum()))
    torch.manual_seed(0)
    model = Odd()
    state = torch.get_rng_state()
    reinitialised(model, data)
    assert bool((torch.get_rng_state() == state).all())


def test_names_where_numbers_are_wanted():
    x, y = noise(300, 4), torch.arange(300) % 2
    names = np.array(["b", "a"])[y.numpy()]
    with pytest.raises(InputError, match="`labels` are names"):
        repana.erase(x, names, weight=noise(2, 4))
    targets = torch.where(torch.arange(300) % 7 == 0, -100, y)
    assert 0 <= repana.erase(x, names, weight=noise(2, 4), targets=targets, repeats=1).head_before.value <= 1
    with pytest.raises(InputError, match="whose order is open"):
        moment_probe(x, y[:100], [f"s{i // 3}" for i in range(300)])
