"""Trainings that are killed in the middle of a record, and go on: no record is lost or doubled."""

import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn
from training.recipes import clusters, network

import repana

STEPS, EVERY, SAVED = 40, 2, 5


def training(folder, begun=None):
    """A training that saves its state at every fifth step, and goes on from there."""
    torch.set_num_threads(1)
    folder = Path(folder)
    net = network()
    x, y = clusters()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    start = 0
    if (folder / "state.pt").is_file():
        state = torch.load(folder / "state.pt")
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    monitor = repana.Monitor(clusters(60, seed=1), store=folder / "run", every=EVERY, budget=None)
    monitor.begin(net, start)
    if begun is not None:
        begun.set()
    for step in range(start + 1, STEPS + 1):
        torch.manual_seed(step)
        rows = torch.randint(len(x), (32,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        optimizer.step()
        monitor.step(net, step)
        if step % SAVED == 0:
            state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
            torch.save(state, folder / "new.pt")
            (folder / "new.pt").replace(folder / "state.pt")
    monitor.finish(later=False)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_twenty_kills(tmp_path):
    straight = tmp_path / "straight"
    straight.mkdir()
    training(straight)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [name for name in sys.modules if name.split(".")[0] in ("torch", "repana", "training")]
    )
    rng, kills = random.Random(0), 0
    for _ in range(60):
        begun = context.Event()
        child = context.Process(target=training, args=(str(tmp_path), begun))
        child.start()
        if kills < 20:
            assert begun.wait(60)
            time.sleep(rng.uniform(0.0, 0.25))
            child.kill()
        child.join()
        kills += child.exitcode == -signal.SIGKILL
        assert child.exitcode in (0, -signal.SIGKILL)
        if child.exitcode == 0:
            break
    report = repana.load_runs(tmp_path / "run")
    steps = [int(report.step(run)) for run in report.runs]
    assert len(steps) == len(set(steps))
    assert set(range(0, STEPS + 1, EVERY)) <= set(steps)
    assert not list((tmp_path / "run").glob(".put-*"))
    assert kills >= 20

    for step in range(0, STEPS + 1, EVERY):
        folders = [folder / "run" / f"step_{step:09d}" / "report" for folder in (tmp_path, straight)]
        rows = [
            {(r.quantity, r.layer): r.value for r in repana.Report.load(at).rows if r.analyzer == "training"}
            for at in folders
        ]
        same = [k for k in rows[1] if k[0] not in ("cka_previous", "cka_best")]  # which depend on what was recorded
        assert torch.allclose(*(torch.tensor([r[k] for k in same]) for r in rows), atol=2e-3, equal_nan=True)
