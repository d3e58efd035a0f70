"""Data that can be walked once, a lane of the store for each: the same features, resumed and shared out like others."""

import pytest
import torch
from networks import mlp
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import repana
from repana import FileError, InputError, record
from repana.extraction._lanes import SHARD

X, Y = torch.randn(90, 64, generator=torch.Generator().manual_seed(0)), torch.arange(90) % 10
ENDS = (0, 30, 40, 90)


class Stream(IterableDataset):
    def __init__(self, first, last):
        self.first, self.last = first, last

    def __iter__(self):
        return iter(TensorDataset(X[self.first : self.last], Y[self.first : self.last]))


def batches(first, last):
    return [(X[i : min(i + 10, last)], Y[i : min(i + 10, last)]) for i in range(first, last, 10)]


KINDS = {
    "lists of batches": batches,
    "iterators": lambda first, last: iter(batches(first, last)),
    "loaders": lambda first, last: DataLoader(Stream(first, last), batch_size=10),
    "arrays": lambda first, last: (X[first:last], Y[first:last]),
}


def shards(kind):
    return [KINDS[kind](first, last) for first, last in zip(ENDS, ENDS[1:])]


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "log.jsonl"}


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_those_of_the_whole(kind, tmp_path):
    net = mlp()
    got, want = record(net, shards=shards(kind), store=tmp_path / "acts", batch_size=10), record(net, (X, Y))
    assert got.layers == want.layers
    for layer in want.layers:
        torch.testing.assert_close(got[layer][:], want[layer])
        torch.testing.assert_close(got.moments[layer].mean, want.moments[layer].mean, rtol=1e-5, atol=1e-6)
        assert got.moments[layer].n == 90
    assert torch.equal(got.labels, want.labels)
    assert got.seen == 90
    assert got.complete
    place = torch.arange(90)
    number = torch.bucketize(place, torch.tensor(ENDS[1:]), right=True)
    assert torch.equal(got.sample, number * SHARD + place - torch.tensor(ENDS)[number])
    assert "positions in the stream, plus 4294967296 times" in got.provenance["sample_numbers"]


def test_shares_and_restarts_give_the_same_bytes(tmp_path):
    net = mlp()
    record(net, shards=shards("iterators"), store=tmp_path / "one", batch_size=10)
    for share in ("2/2", "1/2"):
        got = record(net, shards=shards("iterators"), store=tmp_path / "two", batch_size=10, lanes_of=share)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert got.complete

    broken = shards("iterators")
    broken[1] = iter([(X[:10], Y[:9])])
    with pytest.raises(InputError):
        record(net, shards=broken, store=tmp_path / "three", batch_size=10)
    done = sorted(p.parent.name for p in (tmp_path / "three").glob("*/done.json"))
    assert done == ["lane-0000"]

    again = shards("iterators")
    record(net, shards=again, store=tmp_path / "three", batch_size=10)
    assert contents(tmp_path / "one") == contents(tmp_path / "three")
    # lanes that are done are not walked again
    record(net, shards=[shards("iterators")[0], iter([]), iter([])], store=tmp_path / "three", batch_size=10)


def test_a_balanced_subset_of_all_shards(tmp_path):
    got = record(mlp(), shards=shards("iterators"), store=tmp_path / "acts", batch_size=10, max_samples=30)
    assert got.labels.bincount().tolist() == [3] * 10
    assert got.seen == 90
    assert got.moments[got.layers[0]].n == 90


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"shards": [(X, Y)]}, "RA324: `shards` says how a store is recorded; give `store=` too"),
        ({"shards": [(X, Y)], "data": (X, Y), "store": True}, "RA324: got `data` and `shards`"),
        ({"shards": [], "store": True}, "RA324: `shards` is list; expected a list of data, at least one"),
        ({"shards": [(X, Y)] * 3, "lanes": 2, "store": True}, "RA324: `lanes` is 2 for 3 shards"),
        ({"data": iter([(X, Y)]), "lanes": 2, "store": True}, "RA324: .*one lane, or `shards=`"),
    ],
)
def test_refusals(options, text, tmp_path):
    options = {**options, "store": tmp_path / "acts"} if options.get("store") else options
    with pytest.raises(InputError, match=text):
        repana.record(mlp(), **options)


def test_a_streamed_lane_may_end_with_a_full_part(tmp_path, monkeypatch):
    monkeypatch.setattr("repana.extraction._lanes.Cuts.of", lambda *_: type("Cut", (), {"rows": 30}))
    for name, given in {
        "stream": {"data": iter(batches(0, 60))},
        "shards": {"shards": [iter(batches(0, 30)), iter(batches(30, 90))]},
    }.items():
        got = record(mlp(), **given, store=tmp_path / name, batch_size=10)
        assert got.complete
        assert len(got.sample) == (60 if name == "stream" else 90)
        again = repana.Activations.load(tmp_path / name, verify="always")
        assert torch.equal(again[got.layers[0]][:], X[: len(got.sample)])


def test_a_shard_that_fails_says_which(tmp_path):
    def broken():
        yield X[:10], Y[:10]
        raise OSError("gone")

    with pytest.raises(InputError, match=r"RA325: the data raised OSError in batch 1 .counted from 0. of lane 1: gone"):
        record(mlp(), shards=[iter(batches(0, 30)), broken()], store=tmp_path / "a", batch_size=10)
    with pytest.raises(InputError, match="RA205") as error:
        record(mlp(), shards=[iter(batches(0, 30)), iter([])], store=tmp_path / "b", batch_size=10)
    assert "in shard 1" in error.value.__notes__
    with pytest.raises(InputError, match="RA203: batch 0 .* has no labels and the first has"):
        record(mlp(), shards=[iter(batches(0, 30)), iter([X[:10]])], store=tmp_path / "c", batch_size=10)


def test_shards_in_another_order_or_shuffled_are_refused(tmp_path):
    loaders = [DataLoader(TensorDataset(X[a:b], Y[a:b]), batch_size=10) for a, b in ((0, 30), (30, 90))]
    record(mlp(), shards=loaders, store=tmp_path / "a", batch_size=10)
    other = DataLoader(TensorDataset(X[:60], Y[:60]), batch_size=10)
    with pytest.raises(FileError, match="RA323: .* holds another recording: its shards"):
        record(mlp(), shards=[loaders[0], other], store=tmp_path / "a", batch_size=10)
    shuffled = DataLoader(TensorDataset(X, Y), batch_size=10, shuffle=True)
    with pytest.raises(InputError, match="RA324: the loader has a RandomSampler"):
        record(mlp(), shards=[loaders[0], shuffled], store=tmp_path / "b", batch_size=10)
