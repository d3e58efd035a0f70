"""Machines that costs are held against: this one, timed in a second, and others by their data sheets."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from repana import _check
from repana._ambient import host_memory
from repana._cost import Cost

ROWS, INNER = 2048, 512  # of the product that is timed
COPIED = 2**26  # bytes that are copied
SMALL_CALLS = 2_000
ROUNDS = 5
LAUNCH = 1e-5  # seconds of a kernel on a GPU, however small
SEVERAL = re.compile(r"(\d+)x(.+)")


@dataclass(frozen=True)
class Machine:
    """`flops` of float32 products and `bandwidth` bytes a second, `call` seconds of a small operation, `memory` bytes;
    `devices` of them record side by side; `timed`: it is the one that this runs on."""

    name: str
    flops: float
    bandwidth: float
    call: float
    memory: float
    devices: int = 1
    timed: bool = False

    def seconds(self, cost: Cost) -> float:
        """Of what runs on one device."""
        return cost.flop / self.flops + cost.bytes / self.bandwidth + cost.calls * self.call


# Float32 products without TF32, and memory, from the vendor's data sheets (H100 SXM, H200 SXM); two cores of a server.
MACHINES = {
    "cpu": Machine("2 CPU cores", 0.06e12, 0.02e12, 2e-6, 16e9),
    "H100": Machine("H100", 40e12, 3.0e12, LAUNCH, 80e9),
    "H200": Machine("H200", 40e12, 4.4e12, LAUNCH, 141e9),
}
MEASURE = "measure"


def machine_named(name: str) -> Machine:
    """ "measure", which is this machine's host; a preset; or so many of one, as in "8xH100"."""
    several = SEVERAL.fullmatch(name) if isinstance(name, str) else None
    count, kind = (int(several[1]), several[2]) if several else (1, name)
    if kind not in MACHINES or count < 1:
        _check.choice(name, "on", (MEASURE, *MACHINES, "8xH100"))  # or so many of another
        return measured()
    preset = MACHINES[kind]
    return preset if count == 1 else replace(preset, name=f"{count} x {preset.name}", devices=count)


def measured(device: torch.device | str = "cpu") -> Machine:
    """A device of this machine, in a second: medians of a product, a copy and small sums."""
    place = torch.device(device)
    a, b = torch.rand(ROWS, INNER, device=place), torch.rand(INNER, ROWS, device=place)
    x, small = torch.rand(COPIED // 4, device=place), torch.ones(8, device=place)
    y, out = torch.empty_like(x), torch.empty(ROWS, ROWS, device=place)
    flops = 2 * ROWS * INNER * ROWS / _median(lambda: torch.mm(a, b, out=out), place)
    bandwidth = 2 * COPIED / _median(lambda: y.copy_(x), place)
    call = _median(lambda: [small.sum() for _ in range(SMALL_CALLS)], place) / SMALL_CALLS
    if place.type == "cuda":
        free = float(torch.cuda.mem_get_info(place)[0])
        return Machine(torch.cuda.get_device_name(place), flops, bandwidth, call, free, timed=True)
    threads = torch.get_num_threads()
    name = f"this machine ({threads} thread{'' if threads == 1 else 's'})"
    return Machine(name, flops, bandwidth, call, float(host_memory()), timed=True)


def _median(function: Callable[[], object], device: torch.device) -> float:
    times = []
    for _ in range(ROUNDS + 1):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return sorted(times[1:])[ROUNDS // 2]
