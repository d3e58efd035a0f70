"""What a batch may hold, and what of it must not be lost or taken for something else."""

import numpy as np
import pytest
import scipy.sparse
import torch
from networks import Net
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import repana
from repana import InputError, ModelError, record


class Loose(nn.Module):
    """Takes what it does not name in **kwargs."""

    def __init__(self):
        super().__init__()
        self.l = nn.Linear(6, 8)

    def forward(self, x, **more):
        return self.l(x + more.get("shift", 0))


def test_a_model_with_kwargs_gets_every_tensor_of_the_batch():
    model, x = Loose(), torch.randn(20, 6)
    got = record(model, [{"x": x, "shift": 3 * x, "y": torch.arange(20)}], ["l"])
    with torch.no_grad():
        torch.testing.assert_close(got["l"], model(x, shift=3 * x))


def test_tensors_that_the_model_does_not_take_are_named():
    net = Net(lambda net, x: net.l(x), l=nn.Linear(6, 8))
    net.forward = lambda x: net.l(x)
    batch = {"x": torch.randn(20, 6), "condition": torch.randn(20, 3), "y": torch.arange(20) % 2}
    assert any("condition" in note for note in repana.plan(net, [batch], ["l"]).notes)


@pytest.mark.parametrize("first", [True, False])
def test_labels_in_some_batches_are_refused(first):
    x, net = torch.randn(9, 6), nn.Sequential(nn.Linear(6, 8))
    batches = [{"x": x, "label": torch.arange(9) % 2}, {"x": x}]
    with pytest.raises(InputError, match="RA203"):
        record(net, batches if first else batches[::-1], ["0"])


def test_a_mask_in_some_batches_is_refused():
    ids, net = torch.randint(0, 9, (5, 4)), Net(lambda net, b: net.e(b["input_ids"]), e=nn.Embedding(9, 6))
    mask = torch.tensor([[1, 1, 0, 0]] * 5)
    with pytest.raises(InputError, match="batch 1 .* has no mask"):
        record(net, [{"input_ids": ids, "attention_mask": mask}, {"input_ids": ids}], ["e"])


def test_input_of_a_model_that_is_called_twice():
    net, x = nn.Sequential(nn.Linear(6, 8)), torch.randn(20, 6)
    both = {"forward": lambda m, b: m(b) + m(-b)}
    with pytest.raises(ModelError, match="RA109"):
        record(net, x, ["input"], **both)
    assert set(record(net, x, ["0"], **both).layers) == {"0@1", "0@2"}
    with torch.no_grad():
        torch.testing.assert_close(record(net, x, ["output"], **both)["output"], net(x) + net(-x))
    with pytest.raises(ModelError, match="RA109"):
        record(net, x, ["output"], forward=lambda m, b: (m(b), m(-b), None)[2])


def test_a_list_of_pairs_of_a_tensor_and_a_mapping_holds_batches():
    x, net = torch.randn(20, 6), nn.Sequential(nn.Linear(6, 8))
    got = record(net, [(x, {"label": torch.arange(20)})], ["0"], forward=lambda m, b: m(b[0]), mask=False)
    assert got["0"].shape == (20, 8)


@pytest.mark.parametrize(
    "second",
    [torch.tensor([[1.0, 1, 0, 0]] * 5), torch.tensor([[0.0, 0, -1e4, -1e4]] * 5)],
    ids=["numbers", "additive"],
)
@pytest.mark.parametrize("first", [torch.ones(5, 4, dtype=torch.long), torch.randn(5, 4, 6)], ids=["ids", "embeddings"])
def test_a_mask_of_floats_is_not_taken_for_labels(first, second):
    net = Net(lambda net, x: net.e(x) if x.dtype == torch.long else net.l(x), e=nn.Embedding(9, 6), l=nn.Linear(6, 6))
    with pytest.raises(InputError, match="RA210"):
        record(net, [(first, second)], ["e"])


@pytest.mark.parametrize("batch", [{"image": torch.randn(9, 6), "category": torch.arange(9)}], ids=["mapping"])
def test_labels_not_found_beside_forward_are_noted(batch):
    net = nn.Sequential(nn.Linear(6, 8))
    found = record(net, [batch], ["0"], forward=lambda m, b: m(b["image"]))
    assert any("no labels were found" in note for note in found.provenance["notes"])


@pytest.mark.parametrize(
    ("data", "options", "error"),
    [
        (lambda x, y: (np.ma.masked_greater(x.numpy(), 1), y), {}, InputError),
        (lambda x, y: (x, np.ma.masked_equal(y.numpy(), 2)), {}, InputError),
        (lambda x, y: (x, y.to(torch.complex64)), {}, InputError),
        (lambda x, y: scipy.sparse.csr_array(x.numpy()), {}, InputError),
        (lambda x, y: (x.to(torch.uint8), y), {}, InputError),
    ],
)
def test_data_of_other_kinds_are_refused(data, options, error):
    x, y = torch.randn(20, 6), torch.arange(20) % 3
    with pytest.raises(error, match=r"^RA\d+"):
        record(nn.Sequential(nn.Linear(6, 4)), data(x, y), ["0"], **options)


@pytest.mark.parametrize(
    "x", [np.random.default_rng(0).normal(size=(20, 6)).astype("f4")[::-1], np.ones((20, 6), np.longdouble)]
)
def test_arrays_that_run_backwards_or_are_long(x):
    net = nn.Sequential(nn.Linear(6, 4)).to(torch.float64 if x.dtype == np.longdouble else torch.float32)
    assert record(net, (x, np.arange(20, dtype=np.uint16) % 3), ["0"]).labels.tolist() == [i % 3 for i in range(20)]


@pytest.mark.parametrize("workers", [0, 2])
def test_rows_of_a_shuffling_loader_name_their_samples(workers):
    x, y = torch.randn(60, 6), torch.arange(60) % 3
    loader = DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True, num_workers=workers)
    sampler = loader.batch_sampler
    found = record(nn.Sequential(nn.Identity()), loader, ["0"])
    torch.testing.assert_close(found["0"], x[found.sample])
    assert found.sample.tolist() != list(range(60))
    assert loader.batch_sampler is sampler
    assert "sample_numbers" not in found.provenance
    few = record(nn.Sequential(nn.Identity()), loader, ["0"], max_samples=9)
    torch.testing.assert_close(few["0"], x[few.sample])


def test_rows_of_an_iterable_are_numbered_by_the_stream():
    x = torch.randn(20, 6)
    found = record(nn.Sequential(nn.Identity()), (part for part in x.split(8)), ["0"])
    assert found.sample.tolist() == list(range(20))
    assert found.provenance["sample_numbers"] == "positions in the stream"


@pytest.mark.parametrize("kind", [tuple, list, "mapping"])
def test_batches_of_arrays(kind):
    x, y = np.random.default_rng(0).normal(size=(20, 6)).astype("f4"), np.arange(20) % 3
    batches = [(x[:12], y[:12]), (x[12:], y[12:]), (x[:0], y[:0])]
    batches = [{"x": a, "label": b} for a, b in batches] if kind == "mapping" else [kind(pair) for pair in batches]
    net = Net(lambda net, x: net.l(x), l=nn.Linear(6, 8))
    net.forward = lambda x: net.l(x)
    found = record(net, batches, ["l"])
    torch.testing.assert_close(found["l"], net.l(torch.from_numpy(x)).detach())
    assert found.labels.tolist() == y.tolist()


def test_bags_of_token_ids_with_offsets():
    ids, offsets = torch.randint(0, 9, (100,)), torch.arange(0, 96, 4)
    net = Net(None, e=nn.EmbeddingBag(9, 8), l=nn.Linear(8, 3))
    net.forward = lambda ids, offsets: net.l(net.e(ids, offsets))
    batch = {"ids": ids, "offsets": offsets, "label": torch.arange(24) % 3}
    found = record(net, [batch], ["e", "l"])
    torch.testing.assert_close(found["e"], net.e(ids, offsets).detach())
    with pytest.raises(InputError, match=r"RA201.*\[batch\]"):
        record(net, batch, ["e"])


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_nested_inputs_with_labels_are_cut_into_batches(layout):
    parts, net = [torch.randn(n, 6) for n in [3, 4, 5, 2] * 5], nn.Sequential(nn.Linear(6, 4))
    found = record(net, (torch.nested.nested_tensor(parts, layout=layout), torch.arange(20) % 3), ["0"], batch_size=8)
    torch.testing.assert_close(found["0"], torch.stack([net(part).mean(0) for part in parts]).detach())


def test_samples_without_an_axis_for_them_are_refused():
    data = TensorDataset(torch.randn(20, 6), torch.arange(20) % 3)
    with pytest.raises(InputError, match=r"RA210.*batch_size"):
        record(nn.Sequential(nn.Linear(6, 4)), DataLoader(data, batch_size=None), ["0"])


def test_a_complex_mask_is_refused():
    net = Net(lambda net, b: net.e(b["input_ids"]), e=nn.Embedding(9, 6))
    batch = {"input_ids": torch.randint(0, 9, (5, 4)), "attention_mask": torch.ones(5, 4, dtype=torch.complex64)}
    with pytest.raises(InputError, match="RA125"):
        record(net, [batch], ["e"])
