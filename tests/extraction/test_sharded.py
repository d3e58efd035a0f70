"""Models over several devices and processes: whole features or a refusal, and the model as it was."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import repana

SCRIPT = """
import sys
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
import repana

class Block(nn.Module):
    def __init__(self, d=16, h=64):
        super().__init__()
        self.up, self.act, self.down = nn.Linear(d, h), nn.ReLU(), nn.Linear(h, d)
    def forward(self, x):
        return x + self.down(self.act(self.up(x)))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.b1, self.b2, self.head = Block(), Block(), nn.Linear(16, 4)
    def forward(self, x):
        return self.head(self.b2(self.b1(x)))

def made():
    torch.manual_seed(0)
    return Net()

def refused(code, call):
    try:
        call()
    except repana.ModelError as error:
        assert str(error).startswith(code), error
        return str(error)
    raise AssertionError("not refused")

def same(net, layers, **options):
    want = repana.record(made(), (X, Y), layers, batch_size=16, **options)
    got = repana.record(net, (X, Y), layers, batch_size=16, **options)
    for layer in want:
        assert type(got[layer]) is torch.Tensor and got[layer].shape == want[layer].shape, layer
        torch.testing.assert_close(got[layer], want[layer], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(got.logits, want.logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(got.head.weight, want.head.weight, rtol=0, atol=0)
    assert got.provenance["weights_sha256"] == want.provenance["weights_sha256"]
    return got

dist.init_process_group("gloo")
mesh = init_device_mesh("cpu", (dist.get_world_size(),))
X, Y = torch.randn(64, 16, generator=torch.Generator().manual_seed(1)), torch.arange(64) % 4

net = made()
for module in (net.b1, net.b2, net):
    fully_shard(module, mesh=mesh)
got = same(net, ["b1", "b1.up", "b1.act", "b2.down", "head:in", "head"])
assert repana.profile(got, analyzers=["neural_collapse"], permutations=0, bootstrap=0).rows
refused("RA130: ", lambda: repana.record(net, (X, Y), store="never"))

net = made()
for block in (net.b1, net.b2):
    parallelize_module(block, mesh, {"up": ColwiseParallel(), "down": RowwiseParallel()})
hooks = [len(m._forward_hooks) for m in net.modules()]
same(net, ["b1.up", "b1.down", "b1", "b2", "head:in", "head"])
text = refused("RA130: ", lambda: repana.record(net, (X, Y), ["b1.act"]))
assert "each has 32 of its features" in text and "Record 'b1.down'" in text, text
planned = repana.plan(net, (X, Y), ["*"])
assert {p.address: p.width for p in planned.layers}["b1.up"] == 64
assert "b1.act" not in [p.address for p in planned.layers]
assert any("left out 'b1.act'" in note for note in planned.notes), planned.notes
assert hooks == [len(m._forward_hooks) for m in net.modules()]

net = made()
parallelize_module(net.b1, mesh, {"up": ColwiseParallel(use_local_output=False), "down": RowwiseParallel()})
same(net, ["b1.up", "b1.act", "b1", "head:in", "head"])
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_fsdp_and_tensor_parallel_layers_are_whole_or_refused(tmp_path):
    (tmp_path / "run.py").write_text(SCRIPT)
    line = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(tmp_path / "run.py")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.second, self.head = nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 16), nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.act(self.second(self.act(self.first(x)))))


@pytest.mark.parametrize("how", ["cpu_offload", "disk_offload", "dispatch"])
def test_models_that_accelerate_places_are_read_as_they_are(how, tmp_path):
    accelerate = pytest.importorskip("accelerate")
    torch.manual_seed(0)
    plain = Two()
    placed = Two()
    placed.load_state_dict(plain.state_dict())
    data = (torch.randn(40, 6), torch.arange(40) % 4)
    layers = ["first", "act@2", "second", "head:in", "head"]
    want = repana.record(plain, data, layers)
    if how == "cpu_offload":
        placed = accelerate.cpu_offload(placed, execution_device="cpu")
    elif how == "disk_offload":
        placed = accelerate.disk_offload(placed, str(tmp_path / "weights"), execution_device="cpu")
    else:
        places = {"first": "cpu", "act": "cpu", "second": "disk", "head": "cpu"}
        placed = accelerate.dispatch_model(placed, places, main_device="cpu", offload_dir=str(tmp_path / "weights"))
    where = {name: p.device.type for name, p in placed.named_parameters()}
    for _ in range(2):
        got = repana.record(placed, data, layers)
        for layer in want:
            torch.testing.assert_close(got[layer], want[layer], rtol=0, atol=0)
        torch.testing.assert_close(got.head.weight, want.head.weight, rtol=0, atol=0)
    assert {name: p.device.type for name, p in placed.named_parameters()} == where
    stored = repana.record(placed, data, layers, store=tmp_path / "acts")
    torch.testing.assert_close(repana._check.tensor_of(stored["second"], "x"), want["second"], rtol=0, atol=0)
