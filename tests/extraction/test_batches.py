"""Batches of many forms, where their labels are, and what a call can be; the model and torch are left as they were."""

import inspect

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from repana import InputError, ModelError, importance, neural_collapse, plan, profile, record
from repana.extraction._session import unwrap

X, Y = torch.randn(20, 6, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3


def mlp():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(6, 16), nn.Linear(16, 3)

    def features(self, x):
        return self.body(x).relu()

    def forward(self, x):
        return self.head(self.features(x))


# --- labels -----------------------------------------------------------------------------------------------------------

TRIPLE = [(X, Y, torch.arange(20))]


def test_batches_of_three():
    with pytest.raises(InputError) as error:
        record(mlp(), TRIPLE)
    assert str(error.value) == (
        "RA210: the batch is a tuple of 'Tensor', 'Tensor', 'Tensor'; expected x, (x, y), a mapping, or (mapping, "
        "y). Say "
        "which entry holds the labels, labels=1, or drop the others: ((x, y) for x, y, *_ in loader). For anything "
        "else "
        "give `forward=lambda model, batch: ...`."
    )
    assert record(mlp(), TRIPLE, labels=1).labels.tolist() == Y.tolist()
    assert record(mlp(), ((x, y) for x, y, *_ in TRIPLE)).labels.tolist() == Y.tolist()


def test_labels_beside_a_forward_function():
    """The entry with equal values is the classes, a running index is not; where neither stands out a note says so."""
    loader = DataLoader(TensorDataset(X, Y, torch.arange(20)), batch_size=8)
    got = record(mlp(), loader, forward=lambda m, b: m(b[0]))
    assert got.labels.tolist() == Y.tolist()
    assert "labels: entry 1 of the batch" in got.provenance["notes"]
    doubtful = [(X, Y, 1 + Y)]
    got = record(mlp(), doubtful, forward=lambda m, b: m(b[0]))
    assert got.labels is None
    assert (
        "no labels were found in the batch; name them by `labels=` (a key, a place, a function)"
        in (got.provenance["notes"])
    )
    for labels in (2, lambda b: b[2]):
        assert record(mlp(), doubtful, forward=lambda m, b: m(b[0]), labels=labels).labels.tolist() == (1 + Y).tolist()


@pytest.mark.parametrize(
    ("labels", "expected"), [("fine", Y), ("coarse", Y // 2), (lambda b: b["fine"] + 1, Y + 1), (False, None)]
)
def test_labels_by_key(labels, expected):
    batch = {"x": X, "fine": Y, "coarse": Y // 2}
    got = record(mlp(), [batch], labels=labels, forward=lambda m, b: m(b["x"])).labels
    assert got is None if expected is None else got.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ("class", "RA210: `labels` names 'class' and the batch has 'x', 'label'."),
        (3, "RA210: `labels` is entry 3 of the batch, which is a dict."),
        (2.5, "RA212: `labels` is a float; expected a key of the batch, a place in it, a function of it, or False."),
    ],
)
def test_labels_that_are_refused(labels, text):
    with pytest.raises(InputError) as error:
        record(mlp(), [{"x": X, "label": Y}], labels=labels)
    assert str(error.value) == text


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Embedding(50, 16), nn.Linear(16, 50)

    def forward(self, input_ids, attention_mask=None):
        return {"logits": self.out(self.embed(input_ids))}


def tokens(n, t):
    mask = torch.arange(t) < torch.arange(1, n + 1)[:, None].clamp_max(t)
    return {
        "input_ids": torch.randint(0, 50, (n, t)),
        "attention_mask": mask.long(),
        "labels": torch.randint(0, 50, (n, t)),
    }


def test_labels_of_tokens_stay_with_tokens():
    batches = [tokens(8, 9), tokens(8, 7)]
    dropped = record(Tagger(), batches)
    note = "labels are for each of (9,) positions and were dropped; keep them with pool='tokens'"
    assert dropped.labels is None
    assert note in dropped.provenance["notes"]
    assert note in plan(Tagger(), batches).notes
    kept = record(Tagger(), batches, ["embed"], pool="tokens")
    real = [b["attention_mask"].bool() for b in batches]
    assert kept.labels.tolist() == torch.cat([b["labels"][m] for b, m in zip(batches, real)]).tolist()
    assert kept.sample.tolist() == [i for k, m in enumerate(real) for i in (m.nonzero()[:, 0] + 8 * k).tolist()]


def test_labels_of_pixels():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1))
    x, y = torch.randn(5, 3, 6, 7), torch.randint(0, 4, (5, 6, 7))
    assert record(net, [(x, y)]).labels is None
    kept = record(net, [(x, y)], ["1"], pool="tokens")
    want = net[:2](x).detach().permute(0, 2, 3, 1).flatten(0, 2)
    torch.testing.assert_close(kept["1"], want)
    assert kept.labels.tolist() == y.flatten().tolist()
    small = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU())
    with pytest.raises(ModelError) as error:
        record(small, [(x, y)], ["1"], pool="tokens")
    assert str(error.value) == (
        "RA116: '1' has one row for each of (2, 3) positions and the labels are for (6, 7); record the layers of one "
        "shape, or without pool='tokens'."
    )


# --- forms of batches -------------------------------------------------------------------------------------------------


def test_a_mapping_for_a_model_of_one_tensor():
    got = record(mlp(), [{"image": X, "label": Y}])
    torch.testing.assert_close(got["2"], mlp_out := got.logits)
    assert mlp_out.shape == (20, 3)
    assert got.labels.tolist() == Y.tolist()

    class Taking(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(6, 3)

        def forward(self, batch):
            return self.lin(batch["image"])

    assert list(record(Taking(), [{"image": X, "label": Y}], ["lin"])) == ["lin"]


@pytest.mark.parametrize("where", ["first", "middle", "last"])
def test_empty_batches_are_skipped(where):
    batches = [(X[:9], Y[:9]), (X[9:], Y[9:])]
    batches.insert({"first": 0, "middle": 1, "last": 2}[where], (X[:0], Y[:0]))
    got = record(mlp(), batches)
    assert got.seen == 20
    assert got.labels.tolist() == Y.tolist()


@pytest.mark.parametrize("size", [1, 19])
def test_batches_of_one_sample(size):
    """As the first batch, and as the last one."""
    net = mlp()
    torch.testing.assert_close(record(net, (X, Y), ["0"], batch_size=size)["0"], net[0](X).detach())


def test_a_squeezed_batch_of_one():
    class Squeezing(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.lin = nn.Conv1d(1, 4, 3), nn.Linear(4, 2)

        def forward(self, x):
            return self.lin(self.conv(x[:, None]).mean(2).squeeze())

    with pytest.raises(ModelError) as error:
        record(Squeezing(), X, ["lin"], batch_size=19)
    assert str(error.value) == (
        "RA114: 'lin' has 2 axes on the first batch and shape (2,) on batch 1 (counted from 0). A `squeeze()` that "
        "drops "
        "the samples of a batch of one does that; leave the last batch out (drop_last=True)."
    )


def test_an_iterator_gives_its_first_batch_again():
    batches = ((X[i : i + 5], Y[i : i + 5]) for i in range(0, 20, 5))
    net = mlp()
    assert plan(net, batches).notes == ()
    assert plan(net, batches).notes == ()
    assert record(net, batches).seen == 20
    with pytest.raises(InputError, match="RA253: `data` is a map, which is a one-shot iterator, and `plan` would take"):
        plan(net, map(tuple, [(X, Y)]))


def test_lists_of_images():
    images = [torch.randn(3, 8, 8), torch.randn(3, 6, 6)]
    net = Encoder()
    with pytest.raises(InputError) as error:
        record(net, [(images, [{"boxes": torch.zeros(1, 4)}] * 2)])
    assert str(error.value).startswith("RA210: the batch holds a list of 2 tensors of shapes (3, 8, 8), (3, 6, 6)")


@pytest.mark.parametrize("given", [[X, Y], "frame", "text"])
def test_data_that_are_refused(given):
    import pandas as pd

    texts = {
        "frame": "RA210: `data` is a pandas DataFrame; expected arrays. Give `(table[columns].to_numpy(), "
        "table[label].to_numpy())`.",
        "text": "RA210: `data` is a str; expected a DataLoader, a Dataset, tensors or an iterable of batches.",
        "list": "RA210: `data` is a list of two arrays of shapes (20, 6) and (20,); a list holds batches. Give the "
        "tuple "
        "(x, y) for inputs and labels, or [(x, y)] for one batch of both.",
    }
    data = pd.DataFrame(X.numpy()) if isinstance(given, str) and given == "frame" else given
    with pytest.raises(InputError) as error:
        record(mlp(), data)
    assert str(error.value) == texts[given if isinstance(given, str) else "list"]


@pytest.mark.parametrize("size", [0, -3])
def test_batch_sizes_that_are_refused(size):
    with pytest.raises(InputError, match="RA212: `batch_size` is"):
        record(mlp(), X, batch_size=size)


# --- the call ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("forward", [lambda m, b: m.features(b[0]), "features"])
def test_a_call_that_is_not_the_model(forward):
    net = Encoder()
    got = record(net, (X, Y), ["body"], forward=forward)
    torch.testing.assert_close(got["body"], net.body(X).detach())
    assert got.logits is None
    assert got.head is None
    assert got.labels.tolist() == Y.tolist()
    whole = record(net, (X, Y), ["output"], forward=forward)["output"]
    torch.testing.assert_close(whole, net.features(X).detach())
    with pytest.raises(ModelError) as error:
        record(net, (X, Y), ["input"], forward=forward)
    assert str(error.value) == (
        "RA102: 'input' is what the model is called with, and `forward` does not call the model itself; name a module "
        "inside."
    )


def test_calls_that_are_refused():
    with pytest.raises(ModelError) as error:
        record(Encoder(), (X, Y), forward="feature")
    assert str(error.value) == "RA127: `forward` is 'feature' and Encoder has no such method; nearest: 'features'."
    with pytest.raises(ModelError, match="RA127: `forward` is a int; expected a function"):
        record(Encoder(), (X, Y), forward=3)


@pytest.mark.filterwarnings("ignore")
def test_generated_steps_are_calls():
    from transformers import GPT2Config, GPT2LMHeadModel

    net = GPT2LMHeadModel(GPT2Config(vocab_size=30, n_embd=16, n_layer=1, n_head=2, n_positions=20)).eval()
    net.generation_config.update(max_new_tokens=3, do_sample=False, pad_token_id=0, eos_token_id=None)
    ids = torch.randint(1, 30, (6, 5))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    got = record(net, [batch], ["transformer.ln_f"], forward="generate")
    assert list(got) == [f"transformer.ln_f@{k}" for k in (1, 2, 3)]
    with torch.no_grad():
        whole = net.transformer(net.generate(**batch)).last_hidden_state
    torch.testing.assert_close(got["transformer.ln_f@2"], whole[:, 5], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got["transformer.ln_f@1"], whole[:, :5].mean(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        (None, "RA112: `layers` is None; expected 'auto', or at least one name or pattern."),
        ([None], "RA112: `layers` is None; expected 'auto', or at least one name or pattern."),
        (int, "RA101: no layer matches 'class int'; nearest: '0', '1', '2'. `repana layers MODEL` lists all."),
        ("own", "RA112: `layers` holds a Linear object; expected a name: give its name, '0'."),
        ("other", "RA112: `layers` holds a Linear object; expected a name: it is not a module of this model."),
    ],
)
def test_layers_that_are_refused(layers, text):
    net = mlp()
    layers = {"own": net[0], "other": nn.Linear(2, 2)}.get(layers, layers) if isinstance(layers, str) else layers
    with pytest.raises(ModelError) as error:
        record(net, (X, Y), layers)
    assert str(error.value) == text


# --- programs, placement, ambient state -------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["script", "trace", "export", "program"])
def test_programs_without_hooks(kind):
    net = mlp()
    makers = {
        "script": lambda: torch.jit.script(net),
        "trace": lambda: torch.jit.trace(net, X),
        "export": lambda: torch.export.export(net, (X,)).module(),
        "program": lambda: torch.export.export(net, (X,)),
    }
    with pytest.raises(ModelError, match="RA128: `model` is a .*: a compiled program whose layers cannot be hooked"):
        unwrap(makers[kind]())


def test_a_traced_graph_of_modules_has_hooks():
    net = mlp()
    torch.testing.assert_close(record(torch.fx.symbolic_trace(net), (X, Y), ["0"])["0"], net[0](X).detach())


def offloaded(net, how, folder):
    from accelerate import cpu_offload, disk_offload, dispatch_model

    if how == "cpu":
        return cpu_offload(net, execution_device="cpu")
    if how == "disk":
        return disk_offload(net, folder, execution_device="cpu")
    return dispatch_model(net, {"": "cpu"}, force_hooks=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["cpu", "disk", "dispatched"])
def test_models_that_accelerate_placed(how, tmp_path):
    """Recorded where they are, with the head's weights; never moved, never broken."""
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)).eval()
    plain = record(net, (X, Y))
    placed = offloaded(net, how, tmp_path)
    before = placed(X)
    got = record(placed, (X, Y))
    for layer in plain:
        torch.testing.assert_close(got[layer], plain[layer])
    torch.testing.assert_close(got.head.weight, plain.head.weight)
    assert got.provenance["weights_sha256"] == plain.provenance["weights_sha256"]
    record(placed, (X, Y), device="cpu")
    with pytest.raises(ModelError) as error:
        record(placed, (X, Y), device="meta")
    assert str(error.value) == (
        "RA129: `device` is 'meta', but the model's weights were placed by accelerate, and moving them would break "
        "that. "
        "Leave `device` out: the model is recorded where it is."
    )
    assert torch.equal(placed(X), before)


def test_a_model_without_weights():
    with torch.device("meta"):
        net = mlp()
    with pytest.raises(ModelError, match="RA129: '0.weight', .* are on the meta device: the model holds no weights"):
        record(net, (X, Y))


def test_values_do_not_depend_on_the_ambient_state():
    net = mlp()
    plain = record(net, (X, Y))
    want = neural_collapse(plain["2:in"], Y).nc1
    with torch.inference_mode():
        inside = record(net, (X * 1, Y))
        assert neural_collapse(inside["2:in"], Y).nc1 == want
        assert torch.is_inference_mode_enabled()
    torch.set_default_dtype(torch.bfloat16)
    try:
        other = record(net, (X, Y), max_samples=15)
        assert neural_collapse(plain["2:in"], Y).nc1 == want
        assert torch.get_default_dtype() == torch.bfloat16
    finally:
        torch.set_default_dtype(torch.float32)
    assert other.moments["2:in"].mean.dtype == plain.moments["2:in"].mean.dtype


def test_a_model_sees_the_ambient_state_of_its_caller():
    seen = []

    class Asking(nn.Module):
        def forward(self, x):
            seen.append(torch.get_default_dtype())
            return x

    torch.set_default_dtype(torch.float64)
    try:
        record(nn.Sequential(nn.Linear(6, 4), Asking()), X.double(), ["0"], logits=True)
    finally:
        torch.set_default_dtype(torch.float32)
    assert set(seen) == {torch.float64}


@pytest.mark.slow
def test_profiles_in_inference_mode_and_half_precision_defaults():
    net = mlp()
    options = {"permutations": 2, "bootstrap": 4, "analyzers": ["neural_collapse", "spectrum", "two_nn"]}
    x = torch.randn(60, 6)
    y = torch.arange(60) % 3
    options["analyzers"] = ["neural_collapse", "spectrum", "fisher"]
    want = profile(net, (x, y), **options).frame()
    with torch.inference_mode():
        got = profile(net, (x, y), **options).frame()
    torch.set_default_dtype(torch.bfloat16)
    try:
        half = profile(net, (x, y), **options).frame()
    finally:
        torch.set_default_dtype(torch.float32)
    for other in (got, half):
        torch.testing.assert_close(torch.tensor(other["value"]), torch.tensor(want["value"]), equal_nan=True)


@pytest.mark.parametrize(("inputs", "weights"), [(torch.float64, torch.float32), (torch.float32, torch.bfloat16)])
def test_inputs_of_another_precision_than_the_weights(inputs, weights):
    given, held = (str(t).removeprefix("torch.") for t in (inputs, weights))
    with pytest.raises(InputError) as error:
        record(mlp().to(weights), X.to(inputs))
    assert str(error.value) == (
        f"RA260: the inputs are {given} and the model's weights {held}. Convert the one or the other "
        f"(`x.to(torch.{held})`, `model.to(torch.{given})`), or give dtype='{held}' to record under autocast."
    )


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_a_lazy_model_is_left_as_it_is():
    net = nn.Sequential(nn.LazyLinear(8), nn.ReLU())
    with pytest.raises(ModelError, match="RA129: '0.weight', '0.bias' are lazy: their shapes are not known"):
        record(net, (X, Y))
    assert net[0].has_uninitialized_params()


def test_a_plan_takes_and_refuses_what_a_recording_does(monkeypatch):
    got = plan(mlp(), (X, Y), max_samples=5, scatter=True, memory=100, seed=3, progress=False)
    assert got.samples == 20
    monkeypatch.setattr("repana.extraction._record.host_memory", lambda: 100)
    with pytest.raises(InputError, match="RA208: the features need"):
        plan(mlp(), (X, Y))


@pytest.mark.parametrize("labels", [8, 7, 3])
def test_several_labels_of_each_sample_are_no_labels_of_tokens(labels):
    """Also where there are as many labels as features, or as channels."""
    net = nn.Sequential(nn.Linear(8, 4))
    y = torch.randint(0, 2, (24, labels))
    assert record(net, (torch.randn(24, 8), y)).labels.tolist() == y.tolist()
    maps = nn.Sequential(nn.Conv2d(3, 4, 3))
    assert record(maps, [(torch.randn(24, 3, 8, 8), y)]).labels.tolist() == y.tolist()


def test_named_tuples():
    from collections import namedtuple

    Inputs, Sample = namedtuple("Inputs", "a b"), namedtuple("Sample", "x y")

    class Adding(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(6, 3)

        def forward(self, pair):
            return self.lin(pair.a + pair.b)

    net = Adding()
    for batch in (Inputs(X, X), (Inputs(X, X), Y)):
        torch.testing.assert_close(record(net, [batch], ["lin"])["lin"], net.lin(X + X).detach())
    got = record(mlp(), [Sample(X, Y)])
    assert got.labels.tolist() == Y.tolist()


@pytest.mark.parametrize("kind", ["meta", "masked"])
@pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors")
def test_a_layer_that_cannot_be_read_is_left_out(kind):
    class Side(nn.Module):
        def forward(self, x):
            return x.to("meta") if kind == "meta" else torch.masked.masked_tensor(x, x > 0)

    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin, self.side, self.head = nn.Linear(6, 4), Side(), nn.Linear(4, 3)

        def forward(self, x):
            h = self.lin(x)
            self.side(h)
            return self.head(h)

    assert list(record(Branching(), (X, Y), "*")) == ["lin", "head"]
    with pytest.raises(ModelError, match="RA115: 'side' is .*, whose values cannot be read; record a layer before it"):
        record(Branching(), (X, Y), ["side"])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"batch_dim": 5}, "RA212: `batch_dim` is 5; expected an axis of the first input, which has shape (20, 6)."),
        ({"batch_dim": -1}, "RA212: `batch_dim` is -1; expected an axis of the first input, counted from 0."),
        (
            {"groups": "nosuch"},
            "RA124: `groups` is 'nosuch'; expected an input of the batch with one whole number for each of the 20 "
            "rows, "
            "got no such tensor. The batch has '0'.",
        ),
        ({"mask": {"zz": False}}, "RA113: `mask` names 'zz', but the layers to record are 'input', '2:in', '2'."),
    ],
)
def test_options_that_are_refused(options, text):
    from repana.extraction import _record

    with pytest.raises((InputError, ModelError)) as error:
        inspect.unwrap(_record.record)(mlp(), (X, Y), **options)
    assert str(error.value) == text


def test_gradients_of_data_that_were_made_in_inference_mode():
    net = mlp()
    with torch.inference_mode():
        found = importance(net, (X * 1, Y), "0")
    assert found.settings["layer"] == "0"
