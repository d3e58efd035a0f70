"""Recording against the plain forward pass, and beside raw hooks, captum and torchextractor."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from benchmarks._measure import Line, beside, ratio, show, steady_memory
from repana import plan, record

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from networks import ResNet  # noqa: E402

BATCHES, BATCH = 96, 16  # a recording's probe of five samples is inside its time


class Bert(nn.Module):
    """A 6-layer encoder of width 256 on 64 tokens, with a classifier on the first token."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        config = BertConfig(
            hidden_size=256, num_hidden_layers=6, num_attention_heads=4, intermediate_size=1024, vocab_size=1000
        )
        self.bert = BertModel(config, add_pooling_layer=False)
        self.classifier = nn.Linear(256, 10)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.bert(input_ids, attention_mask).last_hidden_state[:, 0])


def resnet() -> tuple[nn.Module, list, list[str], list[str]]:
    net = ResNet(blocks=8, width=32, classes=10).eval()
    data = [(torch.randn(BATCH, 3, 32, 32), torch.arange(BATCH) % 10) for _ in range(BATCHES)]
    blocks = [f"layer{i}.{j}" for i in (1, 2) for j in range(4)]
    return net, data, blocks, blocks[:4]


def bert() -> tuple[nn.Module, list, list[str], list[str]]:
    net = Bert().eval()
    ids = [torch.randint(0, 1000, (BATCH, 64)) for _ in range(BATCHES)]
    data = [{"input_ids": x, "attention_mask": torch.ones_like(x), "labels": torch.arange(BATCH) % 10} for x in ids]
    blocks = [f"bert.encoder.layer.{i}" for i in range(6)]
    return net, data, blocks, blocks[:3]


def call(net: nn.Module, batch) -> object:
    if isinstance(batch, dict):
        return net(batch["input_ids"], batch["attention_mask"])
    return net(batch[0])


def pooled(x) -> torch.Tensor:
    x = x[0] if isinstance(x, tuple) else x
    return x.mean((2, 3)) if x.ndim == 4 else x.mean(1)


def plain(net, data) -> None:
    with torch.no_grad():
        for batch in data:
            call(net, batch)


def raw_hooks(net, data, layers) -> dict[str, torch.Tensor]:
    found: dict[str, list[torch.Tensor]] = {name: [] for name in layers}
    handles = [
        net.get_submodule(name).register_forward_hook(lambda _m, _i, out, name=name: found[name].append(pooled(out)))
        for name in layers
    ]
    plain(net, data)
    for handle in handles:
        handle.remove()
    return {name: torch.cat(chunks) for name, chunks in found.items()}


def captum(net, data, layers) -> dict[str, torch.Tensor]:
    from captum.attr import LayerActivation

    modules = [net.get_submodule(name) for name in layers]
    found: dict[str, list[torch.Tensor]] = {name: [] for name in layers}
    reader = LayerActivation(net, modules)
    with torch.no_grad():
        for batch in data:
            inputs = (batch["input_ids"], batch["attention_mask"]) if isinstance(batch, dict) else batch[0]
            for name, x in zip(layers, reader.attribute(inputs)):
                found[name].append(pooled(x))
    return {name: torch.cat(chunks) for name, chunks in found.items()}


def torchextractor(net, data, layers) -> dict[str, torch.Tensor]:
    import torchextractor as tx

    extractor = tx.Extractor(net, layers)
    found: dict[str, list[torch.Tensor]] = {name: [] for name in layers}
    with torch.no_grad():
        for batch in data:
            inputs = (batch["input_ids"], batch["attention_mask"]) if isinstance(batch, dict) else (batch[0],)
            _, maps = extractor(*inputs)
            for name in layers:
                found[name].append(pooled(maps[name]))
    for module in net.modules():
        module._forward_hooks.clear()  # it leaves its hooks behind
        vars(module).pop("_extractor_fullname", None)
    return {name: torch.cat(chunks) for name, chunks in found.items()}


def run(rounds: int = 5) -> list[Line]:
    torch.set_num_threads(1)
    steady_memory()
    lines: list[Line] = []
    for title, make in (("ResNet", resnet), ("BERT", bert)):
        torch.manual_seed(0)
        net, data, blocks, half = make()
        functions: dict[str, Callable[[], object]] = {
            "plain": lambda net=net, data=data: plain(net, data),
            "repana": lambda net=net, data=data, b=blocks: record(net, data, b, logits=True),
            "moments": lambda net=net, data=data, b=blocks: record(net, data, b, logits=True, max_samples=10**6),
            "half": lambda net=net, data=data, h=half: record(net, data, h),
            "raw": lambda net=net, data=data, b=blocks: raw_hooks(net, data, b),
            "captum": lambda net=net, data=data, b=blocks: captum(net, data, b),
            "torchextractor": lambda net=net, data=data, b=blocks: torchextractor(net, data, b),
        }
        same = record(net, data, blocks, logits=True)
        for name in ("raw", "captum", "torchextractor"):
            other = functions[name]()
            worst = max(float((same[k] - other[k]).abs().max()) for k in blocks)  # type: ignore[index]
            assert worst < 1e-5, (name, worst)
        times, base = beside(functions, "plain", rounds)
        lines += [
            ratio(f"{title}: pooled capture of all blocks / plain forward", times["repana"], base["repana"], most=1.05),
            ratio(
                f"{title}: the same with exact class moments / plain forward",
                times["moments"],
                base["moments"],
                most=1.10,
            ),
            ratio(f"{title}: early stop at half depth / plain forward", times["half"], base["half"], most=0.7),
            ratio(f"{title}: raw hooks / plain forward", times["raw"], base["raw"]),
            ratio(f"{title}: captum LayerActivation / plain forward", times["captum"], base["captum"]),
            ratio(f"{title}: torchextractor / plain forward", times["torchextractor"], base["torchextractor"]),
        ]
    return [*lines, *probing(rounds), memory()]


def networks() -> dict[str, tuple[Callable[[], nn.Module], Callable[[], torch.Tensor], float]]:
    """Networks of usual size for the cost of the probe: how to make them, a batch of four, and the bar."""
    import torchvision
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel, MambaConfig, MambaModel

    llama = LlamaConfig(
        hidden_size=512, num_hidden_layers=12, num_attention_heads=8, intermediate_size=1376, vocab_size=1000
    )
    mamba = MambaConfig(hidden_size=256, num_hidden_layers=4, vocab_size=1000)
    ids = lambda: torch.randint(0, 1000, (4, 64))  # noqa: E731
    return {
        "ResNet-50": (lambda: torchvision.models.resnet50(), lambda: torch.randn(4, 3, 224, 224), 2.0),
        "BERT-base": (lambda: BertModel(BertConfig(vocab_size=1000)), ids, 2.0),
        "Llama, 12 layers of 512": (lambda: LlamaModel(llama), ids, 2.0),
        "Mamba's scan, 4 layers of 256": (lambda: MambaModel(mamba), ids, 5.0),
    }


def probing(rounds: int = 5) -> list[Line]:
    """The watched pass of the probe against a plain pass of the same four samples."""
    from repana.extraction._batches import Intake
    from repana.extraction._probe import Hooks
    from repana.extraction._probe import watched as watch
    from repana.extraction._session import session

    lines = []
    for title, (make, sample, most) in networks().items():
        torch.manual_seed(0)
        net, x = make().eval(), sample()

        def watched(net: nn.Module = net, x: torch.Tensor = x) -> None:
            with session(net, torch.device("cpu"), None) as live:
                watch(Hooks(live), Intake(net).unpack(x), None)

        def plainly(net: nn.Module = net, x: torch.Tensor = x) -> None:
            with torch.no_grad():
                net(x)

        times, base = beside({"plain": plainly, "watched": watched}, "plain", rounds)
        lines.append(ratio(f"{title}: watched pass / plain pass", times["watched"], base["watched"], most=most))
    return lines


PEAK = """
import re, sys, torch
from benchmarks.recording import moments_alone
moments_alone(int(sys.argv[1]))
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024)
"""  # not ru_maxrss, which a new process inherits from the one that starts it


def moments_alone(batches: int) -> None:
    """Class moments of every layer over batches that are made as they are read."""
    torch.set_num_threads(1)
    net = ResNet(blocks=4, width=32, classes=10).eval()
    stream = ((torch.randn(BATCH, 3, 32, 32), torch.arange(BATCH) % 10) for _ in range(batches))
    record(net, stream, "auto", max_samples=0)


def memory() -> Line:
    """Peak memory of a fresh process with moments alone, 400 batches against 100, by which the heap has settled."""
    few, many = (
        float(subprocess.run([sys.executable, "-c", PEAK, str(n)], capture_output=True, text=True, check=True).stdout)
        for n in (100, 400)
    )
    kept = 300 * BATCH * plan(ResNet(blocks=4, width=32), torch.randn(BATCH, 3, 32, 32)).bytes_per_sample / 2**20
    note = f"{few:.0f} MB and {many:.0f} MB; keeping the features would take {kept:.0f} MB more"
    return Line(
        "memory: peak after 400 batches / after 100, moments alone",
        many / few,
        many,
        few,
        "at most 1.02",
        many <= 1.02 * few,
        note,
    )


def main() -> None:
    began = time.time()
    show("Recording (CPU time, one thread)", run())
    print(f"  ({time.time() - began:.0f} s)")


__all__ = ["main", "run"]
