"""Sweeps that really run, under every engine: failures are isolated and classed, nothing that is done is done again."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

import repana
from repana.errors import InputError
from repana.sweeps._engines import Command, local
from repana.sweeps._folder import SweepFolder

pytestmark = pytest.mark.slow
MODULE = """
import os, signal, time
import torch
from torch import nn

def model(mode="", marker=""):
    torch.manual_seed(0)
    if mode == "error":
        raise ValueError("the factory does not work")
    if mode == "crash" and not os.path.exists(marker):
        open(marker, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "sleep":
        time.sleep(600)
    net = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 4))
    if mode == "memory":
        net[0].register_forward_pre_hook(full)
    return net

def full(module, args):
    if len(args[0]) > 32:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

def data():
    x = torch.randn(120, 6, generator=torch.Generator().manual_seed(0))
    return x, torch.arange(120) % 4
"""
CHEAP = {"metrics": ["nc1"], "permutations": 0, "bootstrap": 0, "data": "mine.py:data"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def runs(count: int) -> list[dict]:
    return [{"model": "mine.py:model", "name": f"run{k}", "seed": k} for k in range(count)]


def test_every_kind_of_failure_is_isolated_and_classed(here):
    (here / "bad.safetensors").write_bytes(b"no weights")
    torch.save({"other.weight": torch.zeros(3)}, here / "other.pt")
    crash = f"mine.py:model(mode='crash', marker='{here / 'crashed'}')"
    tasks = [
        *runs(1),
        {"model": "mine.py:model", "name": "damaged", "checkpoint": "bad.safetensors"},
        {"model": "mine.py:model", "name": "shape", "checkpoint": "other.pt"},
        {"model": "mine.py:model(mode='error')", "name": "error"},
        {"model": crash, "name": "crash"},
        {"model": "mine.py:model(mode='memory')", "name": "memory", "batch_size": 64},
    ]
    asleep = [{"model": "mine.py:model(mode='sleep')", "name": "sleep"}]
    repana.sweep(asleep, here / "s", task_timeout=3.0, progress=False, overview=False, **CHEAP)
    made = repana.sweep(tasks, here / "s", workers=2, progress=False, **CHEAP)
    status = SweepFolder(here / "s").status()
    assert {t.name for t in status.done} == {"run0", "crash", "memory"}
    assert {t.name: f.kind for t, f in status.failed} == {
        "damaged": "damaged checkpoint", "shape": "refused", "error": "error", "sleep": "timeout",
    }  # fmt: skip
    assert {t.name: f.attempts for t, f in status.failed} == {"damaged": 1, "shape": 1, "error": 2, "sleep": 2}
    assert (here / "crashed").exists()
    assert "ran out of memory; done again with batches of 32" in made.about("memory")["notes"]
    assert set(made.runs) == {"run0", "crash", "memory"}
    assert any(line.startswith("damaged: damaged checkpoint: RA301") for line in made.failures)
    page = (here / "s" / "overview.html").read_text()
    assert "damaged checkpoint" in page
    assert made.summary()[-1].startswith("4 runs could not be measured or read: 'sleep', 'damaged', 'shape', 'error'")
    error = json.loads((here / "s" / "error" / "failed.json").read_text())
    assert "ValueError: the factory does not work" in error["traceback"]


def test_what_is_done_is_not_done_again_and_the_command_line_says_so(here):
    repana.sweep(runs(1), here / "s", progress=False, overview=False, **CHEAP)
    times = {p: p.stat().st_mtime_ns for p in here.rglob("provenance.json")}
    (here / "s.jsonl").write_text("".join(json.dumps({**run, **CHEAP}) + "\n" for run in runs(2)))
    line = [sys.executable, "-m", "repana", "sweep", "s.jsonl", "-o", "s", "--tasks-per-process", "2"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "2 tasks: 2 done"
    assert times.items() <= {p: p.stat().st_mtime_ns for p in here.rglob("provenance.json")}.items()
    shown = subprocess.run([*line[:4], "s", "--status", "--json"], capture_output=True, text=True, timeout=60)
    assert json.loads(shown.stdout)["done"] == ["run0", "run1"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_driver_that_ends_is_gone_on_with(here, number):
    (here / "s.jsonl").write_text("".join(json.dumps({**run, **CHEAP}) + "\n" for run in runs(2)))
    line = [sys.executable, "-m", "repana", "sweep", "s.jsonl", "-o", "s"]
    child = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((here / "s").glob("*/report/provenance.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(number)
    child.wait(60)
    assert child.returncode == (5 if number == signal.SIGTERM else -9)
    first = {p: p.stat().st_mtime_ns for p in here.rglob("provenance.json")}
    repana.sweep("s.jsonl", here / "s", progress=False, overview=False)
    status = SweepFolder(here / "s").status()
    assert len(status.done) == 2
    assert first.items() <= {p: p.stat().st_mtime_ns for p in here.rglob("provenance.json")}.items()


@pytest.mark.parametrize(
    ("on", "options"), [("ray", {}), ("slurm", {"cluster": "local", "timeout_min": 5})], ids=["ray", "slurm"]
)
def test_other_engines_run_the_same_tasks(here, on, options):
    """Ray on a local cluster of two workers, submitit on its local executor; one task is killed once."""
    crash = f"mine.py:model(mode='crash', marker='{here / 'crashed'}')"
    tasks = [*runs(1), {"model": crash, "name": "crash"}]
    tasks = [{**task, **CHEAP} for task in tasks]
    script = f"""
import repana
made = repana.sweep({tasks!r}, "s", on={on!r}, workers=2, options={options!r}, progress=False, overview=False)
assert set(made.runs) == {{"run0", "crash"}}, made.runs
assert not made.failures, made.failures
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (here / "crashed").exists()
    assert len(SweepFolder(here / "s").status().done) == 2


def test_child_processes_keep_to_their_number_and_their_gpus(tmp_path):
    line = (sys.executable, "-S", "-c", "import os, sys; sys.stderr.write(os.environ['CUDA_VISIBLE_DEVICES'])")
    ended = list(local([Command(line, str(tmp_path))] * 6, 3, 2, {}))
    assert sorted(e.index for e in ended) == list(range(6))
    assert {e.code for e in ended} == {0}
    assert {e.said for e in ended} <= {"0,1", "2,3", "4,5"}


def test_children_end_with_the_driver(tmp_path):
    line = (
        sys.executable,
        "-S",
        "-c",
        f"import os, time; open('{tmp_path}/pid', 'w').write(str(os.getpid())); time.sleep(99)",
    )
    running = local(
        [Command(line, str(tmp_path)), Command((sys.executable, "-S", "-c", "pass"), str(tmp_path))], 2, 0, {}
    )
    next(running)
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.02)
    running.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_options_that_an_engine_does_not_have(tmp_path):
    with pytest.raises(InputError, match="RA327: no option 'slurm_partition' of this engine"):
        repana.sweep(runs(1), tmp_path, options={"slurm_partition": "gpu"}, progress=False, **CHEAP)
