"""A profile of twelve layers on a GPU against the forward pass that feeds it, wall time, in under eight minutes.

Without a CUDA device nothing is measured.
"""

import time
from collections.abc import Callable

import torch
from torch import nn

import repana
from benchmarks._measure import Line, ratio, show

DATA, CLASSES, BATCH, WIDTHS = 4000, 10, 100, (256, 512, 1024, 2048)


def stack(depth: int = 12, width: int = 512) -> nn.Sequential:
    """Convolutions over images of 224 x 224, as wide at every layer as the features that are measured."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Sequential(nn.Conv2d(3, width, 16, 16), nn.ReLU())]
    for _ in range(depth - 1):
        layers.append(nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU()))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES)).eval()


def seconds(function: Callable[[], object], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    function()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def run(device: str, rounds: int = 3, data: int = DATA, depth: int = 12) -> list[Line]:
    model = stack(depth).to(device)
    images, labels = torch.randn(BATCH, 3, 224, 224), torch.arange(data) % CLASSES
    batches = [(images, labels[i : i + BATCH]) for i in range(0, data, BATCH)]

    def forward() -> None:
        with torch.inference_mode():
            for x, _ in batches:
                model(x.to(device))

    names = [str(k) for k in range(depth)]
    passes, recordings, profiles = [], [], []
    activations = repana.record(model, batches, layers=names, device=device)
    repana.profile(activations)
    for _ in range(rounds):
        passes.append(seconds(forward, device))
        recordings.append(seconds(lambda: repana.record(model, batches, layers=names, device=device), device))
        profiles.append(seconds(lambda: repana.profile(activations), device))
    where = "GPU" if device == "cuda" else "CPU"
    return [
        ratio(f"{where}: recording of {depth} layers/pass of {data} images", recordings, passes),
        ratio(f"{where}: profile of {depth} layers/pass of {data} images", profiles, passes, most=1.0),
    ]


def by_width(device: str) -> list[Line]:
    """Seconds of a profile of one layer."""
    lines = []
    for d in WIDTHS:
        x = torch.randn(DATA, d, generator=torch.Generator().manual_seed(0)).relu().to(device)
        y = torch.arange(DATA) % CLASSES
        repana.profile({"layer": x}, y)
        took = [seconds(lambda x=x, y=y: repana.profile({"layer": x}, y), device) for _ in range(3)]
        lines.append(ratio(f"one layer of {DATA} x {d}: seconds", took, [1.0] * 3))
    return lines


def main() -> None:
    if not torch.cuda.is_available():
        print("no CUDA device: nothing to measure")
        return
    show(f"Profile on {torch.cuda.get_device_name()}", run("cuda") + by_width("cuda"))
