"""How often 95 % intervals hold the truth: one table of generators with known truth, 40 data sets always, 200 marked
slow."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from repana import neural_collapse, spectrum


@dataclass(frozen=True)
class Case:
    """Estimates by name of a data set, their truths, and the least coverage of 200 data sets."""

    name: str
    draw: Callable[[int], Any]
    truth: dict[str, float]
    least: float


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
    truth = {"nc1": ratio / c, "fuzziness": ratio, "quotient": d / float(between.trace())}
    return Case(f"simplex, {n} a class", draw, truth | {"cdnv": cdnv, "cdnv_median": cdnv}, 0.92)


def harmonic(d: int = 50, n: int = 200) -> Case:
    """Eigenvalues 1, 1/2, 1/3, ..."""
    values = 1 / np.arange(1, d + 1)
    share = values.cumsum() / values.sum()

    def draw(seed: int):
        x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return spectrum(x * torch.from_numpy(values).sqrt())

    truth = {f"components_{q}": float((share < q / 100 - 1e-12).sum() + 1) for q in (90, 95)}
    return Case("harmonic spectrum", draw, truth, 0.90)


CASES = [simplex(10), simplex(30), simplex(100), harmonic()]


def coverage(case: Case, sets: int) -> dict[str, float]:
    held = dict.fromkeys(case.truth, 0)
    for seed in range(sets):
        found = case.draw(seed)
        for name, truth in case.truth.items():
            e = getattr(found, name)
            held[name] += e.low <= truth <= e.high
    return {name: hits / sets for name, hits in held.items()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("sets", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_intervals_hold_the_truth(case, sets):
    found = coverage(case, sets)
    least = case.least if sets == 200 else case.least - 0.08  # two standard errors of 40 data sets
    assert {name: share for name, share in found.items() if share < least} == {}, found
