"""What a plan foretells of an analyzer, against what it then takes: CPU seconds and peak memory, on one thread.

The sizes are not those that the factors of the costs come from. And the estimate of dimension from the neighbours of
some samples, each among all, against that from all.
"""

import statistics
import time
from pathlib import Path

import torch

import repana
from benchmarks._measure import Line, show
from benchmarks.profile import SETTINGS, layer
from repana import Activations
from repana._ambient import release_memory
from repana._cost import Size
from repana._costs import of_layer
from repana._machine import measured
from repana._measure import Layer
from repana._selection import read_later, selected

CASES = ((300, 768, 5), (1500, 96, 4), (3000, 384, 10), (3000, 256, 100), (6000, 1024, 20), (25_000, 192, 10))
WORTH = 0.02  # seconds, from which a time says something
LARGE = 2**24  # bytes, from which a peak does
WITHIN, SHARE, MEMORY = 2.0, 0.8, 1.5
SAMPLES, QUERIES, SETS, HELD = 50_000, 20_000, 20, 0.9


def status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def actual(n: int, d: int, c: int) -> list[tuple[str, float, float]]:
    """Seconds and peak bytes of every analyzer of a layer, with the summaries that it is the first to read."""
    chosen = selected("all")
    made = Layer(Activations({"layer": layer(n, d, c)[0]}, layer(n, d, c)[1]), "layer", SETTINGS)
    base, found = None, []
    for analyzer, later in zip(chosen.analyzers, read_later(chosen)):
        release_memory()
        base = status("VmRSS") if base is None else base
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        began = time.process_time()
        made.measure(analyzer.measure, analyzer.name)
        found.append((analyzer.name, time.process_time() - began, status("VmHWM") - base))
        made.forget(later)
    return found


def foretold() -> list[Line]:
    torch.set_num_threads(1)
    actual(200, 32, 5)  # what is imported and kept does not count
    seconds, peaks, lines = [], [], []
    for n, d, c in CASES:
        machine = measured()
        size = Size(n, d, c, int(SETTINGS["permutations"]), int(SETTINGS["bootstrap"]))  # type: ignore[call-overload]
        costs, took = of_layer(selected("all"), size), actual(n, d, c)
        ratios = {
            name: machine.seconds(cost) / cpu for cost, (name, cpu, _) in zip(costs, took) if cost and cpu >= WORTH
        }
        sizes = {name: cost.peak / peak for cost, (name, _, peak) in zip(costs, took) if cost and peak >= LARGE}
        seconds += list(ratios.values())
        peaks += list(sizes.values())
        whole = sum(machine.seconds(cost) for cost in costs if cost) / sum(cpu for _, cpu, _ in took)
        note = ", ".join(f"{name} {value:.2g}" for name, value in ratios.items())
        lines.append(
            Line(f"n = {n}, d = {d}, c = {c}: planned/actual s", whole, min(ratios.values()), max(ratios.values()), "",
                 None, note)
        )  # fmt: skip
    close = sum(1 / WITHIN <= r <= WITHIN for r in seconds) / len(seconds)
    most = statistics.quantiles(peaks, n=10)[-1]
    lines.append(Line("analyzers within a factor of 2", close, close, close, f"at least {SHARE}", close >= SHARE))
    above = sum(r >= 1 for r in peaks) / len(peaks)
    lines.append(
        Line("planned/actual peak memory: 9 of 10 at most", most, min(peaks), max(peaks), f"at most {MEMORY}",
             most <= MEMORY, f"{above:.0%} of {len(peaks)} are upper bounds")
    )  # fmt: skip
    return lines


def queries() -> list[Line]:
    inside, ratios = 0, []
    for seed in range(SETS):
        g = torch.Generator().manual_seed(seed)
        x = torch.cat([torch.rand(SAMPLES, 3, generator=g), 0.01 * torch.randn(SAMPLES, 5, generator=g)], 1)
        whole = repana.two_nn(x, queries=SAMPLES)
        some = repana.two_nn(x, queries=QUERIES, seed=seed)
        inside += whole.low <= some.value <= whole.high
        ratios.append(some.value / whole.value)
    share = inside / SETS
    name = f"{QUERIES:,} of {SAMPLES:,} among all: inside the interval of all"
    return [
        Line(name, share, share, share, f"at least {HELD}", share >= HELD, f"{SETS} sets of data"),
        Line("the same: estimate/that of all", statistics.median(ratios), min(ratios), max(ratios), "", None),
    ]


def main() -> None:
    show("Plans against what they foretell", foretold() + queries())
