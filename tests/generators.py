"""Generators with known truth for the coverage of intervals.

python tests/generators.py > docs/coverage.json     # the measured coverage, which the page of quantities shows
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from scipy import stats

from repana import complexity, neural_collapse, profile, spectrum
from repana.probes import mdl


@dataclass(frozen=True)
class Case:
    """Estimates by name of a data set, their truths (None: the estimator's mean), and the least coverage of many data
    sets; the widest that their intervals may be on average, in standard deviations of the estimate."""

    name: str
    analyzer: str
    draw: Callable[[int], Any]
    truth: dict[str, float | None]
    least: float
    many: int = 200
    widest: float = math.inf


def frame(c: int, d: int, seed: int = 9) -> torch.Tensor:
    """The means of a simplex of edge 3 sqrt(2) in random directions."""
    q, _ = torch.linalg.qr(torch.randn(d, c, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    return 3 * (torch.eye(c, dtype=torch.float64) - 1 / c) @ q.T


def simplex(n: int, c: int = 5, d: int = 20) -> Case:
    """An exact simplex with unit noise: n samples a class."""
    means = frame(c, d)
    centred = means - means.mean(0)
    between = centred.T @ centred / c
    ratio = float(torch.linalg.pinv(between).trace())

    def draw(seed: int):
        y = torch.arange(c).repeat_interleave(n)
        noise = torch.randn(c * n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return neural_collapse(means[y] + noise, y, families=("nc1", "law"))

    cdnv = 2 * d / (2 * 18)  # every two means are sqrt(18) apart
    truth: dict[str, float | None] = {"nc1": ratio / c, "fuzziness": ratio, "quotient": d / float(between.trace())}
    return Case(
        f"an exact simplex with noise, {c} classes, {d} features, {n} samples a class",
        "neural_collapse",
        draw,
        truth | {"cdnv": cdnv, "cdnv_median": cdnv},
        0.92,
    )


def harmonic(d: int = 50, n: int = 200) -> Case:
    """Eigenvalues 1, 1/2, 1/3, ..."""
    values = 1 / np.arange(1, d + 1)
    share = values.cumsum() / values.sum()

    def draw(seed: int):
        x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return spectrum(x * torch.from_numpy(values).sqrt())

    truth: dict[str, float | None] = {f"components_{q}": float((share < q / 100 - 1e-12).sum() + 1) for q in (90, 95)}
    return Case(f"eigenvalues 1/i, {d} features, {n} samples", "spectrum", draw, truth, 0.90)


def ranks(d: int = 50, n: int = 200) -> Case:
    """The same, and the ranks by entropy."""
    values = 1 / np.arange(1, d + 1)
    truth: dict[str, float | None] = {
        name: float(np.exp(stats.entropy(v)))
        for name, v in (("effective_rank", values**0.5), ("entropy_rank", values), ("rankme", values**0.5))
    }
    return Case(
        f"eigenvalues 1/i, {d} features, {n} samples; widths", "spectrum", harmonic(d, n).draw, truth, 0.93, widest=5.0
    )


def code(n: int = 600) -> Case:
    """The length of two classes' labels, given five features, as `probing` reads it."""

    def draw(seed: int):
        g, y = np.random.default_rng(seed), np.arange(n) % 2
        return mdl(g.normal(size=(n, 5)) + 1.5 * np.eye(2, 5)[y], y, probe="lda")

    truth = dict.fromkeys(("codelength", "compression", "compression_entropy"))
    return Case(f"two classes, 5 features, {n} samples", "probing", draw, truth, 0.92, many=60)


def readable(n: int = 200) -> Case:
    """Features that two layers tell in part."""
    first, second = (torch.randn(*shape, generator=torch.Generator().manual_seed(99)) for shape in ((6, 20), (20, 8)))

    def draw(seed: int):
        g = torch.Generator().manual_seed(seed)
        x = torch.randn(n, 6, generator=g)
        h = torch.relu(x @ first)
        return complexity({"a": x, "b": h}, torch.relu(h @ second / 3 + 0.3 * torch.randn(n, 8, generator=g)))

    return Case(
        f"two layers, 8 features, {n} samples",
        "complexity",
        draw,
        dict.fromkeys(("mean_complexity", "mean_hidden")),
        0.90,
        many=60,
    )


@cache
def profiled(seed: int, n: int = 300) -> dict[str, dict[str, Any]]:
    """What a profile finds of the second of two layers, by analyzer and quantity."""
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 4
    means = torch.randn(4, 10, generator=torch.Generator().manual_seed(77))
    weight = torch.randn(10, 12, generator=torch.Generator().manual_seed(78))
    x = means[y] + torch.randn(n, 10, generator=g)
    report = profile({"a": x, "b": (x @ weight / 3).tanh()}, y, permutations=0, bootstrap=100, seed=seed)
    found: dict[str, dict[str, Any]] = {}
    for r in report.rows:
        if r.layer in ("b", ""):
            found.setdefault(r.analyzer, {})[r.quantity] = r
    return found


def of_profile(analyzer: str, *names: str) -> Case:
    """Quantities of one analyzer in `profiled`, against the estimator's mean."""

    def draw(seed: int):
        return SimpleNamespace(**profiled(seed)[analyzer])

    return Case("four Gaussian classes, 12 features, 300 samples", analyzer, draw, dict.fromkeys(names), 0.80)


PROFILED = [
    of_profile("neural_collapse", "vci", "equinorm", "equiangularity", "etf_error", "of_error", "gof_error",
               "ncc_accuracy"),
    of_profile("fisher", "trace_ratio", "quotient", "max_eigenvalue", "bounded", "explained"),
    of_profile("separability", "silhouette", "silhouette_balanced", "calinski_harabasz", "davies_bouldin", "gdv", "dsi",
               "thornton", "knn_purity", "alignment", "sample_uniformity", "tolerance", "label_cka"),
    of_profile("probing", "linear_probe", "ridge_probe", "lda_probe", "nearest_mean", "naive_bayes", "knn_probe",
               "balanced_accuracy", "log_loss", "usable_information"),
    of_profile("topology", "h0_entropy", "h0_mean", "h0_quantile", "gap_ratio"),
    of_profile("dimension", "two_nn", "two_nn_ml", "two_nn_calibrated", "mle", "gride_2", "gride_4", "gride_8",
               "gride_16", "gride_32"),
    of_profile("spectrum", "participation_ratio", "stable_rank"),
    of_profile("layer_readings", "readable"),
]  # fmt: skip
CASES = [simplex(10), simplex(30), simplex(100), harmonic(), ranks(), code(), readable()]


def covered(case: Case, sets: int) -> tuple[dict[str, float], dict[str, float]]:
    """Of every quantity the share of data sets whose interval holds the truth, and the mean width of the intervals in
    standard deviations of the estimate."""
    found, held, widths = [case.draw(seed) for seed in range(sets)], {}, {}
    for name, truth in case.truth.items():
        value, low, high = np.array([(e.value, e.low, e.high) for f in found for e in [getattr(f, name)]]).T
        truth = value.mean() if truth is None else truth
        held[name] = float(((low <= truth) & (truth <= high)).mean())
        widths[name] = float((high - low).mean() / value.std()) if value.std() else math.inf
    return held, widths


if __name__ == "__main__":
    torch.set_num_threads(1)
    measured = []
    for case in [*CASES, *PROFILED]:
        shares = {name: round(share, 3) for name, share in covered(case, case.many)[0].items()}
        measured.append({"analyzer": case.analyzer, "data": case.name, "sets": case.many, "coverage": shares})
    print(json.dumps(measured, indent=1))
