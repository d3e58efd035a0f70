"""What looked like an answer and was none: collapsed layers, floors that were the network itself, networks that share
nothing, samples without labels."""

import copy
import warnings

import numpy as np
import pytest
import torch
from comparison.recipes import gaussians
from torch import nn

import repana
from repana import Activations, InputError, ModelError
from repana.comparison import (
    barrier,
    cca,
    drift,
    head_geometry,
    identification,
    neighbourhoods,
    output_agreement,
    output_correlation,
    procrustes,
    robustness,
    rsa,
    similarity,
    stitching,
    unlearning,
)


def network(seed=3, width=32):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(10, width), nn.ReLU(), nn.Linear(width, 4)).eval()


def data(n=200):
    x = torch.randn(n, 10, generator=torch.Generator().manual_seed(0))
    return x, network()(x).argmax(1)


def dead():
    net = network()
    nn.init.zeros_(net[0].weight)
    return net


def quantised(net):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(copy.deepcopy(net), {nn.Linear}, dtype=torch.qint8)


class Normed(nn.Module):
    """Units that no permutation of channels is followed through."""

    def __init__(self):
        super().__init__()
        self.a, self.n, self.h = nn.Linear(10, 16), nn.LayerNorm(16), nn.Linear(16, 4)

    def forward(self, x):
        return self.h(self.n(torch.relu(self.a(x))))


class Sequence(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.l, self.h = nn.Embedding(50, 8), nn.LSTM(8, 12, batch_first=True), nn.Linear(12, 4)

    def forward(self, ids):
        return self.h(self.l(self.e(ids))[0][:, -1])


def only(x):
    return Activations({"l": x})


def test_a_collapsed_layer_has_changed():
    found = drift(network(), dead(), data())
    assert found.first_changed == "2:in"
    assert "constant before or after" in repr(found)
    said = next(f for f in found.report().findings() if f.code == "RF707")
    assert said.severity == "tip"
    assert "begins at 2:in" in said.text
    assert found["input"].unchanged
    assert not found["input"].changed


def test_a_changed_input_is_no_broken_layer():
    x = torch.randn(200, 10, generator=torch.Generator().manual_seed(1))
    clean = Activations({"input": x, "one": x})
    found = robustness(clean, {1: Activations({"input": torch.randn(200, 10), "one": x})})
    assert found.first_broken == {"1": None}


def test_layers_of_one_network_alone_are_named():
    x, y = gaussians(80, 5, 5, 0, 0.7)
    found = drift(Activations({"one": x, "two": y}), Activations({"one": x, "three": y}))
    assert "not compared, in before only: two" in repr(found)
    said = next(f for f in found.report().findings() if f.code == "RF708")
    assert said.text == "Layers of one of the two alone were not compared: two, three."
    with pytest.raises(InputError, match="RA277: the two networks share no layer but the input"):
        drift(network(), quantised(network()), data())


def test_quantised_weights_are_no_random_floor():
    with pytest.raises(ModelError, match="RA117: the weights of '0' of Sequential are quantised"):
        similarity(network(), quantised(network()), data(), untrained=True)


def test_the_floor_is_not_the_network_of_the_same_seed():
    a, b = network(0), network(1)
    found = similarity(a, b, data(), measures="cka", untrained=True, seed=0)
    assert (found.floors["untrained"]["cka"].value[1:].diagonal(1) < 0.999).all()


@pytest.mark.parametrize("net", [Normed, Sequence])
def test_units_that_cannot_be_matched_are_said(net):
    x = data()[0] if net is Normed else torch.randint(0, 50, (60, 7), generator=torch.Generator().manual_seed(0))
    found = barrier(net(), net(), (x, torch.arange(len(x)) % 4), points=5)
    assert np.isfinite(found.barrier.value)
    assert np.isnan(found.matched_barrier.value)
    assert "could be matched" in found.matched_barrier.note or "could not be matched" in found.matched_barrier.note


def test_no_barrier_is_exactly_none():
    found = barrier(network(), network(), data(), points=5)
    assert [found.barrier.value, found.accuracy_barrier.value] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x, y: barrier(network(), network(4), (x, y.float())), "RA213: `data` gave labels of type float32"),
        (lambda x, y: barrier(network(), network(4), (x, y * 0 - 100)), "RA213: `data` gave no label but -100"),
        (lambda x, y: stitching(network(), "1", network(), "1", (x, y * 0 - 100)), "RA213: `data` gave no label but"),
        (lambda x, y: output_agreement(network()(x), network(4)(x), y * 0 - 100), "RA213: `data` gave no label but"),
        (lambda x, y: similarity(only(x[:3]), only(x[:3])), "RA227: similarity needs at least 4 samples; 3 came."),
        (lambda x, y: drift(only(x[:3]), only(x[:3] + 1)), "RA227: drift needs at least 4 samples; 3 came."),
        (lambda x, y: similarity(only(x), only(x), k=1000), "RA233: `k` is 1000"),
        (lambda x, y: similarity(Activations({}), Activations({})), "RA277: a recording has no layers"),
        (lambda x, y: similarity("a", "b"), "RA277: a str came in the place of a network"),
        (lambda x, y: similarity(network(), network(), x, names="abc"), "RA212: `names` is 'abc'; expected two"),
        (lambda x, y: similarity(only(x), only(x)).difference("l", "l"), "RA282: 'l' is no pair of layers"),
        (lambda x, y: similarity(only(x), only(x), mask=False), "RA212: `mask` came with Activations"),
        (
            lambda x, y: unlearning(network(), network(), forget=(x, y * 0 - 100), retain=(x, y)),
            "RA281: `forget` has 200 of 200 samples without a label (-100)",
        ),
        (
            lambda x, y: output_correlation(
                {k: Activations({"l": x}, logits=network(int(k))(x)) for k in "0123"}, "l", output="accuracy_difference"
            ),
            "RA213: ",
        ),
    ],
)
def test_refusals(call, text):
    with pytest.raises((InputError, ModelError)) as caught:
        call(*[t.detach() for t in data()])
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize("verb", [similarity, drift])
def test_unknown_options_are_errors(verb):
    with pytest.raises(TypeError, match="unexpected keyword argument 'measure'"):
        verb(network(), network(4), data(), measure="rsa")


def test_the_same_samples_in_another_order_are_refused_where_inputs_may_differ():
    x, y = data()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    one = repana.record(network(), (x, y))
    other = repana.record(network(), (x[order], y[order]))
    same = repana.record(network(), (x + 0.1, y))
    for call in (head_geometry, output_agreement, lambda a, b: robustness(a, {1: b})):
        with pytest.raises(InputError, match="RA276"):
            call(one, other)
        call(one, same)


def test_intervals_are_not_of_width_zero():
    x, y = gaussians(100, 6, 6, 0)
    assert neighbourhoods(x, x.bfloat16()).overlap.low > 0.98
    assert np.isnan(neighbourhoods(x[:12], y[:12]).overlap.low)
    assert np.isnan(procrustes(x[:3], y[:3]).similarity.low)
    assert np.isfinite(cca(x[:3], y[:3]).mean.value)
    nets = {k: Activations({str(i): x[:, i:] for i in range(3)}) for k in "abc"}
    assert identification(nets).low == pytest.approx(1 / (1 + 1.959964**2 / 3), abs=1e-6)  # three pairs, not 18 layers


def test_the_whitened_cosine_has_the_debiased_cka_beside_it():
    x, y = gaussians(60, 20, 20, 0)
    found = rsa(x, y, distance="sqeuclidean", compare="whitened")
    assert found.calibrated.value == pytest.approx(repana.cka(x, y).value)
    assert found.value > found.calibrated.value + 0.1


def test_the_null_of_a_panel_is_that_of_its_run():
    from repana.plots import depth_profile

    one = similarity(*(only(t) for t in gaussians(60, 5, 5, 0, 0.6)))
    x, y = data()
    other = repana.profile(network(), (x, y.detach()), analyzers=["probing"])
    both = repana.concat([one.report("sim"), other])
    axes = depth_profile(both, "similarity.cka", "probing.balanced_accuracy")
    words = [t.get_text() for t in axes[0].figure.findobj() if hasattr(t, "get_text")]
    assert any("samples paired at random" in w for w in words)
    assert any("shuffled" in w for w in words)
    assert "CKA, debiased" in both.to_markdown()  # of the first run
    assert "Balanced accuracy" in both.to_markdown("probing.balanced_accuracy")
    assert "CKA, debiased" in both.to_latex()
    assert len(repana.plots.probe_depth(both).get_lines()) > 2


@pytest.mark.parametrize("verb", [similarity, drift])
def test_a_layer_that_overflows_is_named(verb):
    x, y = gaussians(40, 4, 4, 0)
    y = torch.where(torch.arange(40)[:, None] == 7, torch.nan, y)
    with pytest.raises(InputError, match="RA204: `two` has 4 NaN or infinite value\\(s\\) in 1 of 40 samples"):
        verb(Activations({"one": x, "two": x}), Activations({"one": x, "two": y}))


def test_texts_that_differ_in_their_last_token_are_told_apart():
    net = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(4 * 300, 3))
    ids = torch.randint(0, 9, (20, 300), generator=torch.Generator().manual_seed(0))
    late = ids.clone()
    late[3, 299] = (late[3, 299] + 1) % 9
    one, other = (repana.record(net, t, layers=["2"]) for t in (ids, late))
    with pytest.raises(InputError, match="RA276: the two networks were given different inputs"):
        similarity(one, other)


def test_reports_hold_the_outputs_too():
    x, y = data()
    found = drift(network(), network(4), (x, y))
    rows = {r.quantity: r.value for r in found.report().rows if not r.layer}
    assert rows["disagreement"] == found.outputs.disagreement.value
    assert rows["negative_flips"] == found.outputs.negative_flips.value > 0
    y = torch.arange(len(x)) % 4
    forgot = unlearning(network(), network(4), network(5), forget=(x[y == 0], y[y == 0]), retain=(x[y > 0], y[y > 0]))
    frame = set(forgot.frame().quantity)
    assert {"knn_utility", "cka_original_forget", "cka_retrained_forget", "attack_difference"} <= frame
    assert {"knn_utility", "cka_retrained_forget"} <= {r.quantity for r in forgot.report().rows}
