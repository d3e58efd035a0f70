"""Complexity of features: a network whose every R^2 is known, nulls, invariances, intervals, streams, bad input."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from torch import nn

import repana
from repana import (
    InputError,
    complexity,
    complexity_vs_importance,
    dictionary,
    feature_merging,
    fold_moments,
    label_complexity,
    layer_readings,
    sedimentation,
    time_to_decode,
)


def parity_network(copies=8):
    """All sign vectors of length 8, `copies` times each: layer l has the products of 2^l neighbours, and the rest."""
    x = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=8)), dtype=torch.float64).repeat(copies, 1)
    products = [torch.stack([x[:, i : i + k].prod(1) for i in range(0, 8, k)], 1) for k in (1, 2, 4, 8)]
    rest = [torch.relu(torch.cat([p, -p], 1)) for p in products]
    layers = {"input": x}
    for depth in (1, 2, 3):
        layers[f"layer{depth}"] = torch.cat([products[depth], *rest[:depth]], 1)
    targets = torch.stack([*(p[:, 0] for p in products), 0.6 * x[:, 0] + 0.8 * products[1][:, 0]], 1)
    return layers, targets


@pytest.mark.parametrize("form", ["in_sample", "held_out"])
def test_the_parity_network_has_the_complexity_it_was_planted_with(form):
    """V1 to V5: R^2 at the input and three layers, K with and without the input."""
    layers, targets = parity_network()
    found = complexity(layers, targets, form=form)
    curve = [[1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1], [0.36, 1, 1, 1]]
    noise = 1e-9 if form == "in_sample" else 0.01  # what eight inputs explain of a feature beyond them, held out
    assert found.curve.T.numpy() == pytest.approx(np.array(curve), abs=noise)
    assert found.hidden.tolist() == pytest.approx([0, 0, 1 / 3, 2 / 3, 0], abs=1e-9)
    assert found.complexity.tolist() == pytest.approx([0, 0.25, 0.5, 0.75, 0.16], abs=noise)
    assert found.onset.tolist() == [0, 1, 2, 3, 1]
    assert [found.onset_of(k) for k in range(2)] == ["input", "layer1"]


@pytest.mark.parametrize(("n", "d"), [(2000, 512), (300, 30)])
def test_nulls_of_the_two_forms(n, d):
    """V6: in sample d/(n - 1); what penalties and held-out rows make of it is next to nothing (V7b)."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n, d, generator=g)
    z = torch.randn(n, 100, generator=g)
    inside = complexity({"a": x}, z, form="in_sample").curve.mean()
    assert float(inside) == pytest.approx(d / (n - 1), rel=0.03)
    outside = complexity({"a": x}, z)
    assert float(outside.complexity.mean()) > 0.998 if d == 512 else 0.99
    assert float((outside.complexity > 0.99).double().mean()) >= (0.95 if d == 512 else 0.8)
    least = complexity({"a": x}, z, alphas=[1e-9])  # least squares, held out
    from repana.summaries.held_out import held_out_rows

    fold = torch.arange(n) % 5
    free = held_out_rows(x.double(), z.double(), fold, 5, torch.tensor([1e-6], dtype=torch.float64)).explained()
    train = 0.8 * n
    assert float(free.mean()) == pytest.approx(-d / (train - d - 2), rel=0.06)
    assert float(least.curve.max()) == 0.0


def test_the_noise_floor_is_reported():
    g = torch.Generator().manual_seed(1)
    found = complexity({"a": torch.randn(500, 64, generator=g)}, torch.randn(500, 5, generator=g))
    assert found.noise.shape == (1, 32)
    assert float(found.noise_floor) < 0.01
    assert found.noise_floor.low <= float(found.noise_floor) <= found.noise_floor.high


def test_scale_of_a_feature():
    """V8: K(3z) = K(z); without standardisation K(3 x0) = -8."""
    layers, targets = parity_network(2)
    one, three = complexity(layers, targets), complexity(layers, 3 * targets + 5)
    torch.testing.assert_close(one.curve, three.curve, atol=1e-9, rtol=0)
    raw = complexity(layers, 3 * targets[:, :1], standardise=False)
    assert float(raw.complexity[0]) == pytest.approx(-8, abs=1e-6)


def test_constant_and_equal_features_are_named():
    """V9."""
    layers, targets = parity_network(2)
    z = torch.cat([targets, torch.full((len(targets), 1), 7.0, dtype=torch.float64), -2 * targets[:, 1:2]], 1)
    found = complexity(layers, z, names=[*"abcde", "dead", "twin"])
    assert found.constant == ("dead",)
    assert bool(found.complexity[5].isnan())
    assert found.onset[5] == -1
    assert found.twins == (("b", "twin"),)
    assert float(found.complexity[6]) == pytest.approx(float(found.complexity[1]), abs=1e-12)
    assert "1 of 7 features never vary: 'dead'" in found.mean_complexity.note
    assert "repeat another" in found.mean_complexity.note


def test_too_few_rows_are_said():
    g = torch.Generator().manual_seed(0)
    found = complexity({"wide": torch.randn(50, 30, generator=g)}, torch.randn(50, 2, generator=g))
    assert found.notes == ("wide: 50 rows for 30 features, fewer than 5 a feature",)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_rotation_scale_and_translation_of_a_layer_change_nothing(seed):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(80, 6, generator=g, dtype=torch.float64)
    z = x[:, :2] ** 2 + x[:, 1:3]
    turn = torch.linalg.qr(torch.randn(6, 6, generator=g, dtype=torch.float64))[0]
    one, other = (complexity({"a": value}, z, seed=seed).curve for value in (x, 3 * x @ turn + 7))
    torch.testing.assert_close(one, other, atol=1e-8, rtol=0)


def test_order_and_names_of_features_change_nothing():
    layers, targets = parity_network(1)
    order = torch.tensor([3, 1, 0, 4, 2])
    one, other = complexity(layers, targets), complexity(layers, targets[:, order])
    torch.testing.assert_close(one.curve[:, order], other.curve)


def test_intervals_hold_the_truth():
    """Simulated: R^2 of a population is known; the interval over folds holds it about as often as it says."""
    hits = 0
    for seed in range(100):
        g = torch.Generator().manual_seed(seed)
        x = torch.randn(600, 3, generator=g)
        z = x.sum(1) + 3**0.5 * torch.randn(600, generator=g)
        found = complexity({"a": x}, z)
        hits += float(found.low[0, 0]) <= 0.5 <= float(found.high[0, 0])
    assert hits >= 88


def test_rows_of_one_group_stay_together():
    """Copies of every row, one of them held out, would read any feature of the row."""
    g = torch.Generator().manual_seed(0)
    group = torch.arange(600) // 6
    x = torch.randn(100, 80, generator=g)[group] + 1e-3 * torch.randn(600, 80, generator=g)
    z = torch.randn(100, 5, generator=g)[group]
    leaky, honest = complexity({"a": x}, z), complexity({"a": x}, z, groups=group)
    assert float(leaky.curve.mean()) > 0.6
    assert float(honest.curve.mean()) < 0.1
    assert float(honest.noise_floor) < 0.1


def test_units_of_the_classifiers_input_by_default():
    net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    activations = repana.record(net, torch.randn(100, 6))
    found = complexity(activations)
    layer = activations.head.layer
    assert found.features[0] == f"{layer} 0"
    at = found.layers.index(layer)
    assert float(found.curve[at].min()) > 1 - 1e-7
    assert found.curve.shape[1] == activations[layer].shape[1] == 8


def test_a_stream_gives_what_the_rows_give():
    """Fold moments that were summed while the data passed, against the recorded features and the same folds."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(10, 20), torch.nn.ReLU(), torch.nn.Linear(20, 4)).double()
    x = torch.randn(333, 10, dtype=torch.float64)
    z = torch.stack([x[:, 0], x[:, 0] * x[:, 1], torch.full((333,), 2.0), 3 * x[:, 0]], 1)
    sums = fold_moments(net, x, z, ["0", "1"], batch_size=32)
    found = complexity(sums, names=["a", "b", "c", "d"])
    assert found.constant == ("c",)
    assert found.twins == (("a", "d"),)
    kept = repana.record(net, x, ["0", "1"])
    for name in ("0", "1"):
        total = sums[name].normal()
        h = kept[name].double() - kept[name].double().mean(0)
        torch.testing.assert_close(total.gram, h.T @ h, rtol=1e-9, atol=1e-9)
    rows = complexity(kept, z)
    assert found.curve[:, :2].numpy() == pytest.approx(rows.curve[:, :2].numpy(), abs=0.03)  # other folds
    assert bool(found.noise_floor.value != found.noise_floor.value)


def test_sums_of_two_shards_add():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(10, 6), torch.nn.ReLU(), torch.nn.Linear(6, 4)).double()
    x = torch.randn(200, 10, dtype=torch.float64)
    first, second = (fold_moments(net, part, part[:, :3], ["0", "1"]) for part in x.split(120))
    both = sum([first, second])
    assert list(both) == ["0", "1"]
    hidden = net[0](x).detach()
    centred = hidden - hidden.mean(0)
    torch.testing.assert_close(both["0"].normal().gram, centred.T @ centred, rtol=1e-9, atol=1e-9)
    assert repr(both) == "LayerFoldMoments(2 layers: 0 6, 1 6)"
    with pytest.raises(InputError, match=r"RA234: .* expected the same layers in both: \['1'\]"):
        first + fold_moments(net, x, x[:, :3], ["0"])


def test_a_stream_of_codes_and_of_groups():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    x = torch.randn(100, 6)
    groups = torch.arange(100) // 10
    sums = fold_moments(net, x, lambda features, logits: features["1"][:, :2], ["0", "1"], groups=groups, folds=2)
    assert {int(m.count.sum()) for m in sums.values()} == {100}
    assert sums["1"].count.tolist() == [50, 50]
    assert float(complexity(sums).curve[1].min()) > 1 - 1e-6
    with pytest.raises(InputError, match="RA255: `targets` has 90 rows"):
        fold_moments(net, x, torch.randn(90, 2), ["0"])
    with pytest.raises(InputError, match="RA255: `groups` has 90 rows"):
        fold_moments(net, x, torch.randn(100, 2), ["0"], groups=groups[:90])
    with pytest.raises(InputError, match="RA255: fold moments hold"):
        complexity(sums, x)


def test_wide_layers_are_projected(monkeypatch):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(300, 200, generator=g) @ torch.diag(torch.linspace(3, 0.01, 200) ** 2)
    found = complexity({"a": x}, x[:, :3], max_features=100)
    assert found.notes[0] == "a: read through 100 random projections"
    assert float(found.curve.mean()) > 0.7


def test_nats_of_a_curve():
    layers, targets = parity_network(1)
    found = complexity(layers, targets, form="in_sample")
    assert float(found.nats[0, 4]) == pytest.approx(-0.5 * np.log(1 - 0.36), abs=1e-9)
    assert float(found.nats.max()) < 18


def test_layer_readings():
    layers, targets = parity_network()
    found = layer_readings(complexity(layers, targets)).layers
    assert float(found["layer2"].decoded) == pytest.approx(0.8)
    assert found["layer3"].readable.value == pytest.approx(1, abs=1e-9)
    assert found["input"].readable.low <= 1.36 / 5 + 0.01


@pytest.mark.parametrize(
    ("layers", "targets", "message"),
    [
        ({}, None, "RA2"),
        ({"a": torch.randn(30, 2), "b": torch.randn(31, 2)}, None, "RA201"),
        ({"a": torch.randn(30, 2)}, torch.randn(29), "RA211"),
        ({"a": torch.randn(30, 2)}, torch.full((30, 1), torch.nan), "RA204"),
        ({"a": torch.full((30, 2), torch.inf)}, torch.randn(30), "RA204"),
        ({"a": torch.randn(30, 2)}, torch.ones(30, 2), "RA251"),
        ({"a": torch.randn(8, 2)}, torch.randn(8), "RA227"),
    ],
)
def test_bad_input_of_complexity(layers, targets, message):
    with pytest.raises(InputError, match=message):
        complexity(layers, targets)


def test_names_and_forms_are_checked():
    x = torch.randn(30, 2)
    with pytest.raises(InputError, match="RA255: `names` has 1 names"):
        complexity({"a": x}, x, names=["one"])
    with pytest.raises(InputError, match="RA212"):
        complexity({"a": x}, x, form="outside")


# --- dictionaries -----------------------------------------------------------------------------------------------------


def test_dictionaries_of_a_layer():
    g = torch.Generator().manual_seed(0)
    x = torch.relu(torch.randn(200, 12, generator=g) @ torch.randn(12, 12, generator=g))
    units = dictionary(x)
    torch.testing.assert_close(units.codes(x), x)
    assert units.explained(x) == 1.0
    parts = dictionary(x, "nmf", count=12)
    assert bool((parts.codes(x) >= 0).all())
    assert parts.explained(x) > 0.9
    components = dictionary(x, "pca", count=5)
    peer = PCA(5).fit(x.double().numpy())
    assert components.explained(x) == pytest.approx(peer.explained_variance_ratio_.sum(), abs=1e-9)
    assert components.codes(x).abs().numpy() == pytest.approx(np.abs(peer.transform(x.double().numpy())), abs=1e-6)
    w = torch.randn(3, 12, generator=g)
    torch.testing.assert_close(dictionary(x, "classes", weight=w).codes(x), (x.double() @ w.double().T))
    given = dictionary(x, torch.randn(4, 12, generator=g), names=list("abcd"))
    z = np.linalg.lstsq(given.atoms.T.numpy(), x.T.double().numpy(), rcond=None)[0].T
    assert given.codes(x).numpy() == pytest.approx(z, abs=1e-6)
    wide = dictionary(x, torch.randn(30, 12, generator=g), encoder="nnls")
    assert bool((wide.codes(x[:5]) >= 0).all())
    torch.testing.assert_close(wide.decode(wide.codes(x[:5])).shape, torch.Size([5, 12]))


def test_the_number_of_components_that_hold_the_variance():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(500, 3, generator=g) @ torch.randn(3, 20, generator=g)
    assert len(dictionary(x, "pca")) <= 3


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (torch.randn(3, 5), {}, r"RA254: the dictionary has shape \(3, 5\) and the layer 4 units"),
        (torch.randn(4, 5), {}, "it fits transposed"),
        (torch.randn(4), {}, "RA254"),
        ("nmf", {}, "RA254: the layer has negative values"),
        ("classes", {}, "RA225"),
        ("pca", {"count": 9}, "RA254: `count` is 9"),
        ("sae", {}, "RA212"),
        (torch.eye(4), {"names": ["a"]}, "RA255"),
        (torch.eye(4), {"encoder": "guess"}, "RA212"),
    ],
)
def test_bad_dictionaries(kind, options, message):
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match=message):
        dictionary(x, kind, **options)


def test_codes_of_another_width():
    with pytest.raises(InputError, match="RA254"):
        dictionary(torch.rand(9, 4)).codes(torch.rand(9, 5))


# --- labels, plane, training ------------------------------------------------------------------------------------------


def test_complexity_of_labels():
    """V28: the mean of pointwise information is the label entropy less the cross-entropy; shuffled, not above 0."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(600, 3, generator=g)
    y = (x[:, 0] * x[:, 1] > 0).long()
    layers = {"input": x, "hidden": torch.cat([x, x[:, :1] * x[:, 1:2]], 1)}
    found = label_complexity(layers, y)
    assert found.bits[:, 0].tolist() == pytest.approx([0, 1], abs=0.1)
    assert found.onset == 1
    assert float(found.hidden) < 0.1
    assert 0.4 < float(found.complexity) < 0.55
    assert found.complexity.low < float(found.complexity) < found.complexity.high
    assert found.pointwise[1].mean() == pytest.approx(float(found.bits[1, 0]), abs=1e-9)
    assert len(found.hardest) == 10
    shuffled = label_complexity({"a": x}, y[torch.randperm(600, generator=g)])
    assert float(shuffled.bits[0, 0]) < 0.02
    with pytest.raises(InputError, match="RA2"):
        label_complexity({}, y)


def test_ignored_labels_have_no_pointwise_information():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(200, 3, generator=g)
    y = torch.where(torch.arange(200) < 20, -100, (x[:, 0] > 0).long())
    found = label_complexity({"a": x}, y)
    assert int(found.pointwise.isnan().sum()) == 20
    assert float(found.complexity) < 0.4


@pytest.mark.parametrize("sign", [1, -1])
def test_complexity_against_importance(sign):
    from scipy.stats import spearmanr

    g = torch.Generator().manual_seed(0)
    k = torch.rand(60, generator=g)
    weight = sign * k + 0.3 * torch.randn(60, generator=g)
    found = complexity_vs_importance(k, weight, bootstrap=500)
    assert float(found.rank_correlation) == pytest.approx(float(spearmanr(k, weight).statistic), abs=1e-12)
    assert found.rank_correlation.low < float(found.rank_correlation) < found.rank_correlation.high
    assert sign * found.rank_correlation.low > 0 or sign * found.rank_correlation.high > 0
    assert float(found.p_value) < 0.01
    assert sign * float(found.top_complexity) > 0
    assert abs(found.rank_correlation.null_high - 1.96 / 59**0.5) < 0.06


def test_the_plane_leaves_out_what_has_no_complexity():
    k = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, torch.nan])
    found = complexity_vs_importance(k, torch.arange(6.0), bootstrap=20)
    assert len(found.complexity) == 5
    with pytest.raises(InputError, match="RA227"):
        complexity_vs_importance(k[:3], torch.arange(3.0))
    with pytest.raises(InputError, match="RA255: complexity is of 6"):
        complexity_vs_importance(k, torch.arange(5.0))
    same = complexity_vs_importance(torch.ones(6), torch.arange(6.0), bootstrap=20)
    assert np.isnan(float(same.rank_correlation))
    assert "same for all" in same.rank_correlation.note


def test_time_to_decode_and_sedimentation():
    g = torch.Generator().manual_seed(0)
    last = torch.randn(400, 8, generator=g)
    early = torch.cat([last[:, :4], torch.randn(400, 4, generator=g)], 1)
    found = time_to_decode({1: early, 2: early, 3: last}, last)
    assert found.complexity[:4].tolist() == pytest.approx([0] * 4, abs=1e-6)
    assert found.complexity[4:].tolist() == pytest.approx([2 / 3] * 4, abs=0.02)
    assert found.onset.tolist() == [0] * 4 + [2] * 4
    with pytest.raises(InputError, match="RA2"):
        time_to_decode({1: early}, last)
    flat, steep = torch.arange(8.0), -torch.arange(8.0)
    over = sedimentation({1: found, 2: found}, {1: flat, 2: steep}, top=0.5, bootstrap=50)
    assert float(over.trend) < 0
    assert over.rho[:, 0].tolist()[0] > 0 > over.rho[:, 0].tolist()[1]
    assert over.steps.tolist() == [1.0, 2.0]
    with pytest.raises(InputError, match="RA255: step"):
        sedimentation({1: found, 2: found}, {1: flat})


def test_layers_must_be_a_mapping():
    x = torch.randn(30, 2)
    for function in (complexity, label_complexity, time_to_decode):
        with pytest.raises(InputError, match="RA210: .* got a Tensor; expected a mapping"):
            function(x, x[:, 0])


def seeded(k=0):
    return torch.Generator().manual_seed(k)


@pytest.mark.parametrize("scale", [1.0, 1e2, 1e4, 1e5])
def test_units_of_very_different_scale_do_not_hide_one_another(scale):
    x = torch.randn(2000, 2, generator=seeded())
    found = complexity({"input": x * torch.tensor([1.0, scale])}, x[:, :1])
    assert float(found.curve[0, 0]) > 0.99


def test_a_strength_at_the_edge_is_said():
    x = torch.randn(500, 2, generator=seeded())
    found = complexity({"a": x * torch.tensor([1.0, 1e6])}, x[:, :1] + 0.1 * torch.randn(500, 1, generator=seeded(1)))
    assert "no strength was weak enough for 1 features" in found.notes[0]
    assert complexity({"a": x}, x[:, :1]).notes == ()


def test_a_stream_of_an_ill_conditioned_layer_loses_no_digits():
    """One direction of deviation 1e4: sums in single precision were off by a tenth in R^2."""
    x = torch.randn(2000, 64, generator=seeded(), dtype=torch.float64)
    x[:, 0] *= 1e4
    x = (x @ torch.linalg.qr(torch.randn(64, 64, generator=seeded(1), dtype=torch.float64))[0]).float()
    z = x.double() @ torch.randn(64, 1, generator=seeded(2), dtype=torch.float64)
    z = torch.cat(
        [z / z.std() + torch.randn(2000, 1, generator=seeded(3)), torch.randn(2000, 1, generator=seeded(4))], 1
    )
    sums = fold_moments(nn.Sequential(nn.Identity(), nn.Linear(64, 3)), x, z, ["0"])
    for form in ("in_sample", "held_out"):
        streamed, rows = complexity(sums, form=form).curve, complexity({"0": x}, z, form=form).curve
        torch.testing.assert_close(streamed, rows, atol=1e-9 if form == "in_sample" else 0.02, rtol=0)


def test_strengths_are_checked():
    x = torch.randn(30, 2)
    for alphas in ([], [0.0], [-1.0, 1.0]):
        with pytest.raises(InputError, match="RA212: `alphas`"):
            complexity({"a": x}, x, alphas=alphas)


def test_intervals_stay_in_range():
    x = torch.randn(40, 6, generator=seeded())
    found = complexity({"a": x}, x[:, :2] + 0.3 * torch.randn(40, 2, generator=seeded(1)))
    assert found.mean_complexity.low >= 0
    assert float(found.reading[:, 2].max()) <= 1


def test_in_sample_has_no_intervals_and_says_so():
    x = torch.randn(40, 3)
    found = complexity({"a": x}, x, form="in_sample")
    assert np.isnan(found.mean_complexity.low)
    assert "no intervals in sample" in found.mean_complexity.note


def test_a_layer_as_wide_as_the_limit_is_not_projected():
    x = torch.randn(200, 16, generator=seeded())
    assert complexity({"a": x}, x[:, :2], max_features=16).notes == ()


def test_bad_targets_of_a_stream():
    net, x = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), torch.randn(60, 4)
    with pytest.raises(InputError, match="RA204"):
        fold_moments(net, x, lambda features, _: features["0"] * torch.nan, ["0"])
    with pytest.raises(InputError, match="RA247: `groups` has 3 group"):
        fold_moments(net, x, x, ["0"], groups=torch.arange(60) // 20)
    with pytest.raises(InputError, match="RA227"):
        fold_moments(net, x[:5], x[:5], ["0"])
    one = fold_moments(net, x, lambda features, _: features["0"][:, 0].numpy(), ["0"])
    assert one["0"].xz.shape == (5, 3, 1)
    with pytest.raises(InputError, match="RA255: layer 'b' is given by its features"):
        complexity({"a": one["0"], "b": x})


def test_a_stream_is_read_whole():
    model, x = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), torch.randn(200, 6)
    assert feature_merging(model, (b for b in x.split(50)), betas=[]).agreement.n == 200


def test_steps_are_numbers():
    x = torch.randn(60, 6, generator=seeded())
    found = complexity({"a": torch.randn(60, 6, generator=seeded(1)), "b": x}, x)
    rising, falling = torch.arange(6.0), -torch.arange(6.0)
    over = sedimentation({"2": found, "10": found}, {"2": rising, "10": falling}, bootstrap=20)
    assert over.steps.tolist() == [2.0, 10.0]
    assert over.rho[0, 0] == -over.rho[1, 0]
    with pytest.raises(InputError, match="RA255: step 'last'"):
        sedimentation({"last": found, "1": found}, {"last": rising, "1": rising})


def test_features_of_equal_importance():
    found = complexity_vs_importance(torch.rand(9, generator=seeded()), torch.zeros(9), bootstrap=20)
    assert np.isnan(float(found.top_complexity))
    assert found.top_complexity.note
    with pytest.raises(InputError, match="`bootstrap`"):
        complexity_vs_importance(torch.rand(9), torch.rand(9), bootstrap=0)


def test_support_is_of_features_above_the_median():
    """The feature at the median is no complex one: all importance there, none in support."""
    k = torch.arange(9.0)
    at = [torch.eye(9)[i] for i in (3, 4, 5)]
    assert [complexity_vs_importance(k, w, bootstrap=20).support.value for w in at] == [0.0, 0.0, 1.0]
    assert complexity_vs_importance(k, torch.ones(9), bootstrap=20).support.value == pytest.approx(4 / 9)
