"""Odd networks, odd data and odd scales that the feature-level family once read wrongly."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from repana import (
    InputError,
    ModelError,
    coding_rate,
    complexity,
    complexity_vs_importance,
    conductance,
    dictionary,
    feature_merging,
    flow,
    fold_moments,
    importance,
    read_features,
    record,
    redundancy,
    residual_paths,
    sedimentation,
    sensitivity,
    variance_explained,
)


def seeded(k=0):
    return torch.Generator().manual_seed(k)


# --- scales -----------------------------------------------------------------------------------------------------------


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
    for strengths in ([], [0.0], [-1.0, 1.0]):
        with pytest.raises(InputError, match="RA212: `strengths`"):
            complexity({"a": x}, x, alphas=strengths)


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


# --- streams ----------------------------------------------------------------------------------------------------------


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


# --- dictionaries -----------------------------------------------------------------------------------------------------


def test_a_share_of_variance_is_one():
    x = 5 + torch.randn(100, 8, generator=seeded())
    for words in (torch.zeros(3, 8), torch.randn(5, 8, generator=seeded(1)), torch.randn(20, 8, generator=seeded(2))):
        for encoder in ("project", "least_squares"):
            share = dictionary(x, words, encoder=encoder).explained(x)
            assert -1e-9 <= share <= 1 + 1e-9
    assert dictionary(x, torch.zeros(3, 8)).explained(x) == pytest.approx(0, abs=1e-12)
    big = dictionary(x, "classes", weight=100 * torch.randn(3, 8, generator=seeded(3)))
    assert 0 < big.explained(x) < 1


def test_components_of_few_rows():
    x = torch.randn(20, 300, generator=seeded(), dtype=torch.float64)
    few = dictionary(x, "pca", count=5)
    _, s, _ = torch.linalg.svd(x - x.mean(0))
    assert few.explained(x) == pytest.approx(float(s[:5].square().sum() / s.square().sum()))


def test_what_a_kind_has_no_use_for_is_refused():
    x = torch.rand(20, 4)
    with pytest.raises(InputError, match="RA254: `count`"):
        dictionary(x, "units", count=2)


# --- importance -------------------------------------------------------------------------------------------------------


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))


def test_what_is_represented_is_counted_by_position():
    model, x = small(), torch.randn(30, 1, 8, 8, generator=seeded())
    found = importance(model, x, "1", "pca", target=0)
    rows = model[:2](x).detach().flatten(2).mT.flatten(0, 1)
    assert float(found.represented) == pytest.approx(found.dictionary.explained(rows), abs=1e-5)


def test_conductance_is_held_against_its_own_change():
    model, x = small(), torch.randn(30, 1, 8, 8, generator=seeded())
    coarse, fine = (importance(model, x, "1", method="conductance", target=0, steps=s) for s in (16, 256))
    assert float(fine.gap) < 1e-4
    assert float(coarse.gap) < 1e-2


def test_targets_that_are_no_labels():
    model, x = small(), torch.randn(12, 1, 8, 8)
    y = torch.arange(12) % 3
    for wrong in (torch.where(y == 0, -100, y), y + 7):
        with pytest.raises(InputError, match="RA203: labels (run from|reach 9)"):
            importance(model, (x, wrong), "1", target="label")
    assert importance(model, x, "1", target=np.int64(1)).values.shape == (12, 6)
    with pytest.raises(InputError, match="RA212"):
        importance(model, x, "1", target=True)


def test_one_layer_is_wanted():
    model, x = small(), torch.randn(12, 1, 8, 8)
    for call in (lambda n: importance(model, x, n), lambda n: sensitivity(model, x, n, repeats=2)):
        with pytest.raises(ModelError, match="RA118: '.*' stands for"):
            call("re:[01]")
    with pytest.raises(InputError, match="RA253"):
        importance(model, (b for b in x.split(4)), "1", "pca")
    assert importance(model, (b for b in x.split(4)), "1").values.shape == (12, 6)
    with pytest.raises(
        InputError, match="RA225: the features of '1' are no input of a linear classifier .it reads '4:in'"
    ):
        importance(model, x, "1", "classes")


def test_one_sample_has_no_intervals():
    found = importance(small(), torch.randn(1, 1, 8, 8), "1")
    assert bool(found.signed_low.isnan().all())
    assert np.isnan(float(found.inhibitors))
    assert found.inhibitors.note == "one sample"


def test_layers_before_the_start_of_a_path():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 2)), torch.randn(9, 4)
    found = conductance(model, x, start="1", steps=50)
    assert "0" not in found.signed
    assert "input" not in found.signed
    assert max(float(gap) for gap in found.gap.values()) < 0.01


def test_layers_that_were_not_recorded_come_in_their_order():
    torch.manual_seed(0)
    model, x = (
        nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2)),
        torch.randn(60, 4),
    )
    assert read_features(model, x, "0", folds=2).complexity.layers == ("input", "0")
    assert read_features(model, x, "1", layers=["0", "3"], folds=2).complexity.layers == ("0", "1")


def test_noise_on_what():
    model, x = small(), torch.randn(12, 1, 8, 8)
    assert sensitivity(model, x, "1", "pca", repeats=2, sigmas=0.1).variance.shape[0] == 1
    with pytest.raises(InputError, match="RA205: `sigmas`"):
        sensitivity(model, x, "1", sigmas=())
    with pytest.raises(InputError, match="RA212: `layer` is 'input'"):
        sensitivity(model, x, "input")


@pytest.mark.parametrize("call", [
    lambda m, d: record(m, d),
    lambda m, d: importance(m, d, "1"),
    lambda m, d: feature_merging(m, d, betas=[]),
])  # fmt: skip
def test_a_loader_leaves_the_random_state_alone(call):
    from torch.utils.data import DataLoader, TensorDataset

    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    data = DataLoader(TensorDataset(torch.randn(20, 4), torch.arange(20) % 2), batch_size=5, shuffle=True)
    before = torch.get_rng_state()
    call(model, data)
    assert torch.equal(before, torch.get_rng_state())


# --- merging ----------------------------------------------------------------------------------------------------------


class _Returns(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.a, self.b, self.c, self.kind = nn.Linear(6, 9), nn.Linear(9, 9), nn.Linear(9, 3), kind

    def forward(self, x):
        h = torch.relu(self.b(torch.relu(self.a(x))))
        z = self.c(h)
        return {"features": h, "logits": z} if self.kind == "dict" else (h, z)


@pytest.mark.parametrize("kind", ["dict", "tuple"])
def test_logits_are_found_among_several_outputs(kind):
    torch.manual_seed(0)
    model, x = _Returns(kind), torch.randn(100, 6)
    output = model(x)
    y = (output["logits"] if kind == "dict" else output[1]).argmax(1)
    assert float(feature_merging(model, (x, y), betas=[], beta=0.0).accuracy_before) == 1


def test_a_stream_is_read_whole():
    model, x = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), torch.randn(200, 6)
    assert feature_merging(model, (b for b in x.split(50)), betas=[]).agreement.n == 200


def test_forward_may_take_the_batch_apart():
    model, x = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), torch.randn(30, 2, 3)
    found = feature_merging(model, [{"image": x}], betas=[], forward=lambda m, b: m(b["image"].flatten(1)))
    assert found.channels == (8,)


@pytest.mark.parametrize("beta", [0.03, 0.2, 0.3])
def test_balance_is_reached_in_deep_networks(beta):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(),
                          nn.Linear(40, 10)).double()  # fmt: skip
    other = copy.deepcopy(model)
    with torch.no_grad():
        for k in (0, 2, 4):
            factor = torch.exp(torch.randn(40, dtype=torch.float64))
            other[k].weight *= factor[:, None]
            other[k].bias *= factor
            other[k + 2].weight /= factor
    x = torch.randn(5, 20, dtype=torch.float64)
    torch.testing.assert_close(model(x), other(x))
    one, two = (feature_merging(m, x, beta=beta, betas=[]).curve for m in (model, other))
    assert torch.equal(one, two)


@pytest.mark.parametrize("copies", [12, 15])
def test_many_copies_merge_at_beta_zero(copies):
    torch.manual_seed(0)
    at = torch.cat([torch.zeros(copies, dtype=torch.int64), torch.arange(1, 10)])
    first, second = nn.Linear(6, 10), nn.Linear(10, 3)
    model = nn.Sequential(nn.Linear(6, len(at)), nn.ReLU(), nn.Linear(len(at), 3))
    with torch.no_grad():
        model[0].weight.copy_(first.weight[at])
        model[0].bias.copy_(first.bias[at])
        model[2].weight.copy_(second.weight[:, at])
    x = torch.randn(20, 6)
    found = feature_merging(model, x, beta=0.0, betas=[])
    assert found.curve.tolist() == [[10.0]]
    torch.testing.assert_close(found.model(x), model(x), atol=1e-5, rtol=1e-4)


class _Mean(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 8, 3, padding=1), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).mean(1).mean(-1))


class _View(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.head = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(64, 3)

    def forward(self, x):
        return self.head(torch.relu(self.conv2(torch.relu(self.conv1(x)))).view(-1, 4 * 4 * 4))


class _Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.c(torch.relu(self.b(torch.relu(self.a(x)))))


TOKENS = nn.Sequential(
    nn.Linear(5, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Flatten(), nn.Linear(49, 16), nn.ReLU(), nn.Linear(16, 3)
)
FLAT = nn.Sequential(
    nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.Flatten(), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 3)
)
PARAMETRISED = nn.Sequential(
    nn.utils.parametrizations.weight_norm(nn.Linear(6, 8)), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)
)


@pytest.mark.parametrize(
    ("model", "shape"),
    [(TOKENS, (9, 7, 5)), (_Mean(), (9, 1, 8, 8)), (_View(), (9, 1, 8, 8)), (FLAT, (9, 1, 8, 8)), (_Tied(), (9, 6)),
     (PARAMETRISED, (9, 6))],
    ids=["norm over tokens", "mean over channels", "fixed view", "norm of flattened maps", "tied", "parametrised"],
)  # fmt: skip
def test_what_cannot_be_merged_through_stays(model, shape):
    """Nothing is merged at 0, so the output is the model's; at 1 the merged network still runs."""
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.normal_(generator=seeded())
            module.running_var.uniform_(0.5, 2, generator=seeded(1))
    x = torch.randn(shape, generator=seeded(2))
    if isinstance(model, (_Mean, _Tied)):
        with pytest.raises(ModelError, match="RA121: "):
            feature_merging(model, x)
        return
    same, less = feature_merging(model, x, beta=0.0, betas=[]), feature_merging(model, x, beta=1.0, betas=[])
    torch.testing.assert_close(same.model(x), model(x), atol=1e-5, rtol=1e-4)
    assert float(same.parameters) == pytest.approx(1)
    assert less.model(x).shape == model(x).shape


# --- the others -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False])
def test_attention_is_a_branch(first):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=first)
    found = residual_paths(nn.Sequential(nn.Linear(8, 8), layer), torch.randn(3, 5, 8))
    assert len(found) == 2


def test_a_null_of_the_units_that_were_kept():
    x = torch.randn(3000, 3, generator=seeded())
    found = redundancy(x, x[:, 0], keep=0.25, repeats=200)
    assert found.mean_redundancy.null == pytest.approx((1 / 3) ** 0.5)
    dead = redundancy(torch.ones(30, 3), x[:30, 0])
    assert dead.mean_redundancy.note


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


def test_variance_explained_in_closed_form():
    """Against a least-squares fit without each feature, equal features among them."""
    from repana import Split

    f = torch.randn(300, 5, generator=seeded(), dtype=torch.float64)
    f[:, 4] = f[:, 3]
    phi = f @ torch.randn(5, 7, generator=seeded(1), dtype=torch.float64) + torch.randn(300, 7, generator=seeded(2))
    split = Split.of(None, 300)
    found = variance_explained(phi, f, split=split, bootstrap=0)
    train, report = split.train, split.report

    def share(columns):
        a, b = f[train][:, columns], phi[train]
        level_a, level_b = a.mean(0), b.mean(0)
        w = torch.linalg.lstsq(a - level_a, b - level_b, driver="gelsd").solution
        left = phi[report] - level_b - (f[report][:, columns] - level_a) @ w
        return 1 - float(left.square().sum() / (phi[report] - level_b).square().sum())

    whole = share(list(range(5)))
    assert float(found.joint) == pytest.approx(whole, abs=1e-7)
    assert found.total.tolist() == pytest.approx([share([j]) for j in range(5)], abs=1e-9)
    assert found.unique.tolist() == pytest.approx(
        [whole - share([i for i in range(5) if i != j]) for j in range(5)], abs=1e-6
    )
    assert found.unique[3:].tolist() == pytest.approx([0, 0], abs=1e-6)
    with pytest.raises(InputError, match="RA248"):
        variance_explained(phi, f, split=Split.of(None, 100))
    assert variance_explained(torch.ones(300, 7), f[:, :2], bootstrap=0).joint.note == "the layer is constant"


def test_small_refusals():
    x = torch.randn(30, 4)
    path = residual_paths(nn.Sequential(nn.Linear(4, 4), nn.TransformerEncoderLayer(4, 2, 8)), torch.randn(3, 4))
    with pytest.raises(InputError, match="RA227"):
        coding_rate(x, torch.full((30,), -100))
    named = {a: x for p in path for a in (p.skip, p.branch)}
    with pytest.raises(InputError, match="RA2"):
        flow(named, x, path, measure="cka", nonsense=3)
    named[path[0].branch] = x[:20]
    with pytest.raises(InputError, match="RA201"):
        flow(named, x, path, measure="cka")
    zero = flow({a: torch.zeros(30, 4) for a in named}, x, path, measure="cka")
    assert zero.carried.note
