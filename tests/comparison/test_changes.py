"""What changed between two states: planted edits are found where they are, and exactly; unlearning, robustness,
merging, stitching."""

import copy
import math

import numpy as np
import pytest
import torch
from comparison.recipes import gaussians
from torch import nn

import repana
from repana import Activations, InputError, ModelError
from repana.comparison import barrier, drift, head_geometry, robustness, stitching, unit_matching, unlearning
from repana.comparison._membership import delong
from repana.extraction._interpolated import matched_units
from repana.extraction._samples import digits


def trained(seed=0, leave_out=None, epochs=30):
    """A small network on digits, in a second."""
    (x, y), _ = digits()
    x = x.flatten(1)
    if leave_out is not None:
        x, y = x[y != leave_out], y[y != leave_out]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential()
        net.add_module("first", nn.Sequential(nn.Linear(64, 32), nn.ReLU()))
        net.add_module("second", nn.Sequential(nn.Linear(32, 24), nn.ReLU()))
        net.add_module("head", nn.Linear(24, 10))
        optimizer = torch.optim.Adam(net.parameters(), 3e-3)
        for _ in range(epochs):
            for at in torch.randperm(len(x)).split(128):
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(x[at]), y[at]).backward()
                optimizer.step()
    return net.eval()


@pytest.fixture(scope="module")
def nets():
    return {"original": trained(0), "other": trained(1), "retrained": trained(2, leave_out=3)}


@pytest.fixture(scope="module")
def data():
    (x, y), (p, q) = digits()
    return (x.flatten(1), y), (p.flatten(1), q)


def rotated(net, seed=0):
    """The same function: the units of a linear layer turned, and the next weights turned back."""
    made = nn.Sequential()
    made.add_module("first", copy.deepcopy(net.first))
    made.add_module("second", nn.Sequential(copy.deepcopy(net.second[0]), nn.ReLU()))
    made.add_module("narrow", nn.Linear(24, 24))
    made.add_module("head", copy.deepcopy(net.head))
    plain = copy.deepcopy(made)
    turn = torch.linalg.qr(torch.randn(24, 24, generator=torch.Generator().manual_seed(seed)))[0]
    with torch.no_grad():
        for m in (made, plain):
            m.narrow.weight.copy_(torch.eye(24))
            m.narrow.bias.zero_()
        made.narrow.weight.copy_(turn)
        made.head.weight.copy_(net.head.weight @ turn.T)
    return plain.eval(), made.eval()


def permuted(net, seed=0):
    """The same function: hidden units in another order."""
    made, g = copy.deepcopy(net), torch.Generator().manual_seed(seed)
    order = torch.randperm(32, generator=g)
    with torch.no_grad():
        made.first[0].weight.copy_(net.first[0].weight[order])
        made.first[0].bias.copy_(net.first[0].bias[order])
        made.second[0].weight.copy_(net.second[0].weight[:, order])
    return made, order


def test_a_frozen_front_has_not_changed(nets, data):
    after = copy.deepcopy(nets["original"])
    with torch.no_grad():
        after.second[0].weight.add_(0.8 * torch.randn(24, 32, generator=torch.Generator().manual_seed(0)))
    found = drift(nets["original"], after, data[1])
    assert found.unchanged == ("input", "first")
    assert found.first_changed == "head:in"
    first, second = found["first"], found["head:in"]
    assert (first.total.value, first.residual_share.value, first.best_scale.value, first.row_cosine.value) == (
        0,
        0,
        1,
        1,
    )
    assert (first.total.low, first.total.high) == (0, 0)
    assert first.cka.value == pytest.approx(1, abs=1e-12)
    assert first.knn.value == 1
    assert first.r2_forward.value == pytest.approx(1, abs=1e-6)
    assert second.cka.high < 0.95
    assert 0 < second.residual_share.low < second.residual_share.value < second.residual_share.high < 1
    assert sum(d.share_of_total for d in found.layers.values()) == pytest.approx(1)
    assert set(second.by_class) == set(range(10))
    assert found.outputs.negative_flips.value > 0
    report = found.report()
    assert {"RF706", "RF707", "RF708"} == {f.code for f in report.findings()}
    assert "The change begins at head:in" in report.summary()[0]
    assert list(found.frame()["layer"].unique()) == ["input", "first", "head:in", "head"]


def test_shift_rotation_and_scale_are_told_apart():
    x, _ = gaussians(300, 6, 6, 0)
    g = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=g, dtype=torch.float64))[0]
    moved = {"shift": x + 3, "turned": x @ turn, "twice": 2 * x, "noise": x + torch.randn(300, 6, generator=g)}
    for name, after in moved.items():
        found = drift(Activations({"one": x}), Activations({"one": after}))["one"]
        if name != "noise":
            assert found.residual_share.value == pytest.approx(0, abs=1e-9)
            assert found.cka.value == pytest.approx(1, abs=1e-9)
        if name == "shift":
            assert found.mean_share.value == pytest.approx(1)
            assert found.after_rotation.value == pytest.approx(0, abs=1e-9)
        if name == "turned":
            assert found.after_rotation.value == pytest.approx(0, abs=1e-9)
            assert found.total.value > 0.5
        if name == "twice":
            assert found.best_scale.value == pytest.approx(2)
            assert found.after_rotation.value == pytest.approx(1)
        if name == "noise":
            assert found.residual_share.low > 0.3


def test_layers_of_other_widths_keep_what_has_a_value():
    x, y = gaussians(200, 6, 9, 0, 0.7)
    found = drift(Activations({"one": x}), Activations({"one": y}))["one"]
    assert math.isnan(found.total.value)
    assert "6 features before and 9 after" in found.total.note
    assert found.cka.low < found.cka.value
    with pytest.raises(
        InputError, match="RA277: the two networks share no layer but the input, if that: 'one' before, 'two' after."
    ):
        drift(Activations({"one": x}), Activations({"two": y}))


@pytest.mark.slow
def test_intervals_of_drift_cover():
    """Of the mean over other draws: residual share, total, R^2."""
    found = []
    for seed in range(60):
        x, noise = gaussians(150, 4, 4, seed)
        after = 1.5 * x + 0.4 * noise + 0.3
        found.append(drift(Activations({"one": x}), Activations({"one": after}), k=5)["one"])
    for name in ("total", "residual_share", "best_scale", "row_cosine", "mean_share", "r2_forward", "cka", "knn"):
        each = [getattr(f, name) for f in found]
        centre = np.mean([e.value for e in each])
        assert np.mean([e.low <= centre <= e.high for e in each]) >= 0.87, name


# --- unlearning -------------------------------------------------------------------------------------------------------


def parts(data):
    (x, y), test = data
    return {"forget": (x[y == 3], y[y == 3]), "retain": (x[y != 3], y[y != 3]), "test": test}


def test_an_edit_of_the_head_is_found_exactly(nets, data):
    edited = copy.deepcopy(nets["original"])
    with torch.no_grad():
        edited.head.bias[3] -= 100
    found = unlearning(nets["original"], edited, nets["retrained"], **parts(data))
    assert found.accuracy["unlearned"]["forget"].value == 0
    assert found.head_only
    assert found.depth is None
    for layer in ("first", "head:in"):
        one = found[layer]
        assert one.cka_original.value == pytest.approx(1, abs=1e-12)
        assert one.recall["unlearned"].value == one.recall["original"].value
        expected = one.cka_original_forget.value - one.cka_retrained_forget.value
        assert one.closeness_forget.value == pytest.approx(expected, abs=1e-12)
    assert found["head:in"].closeness_forget.low > 0
    assert any(v.startswith("Forgotten in the head only") for v in found.verdicts)
    assert any("is still the original's: on forgotten samples its CKA" in v for v in found.verdicts)
    assert any(v.startswith("Knowledge is left") for v in found.verdicts) == (found["head:in"].recovery.low > 0)
    assert np.array_equal(found.relearning["unlearned"], found.relearning["original"])
    assert found.relearning["retrained"][0, 1] < found.relearning["original"][0, 1]
    assert found.attack["unlearned"].value == pytest.approx(found.attack["original"].value)
    assert found.jsd["forget"].value > found.jsd["retain"].value
    finding = next(f for f in found.report().findings() if f.code == "RF709")
    assert "Forgotten in the head only" in finding.text
    page = found.report().to_html
    assert callable(page)


def test_a_probe_finds_the_class_in_a_network_that_never_saw_it(nets, data):
    """Recall proves nothing by itself: the retrained network has it too, and compared with itself nothing is left."""
    found = unlearning(nets["original"], nets["retrained"], nets["retrained"], **parts(data))
    last = found.layers["head:in"]
    assert last.recall["retrained"].value > 0.6
    assert last.recovery.value == 0
    assert last.recovery.low < 0 < last.recovery.high
    assert last.closeness_forget.high < 0
    assert any(v.startswith("As retrained within intervals") for v in found.verdicts)
    assert not found.head_only


def test_a_turned_layer_is_the_same_layer(data):
    plain, turned = rotated(trained(0))
    found = unlearning(plain, turned, **{k: v for k, v in parts(data).items() if k != "test"})
    assert found["head:in"].cka_original.value == pytest.approx(1, abs=1e-6)
    assert float((plain(data[1][0]) - turned(data[1][0])).detach().abs().max()) < 1e-4
    a, b = (repana.record(m, data[1], ["narrow"])["narrow"] for m in (plain, turned))
    assert float(unit_matching(a, b, jackknife=0, permutations=0).bipartite) < 0.9
    assert found.reference == "original"
    assert any("cannot be decided" in v for v in found.verdicts)
    assert any(v.startswith("Not forgotten") for v in found.verdicts)
    finding = next(f for f in found.report().findings() if f.code == "RF710")
    assert finding.severity == "issue"


def test_random_weights_are_a_degraded_representation(nets, data):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        broken = copy.deepcopy(nets["original"])
        with torch.no_grad():
            broken.second[0].weight.copy_(torch.randn(24, 32) * 0.3)
            broken.second[0].bias.sub_(3.0)
    found = unlearning(nets["original"], broken, nets["retrained"], **parts(data))
    assert any(v.startswith("Representation degraded") for v in found.verdicts)
    assert found["head:in"].utility.high < 0


def test_recordings_in_the_place_of_models(nets, data):
    sets = parts(data)
    recorded = {k: {s: repana.record(m, d) for s, d in sets.items()} for k, m in nets.items() if k != "other"}
    edited = copy.deepcopy(nets["original"])
    with torch.no_grad():
        edited.head.bias[3] -= 100
    made = {s: repana.record(edited, d) for s, d in sets.items()}
    found = unlearning(recorded["original"], made, recorded["retrained"])
    beside = unlearning(nets["original"], edited, nets["retrained"], **sets)
    assert found["head:in"].recovery.value == beside["head:in"].recovery.value
    assert found["head:in"].closeness_forget.value == pytest.approx(beside["head:in"].closeness_forget.value, abs=1e-9)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda m, s: unlearning(m, m, forget=s["forget"]),
            "RA281: no samples came for 'retain'; expected labelled data",
        ),
        (lambda m, s: unlearning(m, {}), "RA281: the networks are given as 'Sequential', 'dict'; expected models"),
        (lambda m, s: unlearning({}, {}), "RA281: no samples came for 'original: forget', 'original: retain'"),
        (
            lambda m, s: unlearning(m, m, forget=tuple(t[:5] for t in s["forget"]), retain=s["retain"]),
            "RA227: `forget` needs at least 8 samples; 5 came.",
        ),
        (lambda m, s: robustness(repana.record(m, s["test"]), {}), "RA281: `changed` is empty; expected a mapping"),
        (lambda m, s: robustness(s["test"], {1: s["test"]}), "RA281: a tuple came in the place of Activations; give"),
        (
            lambda m, s: robustness(repana.record(m, s["test"]), {1: repana.record(m, s["test"])})[2],
            "RA281: no severity '2'; expected one of '1'.",
        ),
        (
            lambda m, s: head_geometry(*[Activations({"one": torch.randn(9, 2)}, torch.arange(9) % 2)] * 2),
            "RA281: the first recording has no input of a linear classifier",
        ),
    ],
)
def test_refusals(call, text, nets, data):
    with pytest.raises(InputError) as error:
        call(nets["original"], parts(data))
    assert str(error.value).startswith(text)


def test_the_area_under_the_curve_is_that_of_scikit_learn():
    from sklearn.metrics import roc_auc_score

    g = torch.Generator().manual_seed(0)
    a, b = (torch.randn(80, generator=g) + 0.5).round(decimals=1), torch.randn(60, generator=g).round(decimals=1)
    value, error, first, second = delong(a, b)
    assert value == pytest.approx(roc_auc_score([1] * 80 + [0] * 60, torch.cat([a, b])))
    slow = ((a[:, None] > b).double() + 0.5 * (a[:, None] == b)).mean(1)
    assert torch.allclose(first, slow.double())
    assert error == pytest.approx(math.sqrt(float(first.var()) / 80 + float(second.var()) / 60))


# --- robustness -------------------------------------------------------------------------------------------------------


def test_a_corruption_reaches_further_with_its_severity(nets, data):
    (x, y), g = data[1], torch.Generator().manual_seed(0)
    noise = torch.randn(x.shape, generator=g)
    found = robustness((x, y), {s: (x + s * noise, y) for s in (0.05, 0.2, 0.8)}, nets["original"])
    last = [found[s]["head:in"].cka.value for s in (0.05, 0.2, 0.8)]
    assert last[0] > last[1] > last[2]
    accuracy = [found.accuracy[s].value for s in ("clean", "0.05", "0.2", "0.8")]
    assert accuracy[0] >= accuracy[2] > accuracy[3]
    assert found.first_broken["0.05"] is None
    assert found.first_broken["0.8"] is not None
    assert found.report().runs == ("0.05", "0.2", "0.8")
    assert set(found.frame()["severity"]) == {"0.05", "0.2", "0.8"}


def test_in_front_of_the_classifier(nets, data):
    (x, y), pruned = data[1], copy.deepcopy(nets["original"])
    with torch.no_grad():
        w = pruned.head.weight
        w[w.abs() < w.abs().median()] = 0
    before, after = (repana.record(m, (x, y)) for m in (nets["original"], pruned))
    found = head_geometry(before, after)
    assert found.norm.value == 0
    assert found.sparsity.value == pytest.approx(0.5, abs=0.01)
    h = nets["original"].second(nets["original"].first(x)).detach().double()
    z = nets["original"](x).detach().double()
    own = z.gather(1, y[:, None])[:, 0]
    others = z.scatter(1, y[:, None], -torch.inf).amax(1)
    assert torch.allclose(found.margin_before, (own - others), atol=1e-4)
    assert torch.allclose(found.norm_before, h.norm(dim=1), atol=1e-5)
    same = head_geometry(before, before)
    assert (same.angle.value, same.margin.low, same.margin.high) == (0, 0, 0)
    assert set(found.by_class) == set(range(10))


# --- merging ----------------------------------------------------------------------------------------------------------


def test_matching_removes_a_barrier_of_names_alone(nets, data):
    other, order = permuted(nets["original"])
    found = barrier(nets["original"], other, data[1], points=5)
    assert found.barrier.low > 0
    assert found.matched_barrier.value == pytest.approx(0, abs=1e-6)
    moved, orders = matched_units(nets["original"], other, data[1])
    assert torch.equal(order[orders["first.0"]], torch.arange(32))
    assert float((moved(data[1][0]) - other(data[1][0])).detach().abs().max()) < 1e-4


def test_two_seeds_have_a_barrier_that_matching_lowers(nets, data):
    before = [{k: v.clone() for k, v in nets[m].state_dict().items()} for m in ("original", "other")]
    found = barrier(nets["original"], nets["other"], data[1], points=5)
    assert found.barrier.low > found.matched_barrier.high > 0
    assert found.loss.shape == (5, 3)
    z = nets["original"](data[1][0]).detach()
    assert float(found.loss[0, 0]) == pytest.approx(float(nn.functional.cross_entropy(z, data[1][1])), abs=1e-6)
    assert float(found.accuracy[0, 0]) == pytest.approx(float((z.argmax(1) == data[1][1]).float().mean()))
    for name, state in zip(("original", "other"), before):
        assert all(torch.equal(v, nets[name].state_dict()[k]) for k, v in state.items())


def test_statistics_of_batch_normalisation_are_estimated_again(data):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        a = nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10)).eval()
        b = copy.deepcopy(a)
    b[1].running_mean += 5
    assert barrier(a, b, data[1], points=3, matched=False).barrier.value == pytest.approx(0, abs=1e-9)
    spoiled = barrier(a, b, data[1], points=3, matched=False, repair=False)
    assert abs(float(spoiled.loss[0, 0] - spoiled.loss[2, 0])) > 0.01


def test_networks_of_other_shapes_have_no_line(nets, data):
    other = nn.Sequential(nn.Linear(64, 9), nn.ReLU(), nn.Linear(9, 10))
    with pytest.raises(ModelError, match="RA132: the two networks differ in 'first.0.weight'"):
        barrier(nets["original"], other, data[1])
    with pytest.raises(InputError, match="RA253"):
        barrier(nets["original"], nets["original"], iter([data[1]]))


# --- stitching --------------------------------------------------------------------------------------------------------


def test_stitching_a_permuted_copy_costs_nothing(nets, data):
    other, _ = permuted(nets["original"])
    found = stitching(other, "first", nets["original"], "first", data[1])
    assert (found.penalty.value, found.own_penalty.value) == (0, 0)
    assert found.agreement.value == 1
    assert found.r2.value == pytest.approx(1, abs=1e-4)
    assert found.permuted_penalty.low > 0.2
    assert found.permuted_penalty.p < 1e-6


def test_gradients_are_on_again(nets, data):
    stitching(nets["original"], "first", nets["other"], "first", data[1])
    assert torch.is_grad_enabled()
    with pytest.raises(ModelError):
        stitching(nets["original"], "first", nets["other"], "nosuch", data[1])
    assert torch.is_grad_enabled()


def test_stitching_a_turned_layer_costs_nothing(data):
    plain, turned = rotated(trained(0))
    found = stitching(turned, "narrow", plain, "narrow", data[1])
    assert found.penalty.value == 0
    assert found.r2.value == pytest.approx(1, abs=1e-4)


def test_layers_of_other_widths_are_stitched(nets, data):
    found = stitching(nets["original"], "first", nets["other"], "second", data[1])
    assert found.penalty.value < 0.2
    assert found.stitched.value > 0.7


def test_the_maps_of_convolutions_are_the_same_everywhere():
    (_, _), (x, y) = digits()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(144, 10)
        ).eval()
    other, order = copy.deepcopy(net), torch.tensor([3, 1, 0, 5, 4, 2])
    with torch.no_grad():
        other[0].weight.copy_(net[0].weight[order])
        other[0].bias.copy_(net[0].bias[order])
        other[2].weight.copy_(net[2].weight[:, order])
    found = stitching(other, "1", net, "1", (x, y))
    assert found.penalty.value == 0
    assert found.agreement.value == 1
    with pytest.raises(ModelError, match="RA280: '1' has 64 position"):
        stitching(net, "1", net, "2", (x, y))
    assert not any(m._forward_hooks for m in net.modules())
