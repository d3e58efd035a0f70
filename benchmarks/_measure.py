"""CPU time of several functions in turn, so that a noisy machine disturbs all alike; medians of ratios."""

import ctypes
import json
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results.jsonl"


@dataclass(frozen=True)
class Line:
    """One measured ratio, and the bar that it should keep."""

    name: str
    ratio: float
    low: float
    high: float
    bar: str
    kept: bool | None
    note: str = ""


def steady_memory() -> None:
    """Keep freed memory in the process, so that page faults, which depend on the heap's history, do not blur ratios."""
    with suppress(OSError, AttributeError):  # not glibc
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD


def alternate(functions: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds (process time) of each function in every round, after one round to warm up."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for k in range(rounds + 1):
        for name, function in functions.items():
            seconds = _clock(function)
            if k:
                times[name].append(seconds)
    return times


def beside(
    functions: dict[str, Callable[[], object]], base: str, rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """CPU seconds of each function, and of the base run just before and just after it, averaged.

    A machine whose speed drifts over seconds then changes both sides of a ratio alike.
    """
    for function in functions.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    around: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        before = _clock(functions[base])
        for name, function in functions.items():
            if name != base:
                times[name].append(_clock(function))
                after = _clock(functions[base])
                around[name].append((before + after) / 2)
                before = after
    return times, around


def _clock(function: Callable[[], object]) -> float:
    began = time.process_time()
    function()
    return time.process_time() - began


def ratio(
    name: str,
    above: list[float],
    below: list[float],
    *,
    most: float | None = None,
    least: float | None = None,
    note: str = "",
) -> Line:
    """The median of the ratios of each round, with their range."""
    ratios = [a / b for a, b in zip(above, below)]
    value = statistics.median(ratios)
    bar, kept = "", None
    if most is not None:
        bar, kept = f"at most {most:g}", value <= most
    if least is not None:
        bar, kept = f"at least {least:g}", value >= least
    return Line(name, value, min(ratios), max(ratios), bar, kept, note)


def show(title: str, lines: list[Line]) -> None:
    """A table for people, and a JSON line for the record."""
    print(f"\n{title}")
    for line in lines:
        mark = {True: "kept", False: "MISSED", None: ""}[line.kept]
        spread = f"[{line.low:.3g}, {line.high:.3g}]"
        print(f"  {line.name:<58} {line.ratio:>8.3g} {spread:<18} {line.bar:<14} {mark:<7} {line.note}")
    record = {
        "title": title,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": f"{_processor()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}",
        "lines": [asdict(line) for line in lines],
    }
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        return next(line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
