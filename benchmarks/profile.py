"""A profile of one layer by analyzer, in products, and against the forward pass that feeds it.

"G" is one float32 product of the samples with themselves, n x n x d, timed in the same process. What a summary costs
stands under its own name, and what an analyzer makes of it under the analyzer's. Features are like those of a ReLU
layer: 64 directions with falling variance, the negative half cut off, a little noise.
"""

import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from benchmarks._measure import Line, ratio, show, steady_memory
from repana import Activations
from repana._ambient import release_memory
from repana._measure import Layer, is_summary, reads_of
from repana._profile import PERMUTATIONS
from repana._selection import read_later, selected

ROWS = 1024  # of a chunk of the product
SETTINGS = {"convention": "papyan", "permutations": PERMUTATIONS, "bootstrap": 100, "level": 0.95, "seed": 0}
CASES = (  # n, d, c, the most products that a layer may take
    (4000, 512, 10, 45.0),
    (4000, 512, 100, 110.0),
    (4000, 512, 1000, 600.0),
    (4000, 2048, 10, 70.0),
    (10_000, 512, 10, None),
    (1000, 128, 10, None),
)
SLOW = 1000  # classes or features, from which a case is timed once
MEBIBYTES = 512  # above the features
MEMORY_CASES = ((4000, 512, 10), (4000, 512, 1000), (10_000, 512, 10), (4000, 2048, 10))
IMAGES, FEATURES, CLASSES, DATA = 16, 512, 10, 4000


def layer(n: int, d: int, c: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Features like those of a ReLU layer, and labels."""
    generator = torch.Generator().manual_seed(seed)
    y, r = torch.arange(n) % c, min(d, 64)
    directions = torch.randn(r, d, generator=generator) / r**0.5
    spread = torch.arange(1, r + 1).float() ** -0.5
    means = torch.randn(c, r, generator=generator) * 0.8
    x = ((means[y] + torch.randn(n, r, generator=generator)) * spread) @ directions
    x += 0.05 * torch.randn(n, d, generator=generator)
    return x.relu() + 0.01 * torch.randn(n, d, generator=generator), y


def product(x: torch.Tensor) -> Callable[[], None]:
    """All inner products, some rows at a time."""

    def multiply() -> None:
        out = torch.empty(ROWS, len(x))
        for rows in x.split(ROWS):
            torch.mm(rows, x.T, out=out[: len(rows)])

    return multiply


def seconds(function: Callable[[], object]) -> float:
    began = time.process_time()
    function()
    return time.process_time() - began


def by_analyzer(x: torch.Tensor, y: torch.Tensor) -> dict[str, float]:
    """CPU seconds of every summary and analyzer of a layer, in the order in which a profile measures them."""
    measured = Layer(Activations({"layer": x}, y), "layer", SETTINGS)
    found: dict[str, float] = {}
    chosen = selected("all")
    for analyzer, later in zip(chosen.analyzers, read_later(chosen)):
        for kind in reads_of(analyzer.measure).values():
            if is_summary(kind) and kind.__name__ not in found:
                found[kind.__name__] = seconds(lambda kind=kind: measured.read(kind))
        found[analyzer.name] = seconds(lambda a=analyzer: measured.measure(a.measure, a.name))
        measured.forget(later)
        release_memory()
    return found


def one_case(n: int, d: int, c: int, most: float | None, rounds: int = 3) -> list[Line]:
    x, y = layer(n, d, c)
    multiply = product(x)
    multiply()
    parts: dict[str, list[float]] = {}
    whole, unit = [], []
    for _ in range(1 if max(c, d) >= SLOW else rounds):
        before = seconds(multiply)
        found = by_analyzer(x, y)
        unit.append((before + seconds(multiply)) / 2)
        whole.append(sum(found.values()))
        for name, value in found.items():
            parts.setdefault(name, []).append(value)
    g = median(unit)
    shares = sorted(((median(v) / g, name) for name, v in parts.items()), reverse=True)
    note = ", ".join(f"{name} {value:.3g}" for value, name in shares if value >= 0.05)
    return [ratio(f"n = {n}, d = {d}, c = {c}: layer/G", whole, unit, most=most, note=f"G {g:.3g} s; {note}")]


def small_layers(rounds: int = 5) -> list[Line]:
    """Layers of so few samples that calls, not arithmetic, take the time."""
    x, y = layer(200, 64, 10)
    by_analyzer(x, y)
    found = [sum(by_analyzer(x, y).values()) for _ in range(rounds)]
    return [ratio("n = 200, d = 64, c = 10: CPU s", found, [1.0] * rounds, most=0.25)]


def _peak(case: tuple[int, int, int]) -> float:
    """Mebibytes of a process that its features do not explain."""
    torch.set_num_threads(1)
    by_analyzer(*layer(200, 16, 5))  # what is imported and kept does not count
    x, y = layer(*case)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the high-water mark starts anew
    before = _kibibytes("VmRSS")
    by_analyzer(x, y)
    return (_kibibytes("VmHWM") - before) / 1024


def _kibibytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def memory() -> list[Line]:
    """The peak of a process of its own for each case."""
    lines = []
    for case in MEMORY_CASES:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            peak = pool.apply(_peak, (case,))
        n, d, c = case
        lines.append(ratio(f"n = {n}, d = {d}, c = {c}: MiB above the features", [peak], [1.0], most=MEBIBYTES))
    return lines


def against_forward(rounds: int = 3) -> list[Line]:
    """A layer of as many samples against its share of the pass of a ResNet-18 over images of 224 x 224 pixels."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    model, images = resnet18().eval(), torch.randn(IMAGES, 3, 224, 224)

    def forward() -> None:
        with torch.inference_mode():
            model(images)

    forward()
    layers = 11  # what "auto" takes of it
    x, y = layer(DATA, FEATURES, CLASSES)
    pass_, profile = [], []
    for _ in range(rounds):
        before = seconds(forward)
        profile.append(layers * sum(by_analyzer(x, y).values()))
        pass_.append((before + seconds(forward)) / 2 * DATA / IMAGES)
    name = f"ResNet-18, {DATA} images, {layers} layers of {FEATURES}: profile/pass"
    return [ratio(name, profile, pass_, most=1.0)]


def main() -> None:
    torch.set_num_threads(1)
    steady_memory()
    lines = small_layers()
    for case in CASES:
        lines += one_case(*case)
    lines += against_forward()
    lines += memory()
    show("A profile of one layer", lines)
