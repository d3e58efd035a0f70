"""Recordings to a store that are killed, interrupted, damaged, shared out: equal bytes, or an error that says where."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torch.utils.data.distributed import DistributedSampler
from typer.testing import CliRunner

import repana
from faults._children import contents, dying_at, forked, unfinished_files
from repana import Activations, record
from repana.cli import app
from repana.errors import FileError, InputError
from repana.extraction._cuts import Cuts
from repana.store._verify import verified

N = 403
X = torch.randn(N, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(N) % 4


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 4))


@pytest.fixture(scope="module")
def undisturbed(net, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "acts"
    stored(net, folder)
    return folder


def stored(net, folder, data=(X, Y), **options):
    return record(net, data, batch_size=8, store=folder, lanes=6, **options)


def values(acts: Activations, layer: str) -> torch.Tensor:
    return repana._check.tensor_of(acts[layer], layer)


# --- what is recorded -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 7, 100, 403, 5000, 123_457])
@pytest.mark.parametrize(("batch", "size", "lanes"), [(8, 400, None), (64, 4_000_000, None), (10, 400, 7), (1, 10, 3)])
def test_cuts_hold_every_sample_once_and_batches_begin_at_parts(n, batch, size, lanes):
    cuts = Cuts.of(n, batch, size, lanes)
    found = [i for lane in range(cuts.lanes) for part in cuts.parts(lane) for cut in cuts.batches(part) for i in cut]
    assert found == list(range(n))
    assert cuts.lanes <= (lanes or 64)
    assert all(len(part) <= cuts.rows for lane in range(cuts.lanes) for part in cuts.parts(lane))
    assert cuts.rows % batch == 0


def test_a_store_holds_what_record_gives(net, undisturbed):
    plain, acts = record(net, (X, Y), batch_size=8), Activations.load(undisturbed)
    assert acts.layers == plain.layers
    for layer in plain:
        assert torch.equal(values(acts, layer), plain[layer])
        torch.testing.assert_close(acts.moments[layer].mean, plain.moments[layer].mean, rtol=1e-5, atol=1e-6)
    for name in ("labels", "logits", "sample"):
        assert torch.equal(getattr(acts, name), getattr(plain, name))
    assert torch.equal(acts.head.weight, plain.head.weight)
    assert acts.complete
    assert acts.provenance["weights_sha256"] == plain.provenance["weights_sha256"]


@pytest.mark.parametrize("rows", [slice(3, 400, 7), slice(None), [5, 402, 0, -1], torch.arange(N) % 5 == 0, 17, -1])
def test_rows_of_a_stored_layer(undisturbed, rows):
    features = Activations.load(undisturbed)["2" if "2" in Activations.load(undisturbed) else "1"]
    whole = features.to_tensor()
    assert torch.equal(features[rows], whole[rows])
    assert torch.equal(torch.cat(list(features.batches(50))), whole)
    assert np.asarray(features).shape == features.shape == (N, whole.shape[1])
    assert torch.equal(torch.as_tensor(features), whole)


@pytest.mark.parametrize("most", [0, 40, 100, 399, 403, 1000])
def test_a_subset_is_that_of_a_recording_without_a_store(net, most, tmp_path):
    labels = torch.from_numpy(np.random.default_rng(most).choice(4, N, p=[0.7, 0.2, 0.07, 0.03]))
    plain = record(net, (X, labels), batch_size=8, max_samples=most, seed=3)
    acts = stored(net, tmp_path / "a", (X, labels), max_samples=most, seed=3)
    assert acts.sample.tolist() == plain.sample.tolist()
    assert acts.seen == plain.seen == N
    for layer in plain:
        assert torch.equal(values(acts, layer), plain[layer])
        torch.testing.assert_close(acts.moments[layer].trace, plain.moments[layer].trace, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_store_in_half_precision(net, dtype, tmp_path):
    acts = stored(net, tmp_path / "a", store_dtype=dtype)
    plain = record(net, (X, Y), batch_size=8)
    for layer in plain:
        assert torch.equal(values(acts, layer), plain[layer].to(getattr(torch, dtype)))
        assert torch.equal(acts.moments[layer].count, plain.moments[layer].count)
    big = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 4))
    with torch.no_grad():
        big[0].weight.fill_(1e6)
    with pytest.raises(InputError, match="RA324: .* has values beyond float16"):
        record(big, (X.abs() + 1, Y), batch_size=8, store=tmp_path / "b", store_dtype="float16")


class Tokens(nn.Module):
    """Embeds, mixes neighbours, and reads the first token."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix, self.head = nn.Embedding(50, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, input_ids, attention_mask):
        return self.head(self.mix(self.embed(input_ids)).relu()[:, 0])


class Sentences(Dataset):
    def __len__(self):
        return 90

    def __getitem__(self, i):
        ids = torch.zeros(12, dtype=torch.int64)
        ids[: 4 + i % 7] = torch.arange(1, 5 + i % 7) + i % 9
        return {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": i % 3}


@pytest.mark.parametrize("most", [None, 30])
def test_a_store_of_tokens_has_a_row_for_each_real_one(most, tmp_path):
    torch.manual_seed(0)
    net, options = Tokens(), {"pool": "tokens", "batch_size": 8, "max_samples": most}
    plain = record(net, Sentences(), ["embed", "mix"], **options)
    acts = record(net, Sentences(), ["embed", "mix"], store=tmp_path / "a", lanes=4, **options)
    assert len(plain.sample) == (30 if most else sum(4 + i % 7 for i in range(90)))
    for name in ("sample", "labels"):
        assert torch.equal(getattr(acts, name), getattr(plain, name))
    for layer in plain:
        assert torch.equal(values(acts, layer), plain[layer])


class Items(Dataset):
    """Samples with names, by their places; one of them may fail."""

    def __init__(self, bad: int | None = None, kill: str | None = None) -> None:
        self.bad, self.kill = bad, kill

    def __len__(self):
        return N

    def __getitem__(self, i):
        if i == self.bad and self.kill is None:
            raise OSError(f"cannot read image {i}")
        if i == self.bad and not os.path.exists(self.kill):
            open(self.kill, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return X[i], int(Y[i])


@pytest.mark.parametrize(
    "data",
    [
        lambda: TensorDataset(X, Y),
        lambda: Items(),
        lambda: DataLoader(Items(), batch_size=8),
        lambda: DataLoader(Items(), batch_size=8, num_workers=2),
        lambda: (X.numpy(), Y.numpy()),
    ],
)
def test_every_kind_of_data_is_cut_alike(net, undisturbed, data, tmp_path):
    acts = stored(net, tmp_path / "a", data())
    known = contents(undisturbed)
    assert {name: d for name, d in contents(tmp_path / "a").items() if "part-" in name} == {
        name: d for name, d in known.items() if "part-" in name
    } or all(torch.equal(values(acts, x), values(Activations.load(undisturbed), x)) for x in acts)


def test_data_that_can_be_walked_once_are_one_lane(net, tmp_path):
    acts = record(net, zip(X.split(8), Y.split(8)), store=tmp_path / "a")
    plain = record(net, (X, Y), batch_size=8)
    assert all(torch.equal(values(acts, layer), plain[layer]) for layer in plain)
    assert acts.provenance["sample_numbers"] == "positions in the stream"
    with pytest.raises(InputError, match="RA324: `lanes` is 4 for a one-shot iterable"):
        record(net, zip(X.split(8), Y.split(8)), store=tmp_path / "b", lanes=4)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: DataLoader(Items(), batch_size=8, shuffle=True), "RA324: the loader has a RandomSampler"),
        (
            lambda: DataLoader(Items(), batch_size=8, sampler=DistributedSampler(Items(), 31, 0, shuffle=False)),
            "RA324: the loader has a DistributedSampler",
        ),
    ],
)
def test_samplers_are_refused_with_a_store(net, make, text, tmp_path):
    with pytest.raises(InputError, match=text):
        stored(net, tmp_path / "a", make())


def test_a_padding_sampler_is_refused_without_a_store_too(net):
    loader = DataLoader(Items(), batch_size=8, sampler=DistributedSampler(Items(), 2, 0, shuffle=False))
    with pytest.raises(InputError, match=r"DistributedSampler for 2 processes, which repeats 1 sample.*`store=`"):
        record(net, loader)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"lanes": 0}, "RA221|RA2"),
        ({"lanes": 2, "lanes_of": "1/3"}, "RA324: `lanes` is 2 for 3 processes"),
        ({"lanes_of": "0/3"}, "RA324: `lanes_of` is '0/3'"),
        ({"store_dtype": "float8_e4m3fn"}, "RA324: `store_dtype` is 'float8_e4m3fn'"),
    ],
)
def test_wrong_options(net, options, text, tmp_path):
    with pytest.raises(InputError, match=text):
        record(net, (X, Y), store=tmp_path / "a", **options)


@pytest.mark.parametrize("option", [{"lanes": 2}, {"lanes_of": "1/2"}, {"store_dtype": "bfloat16"}])
def test_options_of_a_store_without_one(net, option):
    with pytest.raises(InputError, match="RA324: `.*` says how a store is recorded; give `store=` too"):
        record(net, (X, Y), **option)


# --- shares and restarts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [2, 3, 6])
def test_shares_give_the_same_bytes(net, undisturbed, processes, tmp_path):
    folder = tmp_path / "a"
    for number in reversed(range(processes)):
        acts = stored(net, folder, lanes_of=f"{number + 1}/{processes}")
        assert number == 0 or acts.provenance["notes"][0].startswith("partial: ")
    assert contents(folder) == contents(undisturbed)


def test_shares_of_machines_without_a_common_folder_are_merged(net, undisturbed, tmp_path):
    parts = [tmp_path / name for name in "abc"]
    for number, part in enumerate(parts):
        stored(net, part, lanes_of=f"{number + 1}/3")
    whole = tmp_path / "whole"
    done = CliRunner().invoke(app, ["merge", str(parts[0]), str(parts[2]), "-o", str(whole)])
    assert (done.exit_code, "4 of 6 lanes; others are missing" in done.output) == (3, True)
    done = CliRunner().invoke(app, ["merge", *map(str, parts), "-o", str(whole)])
    assert (done.exit_code, "6 of 6 lanes" in done.output) == (0, True)
    assert contents(whole) == contents(undisturbed)
    stored(net, tmp_path / "other", (X + 1, Y))
    with pytest.raises(FileError, match="RA323: .* holds another recording: its data_sha256"):
        repana.store._write.merge([tmp_path / "other"], whole)


@pytest.mark.parametrize("before", [True, False])
def test_killed_at_every_rename_and_gone_on_with(net, before, tmp_path, monkeypatch):
    """A part, sums and the commit of two lanes, the store and its manifest."""
    whole = tmp_path / "whole"
    record(net, (X, Y), batch_size=64, store=whole, lanes=2)
    for step in range(1, len(contents(whole)) + 1):
        folder = tmp_path / str(step)

        def run(folder=folder, step=step):
            monkeypatch.setattr(os, "replace", dying_at(step, before))
            record(net, (X, Y), batch_size=64, store=folder, lanes=2)

        assert forked(run) == -signal.SIGKILL
        if (folder / "store.json").exists() and not (folder / "manifest.json").exists():
            with pytest.raises(FileError, match="RA307: .* is not recorded to the end: .* of 2 lanes are done"):
                Activations.load(folder)
        record(net, (X, Y), batch_size=64, store=folder, lanes=2)
        assert contents(folder) == contents(whole)


@pytest.mark.parametrize("rounds", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_any_moment_with_shares(net, undisturbed, rounds, tmp_path):
    random = np.random.default_rng(rounds)
    for round_ in range(rounds):
        folder = tmp_path / str(round_)
        for _ in range(2):
            share = f"{random.integers(1, 4)}/3"
            forked(lambda f=folder, s=share: stored(net, f, lanes_of=s), kill_after=float(random.uniform(0, 0.15)))
        if (folder / "store.json").exists():
            assert verified(folder).problems == ()
        stored(net, folder)
        assert contents(folder) == contents(undisturbed)


def test_a_recording_of_something_else_is_refused(net, tmp_path):
    folder = tmp_path / "a"
    stored(net, folder)
    before = contents(folder)
    for data, options, field in (
        ((X + 1, Y), {}, "data_sha256"),
        ((X[:100], Y[:100]), {}, "data_sha256"),
        ((X, Y), {"seed": 1}, "seed"),
        ((X, Y), {"layers": ["2"]}, "layers"),
        ((X, Y), {"scatter": True}, "scatter"),
    ):
        with pytest.raises(FileError, match=f"RA323: .* holds another recording: its {field} is"):
            stored(net, folder, data, **options)
    torch.manual_seed(9)
    other = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 4))
    with pytest.raises(FileError, match="RA323: .* its weights_sha256 is"):
        stored(other, folder)
    with pytest.raises(FileError, match="RA323: .* holds a recording in lanes; save to another folder"):
        Activations.load(folder).save(folder)
    assert contents(folder) == before


def test_what_is_done_is_not_done_again(net, tmp_path):
    folder = tmp_path / "a"
    stored(net, folder)
    times = {p: p.stat().st_mtime_ns for p in folder.rglob("part-*")}
    stored(net, folder)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("part-*")} == times


def test_finished_lanes_can_be_read_while_others_are_missing(net, tmp_path):
    folder = tmp_path / "a"
    stored(net, folder, lanes_of="2/3")
    part = Activations.load(folder, partial=True)
    assert part.provenance["notes"] == [f"partial: 2 of 6 lanes, {part.seen} of {N} samples"]
    plain = record(net, (X, Y), batch_size=8)
    assert torch.equal(values(part, "4"), plain["4"][part.sample])


# --- damage -----------------------------------------------------------------------------------------------------------


def flipped(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def removed(path):
    path.unlink()


def swapped(path):
    other = path.parent.parent / "lane-0003" / path.name
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


def of_another_store(path):
    done = json.loads((path.parent / "done.json").read_text())
    (path.parent / "done.json").write_text(json.dumps({**done, "identity": "0" * 64}))


@pytest.mark.parametrize("damage", [flipped, cut, removed, swapped, of_another_store])
def test_damage_is_named_refused_and_mended(net, undisturbed, damage, tmp_path):
    folder = tmp_path / "a"
    shutil.copytree(undisturbed, folder)
    path = next((folder / "lane-0001").glob("part-*"))
    damage(path)
    found = verified(folder)
    assert found.problems
    assert "lane-0001" in found.problems[0]
    if damage is not of_another_store:
        assert "samples" in found.problems[0]
    with pytest.raises(FileError, match=r"RA309: .*lane-0001"):
        values(Activations.load(folder), "4")
    times = {p: p.stat().st_mtime_ns for p in (folder / "lane-0005").rglob("part-*")}
    stored(net, folder)
    assert contents(folder) == contents(undisturbed)
    assert {p: p.stat().st_mtime_ns for p in (folder / "lane-0005").rglob("part-*")} == times


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m | {"lanes": {"../../etc": "0" * 64}},
        lambda m: m | {"lanes": []},
        lambda m: m | {"about": {}},
        lambda m: m | {"totals": {}},
        lambda m: {"format": 2},
        lambda m: m | {"content": "0" * 64},
        lambda m: m | {"about": {**m["about"], "layers": [["a", "x", None]]}},
    ],
)
def test_a_manifest_that_says_something_else_is_refused(undisturbed, change, tmp_path):
    folder = tmp_path / "a"
    shutil.copytree(undisturbed, folder)
    (folder / "manifest.json").write_text(json.dumps(change(json.loads((folder / "manifest.json").read_text()))))
    with pytest.raises(FileError, match="RA309: .*manifest.json"):
        Activations.load(folder)


def test_links_inside_a_store_are_not_followed(undisturbed, tmp_path):
    folder = tmp_path / "a"
    shutil.copytree(undisturbed, folder)
    part = next((folder / "lane-0002").glob("part-*"))
    part.rename(tmp_path / "elsewhere")
    part.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileError, match="RA309: .*it is a link"):
        values(Activations.load(folder), "4")


# --- data and systems that fail ---------------------------------------------------------------------------------------


def test_an_exception_of_the_data_says_where(net, tmp_path):
    folder = tmp_path / "a"
    random = torch.get_rng_state()
    with pytest.raises(InputError, match=r"RA325: the data raised OSError at samples 200 to 207 \(lane 2\)") as error:
        stored(net, folder, Items(bad=203))
    assert isinstance(error.value.__cause__, OSError)
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(m._forward_hooks for m in net.modules())
    assert len(list(folder.glob("lane-*/done.json"))) == 2
    stored(net, folder, Items())
    assert verified(folder).complete


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the loader, as it goes
def test_a_worker_that_is_killed(net, tmp_path):
    folder, marker = tmp_path / "a", str(tmp_path / "killed")
    with pytest.raises(InputError, match=r"RA325: the data raised \w+ at samples"):
        stored(net, folder, DataLoader(Items(bad=203, kill=marker), batch_size=8, num_workers=1))
    stored(net, folder, DataLoader(Items(bad=203, kill=marker), batch_size=8, num_workers=1))
    assert verified(folder).complete


def test_values_that_are_not_finite_are_found_before_their_lane_is_done(net, tmp_path):
    bad = X.clone()
    bad[300] = torch.nan
    with pytest.raises(InputError, match="RA204") as error:
        stored(net, tmp_path / "a", (bad, Y))
    assert error.value.__notes__ == ["in lane 3, samples 296 to 303; lanes that are done are kept"]
    assert len(list((tmp_path / "a").glob("lane-*/done.json"))) == 3


def test_a_full_disk_in_the_middle_and_room_again(net, undisturbed, tmp_path):
    import resource

    folder = tmp_path / "a"

    def fill():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
        with pytest.raises(FileError, match="RA310: .* needs"):
            stored(net, folder)

    assert forked(fill) == 0
    assert not unfinished_files(folder)
    stored(net, folder)
    assert contents(folder) == contents(undisturbed)


@pytest.mark.slow
def test_memory_stays_as_it_is_over_2000_batches(tmp_path):
    """Resident memory after batch 100 and at the end, in a process of its own."""
    script = """
import sys, torch, repana
from torch import nn
torch.set_num_threads(1)
class Items(torch.utils.data.Dataset):
    def __len__(self): return 16000
    def __getitem__(self, i):
        if i in (805, 15990):
            with open("/proc/self/status") as f:
                print(next(l for l in f if l.startswith("VmRSS")).split()[1])
        return torch.full((256,), float(i)), i % 7
net = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 7))
repana.record(net, Items(), batch_size=8, store=sys.argv[1], lanes=32)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a")], capture_output=True, text=True, check=True, timeout=300
    )
    first, last = map(int, done.stdout.split())
    assert last <= 1.1 * first


# --- processes from outside -------------------------------------------------------------------------------------------

MODULE = """
import os, signal, time
import torch
from torch import nn
from torch.utils.data import Dataset

class Items(Dataset):
    def __init__(self, wait=0.0, kill=None):
        self.x = torch.randn(403, 6, generator=torch.Generator().manual_seed(0))
        self.wait, self.kill = wait, kill
    def __len__(self):
        return 403
    def __getitem__(self, i):
        time.sleep(self.wait)
        if self.kill and i == 150 and not os.path.exists(self.kill):
            open(self.kill, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.x[i], i % 4

def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 4))

def data(wait=0.0, kill=None):
    return Items(wait, kill)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(folder, data="mine.py:data"):
    return [
        "-m",
        "repana",
        "record",
        "mine.py:model",
        "-d",
        data,
        "-o",
        str(folder),
        "--lanes",
        "6",
        "--batch-size",
        "8",
    ]


@pytest.mark.slow
def test_torchrun_gives_the_same_bytes_also_after_a_rank_was_killed(module):
    """One, two and three ranks; in the last run torch elastic starts the ranks again of which one was killed."""
    run = ["-m", "torch.distributed.run", "--nproc-per-node"]
    kill = f"mine.py:data(kill='{module / 'killed'}')"
    for name, ranks, more, data in (("1", "1", [], ""), ("2", "2", [], ""), ("3", "3", ["--max-restarts", "1"], kill)):
        line = [sys.executable, *run, ranks, *more, *command(module / name, data or "mine.py:data")]
        done = subprocess.run(line, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
    assert (module / "killed").exists()
    assert contents(module / "1") == contents(module / "2") == contents(module / "3")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_leaves_a_store_that_is_gone_on_with(module, number):
    folder = module / "acts"
    line = [sys.executable, *command(folder, "mine.py:data(wait=0.01)")]
    child = subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(folder.glob("lane-*/done.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(number)
    began = time.monotonic()
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 5, errors
    assert time.monotonic() - began < 5
    assert f"{number.name}: what was finished is kept; the same command goes on." in errors
    assert not (folder / "manifest.json").exists()
    assert not unfinished_files(folder)
    done = CliRunner().invoke(app, command(folder, "mine.py:data(wait=0.0)")[2:])
    assert done.exit_code == 0, done.output
    assert "as committed" in CliRunner().invoke(app, ["verify", str(folder)]).output
