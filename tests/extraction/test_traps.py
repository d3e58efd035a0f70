"""What goes silently wrong with plain hooks, each with the right answer asserted (the trap table of the README)."""

import copy
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch
from networks import Net
from torch import Tensor, nn

import repana
from repana import InputError, ModelError, record
from repana.extraction import _session


def test_batch_norm_before_in_place_relu():
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(216, 2))
    x = torch.randn(10, 3, 8, 8)
    got = record(net, x, ["0", "1", "2"], batch_size=4)
    with torch.no_grad():
        net.eval()
        conv = net[0](x)
        norm = net[1](conv)
    torch.testing.assert_close(got["0"], conv.mean((2, 3)))
    torch.testing.assert_close(got["1"], norm.mean((2, 3)))
    torch.testing.assert_close(got["2"], norm.relu().mean((2, 3)))
    assert float(got["1"].min()) < 0
    assert "RA105" in repana.plan(net, x, ["1"]).layers[0].notes[0]


def test_output_changed_by_an_operator():
    def forward(net, x):
        y = net.lin(x)
        y += x
        return y

    net, x = Net(forward, lin=nn.Linear(4, 4)), torch.randn(6, 4)
    torch.testing.assert_close(record(net, x, ["lin"])["lin"], net.lin(x).detach())


def test_module_called_three_times():
    net, x = Net(lambda net, x: net.lin(net.lin(net.lin(x))), lin=nn.Linear(4, 4)), torch.randn(6, 4)
    got = record(net, x, ["lin"])
    assert list(got) == ["lin@1", "lin@2", "lin@3"]
    with torch.no_grad():
        torch.testing.assert_close(got["lin@1"], net.lin(x))
        torch.testing.assert_close(got["lin@3"], net.lin(net.lin(net.lin(x))))
        torch.testing.assert_close(record(net, x, ["lin@2:in"])["lin@2:in"], net.lin(x))
    assert list(record(net, x, ["lin@2"])) == ["lin@2"]
    with pytest.raises(ModelError) as error:
        record(net, x, ["lin@4"])
    assert str(error.value) == "RA109: 'lin@4': 'lin' ran 3 time(s) per forward; expected @1 to @3."


def test_lstm_parts():
    net, x = Net(lambda net, x: net.rnn(x)[1][0][-1], rnn=nn.LSTM(5, 7, batch_first=True)), torch.randn(6, 3, 5)
    with pytest.raises(ModelError) as error:
        record(net, x, ["rnn"])
    assert str(error.value) == (
        "RA103: 'rnn' holds 3 tensors; choose one of 'rnn[0] 6x3x7', 'rnn[1][0] 1x6x7', 'rnn[1][1] 1x6x7'."
    )
    out, (h, _) = net.rnn(x)
    got = record(net, x, ["rnn[0]", "rnn[1][0]"], {"rnn[0]": "mean", "rnn[1][0]": "flatten"}, mask=False, batch_size=4)
    torch.testing.assert_close(got["rnn[0]"], out.detach().mean(1))
    torch.testing.assert_close(got["rnn[1][0]"], h[0].detach())  # samples on its second axis


@dataclass
class Out:
    logits: Tensor
    hidden: Tensor


@pytest.mark.parametrize("kind", ["dict", "dataclass"])
def test_dict_and_dataclass_outputs(kind):
    def forward(net, x):
        h = net.a(x)
        return {"logits": net.b(h), "hidden": h} if kind == "dict" else Out(net.b(h), h)

    net, x = Net(forward, a=nn.Linear(4, 5), b=nn.Linear(5, 3)), torch.randn(6, 4)
    got = record(net, (x, torch.tensor([0, 1, 2, 0, 1, 2])), ["output.hidden", "output.logits"])
    torch.testing.assert_close(got["output.hidden"], net.a(x).detach())
    torch.testing.assert_close(got["output.logits"], net.b(net.a(x)).detach())
    torch.testing.assert_close(got.logits, got["output.logits"])
    auto = record(net, x)
    assert list(auto) == ["input", "b:in", "b"]
    assert auto.head is not None
    assert auto.head.layer == "b:in"


def test_branch_not_taken():
    net = Net(lambda net, x: net.a(x), a=nn.Linear(4, 4), b=nn.Linear(4, 4))
    with pytest.raises(ModelError) as error:
        record(net, torch.randn(6, 4), ["b"])
    assert str(error.value) == (
        "RA102: 'b' is in the model but never ran on the first batch (a branch not taken, or a fused kernel that "
        "skips it). Ran nearby: 'a'."
    )


def test_branch_taken_on_some_batches():
    net = Net(lambda net, x: net.b(x) if x.sum() > 0 else x, b=nn.Linear(1, 1))
    with pytest.raises(ModelError) as error:
        record(net, [torch.ones(6, 1), -torch.ones(6, 1)], ["b"])
    assert str(error.value) == (
        "RA110: 'b': its module ran 1 time(s) on the first batch but 0 on batch 1 (counted from 0). Layers that run on "
        "some inputs only cannot be recorded for all; leave it out."
    )


@pytest.mark.parametrize("t", [4, 7])
def test_time_first(t):
    """Also where the number of steps equals the number of samples, and shapes alone cannot tell."""
    net = Net(lambda net, x: net.out(net.rnn(x.transpose(0, 1))[0][-1]), rnn=nn.GRU(5, 3), out=nn.Linear(3, 2))
    x = torch.randn(4, t, 5)
    got = record(net, x, ["rnn[0]"], mask=False)
    torch.testing.assert_close(got["rnn[0]"], net.rnn(x.transpose(0, 1))[0].detach().mean(0))


def test_rows_that_are_tokens_of_samples():
    """Samples and tokens on one axis: one row a sample, the mean over its real tokens."""
    net = Net(lambda net, x: net.a(x.flatten(0, 1)).view(len(x), -1), a=nn.Linear(5, 3))
    x = torch.randn(4, 7, 5)
    with pytest.raises(ModelError, match="RA107: 'a' is a sequence of shape"):
        record(net, x, ["a"])
    torch.testing.assert_close(record(net, x, ["a"], mask=False)["a"], net.a(x).detach().mean(1))
    mask = torch.arange(7) < torch.tensor([3, 7, 1, 5])[:, None]
    want = torch.stack([net.a(row[m]).mean(0) for row, m in zip(x, mask)]).detach()
    torch.testing.assert_close(record(net, x, ["a"], mask=lambda batch: mask[: len(batch)])["a"], want)


def test_samples_behind_something_else():
    net = Net(lambda net, x: net.a(x.transpose(0, 1).flatten(0, 1)), a=nn.Linear(5, 3))
    x = torch.randn(4, 7, 5)
    with pytest.raises(ModelError) as error:
        record(net, x, ["a"], mask=False)
    assert str(error.value) == (
        "RA106: 'a' has shape (28, 3) for 4 samples: axis 0 holds the samples behind something else. Say how they are "
        'merged, as in layout={"a": "(t b) c"}.'
    )
    got = record(net, x, ["a"], mask=False, layout={"a": "(t b) c"})["a"]
    torch.testing.assert_close(got, net.a(x).detach().mean(1))


def _padded_batch(n=6, t=5, d=16):
    x = torch.randn(n, t, d)
    lengths = torch.arange(n) % t + 1
    lengths[-1] = t
    return x, torch.arange(t) < lengths[:, None]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensor_inside_a_transformer_encoder():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.enc = nn.TransformerEncoder(layer, 2)
            self.out = nn.Linear(16, 2)

        def forward(self, x, attention_mask):
            return self.out(self.enc(x, src_key_padding_mask=~attention_mask)[:, 0])

    net, (x, mask) = Encoder(), _padded_batch()
    got = record(net, {"x": x, "attention_mask": mask}, ["enc.layers.0", "enc"])
    net.eval()
    with torch.no_grad():
        parts = [net.enc.layers[0](x[i : i + 1, : int(m.sum())])[0].mean(0) for i, m in enumerate(mask)]
        whole = [net.enc(x[i : i + 1, : int(m.sum())])[0].mean(0) for i, m in enumerate(mask)]
    torch.testing.assert_close(got["enc.layers.0"], torch.stack(parts), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got["enc"], torch.stack(whole), rtol=1e-4, atol=1e-5)


def test_fused_attention_projection_never_runs():
    net = Net(lambda net, x: net.att(x, x, x)[0].mean(1), att=nn.MultiheadAttention(8, 2, batch_first=True))
    with pytest.raises(ModelError, match="RA102: 'att.out_proj' is in the model but never ran"):
        record(net, torch.randn(4, 3, 8), ["att.out_proj"])


def test_channels_last():
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU()).to(memory_format=torch.channels_last)
    x = torch.randn(5, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    want = net(x).detach()
    assert not want.is_contiguous()
    torch.testing.assert_close(record(net, x, ["1|flatten"])["1|flatten"], want.flatten(1))
    torch.testing.assert_close(record(net, x, ["1"], "max")["1"], want.amax((2, 3)))


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side(side):
    x, mask = _padded_batch(d=4)
    if side == "left":
        x, mask = x.flip(1), mask.flip(1)

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(4, 4)

        def forward(self, x, attention_mask):
            return self.lin(x)

    net = Tokens()
    got = record(
        net, {"x": x, "attention_mask": mask}, ["lin|mean", "lin|cls", "lin|last", "lin|flatten"], batch_size=4
    )
    y = net.lin(x).detach()
    real = [y[i, m] for i, m in enumerate(mask)]
    torch.testing.assert_close(got["lin|mean"], torch.stack([r.mean(0) for r in real]))
    torch.testing.assert_close(got["lin|cls"], torch.stack([r[0] for r in real]))
    torch.testing.assert_close(got["lin|last"], torch.stack([r[-1] for r in real]))
    tokens = record(net, {"x": x, "attention_mask": mask, "labels": torch.arange(6)}, ["lin|tokens"], batch_size=4)
    torch.testing.assert_close(tokens["lin|tokens"], torch.cat(real))
    assert tokens.labels.tolist() == tokens.sample.tolist() == [i for i, r in enumerate(real) for _ in r]


def test_padding_does_not_leak_into_the_mean():
    """One long text in the batch must not change what is recorded for the others."""
    x, mask = _padded_batch(d=4)
    noisy = torch.where(mask[..., None], x, float("nan"))
    net = nn.Identity()
    clean = record(net, [x], ["output"], forward=lambda m, b: m(b), mask=lambda b: mask)
    dirty = record(net, [noisy], ["output"], forward=lambda m, b: m(b), mask=lambda b: mask)
    torch.testing.assert_close(clean["output"], dirty["output"])


def test_sequence_without_mask_is_refused():
    net = nn.Sequential(nn.Linear(4, 4))
    with pytest.raises(ModelError) as error:
        record(net, torch.randn(6, 5, 4), ["0"])
    assert str(error.value) == (
        "RA107: '0' is a sequence of shape (6, 5, 4) and no attention mask came with it, so 'mean' would mix in "
        "padding. Give `mask=` (a key of the batch or a function), choose '0|cls', or say `mask=False` if nothing is "
        "padded."
    )


def test_ragged_last_batch():
    net, x = nn.Sequential(nn.Linear(4, 3)), torch.randn(7, 4)
    want = net(x).detach()
    for size in (1, 3, 6, 7, 100):
        torch.testing.assert_close(record(net, x, ["0"], batch_size=size)["0"], want)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("where", ["whole", "in place", "inner"])
def test_torch_compile_after_it_has_run(where):
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Sequential(nn.Linear(5, 5), nn.Tanh()), nn.Linear(5, 3))
    x = torch.randn(8, 4)
    want = net[2][0](net[1](net[0](x))).detach()
    if where == "whole":
        compiled = torch.compile(net, backend="eager")
    elif where == "inner":
        net[2] = torch.compile(net[2], backend="eager")
        compiled = net
    else:
        net.compile(backend="eager")
        compiled = net
    compiled(x)
    name = "2._orig_mod.0" if where == "inner" else "2.0"
    got = record(compiled, x, [name])
    torch.testing.assert_close(got[name], want)
    if where == "whole":
        assert got.provenance["unwrapped"] == ["torch.compile"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_model_that_compiles_in_its_first_forward():
    """In a process of its own: nothing has loaded the compiler before, and nothing but the model loads it."""
    script = """
import sys, torch, repana
from torch import nn

class Late(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.compiled, self.runs = nn.Linear(4, 5), nn.Linear(5, 3), None, 0

    def body(self, x):
        self.runs += not torch.compiler.is_compiling()
        return self.two(self.one(x).tanh())

    def forward(self, x):
        if self.compiled is None:
            self.compiled = torch.compile(self.body, backend="eager")
        return self.compiled(x)

net, x = Late(), torch.randn(40, 4)
assert "torch._dynamo" not in sys.modules
repana.record(nn.Linear(4, 2), x)
assert "torch._dynamo" not in sys.modules
got = repana.record(net, x, ["one", "two"], batch_size=8)
assert "torch._dynamo" in sys.modules
torch.testing.assert_close(got["one"], net.one(x).detach())
torch.testing.assert_close(got["two"], net.two(net.one(x).tanh()).detach())
assert net.runs >= 5
assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_data_parallel_is_unwrapped():
    net, x = nn.Sequential(nn.Linear(4, 3)), torch.randn(8, 4)
    torch.testing.assert_close(record(nn.DataParallel(net), x, ["0"])["0"], net(x).detach())


def test_captures_serve_autograd():
    """Recorded under no_grad, not inference_mode: features may enter a probe's graph."""
    net, x = nn.Sequential(nn.Linear(4, 3)), torch.randn(8, 4)
    probe = nn.Linear(3, 2)
    probe(record(net, x, ["0"])["0"]).sum().backward()
    assert probe.weight.grad is not None


def _fingerprint(net):
    hooks = [
        (name, len(m._forward_hooks), len(m._forward_pre_hooks), len(m._forward_hooks_with_kwargs), m.training)
        for name, m in net.named_modules()
    ]
    attributes = {name: sorted(vars(m)) for name, m in net.named_modules()}
    return hooks, attributes, {k: v.clone() for k, v in net.state_dict().items()}


@pytest.mark.parametrize("failure", [None, ValueError, KeyboardInterrupt])
def test_model_is_left_as_it_was(failure):
    calls = 0

    def forward(net, x):
        nonlocal calls
        calls += 1
        if failure is not None and calls > 3:
            raise failure("stop")
        return net.drop(net.bn(net.lin(x)))

    net = Net(forward, lin=nn.Linear(4, 4), bn=nn.BatchNorm1d(4), drop=nn.Dropout(0.5))
    net.train()
    net.bn.eval()
    before, state = _fingerprint(net), torch.get_rng_state()
    if failure is None:
        record(net, torch.randn(8, 4, generator=torch.Generator()), ["lin"], batch_size=4)
    else:
        with pytest.raises(failure):
            record(net, torch.randn(8, 4, generator=torch.Generator()), ["lin"], batch_size=2)
    hooks, attributes, weights = _fingerprint(net)
    assert (hooks, attributes) == before[:2]
    assert all(torch.equal(weights[k], v) for k, v in before[2].items())
    assert torch.equal(torch.get_rng_state(), state)
    copy.deepcopy(net)


def test_stops_after_the_deepest_wanted_layer():
    ran = []

    class Last(nn.Module):
        def forward(self, x):
            ran.append(len(x))
            return x

    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), Last(), nn.Linear(4, 2))
    got = record(net, torch.randn(64, 4), ["0"], batch_size=8)
    assert ran == [4, 3]  # the probe alone
    assert got.logits is None
    ran.clear()
    got = record(net, torch.randn(64, 4), ["0"], batch_size=8, logits=True)
    assert len(ran) == 10
    assert got.logits is not None


def test_nan_names_layer_and_batch():
    net, x = nn.Sequential(nn.Linear(2, 3)), torch.randn(12, 2)
    x[9, 0] = float("nan")
    with pytest.raises(InputError) as error:
        record(net, x, ["0"], batch_size=4)
    assert str(error.value) == (
        "RA204: layer '0' gave 3 NaN or infinite value(s) of 12 in batch 2 (counted from 0). Check that batch and the "
        "weights before this layer; in half precision, try dtype=None."
    )


def test_session_restores_when_setup_fails(monkeypatch):
    net = nn.Linear(2, 2).train()
    monkeypatch.setattr(_session.torch, "inference_mode", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        record(net, torch.randn(4, 2), ["output"])
    assert net.training
    assert torch.is_grad_enabled()


@pytest.mark.filterwarnings("ignore")
def test_distributed_data_parallel_is_unwrapped(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        net, x = nn.Sequential(nn.Linear(4, 3)), torch.randn(8, 4)
        got = record(nn.parallel.DistributedDataParallel(net), x, ["0"])
        torch.testing.assert_close(got["0"], net(x).detach())
        assert got.provenance["unwrapped"] == ["DistributedDataParallel"]
    finally:
        torch.distributed.destroy_process_group()


def test_mask_of_another_length_than_the_layer():
    class Shorter(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(4, 4)

        def forward(self, x, attention_mask):
            return self.lin(x[:, ::2])

    with pytest.raises(ModelError) as error:
        record(Shorter(), {"x": torch.randn(6, 5, 4), "attention_mask": torch.ones(6, 5)}, ["lin"])
    assert str(error.value) == (
        "RA113: 'lin' has 3 positions on axis 1, and of the masks of its inputs ('attention_mask' of length 5) "
        "there is "
        "none of that length. Name its mask with mask={'lin': ...} (a key or a function of the batch, or False), or "
        "choose 'lin|flatten'."
    )
