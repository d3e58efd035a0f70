"""Recording: data in every form, addresses, the automatic depth profile, subsets, moments, memory."""

import json
import sys

import numpy as np
import pytest
import torch
from networks import ResNet, mlp
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from repana import (
    Activations,
    InputError,
    ModelError,
    Moments,
    plan,
    record,
)
from repana.extraction import _store
from repana.extraction._addresses import Site, parse
from repana.extraction._session import unwrap
from repana.store._subset import water_level

N = 23
X, Y = torch.randn(N, 3, 8, 8), torch.arange(N) % 5


@pytest.fixture
def net():
    torch.manual_seed(1)
    return ResNet().eval()


class PairwiseDistances(Dataset):
    def __len__(self):
        return N

    def __getitem__(self, i):
        return X[i], int(Y[i])


class Stream(IterableDataset):
    def __iter__(self):
        return ((X[i], int(Y[i])) for i in range(N))


FORMS = {
    "tensors": lambda: (X, Y),
    "numpy": lambda: (X.numpy(), Y.numpy()),
    "loader": lambda: DataLoader(TensorDataset(X, Y), batch_size=7),
    "dataset": PairwiseDistances,
    "iterable dataset": Stream,
    "list of samples": lambda: [(x, int(y)) for x, y in zip(X, Y)],
    "list of batches": lambda: [(X[:9], Y[:9]), (X[9:], Y[9:])],
    "generator": lambda: ((X[i : i + 4], Y[i : i + 4]) for i in range(0, N, 4)),
    "mappings": lambda: [{"x": X[:9], "label": Y[:9]}, {"x": X[9:], "label": Y[9:]}],
    "mapping and labels": lambda: [({"x": X[:9]}, Y[:9]), ({"x": X[9:]}, Y[9:])],
    "labels as a column": lambda: [(X, Y[:, None])],
    "a list of numbers": lambda: [(X, Y.tolist())],
}


@pytest.mark.parametrize("form", FORMS)
def test_data_in_every_form(net, form):
    got = record(net, FORMS[form](), ["layer1", "fc"], batch_size=7)
    torch.testing.assert_close(got["fc"], net(X).detach(), rtol=1e-4, atol=1e-5)
    assert got.labels.tolist() == Y.tolist()
    assert got.seen == len(got.sample) == N
    assert got.complete


def test_inputs_alone_and_a_forward_function(net):
    assert record(net, X, ["fc"]).labels is None
    batches = [{"picture": X[:9], "extra": "text"}, {"picture": X[9:], "extra": "text"}]
    got = record(net, batches, ["fc"], forward=lambda model, batch: model(batch["picture"]))
    torch.testing.assert_close(got["fc"], net(X).detach(), rtol=1e-4, atol=1e-5)


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("layer1.0.conv2", ["layer1.0.conv2"]),
        ("layer*.conv2", ["layer1.0.conv2", "layer1.1.conv2", "layer2.0.conv2", "layer2.1.conv2"]),
        ("layer?", ["layer1", "layer2"]),
        ("layer?.0.conv1:in", ["layer1.0.conv1:in", "layer2.0.conv1:in"]),
        ("re:layer[12]$", ["layer1", "layer2"]),
        ("re:layer[12]$|max", ["layer1|max", "layer2|max"]),
        (nn.Linear, ["fc"]),
        (lambda name, module: name.endswith("bn2"), [f"layer{i}.{j}.bn2" for i in (1, 2) for j in (0, 1)]),
        (["fc", "pool", "fc"], ["pool", "fc"]),
        ("input|avg", ["input|avg"]),
        ("output", ["output"]),
        ("fc:in", ["fc:in"]),
        ("auto", ["input", "relu", "layer1.0", "layer1.1", "layer2.0", "layer2.1", "fc:in", "fc"]),
    ],
)
def test_addresses(net, wanted, found):
    assert list(record(net, (X, Y), wanted)) == found


@pytest.mark.parametrize(
    ("layers", "pool", "text"),
    [
        (
            "layer5.conv",
            "auto",
            "RA101: no layer matches 'layer5.conv'; nearest: 'layer1.1.conv2', 'layer2.0.conv1', 'layer2.0.conv2', "
            "'layer2.1.conv1', 'layer2.1.conv2'. `repana layers MODEL` lists all.",
        ),
        (
            "layer1.1.conv3",
            "auto",
            "RA101: no layer matches 'layer1.1.conv3'; nearest: 'layer1.0.conv2', 'layer1.1.conv1', 'layer1.1.conv2', "
            "'layer2.1.conv1', 'layer2.1.conv2'. `repana layers MODEL` lists all.",
        ),
        (
            "fcc",
            "auto",
            "RA101: no layer matches 'fcc'; nearest: 'fc'. `repana layers MODEL` lists all.",
        ),
        ("re:[", "auto", "RA112: 're:[' is not a regular expression: unterminated character set at position 0."),
        (
            [3],
            "auto",
            "RA112: `layers` holds a int; expected names, patterns ('layer*.conv2', 're:...'), module classes or "
            "predicates (name, module) -> bool.",
        ),
        ([], "auto", "RA112: `layers` is empty; expected 'auto' or at least one name or pattern."),
        (
            "fc|avg",
            "auto",
            "RA111: 'fc|avg' is a vector of shape (23, 5); 'avg' does not apply. Choose one of 'none', 'flatten', "
            "'steps'.",
        ),
        (
            "layer1|cls",
            "auto",
            "RA111: 'layer1|cls' is a map of shape (23, 8, 8, 8); 'cls' does not apply. Choose one of 'avg', 'mean', "
            "'max', 'flatten', 'grid', 'tokens'.",
        ),
        (
            "layer1|average",
            "auto",
            "RA111: 'layer1|average' asks for the pooling 'average'; expected one of 'auto', 'none', 'avg', 'max', "
            "'flatten', 'grid', 'mean', 'cls', 'last', 'tokens', 'steps', 'a position such as -2'.",
        ),
        ("fc[1]", "auto", "RA108: 'fc[1]' has no such part; it has 'fc 23x5'."),
    ],
)
def test_refused_layers(net, layers, pool, text):
    with pytest.raises(ModelError) as error:
        record(net, (X, Y), layers, pool)
    assert str(error.value) == text


@pytest.mark.parametrize(
    "site",
    [
        Site("a.b"),
        Site("a.b", "in"),
        Site("a.b", "out", (0,)),
        Site("a.b", "out", ("logits",), 2, "max"),
        Site("a.b", "in", (1, "x"), 3),
        Site("", "in"),
        Site("", "out", ("logits",)),
    ],
)
def test_an_address_reads_back_as_itself(site):
    assert parse(str(site), ["a.b", "a"]) == site


def test_grid_pooling_and_poolings_by_layer(net):
    got = record(net, (X, Y), ["layer1", "layer2"], {"layer1": "grid", "layer2": "max"})
    maps = net.layer1(net.relu(net.bn(net.stem(X)))).detach()
    want = nn.functional.adaptive_avg_pool2d(maps, 4).flatten(1)
    torch.testing.assert_close(got["layer1"], want, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got["layer2"], net.layer2(maps).detach().amax((2, 3)), rtol=1e-4, atol=1e-5)


def test_auto_of_a_plain_net_takes_activations_of_its_layers():
    net = mlp()
    got = plan(net, (torch.randn(8, 64), torch.arange(8)))
    assert [p.address for p in got.layers] == ["input", "3:in", "3"]
    deeper = nn.Sequential(
        nn.Linear(64, 9), nn.LayerNorm(9), nn.Tanh(), nn.Dropout(), nn.Linear(9, 7), nn.Linear(7, 10)
    )
    assert list(record(deeper, (torch.randn(8, 64), torch.arange(8)))) == ["input", "2", "5:in", "5"]


def test_auto_finds_the_classifier_behind_a_softmax():
    net = nn.Sequential(nn.Linear(64, 9), nn.ReLU(), nn.Linear(9, 10), nn.LogSoftmax(1))
    got = record(net, (torch.randn(8, 64), torch.arange(8)))
    assert got.head is not None
    assert got.head.layer == "2:in"
    torch.testing.assert_close(got.head.weight, net[2].weight.detach())


def test_no_classifier_without_logits():
    """An encoder's two-axis output is no decision when the labels do not fit it."""
    net = nn.Sequential(nn.Linear(64, 9), nn.ReLU(), nn.Linear(9, 4))
    got = record(net, (torch.randn(8, 64), torch.arange(8)))
    assert got.head is None
    assert got.logits is None


# --- subsets and moments ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 5, 23])
def test_subset_is_balanced_and_does_not_depend_on_batches(net, batch_size):
    labels = torch.tensor([0] * 15 + [1] * 6 + [2] * 2)
    got = record(net, (X, labels), ["fc"], max_samples=9, batch_size=batch_size, seed=3)
    whole = record(net, (X, labels), ["fc"])
    assert np.bincount(got.labels).tolist() in ([4, 3, 2], [3, 4, 2])
    assert got.sample.tolist() == record(net, (X, labels), ["fc"], max_samples=9, seed=3).sample.tolist()
    torch.testing.assert_close(got["fc"], whole["fc"][got.sample], rtol=1e-4, atol=1e-5)
    assert got.labels.tolist() == labels[got.sample].tolist()
    assert got.seen == N
    assert not got.complete
    moments, want = got.moments["fc"], Moments.of(whole["fc"], labels)
    torch.testing.assert_close(moments.mean, want.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(moments.count, want.count)


def test_subset_equals_choosing_afterwards():
    """The water level falls as data come in; what is kept in the end is what the whole list would give."""
    random = np.random.default_rng(0)
    labels = torch.from_numpy(random.choice(6, 3000, p=[0.5, 0.3, 0.1, 0.06, 0.03, 0.01]))
    values = torch.arange(3000)[:, None].float()
    kept = []
    for size in (1, 17, 3000):
        store = _store.FeatureStore(["a"], torch.device("cpu"), max_samples=200, memory=None, seed=5)
        for x, y in zip(values.split(size), labels.split(size)):
            store.add({"a": x}, None, y, torch.arange(len(x)), len(x))
        kept.append(store.close())
    assert kept[0].sample.tolist() == kept[1].sample.tolist() == kept[2].sample.tolist()
    counts = np.bincount(kept[0].labels)
    assert counts.sum() == 200
    level = water_level(dict(enumerate(np.bincount(labels).tolist())), 200)
    assert (np.abs(counts - np.minimum(np.bincount(labels), level)) <= 1).all()


def test_moments_alone_hold_no_features(net):
    got = record(net, (X, Y), ["layer1", "fc"], max_samples=0, scatter=True)
    assert len(got.features) == 0
    assert got.layers == ("layer1", "fc")
    want = record(net, (X, Y), ["fc"])
    moments = got.moments["fc"]
    torch.testing.assert_close(moments.mean, Moments.of(want["fc"], Y).mean, rtol=1e-4, atol=1e-5)
    assert moments.scatter is not None


def test_ignored_labels_stay_out_of_the_moments(net):
    labels = Y.clone()
    labels[::2] = -100
    got = record(net, (X, labels), ["fc"], max_samples=0)
    assert -100 not in got.moments["fc"].classes.tolist()
    assert got.moments["fc"].n == int((labels != -100).sum())


@pytest.mark.parametrize(("memory", "place"), [(100, "meta"), (10, "cpu")])
def test_features_go_to_the_host_past_the_budget(memory, place):
    store = _store.FeatureStore(["a"], torch.device("meta"), max_samples=None, memory=memory, seed=0)
    store.add({"a": torch.randn(2, 2)}, None, None, torch.arange(2), 2)
    assert store.sizes() == [("a", 16)]
    assert store.close().features["a"].device.type == place


@pytest.mark.parametrize("expected", [None, 3, 7, 50])
def test_blocks_grow_to_what_arrives_and_give_spare_room_back(expected):
    store = _store.FeatureStore(["a"], torch.device("cpu"), max_samples=None, memory=None, seed=0, expected=expected)
    parts = [torch.randn(n, 2) for n in (3, 1, 2, 1)]
    for x in parts:
        store.add({"a": x}, x[:, :1], torch.arange(len(x)), torch.arange(len(x)), len(x))
    kept = store.close()
    assert torch.equal(kept.features["a"], torch.cat(parts))
    assert kept.features["a"].untyped_storage().nbytes() == 7 * 2 * 4
    assert kept.sample.tolist() == list(range(7))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_cuda_features_stay_until_the_budget(net):
    got = record(net, (X, Y), ["fc"], device="cuda")
    assert got["fc"].device.type == "cuda"
    assert next(net.parameters()).device.type == "cpu"
    assert record(net, (X, Y), ["fc"], device="cuda", memory=10)["fc"].device.type == "cpu"
    half = record(net, (X, Y), ["fc"], device="cuda", batch_size=len(X) // 2, memory=len(X) * got["fc"].shape[1] * 3)
    assert half["fc"].device.type == "cpu"
    torch.testing.assert_close(half["fc"], got["fc"].cpu())


def test_too_large_for_the_host_is_refused_before_the_run(net, monkeypatch):
    monkeypatch.setattr("repana.extraction._record.host_memory", lambda: 2**20)
    with pytest.raises(InputError) as error:
        record(net, (torch.randn(600, 3, 8, 8), torch.arange(600) % 5), ["layer1|flatten", "fc"])
    assert str(error.value) == (
        "RA208: the features need 1.2 MB and the host has 1.0 MB free. Pool the largest ('layer1|flatten (1.2 MB)', "
        "'fc (11.7 kB)'), choose fewer layers, or set `max_samples=`."
    )


def test_out_of_memory_says_what_to_do():
    def forward(model, batch):
        if len(batch) == 9:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")
        return model(batch)

    net = nn.Sequential(nn.Linear(4, 2))
    with pytest.raises(ModelError) as error:
        record(net, [torch.randn(10, 4), torch.randn(9, 4)], ["0"], forward=forward)
    assert str(error.value) == (
        "RA209: out of memory in batch 1 (counted from 0): CUDA out of memory. Tried to allocate 2.00 GiB. Use "
        "smaller batches, lower `memory=` so that features go to the host sooner, set `max_samples=`, or pool the "
        "largest layers: '0 (0.1 kB so far)'."
    )


# --- precision, device, refusals --------------------------------------------------------------------------------------


def test_mixed_precision(net):
    got = record(net, (X, Y), ["fc"], dtype=torch.bfloat16)
    assert got["fc"].dtype == torch.float32
    torch.testing.assert_close(got["fc"], net(X).detach(), rtol=0.1, atol=0.05)
    assert got.provenance["autocast"] == "bfloat16"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ([], "RA205: `data` (list) gave no batch; expected at least one sample."),
        (None, "RA205: `data` is None; expected a DataLoader, a Dataset, tensors or batches."),
        (3, "RA210: `data` is a int; expected a DataLoader, a Dataset, tensors or an iterable of batches."),
        (
            (X, Y[:5]),
            "RA201: the tensors of `data` have different lengths 5, 23; expected one row per sample, since they are "
            "cut into batches. Give a list of batches, [batch], where some tensors hold no samples, as token ids "
            "beside `offsets` do.",
        ),
        (
            [(X, Y[:5])],
            "RA201: a batch has 5 labels and an input of shape (23, 3, 8, 8); expected one label per sample.",
        ),
        (
            [(X, X, Y)],
            "RA210: the batch is a tuple of 'Tensor', 'Tensor', 'Tensor'; expected x, (x, y), a mapping, or (mapping, "
            "y). Say which entry holds the labels, labels=1, or drop the others: ((x, y) for x, y, *_ in loader). For "
            "anything else give `forward=lambda model, batch: ...`.",
        ),
        (
            ["text"],
            "RA210: the batch is a str; expected x, (x, y), a mapping, or (mapping, y) with tensors. For anything else "
            "give `forward=lambda model, batch: ...`.",
        ),
    ],
)
def test_refused_data(net, data, text):
    with pytest.raises(InputError) as error:
        record(net, data)
    assert str(error.value) == text


def test_keys_that_the_model_does_not_take():
    class Two(nn.Module):
        def forward(self, a, b):
            return a + b

    with pytest.raises(InputError) as error:
        record(Two(), [{"c": X, "labels": Y}])
    assert str(error.value) == (
        "RA210: Two.forward takes 'a', 'b' and the batch has 'c'; rename the keys or give "
        "`forward=lambda model, batch: ...`."
    )


def test_not_a_model():
    with pytest.raises(ModelError, match=r"RA100: `model` is of type str; expected a torch.nn.Module\."):
        unwrap("resnet")


def test_token_ids_are_no_features():
    net = nn.Sequential(nn.Embedding(9, 4), nn.Flatten())
    with pytest.raises(ModelError) as error:
        record(net, torch.randint(0, 9, (6, 3)), ["input"])
    assert (
        str(error.value) == "RA115: 'input' holds int64 values (token ids?), not features; record the layer after it."
    )


def test_width_that_changes():
    net = nn.Sequential(nn.Conv1d(2, 3, 1))
    with pytest.raises(ModelError) as error:
        record(net, [torch.randn(4, 2, 5), torch.randn(4, 2, 6)], ["0|flatten"])
    assert str(error.value) == (
        "RA114: '0|flatten' gave 15 features per sample on the first batch and 18 on batch 1 (counted from 0). Choose "
        "a pooling that does not depend on the input's size (avg, max, mean, cls, last, grid)."
    )


def test_tokens_and_samples_do_not_mix():
    net = nn.Sequential(nn.Linear(3, 4), nn.Flatten(), nn.Linear(20, 2))
    with pytest.raises(ModelError) as error:
        record(net, torch.randn(6, 5, 3), ["0|tokens", "2"], mask=False)
    assert str(error.value) == (
        "RA116: '0|tokens' give one row per token and '2' one per sample; record them apart, so that rows mean the "
        "same in every layer."
    )


# --- the activations --------------------------------------------------------------------------------------------------


def test_activations_save_and_load(net, tmp_path):
    got = record(net, (X, Y), max_samples=10, scatter=True)
    back = Activations.load(got.save(tmp_path / "run"))
    assert list(back) == list(got)
    for layer in got:
        assert torch.equal(back[layer], got[layer])
        assert torch.equal(back.moments[layer].scatter, got.moments[layer].scatter)
    assert torch.equal(back.labels, got.labels)
    assert torch.equal(back.logits, got.logits)
    assert torch.equal(back.head.weight, got.head.weight)
    assert back.head.layer == got.head.layer
    assert back.provenance == json.loads(json.dumps(got.provenance))
    assert repr(back) == repr(got)
    assert "10 of 23 samples" in repr(got)
    assert "<table>" in got._repr_html_()


def test_activations_are_a_mapping(net):
    got = record(net, (X, Y), ["layer1", "fc"])
    assert "fc" in got
    assert "fd" not in got
    assert got.get("fd") is None
    assert list(got.select("fc")) == ["fc"]
    with pytest.raises(ModelError, match="RA101: layer 'fd' was not recorded; nearest: 'fc'"):
        got["fd"]


def test_provenance_names_the_weights(net):
    before = record(net, (X, Y), ["fc"]).provenance
    assert before["weights_sha256"] == record(net, (X, Y), ["fc"]).provenance["weights_sha256"]
    with torch.no_grad():
        net.fc.bias[0] += 1
    assert before["weights_sha256"] != record(net, (X, Y), ["fc"]).provenance["weights_sha256"]
    assert before["pooling"] == {"fc": "none"}


def test_plan_tells_the_cost(net):
    got = plan(net, (X, Y))
    assert got.samples == N
    assert got.total_bytes == N * 4 * (192 + 6 * 8 + 5)
    frame = got.frame()
    assert frame["layer"].tolist() == ["input", "relu", "layer1.0", "layer1.1", "layer2.0", "layer2.1", "fc:in", "fc"]
    assert frame["forward share"].is_monotonic_increasing
    assert "8 layers" in str(got)


def test_progress_is_quiet_unless_asked(net, capfd, monkeypatch):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)  # in a notebook the bar is shown
    record(net, (X, Y), ["fc"])
    assert capfd.readouterr().err == ""
    record(net, (X, Y), ["fc"], progress=True)
    assert "recording" in capfd.readouterr().err


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_finds_the_classifier_in_a_bare_tuple(order):
    """(logits, features) and (features, logits): the logits are what the linear module gave."""

    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(6, 8), nn.ReLU())
            self.fc = nn.Linear(8, 4)

        def forward(self, x):
            h = self.body(x)
            both = (self.fc(h), h)
            return both[order[0]], both[order[1]]

    net, x = Pair(), torch.randn(20, 6)
    got = record(net, (x, torch.arange(20) % 4))
    assert got.layers[-2:] == ("fc:in", "fc")
    torch.testing.assert_close(got.logits, net(x)[order.index(0)].detach())
    assert got.head is not None


class Stage(torch.nn.Module):
    """Two branches that read the same tensor, and a mapping as output."""

    def __init__(self, i):
        super().__init__()
        self.left = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU())
        self.right = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU())

    def forward(self, x):
        return {"x": x + self.left(x) + self.right(x), "gate": self.left(x)}


class Staged(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.ModuleDict({f"stage_{i}": Stage(i) for i in range(3)})
        self.head = torch.nn.Linear(8, 4)

    def forward(self, x):
        for stage in self.body.values():
            x = stage(x)["x"]
        return self.head(x)


def test_patterns_reach_parts_of_outputs():
    x = torch.randn(20, 8)
    made = record(Staged(), [x], ["body.stage_*.x"])
    assert made.layers == ("body.stage_0.x", "body.stage_1.x", "body.stage_2.x")
    assert record(Staged(), [x], ["body.stage_*.gate|none"]).layers == tuple(
        f"body.stage_{i}.gate|none" for i in range(3)
    )
    with pytest.raises(ModelError, match="RA108"):
        record(Staged(), [x], ["body.stage_*.none"])
    with pytest.raises(ModelError, match="RA101"):
        record(Staged(), [x], ["nobody*.x"])


def test_branches_are_no_depth():
    made = record(Staged(), [torch.randn(20, 8)])
    assert made.layers == ("input", "body.stage_0.x", "body.stage_1.x", "head:in", "head")


X2, Y2 = torch.randn(40, 3, 8, 8), torch.arange(40) % 5


class Hand(nn.Module):
    """Blocks kept in containers that are not called themselves."""

    def __init__(self, kind):
        super().__init__()
        parts = [nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.Linear(6, 3)]
        names = {"Sequential": nn.Sequential(*parts), "ModuleList": nn.ModuleList(parts)}
        names["ModuleDict"] = nn.ModuleDict({str(i): p for i, p in enumerate(parts)})
        self.b = names[kind]
        self.dict = kind == "ModuleDict"

    def forward(self, x):
        for i in range(4):
            x = self.b[str(i) if self.dict else i](x)
        return x


@pytest.mark.parametrize("kind", ["Sequential", "ModuleList", "ModuleDict"])
def test_auto_looks_into_containers_that_are_not_called(kind):
    got = record(Hand(kind), (torch.randn(9, 6), torch.arange(9) % 3))
    assert list(got) == ["input", "b.1", "b.3:in", "b.3"]


def test_a_pattern_takes_every_tensor_that_can_be_recorded():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.head, self.const = nn.GRU(5, 4, batch_first=True), nn.Linear(4, 3), nn.Embedding(2, 4)

        def forward(self, x):
            return self.head(self.gru(x)[0][:, -1] + self.const(torch.tensor([1])))

    found = [p.address for p in plan(Mixed(), torch.randn(6, 7, 5), "*", mask=False).layers]
    assert found == ["gru[0]", "gru[1]", "head"]
    with pytest.raises(ModelError, match="RA106"):
        plan(Mixed(), torch.randn(6, 7, 5), "cons*", mask=False)


def test_poolings_by_pattern_and_of_no_layer():
    net = ResNet().eval()
    got = plan(net, (X2, Y2), pool={"layer*": "max"})
    assert {p.address: p.pooling.method for p in got.layers}["layer1.0"] == "max"
    with pytest.raises(ModelError) as error:
        plan(net, (X2, Y2), ["layer1", "fc"], pool={"nonsense": "max"})
    assert str(error.value) == "RA111: `pool` names 'nonsense', which matches none of the layers 'layer1', 'fc'."
    assert {p.pooling.method for p in plan(net, (X2, Y2), pool="max").layers} == {"max", "none"}


def test_dtype_by_name():
    assert record(ResNet().eval(), (X2, Y2), ["fc"], dtype="bfloat16").provenance["autocast"] == "bfloat16"


def test_labels_beyond_the_output_are_noted():
    notes = plan(ResNet().eval(), (X2, Y2 + 5), ["fc"]).notes
    assert notes == ("labels reach 9 but no output has more than 5 columns: there are no logits",)


@pytest.mark.parametrize("form", ["whole", "batches"])
def test_labels_as_text_in_batches(form):
    names = np.array(["a", "b", "c", "d", "e"])[Y2.numpy()]
    data = (X2, names) if form == "whole" else [(X2, names.tolist())]
    with pytest.raises(InputError) as error:
        record(ResNet(), data)
    assert str(error.value) == (
        "RA203: the data hold labels or inputs of type <U1; expected numbers. Number the classes from 0 first, or give "
        "`class_names=` in the order of the model's outputs."
    )


def test_an_error_of_the_model_says_what_it_was_called_with():
    with pytest.raises(RuntimeError) as error:
        record(ResNet(), torch.randn(5, 1, 8, 8))
    assert error.value.__notes__ == ["repana: ResNet was called with (5, 1, 8, 8) float32."]
