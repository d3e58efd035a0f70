"""Nearest neighbours and dimensions from them, against the bare product, scikit-learn, faiss and scikit-dimension.

faiss-cpu is in the dependency group `bench`; the other peers come with the tests.
"""

import math
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch

import repana
from benchmarks._measure import Line, alternate, ratio, show, steady_memory
from repana import nearest_neighbours
from repana.summaries._low_precision import multiplies_bfloat16

N, D, K = 20_000, 768, 20
FAISS = 1.0 if multiplies_bfloat16() else 0.85  # without such products, ours adds its certificate to the same work
SMALL = 5_000  # samples for what a peer needs minutes for


def sheet(n: int, d: int, seed: int = 0) -> torch.Tensor:
    """A curved 10-dimensional sheet in d dimensions."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, 10, generator=generator)
    return torch.tanh(z @ torch.randn(10, 64, generator=generator)) @ torch.randn(64, d, generator=generator)


def bare(x: torch.Tensor) -> Callable[[], object]:
    """The products that any search with one matrix product must do, into one buffer."""
    y, rows = x.T.contiguous(), 512
    out = torch.empty(rows, len(x))

    def product() -> None:
        for start in range(0, len(x), rows):
            chunk = x[start : start + rows]
            torch.mm(chunk, y, out=out[: len(chunk)])

    return product


def search(rounds: int) -> list[Line]:
    from faiss import IndexFlatL2, omp_set_num_threads
    from sklearn.neighbors import NearestNeighbors

    omp_set_num_threads(1)
    x = sheet(N, D)
    a = x.numpy()

    def faiss() -> None:
        index = IndexFlatL2(D)
        index.add(a)  # type: ignore[call-arg]
        index.search(a, K + 1)  # type: ignore[call-arg]

    functions: dict[str, Callable[[], object]] = {
        "repana": lambda: nearest_neighbours(x, K),
        "bare": bare(x),
        "sklearn": lambda: NearestNeighbors(n_neighbors=K, algorithm="brute").fit(a).kneighbors(),
        "faiss": faiss,
    }
    times = alternate(functions, rounds)
    flops = 2 * N * N * D / 1e9
    rate = flops / min(times["bare"])
    title = f"k = {K} of {N} x {D}"
    return [
        ratio(f"{title}: certified search / bare product", times["repana"], times["bare"], most=1.5,
              note=f"{rate:.0f} GF/s bare"),
        ratio(f"{title}: scikit-learn brute force / ours", times["sklearn"], times["repana"], least=1.5),
        ratio(f"{title}: faiss flat / ours", times["faiss"], times["repana"], least=FAISS),
    ]  # fmt: skip


def estimators(rounds: int) -> list[Line]:
    """TwoNN, MLE, GRIDE at six scales, MOM, correlation and local dimension of the same samples."""
    import skdim.id as peers

    x = sheet(SMALL, D).double()
    a = x.numpy()

    def ours() -> list[float]:
        cloud = repana.NeighbourGraph.of(x, k=64)
        found = [repana.two_nn(cloud), repana.mle(cloud), repana.mom(cloud, average="mean")]
        found += [repana.correlation_dimension(cloud)]
        found += [repana.gride(cloud, n1=n1) for n1 in (1, 2, 4, 8, 16, 32)]
        repana.local_dimension(cloud)
        return [float(e) for e in found]

    def theirs() -> list[float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = [
                peers.TwoNN().fit(a).dimension_,
                peers.MLE().fit(a, n_neighbors=20).dimension_,
                peers.MOM().fit(a, n_neighbors=64).dimension_,
                peers.CorrInt().fit(a).dimension_,
            ]
            found += [peers.GRIDE(n1=n1, n2=2 * n1).fit(a).dimension_ for n1 in (1, 2, 4, 8, 16, 32)]
            peers.MLE().fit_transform_pw(a, n_neighbors=20)
        return found

    worst = max(abs(p / q - 1) for p, q in zip(ours(), theirs()))
    times = alternate({"ours": ours, "theirs": theirs}, rounds)
    return [
        ratio(f"six estimators of {SMALL} x {D}: scikit-dimension / ours", times["theirs"], times["ours"], least=10,
              note=f"values agree to {worst:.1e}"),
    ]  # fmt: skip


def precision() -> list[Line]:
    """The largest relative error of any distance, on the kinds of features of the specification's table."""
    n, d = 1_500, 768
    generator = torch.Generator().manual_seed(1)
    base = sheet(n, d, 3) / 10
    means = torch.randn(10, d, generator=generator)
    noise = sheet(n, d, 4) / 100
    y = torch.arange(n) % 10
    cases = {
        "manifold": base,
        "offset 100": base + 100,
        "massive": base + 3000 * torch.nn.functional.one_hot(torch.tensor(5), d),
        "near-duplicates 1e-2": torch.cat([base[::2], base[::2] + 1e-2 * torch.randn(n // 2, d, generator=generator)]),
        "near-duplicates 1e-5": torch.cat([base[::2], base[::2] + 1e-5 * torch.randn(n // 2, d, generator=generator)]),
        **{f"collapsed {s:g}": means[y] + s * noise for s in (0.1, 0.03, 0.01, 0.003, 0.001)},
        "two clusters": (y % 2 * 2.0 - 1)[:, None] + 1e-3 * noise,
    }
    lines = []
    for name, x in cases.items():
        wide = x.double()
        want = torch.stack([torch.linalg.vector_norm(wide - row, dim=1) for row in wide]).fill_diagonal_(math.inf)
        want = want.topk(K, largest=False).values
        for kind, labels in (("", None), (", by class", y if len(y) == len(x) else None)):
            if kind and labels is None:
                continue
            found = nearest_neighbours(x, K, labels=labels)
            error = float((found.distances / want - 1).abs().max())
            note = f"{found.redone} of {n} rows in float64"
            lines.append(
                Line(f"error of distances: {name}{kind}", error, error, error, "at most 1e-06", error <= 1e-6, note)
            )
    return lines


def memory() -> list[Line]:
    """Resident memory that a search of 50 000 samples adds, against its budget and one copy of the features."""
    import re
    from pathlib import Path

    def resident(field: str) -> float:
        return int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024  # type: ignore[index]

    x = sheet(50_000, 64)
    Path("/proc/self/clear_refs").write_text("5")  # the peak from here
    before = resident("VmRSS")
    nearest_neighbours(x, K, memory=2**28)
    added = resident("VmHWM") - before
    allowed = 2**28 + 4 * x.nbytes + 50_000 * K * 32
    return [
        Line("memory of 50000 x 64 / budget, copies and result", added / allowed, added, allowed, "at most 1",
             added <= allowed, f"{added / 2**20:.0f} MB added, budget 256 MB"),
    ]  # fmt: skip


def coverage(draws: int = 200) -> list[Line]:
    """How often 95 % intervals hold the dimension of flat tori, 1000 samples each."""
    from repana.summaries.neighbours import Neighbours

    lines = []
    for d in (2, 5, 10):
        hits: dict[str, list[bool]] = {}
        for seed in range(draws):
            x = torch.rand(1000, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            gap = (x[:, None] - x).abs_()
            r = torch.minimum(gap, 1 - gap).square_().sum(2).sqrt_().fill_diagonal_(math.inf)
            cloud = repana.NeighbourGraph(Neighbours(*r.topk(20, largest=False), 1000, d), torch.arange(1000), 1000, 0)
            found = {
                "TwoNN": repana.two_nn(cloud),
                "MLE": repana.mle(cloud),
                "GRIDE (8, 16)": repana.gride(cloud, n1=8),
            }
            for name, e in found.items():
                hits.setdefault(name, []).append(e.low <= d <= e.high)
        for name, hit in hits.items():
            share = float(np.mean(hit))
            kept = 0.90 <= share <= 0.99
            lines.append(Line(f"coverage on a flat torus, d = {d}: {name}", share, share, share, ".90 to .99", kept))
    return lines


def main() -> None:
    began = time.time()
    torch.set_num_threads(1)
    steady_memory()
    show("Neighbours (CPU time, one thread)", memory() + search(3) + estimators(3) + precision() + coverage())
    print(f"  ({time.time() - began:.0f} s)")


__all__ = ["main"]
