"""What a monitor costs a training: the share of time beside its budget, and one record in updates of the weights."""

import tempfile
import time
from typing import Any

import torch
from torch import nn

import repana
from benchmarks._measure import Line, ratio, show

STEPS, BATCH = 1500, 128
BUDGET = 0.05


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    widths = [64] + [256] * 6
    layers = [m for a, b in zip(widths, widths[1:]) for m in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(256, 10))


def training(
    seed: int, folder: str | None, budget: float | None, every: int
) -> tuple[float, Any, repana.Monitor | None]:
    """Seconds, weights at the end, and the monitor of a training."""
    net = network(seed)
    g = torch.Generator().manual_seed(seed)
    means = torch.randn(10, 64, generator=g)
    y = torch.randint(10, (5000,), generator=g)
    x = means[y] + torch.randn(5000, 64, generator=g)
    optimizer = torch.optim.SGD(net.parameters(), 0.05)
    monitor = None
    if folder is not None:
        monitor = repana.Monitor((x[4000:], y[4000:]), store=folder, every=every, budget=budget)
    torch.manual_seed(seed)
    began = time.perf_counter()
    for step in range(1, STEPS + 1):
        rows = torch.randint(4000, (BATCH,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        optimizer.step()
        if monitor is not None:
            monitor.step(net, step)
    return time.perf_counter() - began, net.state_dict(), monitor


def main() -> None:
    training(0, None, None, 1)
    taken, whole, records, updates, equal = [], [], [], [], []
    longest = 0.0
    for seed in range(5):
        seconds, plain, _ = training(seed, None, None, 1)
        with tempfile.TemporaryDirectory() as folder:
            _, watched, monitor = training(seed, folder, BUDGET, 50)
            assert monitor is not None
            clock = monitor.folder.about()["clock"] if monitor.close() is None else {}
            taken.append(clock["own"])
            whole.append(clock["own"] + clock["training"])
            longest = max(longest, *clock["costs"])
            equal.append(all(torch.equal(plain[k], watched[k]) for k in plain))
        with tempfile.TemporaryDirectory() as folder:
            _, _, monitor = training(seed, folder, None, 150)
            assert monitor is not None
            monitor.close()
            records.append(sum(monitor.folder.about()["clock"]["costs"]) / 3)
            updates.append(seconds / STEPS)
    same = [float(e) for e in equal]
    show(
        "A monitor over 1500 updates of a 6 x 256 MLP, 1000 samples, every 50 updates",
        [
            ratio("time of the monitor / all, budget .05 and one record", taken, whole,
                  most=round(BUDGET + longest / min(whole), 4)),
            Line("weights equal bit by bit, with and without it", min(same), min(same), max(same), "1", min(same) == 1),
            ratio("one record / one update", records, updates),
        ],
    )  # fmt: skip
