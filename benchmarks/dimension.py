"""Manifolds of known dimension: the truth, our estimators and scikit-dimension's in one run; trees against scipy's.

DADApy needs an older numpy than torch takes: name the Python of an environment of its own in DADAPY_PYTHON, and it is
asked there about the same samples.
"""

import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import repana
from benchmarks._measure import Line, alternate, ratio, show, steady_memory
from benchmarks.manifolds import MANIFOLDS
from repana import NeighbourGraph
from repana.summaries.distances import distances
from repana.summaries.forest import spanning_edges

SEEDS = range(3)  # of the table
FRESH = range(1000, 1005)  # of the headline; the curves of calibration come from others
N = 2000

OURS: dict[str, Callable[[NeighbourGraph], float]] = {
    "TwoNN": lambda c: float(repana.two_nn(c)),
    "calibrated": lambda c: _calibrated(c),
    "MLE20": lambda c: float(repana.mle(c)),
    "GRIDE4": lambda c: float(repana.gride(c, n1=4)),
    "MiND": lambda c: float(repana.mind_ml(c)),
    "TLE": lambda c: float(repana.tle(c, average="mean")),
    "MOM": lambda c: float(repana.mom(c, average="mean")),
    "MADA": lambda c: float(repana.mada(c, average="mean")),
    "CorrInt": lambda c: float(repana.correlation_dimension(c)),
    "ABID": lambda c: float(repana.abid(c)),
    "DANCo": lambda c: float(repana.danco(c)),
    "ESS": lambda c: float(repana.ess(c, neighbourhoods=40)),
    "PH": lambda c: float(repana.ph_dimension(c)),
    "FisherS": lambda c: float(repana.fisher_s(c.features)),
    "lPCA": lambda c: float(repana.local_pca(c, neighbourhoods=500)),
    "PR": lambda c: float(repana.spectrum(c.features).participation_ratio_unbiased),
}


def _calibrated(cloud: NeighbourGraph) -> float:
    found = repana.two_nn(cloud, method="ml", calibrate=True).calibrated
    return float("nan") if found is None else float(found)


def _peers() -> dict[str, Callable[[np.ndarray], float]]:
    import skdim.id as peers

    def fitted(made: object, a: np.ndarray, **options: object) -> float:
        return float(np.squeeze(made.fit(a, **options).dimension_))  # type: ignore[attr-defined]

    return {
        "TwoNN": lambda a: fitted(peers.TwoNN(), a),
        "MLE20": lambda a: fitted(peers.MLE(), a, n_neighbors=20),
        "GRIDE4": lambda a: fitted(peers.GRIDE(n1=4, n2=8), a),
        "MiND": lambda a: fitted(peers.MiND_ML(k=20, D=200), a),
        "TLE": lambda a: fitted(peers.TLE(epsilon=0.0), a, n_neighbors=20),
        "MOM": lambda a: fitted(peers.MOM(), a, n_neighbors=64),
        "MADA": lambda a: fitted(peers.MADA(), a),
        "CorrInt": lambda a: fitted(peers.CorrInt(), a),
        "DANCo": lambda a: fitted(peers.DANCo(ver="DANCoFit"), a),
        "FisherS": lambda a: fitted(peers.FisherS(), a),
    }


SAME = ("TwoNN", "MLE20", "GRIDE4", "MOM", "MADA", "FisherS")  # the same definition to the last digit


def table() -> list[Line]:
    """Every estimator on every manifold, ours and theirs, and how far those of one definition are apart."""
    ours: dict[str, list[float]] = {name: [] for name in OURS}
    theirs: dict[str, list[float]] = {}
    apart: dict[str, float] = dict.fromkeys(SAME, 0.0)
    peers = _peers()
    truths = []
    for truth, generate in MANIFOLDS.values():
        truths.append(truth)
        values: dict[tuple[str, str], list[float]] = {}
        for seed in SEEDS:
            a = generate(np.random.default_rng(seed), N)
            cloud = NeighbourGraph.of(torch.from_numpy(a), k=100)
            for name, function in OURS.items():
                values.setdefault(("ours", name), []).append(function(cloud))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for name, peer in peers.items():
                    values.setdefault(("theirs", name), []).append(peer(a))
            for name in SAME:
                p, q = values["ours", name][-1], values["theirs", name][-1]
                if not (np.isnan(p) and np.isnan(q)):
                    apart[name] = max(apart[name], abs(p / q - 1))
        for name in OURS:
            ours[name].append(float(np.mean(values["ours", name])))
        for name in peers:
            theirs.setdefault(name, []).append(float(np.mean(values["theirs", name])))
    _print("repana", ours, truths)
    _print("scikit-dimension", theirs, truths)
    lines = [
        Line(f"{name}: ours / scikit-dimension - 1, at most", e, e, e, "at most 1e-06", e <= 1e-6)
        for name, e in apart.items()
    ]
    for who, found in (("ours", ours), ("scikit-dimension", theirs)):
        for name, values_ in found.items():
            error = _percent(values_, truths)
            lines.append(Line(f"error in %, n = {N}, {who}: {name}", error, error, error, "", None))
    return lines


def _percent(values: list[float], truths: list[int]) -> float:
    """Mean absolute error in percent, over the manifolds with an estimate."""
    return float(np.nanmean([100 * abs(v / d - 1) for v, d in zip(values, truths)]))


def _print(title: str, found: dict[str, list[float]], truths: list[int]) -> None:
    print(f"\n{title}, n = {N}, mean of {len(SEEDS)} seeds\n  {'manifold':<16}{'true':>5}", end="")
    print("".join(f"{name:>11}" for name in found))
    for i, (name, truth) in enumerate(zip(MANIFOLDS, truths)):
        print(f"  {name:<16}{truth:>5}" + "".join(f"{values[i]:>11.2f}" for values in found.values()))


def headline() -> list[Line]:
    """The calibrated estimate on fresh seeds: error of the mean over seeds, and of single samples."""
    lines = []
    for n, most in ((2000, 6.5), (500, 9.0)):
        of_mean, single, raw = [], [], []
        for truth, generate in MANIFOLDS.values():
            clouds = [NeighbourGraph.of(torch.from_numpy(generate(np.random.default_rng(s), n))) for s in FRESH]
            found = [repana.two_nn(c, method="ml", calibrate=True) for c in clouds]
            values = [e.calibrated.value for e in found if e.calibrated is not None]
            of_mean.append(100 * abs(np.mean(values) / truth - 1))
            raw.append(100 * abs(np.mean([e.value for e in found]) / truth - 1))
            single.append(float(np.mean([100 * abs(v / truth - 1) for v in values])))
        error = float(np.mean(of_mean))
        note = f"raw {np.mean(raw):.1f}; of single samples {np.mean(single):.1f}"
        lines.append(
            Line(f"calibrated TwoNN, n = {n}: error in %", error, error, error, f"at most {most}", error <= most, note)
        )
    return lines


def trees(rounds: int) -> list[Line]:
    """The trees of one estimate, without its interval, against scipy's for the same subsets of the same distances."""
    from scipy.sparse.csgraph import minimum_spanning_tree

    x = torch.rand(512, 768, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    between = distances(x)
    sizes = [int(s) for s in np.geomspace(64, 512, 8).round() for _ in range(7)]
    drawn = [torch.randperm(512, generator=torch.Generator().manual_seed(i))[:s] for i, s in enumerate(sizes)]
    members = torch.stack([torch.nn.functional.pad(d, (0, 512 - len(d)), value=-1) for d in drawn])
    owner = torch.zeros(len(drawn), dtype=torch.int64)
    a, places = between.numpy(), [d.numpy() for d in drawn]
    functions: dict[str, Callable[[], object]] = {
        "ours": lambda: spanning_edges([between], owner, members),
        "scipy": lambda: [minimum_spanning_tree(a[np.ix_(p, p)]).sum() for p in places],
    }
    times = alternate(functions, rounds)
    return [ratio("56 trees of 64 to 512 samples: scipy / ours", times["scipy"], times["ours"])]


SCRIPT = """
import sys, time, numpy as np
from dadapy.data import Data
a = np.load(sys.argv[1])
began = time.process_time()
d = Data(a, verbose=False, n_jobs=1)
d.compute_distances(maxk=64)
two, _, _ = d.compute_id_2NN(algorithm="ml")
gride, _, _ = d.return_id_scaling_gride(range_max=64)
print("RESULT", time.process_time() - began, two, *gride)
"""


def dadapy() -> list[Line]:
    """TwoNN and GRIDE at all scales against DADApy in an environment of its own, CPU time of each process."""
    python = os.environ.get("DADAPY_PYTHON")
    if not python:
        print("  (DADApy is not asked: DADAPY_PYTHON is not set)")
        return []
    generator = torch.Generator().manual_seed(0)
    x = torch.tanh(torch.randn(5000, 10, generator=generator) @ torch.randn(10, 768, generator=generator)).double()
    ratios, worst = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        np.save(path, x.numpy())
        for _ in range(3):
            began = time.process_time()
            cloud = NeighbourGraph.of(x)
            ours = [float(repana.two_nn(cloud, method="ml"))]
            ours += [float(repana.gride(cloud, n1=n1)) for n1 in (1, 2, 4, 8, 16, 32)]
            spent = time.process_time() - began
            told = subprocess.run([python, "-c", SCRIPT, str(path)], capture_output=True, text=True, check=True,
                                  env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
            line = next(text for text in told.stdout.splitlines() if text.startswith("RESULT"))
            seconds, *theirs = (float(v) for v in line.split()[1:])
            ratios.append(seconds / spent)
            worst = max(worst, *(abs(p / q - 1) for p, q in zip(ours[1:], theirs[1:])))
    middle = float(np.median(ratios))
    note = f"GRIDE agrees to {worst:.1e}"
    return [Line("TwoNN and GRIDE of 5000 x 768: DADApy / ours", middle, min(ratios), max(ratios), "at least 5",
                 middle >= 5, note)]  # fmt: skip


def main() -> None:
    began = time.time()
    torch.set_num_threads(1)
    steady_memory()
    show("Estimators of dimension (CPU time, one thread)", headline() + trees(3) + dadapy() + table())
    print(f"  ({time.time() - began:.0f} s)", file=sys.stderr)


__all__ = ["main"]
