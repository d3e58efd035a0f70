"""Importance, conductance, sensitivity, flow and merging on live models: closed forms, captum, untouched models."""

import copy

import numpy as np
import pytest
import torch
from captum.attr import LayerConductance, LayerGradientXActivation
from networks import Odd, ResNet, mlp
from torch import nn

from repana import (
    InputError,
    ModelError,
    complexity,
    conductance,
    dictionary,
    feature_merging,
    flow,
    fold_moments,
    head_importance,
    importance,
    read_features,
    record,
    residual_paths,
    sensitivity,
)
from repana.extraction._samples import digits


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)).double()


def rows(n=20):
    return torch.randn(n, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def state(model):
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks), m.training) for m in model.modules()]
    return hooks, [(p.requires_grad, p.grad) for p in model.parameters()], torch.get_rng_state().tolist()


# --- importance -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["gradient_x_input", "integrated_gradients", "ablation"])
@pytest.mark.parametrize("kind", ["units", "complete", "short"])
def test_at_a_linear_head_all_methods_are_the_closed_form(method, kind):
    """V19: z_i (d_i . w_y); with the bias they sum up to the logit where the layer is zD exactly."""
    model, x = net(), rows()
    atoms = {"units": "units", "complete": torch.randn(8, 8).double(), "short": torch.randn(3, 8).double()}[kind]
    found = importance(model, x, "3", atoms, method=method)
    h = record(model, x, ["3"])["3"].double()
    words = found.dictionary
    z, logits = words.codes(h), model(x).detach()
    w = model[4].weight.detach()[logits.argmax(1)]
    want = z * (w @ words.atoms.double().T)
    torch.testing.assert_close(found.values, want, atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(found.absolute, want.abs().mean(0), atol=1e-7, rtol=1e-6)
    assert float(found.gap) < 1e-6
    if kind != "short":
        total = found.values.sum(1) + model[4].bias.detach()[logits.argmax(1)]
        torch.testing.assert_close(total, logits.amax(1), atol=1e-6, rtol=1e-6)
        assert found.represented.value == pytest.approx(1)
    else:
        assert 0 < found.represented.value < 1
    assert bool((found.signed_low <= found.signed).all() & (found.signed <= found.signed_high).all())


def test_head_importance_is_what_the_live_model_says():
    model, x = net(), rows()
    activations = record(model, x)
    head = activations.head
    values = head_importance(activations[head.layer], head.weight, activations.logits)
    torch.testing.assert_close(importance(model, x, "4:in").values, values, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(values.sum(1) + head.bias.double()[activations.logits.argmax(1)],
                               activations.logits.double().amax(1), atol=1e-6, rtol=1e-6)  # fmt: skip


def test_gradients_at_a_hidden_layer_are_captums():
    model, x = net(), rows()
    found = importance(model, x, "0", target=1)
    want = LayerGradientXActivation(model, model[0]).attribute(x, target=1)
    torch.testing.assert_close(found.values, want.detach(), atol=1e-12, rtol=1e-9)


def test_maps_and_sequences_sum_over_positions():
    torch.manual_seed(0)
    model, x = ResNet(blocks=4, width=8).eval(), torch.randn(10, 3, 8, 8)
    found = importance(model, x, "layer1.0", target=2)
    want = LayerGradientXActivation(model, model.layer1[0]).attribute(x, target=2).sum((2, 3))
    torch.testing.assert_close(found.values, want.detach().double(), atol=1e-6, rtol=1e-4)
    parts = importance(model, x, "layer2.1", "nmf", target=2, method="integrated_gradients")
    assert float(parts.gap) < 1e-4
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, vocab_size=50, num_labels=3
    )
    text = {"input_ids": torch.randint(0, 50, (6, 7)), "attention_mask": torch.ones(6, 7, dtype=torch.long)}
    words = importance(BertForSequenceClassification(config), text, "bert.encoder.layer.0", "pca")
    assert words.values.shape[0] == 6


def test_targets_may_be_labels_or_a_column():
    model, x = net(), rows()
    y = torch.arange(20) % 3
    one = importance(model, (x, y), "3", target="label")
    for k in range(3):
        torch.testing.assert_close(one.values[y == k], importance(model, x[y == k], "3", target=k).values)
    with pytest.raises(InputError, match="RA210|RA2"):
        importance(model, x, "3", target="label")
    with pytest.raises(InputError, match="RA212: `target` is 7"):
        importance(model, x, "3", target=7)


def test_conductance_of_codes_is_that_of_units():
    model, x = net(), rows()
    one = importance(model, x, "1", method="conductance", steps=50, target=0)
    want = LayerConductance(model, model[1]).attribute(x, target=0, n_steps=200)
    torch.testing.assert_close(one.values, want.detach(), atol=5e-3, rtol=0.05)


# --- conductance ------------------------------------------------------------------------------------------------------


def test_conductance_is_complete_at_every_layer_as_steps_grow():
    """V20: the sum over units is f(x) - f(0)."""
    model, x = net(), rows()
    coarse, fine = (conductance(model, x, ["0", "1", "2", "3"], target=0, steps=steps) for steps in (10, 160))
    change = (model(x) - model(torch.zeros_like(x)))[:, 0].detach()
    assert fine.change.value == pytest.approx(float(change.mean()), abs=1e-9)
    for layer in ("0", "1", "2", "3"):
        assert float(fine.gap[layer]) < 2e-3
        assert float(fine.gap[layer]) <= float(coarse.gap[layer]) + 1e-12
    assert list(fine.signed) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("layer", [0, 1, 3])
def test_conductance_is_captums(layer):
    model, x = net(), rows()
    found = conductance(model, x, [str(layer)], target=1, steps=400)
    want = LayerConductance(model, model[layer]).attribute(x, target=1, n_steps=2000)
    torch.testing.assert_close(found.signed[str(layer)], want.detach().mean(0), atol=2e-3, rtol=0.02)
    torch.testing.assert_close(found.absolute[str(layer)], want.detach().abs().mean(0), atol=3e-3, rtol=0.02)


def test_conductance_from_an_embedding():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.hidden, self.head = nn.Embedding(20, 6), nn.Linear(6, 5), nn.Linear(5, 3)

        def forward(self, ids):
            return self.head(torch.tanh(self.hidden(self.embedding(ids))).mean(1))

    ids = torch.randint(0, 20, (9, 4))
    found = conductance(Words(), ids, ["hidden"], start="embedding", steps=100, mask=False)
    assert float(found.gap["hidden"]) < 0.01
    with pytest.raises(ModelError, match="RA115"):
        conductance(Words(), ids, ["hidden"])


# --- untouched, and refused -------------------------------------------------------------------------------------------


def test_the_model_is_left_as_it_was():
    """V29: after success and after an exception."""
    model, x = net().train(), rows()
    before, weights = state(model), copy.deepcopy(model.state_dict())
    importance(model, x, "3", "pca")
    conductance(model, x, ["1"])
    sensitivity(model, x, "1", repeats=2)
    feature_merging(model, x, betas=[0.1])
    read_features(model, x, folds=2)
    for call in (
        lambda: importance(model, x, "3", torch.eye(5)),
        lambda: conductance(model, x, ["nowhere"]),
        lambda: importance(model, torch.full_like(x, torch.nan), "3", "pca"),
        lambda: conductance(_Breaks(model), x, ["inner.1"]),
    ):
        with pytest.raises((InputError, ModelError, RuntimeError)):
            call()
    assert state(model) == before
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
    copy.deepcopy(model)


class _Breaks(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.calls = inner, 0

    def forward(self, x):
        self.calls += 1
        if self.calls > 5:
            raise RuntimeError("the fifth call")
        return self.inner(x)


def test_reused_and_in_place_modules_are_refused_with_the_reason():
    torch.manual_seed(0)
    model, x = Odd(), torch.randn(8, 64)
    with pytest.raises(ModelError, match="RA118: 'shared@1' is called 2 times"):
        importance(model, x, "shared")
    with pytest.raises(ModelError, match="RA118: no derivative reaches 'norm': a module behind it writes in place"):
        importance(model, x, "norm")
    with pytest.raises(ModelError, match="RA118"):
        conductance(model, x, ["norm"])


def test_an_activation_in_place_changes_nothing():
    torch.manual_seed(0)
    one = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    other = nn.Sequential(one[0], nn.ReLU(inplace=True), one[2])
    x = rows().float()
    torch.testing.assert_close(importance(one, x, "0").values, importance(other, x, "0").values)
    for name, value in conductance(one, x, ["0"]).signed.items():
        torch.testing.assert_close(value, conductance(other, x, ["0"]).signed[name])


class _Detached(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.aside, self.head = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        self.aside(x)
        return self.head(self.inner(x).detach())


def test_layers_without_a_derivative_are_refused():
    with pytest.raises(ModelError, match="RA118: no derivative reaches"):
        importance(_Detached(), rows().float(), "inner")
    with pytest.raises(ModelError, match="RA118: no derivative reaches"):
        conductance(_Detached(), rows().float(), ["aside"])


def test_a_model_without_logits_says_what_can_still_be_computed():
    class Maps(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 3, 3)

        def forward(self, x):
            return self.conv(x)

    with pytest.raises(ModelError, match="RA119: .* can be computed from recorded features"):
        importance(Maps(), torch.randn(4, 1, 8, 8), "conv")


def test_a_dictionary_of_another_width():
    with pytest.raises(InputError, match="RA254"):
        importance(net(), rows(), "3", dictionary(torch.randn(9, 5)))
    with pytest.raises(InputError, match="RA225"):
        importance(net(), rows(), "1", "classes")


def test_batches_of_three_and_layouts_by_layer():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv1d(4, 12, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(12, 3)
    )
    x, y = torch.randn(60, 4, 7), torch.arange(60) % 3
    three = [(x[:30], y[:30], torch.arange(30)), (x[30:], y[30:], torch.arange(30))]
    options = {"labels": 1, "mask": False, "target": "label"}
    whole = importance(model, (x, y), "0", mask=False, target="label")
    found = importance(model, three, "0", layout={"0": "b c t"}, **options)
    torch.testing.assert_close(found.values, whole.values)
    assert conductance(model, three, ["0"], layout="b c t", steps=4, **options).signed["0"].shape == (12,)
    assert sensitivity(model, three, "0", labels=1, layout="b c t", mask=False).variance.shape[1] == 12
    read = read_features(model, three, "3", layers=["0", "3"], layout={"0": "b c t"}, folds=2, **options)
    assert read.importance.values.shape == (60, 12)
    wrapped = {"layers": ["0"], "layout": {"0": "b t c"}, "folds": 2}  # layers have the names of the inner model
    assert read_features(nn.DataParallel(model), three, "0", **wrapped, **options).importance.values.shape == (60, 7)
    with pytest.raises(InputError, match="RA210"):
        importance(model, three, "0", mask=False)


def test_read_features_in_one_call():
    model = mlp(12)
    found = read_features(model, digits()[1], folds=3)
    assert found.complexity.features == found.importance.features == found.dictionary.names
    assert len(found.plane.complexity) == 12 - len(found.complexity.constant)
    bare = nn.Sequential(nn.Linear(6, 8), nn.Tanh())
    with pytest.raises(ModelError, match="RA119: this model has no linear classifier.* `complexity`, `flow`"):
        read_features(bare, rows().float())
    assert read_features(bare, rows(60).float(), "0", folds=2).complexity.curve.shape[1] == 8
    parts = read_features(model, digits()[1], "2", "nmf", count=5, folds=3)
    assert parts.importance.values.shape == (450, 5)


# --- sensitivity ------------------------------------------------------------------------------------------------------


def test_sensitivity_of_a_linear_feature():
    """V21: sigma^2 |w|^2."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 2)).double(), rows(200)
    found = sensitivity(model, x, "0", repeats=50)
    size = model[0].weight.detach().square().sum(1)
    for sigma, variance in zip(found.sigmas, found.variance):
        torch.testing.assert_close(variance, sigma**2 * size, rtol=0.06, atol=0)
    assert bool((found.low <= found.variance).all() & (found.variance <= found.high).all())
    words = dictionary(record(model, x, ["0"])["0"], "pca", count=2)
    codes = sensitivity(model, x, "0", words, sigmas=[0.1], repeats=50)
    want = 0.01 * (words.atoms @ model[0].weight.detach()).square().sum(1)
    torch.testing.assert_close(codes.variance[0], want, rtol=0.06, atol=0)
    with pytest.raises(InputError, match="RA2"):
        sensitivity(model, x, "0", sigmas=[0.0])
    same = sensitivity(model, x, "0", repeats=3, seed=5)
    assert torch.equal(same.variance, sensitivity(model, x, "0", repeats=3, seed=5).variance)


def test_the_variance_of_few_draws_is_unbiased():
    """Of two draws it is half of their squared difference, not a quarter: sigma^2 |w|^2 in the mean."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 2)).double(), rows(3000)
    found = sensitivity(model, x, "0", sigmas=[0.5], repeats=2)
    torch.testing.assert_close(found.variance[0], 0.25 * model[0].weight.detach().square().sum(1), rtol=0.15, atol=0)


# --- flow -------------------------------------------------------------------------------------------------------------


def test_paths_of_residual_blocks_are_found():
    paths = residual_paths(ResNet(blocks=4, width=8), torch.randn(2, 3, 8, 8))
    assert [(p.skip, p.branch) for p in paths] == [
        (f"layer{i}.{j}:in", f"layer{i}.{j}.bn2") for i in (1, 2) for j in (0, 1)
    ]


class _Down(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.act = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8)
        self.down = nn.Sequential(nn.Conv2d(3, 8, 1, 2), nn.BatchNorm2d(8))

    def forward(self, x):
        y = self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))
        y += self.down(x)
        return self.act(y)


def test_paths_through_a_projection_and_in_place():
    (path,) = residual_paths(nn.Sequential(_Down()), torch.randn(2, 3, 8, 8))
    assert (path.block, path.branch) == ("0", "0.bn2")
    assert path.skip in ("0.down", "0.down.1")


def test_paths_of_transformers():
    from transformers import BertConfig, BertModel, GPT2Config, GPT2Model

    bert = BertModel(
        BertConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, vocab_size=50)
    )
    found = residual_paths(bert, {"input_ids": torch.randint(0, 50, (2, 7))})
    assert len(found) == 4
    assert found[0].skip == "embeddings.LayerNorm"
    gpt = GPT2Model(
        GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=50, n_positions=16, bos_token_id=1, eos_token_id=1)
    )
    found = residual_paths(gpt, {"input_ids": torch.randint(0, 50, (2, 7))})
    assert [(p.skip, p.branch) for p in found] == [("h.0:in", "h.0.attn.c_proj"), ("h.0.ln_2:in", "h.0.mlp.c_proj")]


def test_a_model_without_skip_paths():
    with pytest.raises(ModelError, match="RA122: no sum of a skip path"):
        residual_paths(net(), rows())


def test_flow_says_where_a_feature_comes_from():
    """The branch adds a product that the skip path does not have."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.branch = _Product()

        def forward(self, x):
            return x + self.branch(x)

    class _Product(nn.Module):
        def forward(self, x):
            return (x[:, :1] * x[:, 1:2]).expand_as(x).clone()

    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Identity(), Block())
    (path,) = residual_paths(model, x)
    assert (path.skip, path.branch) == ("1:in", "1.branch")
    kept = record(model, x, [path.skip, path.branch], logits=False)
    found = flow(kept, torch.stack([x[:, 0], x[:, 0] * x[:, 1]], 1), [path])
    assert found.skip[0].tolist() == pytest.approx([1, 0], abs=0.05)
    assert found.branch[0].tolist() == pytest.approx([0, 1], abs=0.05)
    assert float(found.carried) == 0.5
    by_cka = flow(kept, x[:, :1], [path], measure="cka")
    assert float(by_cka.skip[0, 0]) == pytest.approx(3**-0.5, abs=0.05)  # a white layer of width 3, read exactly
    with pytest.raises(ModelError, match="RA2|RA1"):
        flow({path.skip: x}, x, [path])
    with pytest.raises(InputError, match="RA2"):
        flow(kept, x, [])


# --- merging ----------------------------------------------------------------------------------------------------------


def planted(activation, copies):
    """12 channels, some of them several times, whose outgoing weights are shared out among the copies."""
    torch.manual_seed(0)
    first, second = nn.Linear(6, 12).double(), nn.Linear(12, 4).double()
    at = torch.repeat_interleave(torch.arange(12), torch.tensor(copies))
    model = nn.Sequential(nn.Linear(6, len(at)), activation, nn.Linear(len(at), 4)).double()
    with torch.no_grad():
        model[0].weight.copy_(first.weight[at])
        model[0].bias.copy_(first.bias[at])
        model[2].weight.copy_(second.weight[:, at])
        model[2].bias.copy_(second.bias)
    return model


SEVEN = (3, 2, 2, 2, 2, 2) + (1,) * 6


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.GELU(), nn.Tanh()])
@pytest.mark.parametrize("balance", [True, False])
def test_planted_copies_merge_without_changing_the_output(activation, balance):
    """V27: 19 channels are 12, whatever the activation."""
    model, x = planted(activation, SEVEN), rows()
    found = feature_merging(model, x, beta=1e-9, betas=[], balance=balance)
    assert found.curve.tolist() == [[12.0]]
    torch.testing.assert_close(found.model(x), model(x), atol=1e-12, rtol=1e-12)
    assert found.model[0].out_features == 12
    assert float(found.agreement) == 1


def test_the_published_rule_leaves_a_third_copy():
    """The repository's module gives 13 of these 19; three copies end as two, four as one."""
    x = rows()
    assert feature_merging(planted(nn.ReLU(), SEVEN), x, beta=1e-9, betas=[], reference=True).curve.tolist() == [[13.0]]
    for copies, left in ((3, 2), (4, 1)):
        model = planted(nn.ReLU(), (copies,) + (1,) * 11)
        found = feature_merging(model, x, beta=1e-9, betas=[], reference=True)
        assert found.curve.tolist() == [[11.0 + left]]
    gelu = planted(nn.GELU(), SEVEN)
    with torch.no_grad():
        changed = feature_merging(gelu, x, beta=1e-9, betas=[], reference=True).model(x)
        assert float((changed - gelu(x)).abs().max()) > 1e-3


def test_copies_read_by_different_weights():
    """Channels of equal values merge where incoming weights alone are compared."""
    model, x = planted(nn.ReLU(), SEVEN), rows()
    with torch.no_grad():
        model[2].weight.normal_()
    assert feature_merging(model, x, beta=1e-9, betas=[]).curve.tolist() == [[19.0]]
    found = feature_merging(model, x, beta=1e-9, betas=[], distance="in")
    assert found.curve.tolist() == [[12.0]]
    torch.testing.assert_close(found.model(x), model(x), atol=1e-12, rtol=1e-12)


def normed(copies=2):
    torch.manual_seed(0)
    at = torch.repeat_interleave(torch.arange(6), torch.tensor([copies, 1, 1, 1, 1, 1]))
    conv, norm, head = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 3)
    model = nn.Sequential(
        nn.Conv2d(3, len(at), 3, padding=1), nn.BatchNorm2d(len(at)), nn.ReLU(), nn.Conv2d(len(at), 4, 3),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    ).double().eval()  # fmt: skip
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    nn.init.uniform_(norm.weight, 0.5, 2)
    nn.init.normal_(norm.bias)
    with torch.no_grad():
        model[0].weight.copy_(conv.weight[at])
        model[0].bias.copy_(conv.bias[at])
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(model[1], name).copy_(getattr(norm, name)[at])
        model[3].weight.copy_(head.weight[:, at])
    return model


@pytest.mark.parametrize("copies", [2, 4])
def test_batch_normalisation_is_folded(copies):
    """Under the published rule summed variances leave m copies sqrt(m) too large; folded, nothing changes."""
    model, x = normed(copies), torch.randn(4, 3, 6, 6, dtype=torch.float64)
    for fold in (True, False):
        found = feature_merging(model, x, beta=1e-9, betas=[], fold=fold)
        assert found.curve.tolist() == [[6.0]]
        torch.testing.assert_close(found.model(x), model(x), atol=1e-9, rtol=1e-9)
    published = feature_merging(model, x, beta=1e-9, betas=[], reference=True).model(x).detach()
    assert float((published - model(x).detach()).norm() / model(x).detach().norm()) > 0.02


def test_rescaled_channels_are_the_same_network():
    """w -> cw, v -> v/c under a ReLU: the same function, and with `balance` the same number of channels."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 5)).double()
    other = copy.deepcopy(model)
    factor = torch.exp(torch.randn(64, dtype=torch.float64))
    with torch.no_grad():
        other[0].weight *= factor[:, None]
        other[0].bias *= factor
        other[2].weight /= factor
    x = torch.randn(20, 10, dtype=torch.float64)
    one, two = (feature_merging(m, x, beta=0.3, betas=[0.1]).curve for m in (model, other))
    assert torch.equal(one, two)
    free = [feature_merging(m, x, beta=0.3, betas=[], balance=False).curve for m in (model, other)]
    assert not torch.equal(*free)


def test_distances_that_are_kept_up_to_date_are_those_computed_anew():
    """The merging of many groups of one network, against a search that forgets every distance."""
    from repana.extraction._batches import Intake
    from repana.extraction._channels import channels

    torch.manual_seed(0)
    model, x = ResNet(blocks=4, width=12).double().eval(), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    batch = Intake(model).unpack(x)
    for rule, distance in (("mean_in", "both"), ("sum_in", "both"), ("mean_in", "in")):
        kept, anew = (channels(model, batch, fold=True).merging(rule, distance) for _ in range(2))
        for group in kept.count:
            kept._known[group] = kept._distances(group)
        for step in range(12):
            group = step % len(kept.count)
            alive = (kept.count[group] > 0).nonzero()[:, 0].tolist()
            i, j = alive[0], alive[1 + step % (len(alive) - 1)]
            for m in (kept, anew):
                m._merge(group, i, j)
            for g, known in kept._known.items():
                live = (kept.count[g] > 0).nonzero()[:, 0]
                torch.testing.assert_close(
                    known[live][:, live], anew._distances(g)[live][:, live], atol=1e-9, rtol=1e-9
                )


def test_residual_networks_merge_as_one_group():
    torch.manual_seed(0)
    model, x = ResNet(blocks=4, width=8).eval(), torch.randn(6, 3, 8, 8)
    found = feature_merging(model, (x, torch.arange(6) % 5), betas=[0.0, 0.9], beta=0.0)
    assert found.channels == (8,) * 5
    assert found.layers[0].startswith("stem = layer1.0.conv2")
    torch.testing.assert_close(found.model(x), model(x), atol=1e-5, rtol=1e-4)
    assert found.curve[-1].sum() < found.curve[0].sum()
    assert found.accuracy.n == 6
    merged = feature_merging(model, x, beta=0.9, betas=[]).model
    assert merged(x).shape == (6, 5)
    assert type(merged) is ResNet


def test_digits_lose_channels_before_they_lose_accuracy():
    from repana._demo import digits_cnn, train

    torch.manual_seed(0)
    model = digits_cnn()
    train(model, digits()[0], 4)
    found = feature_merging(model, digits()[1], betas=[0.0, 0.1, 0.2])
    assert float(found.accuracy_curve[0, 0]) == float(found.accuracy_before)
    assert bool((found.curve[1:] <= found.curve[:-1]).all())
    assert bool((found.parameter_curve[1:] <= found.parameter_curve[:-1]).all())
    limited = feature_merging(model, digits()[1], beta=1.0, betas=[], max_ratio=0.25)
    assert bool((limited.curve[-1] >= 0.75 * torch.tensor(found.channels) - 1).all())


def test_graphs_that_cannot_be_traced_are_named():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(6, 6)

        def forward(self, x):
            return self.inner(x) if x.sum() > 0 else x

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.odd = nn.Linear(6, 6), Branches()

        def forward(self, x):
            return self.odd(self.first(x))

    with pytest.raises(ModelError, match="RA120: Outer cannot be traced by torch.fx .odd: "):
        feature_merging(Outer(), rows().float())
    with pytest.raises(ModelError, match="RA121: Linear has no group"):
        feature_merging(nn.Linear(6, 3), rows().float())
    with pytest.raises(InputError, match="RA2"):
        feature_merging(net(), rows(), beta=2.0)


def test_unknown_layers_freeze_what_they_touch():
    class Joined(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.norm, self.c = nn.Linear(6, 5), nn.Linear(6, 5), nn.LayerNorm(10), nn.Linear(10, 8)
            self.d, self.e = nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x):
            h = self.norm(torch.cat([self.a(x), self.b(x)], 1))
            return self.e(torch.relu(self.d(torch.relu(self.c(h)))))

    found = feature_merging(Joined(), rows().float(), beta=1.0, betas=[])
    assert found.layers == ("c", "d")
    assert found.model(rows().float()).shape == (20, 3)


def test_tokens_merge_on_their_last_axis():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 9), nn.GELU(), nn.Linear(9, 4), nn.Flatten(), nn.Linear(20, 3))
    with torch.no_grad():
        model[0].weight[1], model[0].bias[1], model[2].weight[:, 1] = (
            model[0].weight[0], model[0].bias[0], model[2].weight[:, 0],
        )  # fmt: skip
    x = torch.randn(7, 5, 6)
    found = feature_merging(model, x, beta=1e-9, betas=[])
    assert found.layers == ("0",)
    assert found.curve.tolist() == [[8.0]]
    torch.testing.assert_close(found.model(x), model(x), atol=1e-6, rtol=1e-5)


def test_complexity_of_a_merged_network_can_be_read():
    model = planted(nn.ReLU(), SEVEN)
    merged = feature_merging(model, rows(), beta=1e-9, betas=[]).model
    found = complexity(record(merged, rows(100), ["0", "1"]))
    assert found.curve.shape == (2, 12)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_features_on_the_gpu():
    model, x = mlp(12), digits()[1]
    here = read_features(model, x, features="nmf", count=6, folds=3)
    there = read_features(model.cuda(), x, features="nmf", count=6, folds=3)
    torch.testing.assert_close(here.complexity.curve, there.complexity.curve, atol=1e-4, rtol=0)
    torch.testing.assert_close(here.importance.absolute, there.importance.absolute, atol=1e-3, rtol=1e-3)
    sums = fold_moments(model, x, torch.randn(450, 3), folds=3)
    assert all(m.xx.device.type == "cuda" for m in sums.values())
    assert complexity(sums).curve.device.type == "cpu"
    assert float(conductance(model, x, ["2"]).gap["2"]) < 0.05
    assert float(sensitivity(model, x, "2", repeats=2).mean_sensitivity) > 0
    assert feature_merging(model, x, betas=[]).model(x[0].cuda()).shape == (450, 10)


def seeded(k=0):
    return torch.Generator().manual_seed(k)


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))


class _Returns(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.a, self.b, self.c, self.kind = nn.Linear(6, 9), nn.Linear(9, 9), nn.Linear(9, 3), kind

    def forward(self, x):
        h = torch.relu(self.b(torch.relu(self.a(x))))
        z = self.c(h)
        return {"features": h, "logits": z} if self.kind == "dict" else (h, z)


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


@pytest.mark.parametrize("kind", ["dict", "tuple"])
def test_logits_are_found_among_several_outputs(kind):
    torch.manual_seed(0)
    model, x = _Returns(kind), torch.randn(100, 6)
    output = model(x)
    y = (output["logits"] if kind == "dict" else output[1]).argmax(1)
    assert float(feature_merging(model, (x, y), betas=[], beta=0.0).accuracy_before) == 1


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
