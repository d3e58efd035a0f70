"""The minimum spanning tree against a bare distance pass, scipy, gudhi and ripser, and its precision and memory.

gudhi and ripser are in the dependency group `bench`.
"""

import re
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks._measure import Line, alternate, ratio, show, steady_memory
from benchmarks.neighbours import bare
from repana import minimum_spanning_tree, nearest_neighbours

N, D = 10_000, 768


def blobs(n: int, d: int, spread: float = 1.0, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(10, d, generator=generator)
    return means[torch.arange(n) % 10] + spread * torch.randn(n, d, generator=generator)


def speed(rounds: int) -> list[Line]:
    from gudhi.sklearn.rips_persistence import RipsPersistence
    from scipy.cluster.hierarchy import linkage

    x = blobs(N, D)
    a, graph = x.numpy(), nearest_neighbours(x, 8)
    functions: dict[str, Callable[[], object]] = {
        "ours": lambda: minimum_spanning_tree(x),
        "lazy": lambda: minimum_spanning_tree(x, memory=2**28),
        "known": lambda: minimum_spanning_tree(x, graph=graph, memory=2**28),
        "bare": bare(x),
    }
    times = alternate(functions, rounds)
    once: dict[str, float] = {}
    peers: dict[str, Callable[[], object]] = {
        "scipy single linkage": lambda: linkage(a, method="single"),
        "gudhi Rips persistence": lambda: RipsPersistence(homology_dimensions=0).fit_transform([a]),
    }
    try:
        from ripser import ripser

        peers["ripser, maxdim = 0"] = lambda: ripser(a, maxdim=0)
    except ImportError:
        print("  (ripser is not installed)")
    for name, function in peers.items():
        began = time.process_time()
        function()
        once[name] = time.process_time() - began
    flops = 2 * N * N * D / 1e9
    lines = [
        ratio(f"tree of {N} x {D} / bare distance pass", times["ours"], times["bare"], most=3,
              note=f"{flops / min(times['bare']):.0f} GF/s bare"),
        ratio(f"tree of {N} x {D}, matrix not kept / bare pass", times["lazy"], times["bare"], most=3),
        ratio(f"tree of {N} x {D} from known neighbours / bare pass", times["known"], times["bare"], most=3),
    ]  # fmt: skip
    for name, seconds in once.items():
        least = 7 if name == "scipy single linkage" else 10  # the product of a peer is faster on some processors
        took = [seconds] * len(times["ours"])
        lines.append(ratio(f"{name} / ours", took, times["ours"], least=least, note="peer once"))
    return lines


def precision() -> list[Line]:
    """The sum of deaths against single linkage in float64."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import pdist

    lines = []
    for spread in (1.0, 0.1, 1e-2, 1e-3):
        x = blobs(1500, D, spread)
        want = linkage(pdist(x.double().numpy()), method="single")[:, 2].sum()
        for name, memory in (("", 2**29), (", matrix not kept", 2**22)):
            tree = minimum_spanning_tree(x, memory=memory)
            error = abs(float(tree.lengths.sum()) / float(want) - 1)
            note = "float64 products" if tree.double else ""
            title = f"error of the sum, within-class sd {spread:g}{name}"
            lines.append(Line(title, error, error, error, "at most 1e-06", error <= 1e-6, note))
    return lines


CHILD = """
import re, time, torch
from pathlib import Path
from benchmarks.tree import blobs
from repana import minimum_spanning_tree
torch.set_num_threads(1)
x = blobs(20_000, 768)
began = time.process_time()
tree = minimum_spanning_tree(x)
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
print("PEAK", int(peak) / 2**20, time.process_time() - began, tree.searched)
"""


def memory() -> list[Line]:
    """Peak resident memory of a process that makes the tree of 20 000 x 768, interpreter and features included."""
    told = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True).stdout
    found = re.search(r"PEAK (\S+) (\S+) (\S+)", told)
    assert found is not None
    peak, seconds, searched = (float(v) for v in found.groups())
    note = f"{seconds:.0f} s, {searched:.0f} of 20000 samples searched twice"
    return [Line("peak memory of 20000 x 768, GB", peak, peak, peak, "at most 2", peak <= 2, note)]


def main() -> None:
    began = time.time()
    torch.set_num_threads(1)
    np.random.seed(0)  # noqa: NPY002 (peers)
    steady_memory()
    show("Tree (CPU time, one thread)", precision() + memory() + speed(3))
    print(f"  ({time.time() - began:.0f} s)")


__all__ = ["main"]
