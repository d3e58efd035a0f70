"""Trainings on two processes: under DistributedDataParallel process 0 records; sharded models run on both."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

import repana

SCRIPT = """
import os, sys, torch
sys.path.insert(0, {tests!r})
import torch.distributed as dist
from torch import nn
from training.recipes import clusters
import repana
dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(12, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 3))
kind = sys.argv[2]
if kind == "ddp":
    net = nn.parallel.DistributedDataParallel(net)
elif kind == "fsdp":
    from torch.distributed.fsdp import fully_shard
    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (2,))
    fully_shard(net, mesh=mesh)
x, y = clusters()
optimizer = torch.optim.SGD(net.parameters(), 0.1)
monitor = repana.Monitor(clusters(60, seed=1), store=sys.argv[1], every=3, budget=None, layers=["0", "2", "3"],
                         mode="stop", stop_on=("training.loss", "", 3, 10.0))
monitor.begin(net)
for step in range(1, 31):
    rows = torch.arange(rank, 64, 2)
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
    optimizer.step()
    if monitor.step(net, step):
        break
print("stopped", rank, step, flush=True)
monitor.end(net, later=False)
dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.skipif(not dist.is_available(), reason="needs torch.distributed")
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes(kind, tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    code = SCRIPT.format(tests=str(Path(__file__).parents[1]))
    children = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "run"), kind],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                 "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    said = [child.communicate(timeout=240) for child in children]
    assert [child.returncode for child in children] == [0, 0], said
    assert {out.split()[-1] for out, _ in said} == {"9"}  # both stop at the same step
    report = repana.load_runs(tmp_path / "run")
    assert report.runs == ("step 0", "step 3", "step 6", "step 9")
    assert not report.failures
    assert torch.isfinite(torch.tensor([r.value for r in report.select("training.cka_first", run="step 9")])).all()
