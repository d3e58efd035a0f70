"""Stores, sweeps and overviews: what it costs to keep features on disk, and to profile many checkpoints."""

import hashlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import repana
from benchmarks._measure import Line, beside, ratio, show, steady_memory
from benchmarks.recording import resnet
from repana import Activations
from repana._results import Report

ROWS, WIDTH = 40_000, 512  # 78 MiB
TASKS, RUNS, LAYERS = 40, 100, 12


def recording(folder: Path, rounds: int = 5) -> list[Line]:
    """A ResNet's recording to a store and in memory, each by the plain pass just before and after."""
    net, data, blocks, _ = resnet()
    x, y = torch.cat([a for a, _ in data]), torch.cat([b for _, b in data])
    places = iter(range(10**6))

    def stored() -> None:
        repana.record(net, (x, y), blocks, batch_size=16, store=folder / str(next(places)))

    def kept() -> None:
        repana.record(net, (x, y), blocks, batch_size=16)

    times, around = beside({"stored": stored, "kept": kept}, "kept", rounds)
    return [ratio("record with a store / without", times["stored"], around["stored"], most=1.10)]


def writing(folder: Path, rounds: int = 5) -> list[Line]:
    """A store against write(2) of the same bytes and their SHA-256, and reading a layer against np.fromfile."""
    x = torch.randn(ROWS, WIDTH)
    acts = Activations({"a": x}, torch.zeros(ROWS, dtype=torch.int64))
    places = iter(range(10**6))

    def plain() -> None:
        content = memoryview(x.numpy()).cast("B")
        hashlib.sha256(content).digest()
        with open(folder / f"raw{next(places)}", "wb", buffering=0) as file:
            at = 0
            while at < len(content):
                at += file.write(content[at:])
            os.fsync(file.fileno())

    def saved() -> None:
        acts.save(folder / f"saved{next(places)}")

    times, around = beside({"saved": saved, "plain": plain}, "plain", rounds)
    lines = [ratio("save / write(2) and SHA-256 of the same bytes", times["saved"], around["saved"], most=1.3)]
    last = max(folder.glob("saved*"), key=lambda p: p.stat().st_mtime)
    raw = next(folder.glob("raw*"))
    opened = Activations.load(last, verify="never")

    def read() -> None:
        repana._check.tensor_of(opened["a"], "a").sum()

    def fromfile() -> None:
        torch.from_numpy(np.fromfile(raw, np.float32)).sum()

    times, around = beside({"read": read, "fromfile": fromfile}, "fromfile", rounds)
    return [*lines, ratio("read and sum a layer / np.fromfile and sum", times["read"], around["read"], most=1.2)]


def memory(folder: Path) -> list[Line]:
    """The peak of a process that saves, over one part."""
    script = f"""
import torch, repana
from repana.store import _write
def kib(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name))
x = torch.randn({ROWS}, {WIDTH})
_write.BYTES = 2**24
a = repana.Activations({{"a": x}}, torch.zeros({ROWS}, dtype=torch.int64))
a.save({str(folder / "first")!r})  # what is imported does not count
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before = kib("VmRSS")
a.save({str(folder / "peak")!r})
print((kib("VmHWM") - before) * 1024 / 2**24)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return [ratio("peak extra memory of save / one part", [float(done.stdout)], [1.0], most=1.5)]


MODULE = """
import torch
from torch import nn
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
def data():
    return torch.randn(400, 64, generator=torch.Generator().manual_seed(0)), torch.arange(400) % 10
"""
LOOP = """
import sys, time
sys.path.insert(0, ".")
import repana, mine
for k in range(TASKS):
    repana.profile(mine.model(), mine.data(), run=f"r{k}", analyzers=["neural_collapse"], seed=k).save(f"loop/r{k}")
"""


def sweeping(folder: Path) -> list[Line]:
    """40 small tasks in processes that take several, less the start of the processes, against a loop in one."""
    (folder / "mine.py").write_text(MODULE)
    (folder / "loop.py").write_text(LOOP.replace("TASKS", str(TASKS)))

    def cpu(line: list[str]) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *line], cwd=folder, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    lines = [
        f'{{"model": "mine.py:model", "data": "mine.py:data", "metrics": ["neural_collapse"], "seed": {k}}}\n'
        for k in range(TASKS)
    ]  # noqa: E501
    (folder / "t.jsonl").write_text("".join(lines))
    child = cpu(["-c", "import repana, mine; repana.record(mine.model(), mine.data())"])  # what a first pass imports
    one = cpu(["loop.py"]) - child
    script = "import repana; repana.sweep('t.jsonl', 's', tasks_per_process=10, overview=False, progress=False)"
    whole = cpu(["-c", script])
    starts = cpu(["-c", script]) + 4 * child  # the driver with nothing left to do
    note = f"{TASKS} tasks, 4 processes, a loop of {one:.1f} s"
    return [ratio("sweep of 40 tasks, less starts / a loop", [whole - starts], [one], most=1.10, note=note)]


def overview(folder: Path) -> list[Line]:
    """The page of many runs: CPU seconds a run, its size, and four times the runs against once."""
    one = repana.example_report("digits")
    rows = [r for r in one.rows if r.split == one.splits[0] and r.run == one.runs[0]]
    times, sizes = {}, {}
    for count in (RUNS, 4 * RUNS):
        made = [Report(tuple(rows), {}, one.about()).renamed(f"epoch{k}") for k in range(count)]
        began = time.process_time()
        repana.concat(made).to_html(folder / "overview.html")
        times[count], sizes[count] = time.process_time() - began, (folder / "overview.html").stat().st_size / 2**20
    return [
        ratio("page of 400 runs: CPU s a run", [times[4 * RUNS] / (4 * RUNS)], [1.0], most=0.1),
        ratio("page of 400 runs / of 100 runs", [times[4 * RUNS]], [times[RUNS]], most=4.5),
        ratio("page of 400 runs: MiB", [sizes[4 * RUNS]], [1.0], most=30.0),
    ]


def main() -> None:
    torch.set_num_threads(1)
    steady_memory()
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        lines = [*recording(folder), *writing(folder), *memory(folder), *sweeping(folder), *overview(folder)]
    show("Stores, sweeps and overviews (CPU time, one thread)", lines)
