"""The binary intrinsic dimension: bits that are independent, repeated and constant."""

import math

import numpy as np
import pytest
import torch
from scipy import optimize, special

from repana import InputError, binary_dimension


def bits(n, width, seed):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("width", [20, 60, 200])
def test_independent_bits_count_each(width):
    found = [binary_dimension(bits(800, width, seed)) for seed in range(4)]
    assert np.mean([float(e) for e in found]) == pytest.approx(width, rel=0.01)
    assert sum(e.low <= width <= e.high for e in found) >= 3


def test_the_fit_is_the_least_divergence():
    """A general optimiser from many starts finds nothing lower, in the model as it is written."""
    x = torch.sign(bits(500, 30, 0) @ bits(30, 50, 1)) * 1.0
    counts = np.zeros(51)
    s = x.numpy()
    apart = ((50 - s @ s.T) / 2).round().astype(int)[np.triu_indices(500, 1)]
    np.add.at(counts, apart, 1)
    upto = int((counts.cumsum() / counts.sum() < 0.2).sum()) + 1
    first = int(np.nonzero(counts)[0][0])
    r, p = np.arange(first, upto), counts[first:upto] / counts[first:upto].sum()

    def divergence(theta):
        d = theta[0] + theta[1] * r
        if (d < r).any() or theta[0] <= 0:
            return 1e3
        logs = special.gammaln(d + 1) - special.gammaln(r + 1) - special.gammaln(d - r + 1) - d * math.log(2)
        return float((special.xlogy(p, p) - p * (logs - special.logsumexp(logs))).sum())

    options = {"xatol": 1e-8, "fatol": 1e-14, "maxiter": 4000}
    starts = [(a, b) for a in (10, 30, 60) for b in (0.0, 0.5, 1.0)]
    ends = [optimize.minimize(divergence, start, method="Nelder-Mead", options=options) for start in starts]
    best = min(ends, key=lambda found: found.fun)
    assert float(binary_dimension(x)) == pytest.approx(best.x[0], rel=1e-3)


def test_constant_units_and_order_change_nothing():
    x = bits(300, 30, 0)
    want = binary_dimension(x)
    padded = torch.nn.functional.pad(
        x[:, torch.randperm(30, generator=torch.Generator().manual_seed(1))], (0, 7), value=1.0
    )
    assert float(binary_dimension(padded)) == pytest.approx(float(want), rel=1e-6)
    assert float(binary_dimension(x * 1e20)) == float(want)
    assert float(binary_dimension(x - 1, threshold=-1.0)) == float(want)


def test_few_distances_give_a_reason():
    got = binary_dimension(torch.ones(50, 8))
    assert math.isnan(float(got))
    assert got.note == "all samples have one pattern: no feature crosses the threshold 0"
    got = binary_dimension(bits(50, 8, 0), quantile=0.01)
    assert math.isnan(float(got))
    assert got.note == "fewer than 4 distances below the quantile 0.01"


def test_refusals():
    with pytest.raises(InputError, match="RA227: binary_dimension needs at least 10 samples; 5 came"):
        binary_dimension(torch.ones(5, 3))
    with pytest.raises(InputError, match="RA212: `quantile` is 0.0; expected a number from 1e-09 to 1."):
        binary_dimension(bits(20, 5, 0), quantile=0.0)
