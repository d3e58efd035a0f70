"""Intervals, counts and secondary fields of spectra, each against a reference written out."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from repana import spectrum
from repana.spectra._spectrum import _Side
from repana.summaries.covariance import Covariance


def test_cumulated_shares_are_corrected_by_the_halves():
    c = Covariance.of(torch.randn(60, 4, dtype=torch.float64))

    def share(v):
        return (v.cumsum(0) / v.sum()).numpy()

    want = 2 * share(c.eigenvalues) - np.mean([share(v) for v in c.halves], 0)
    side = _Side(c.eigenvalues, c.coordinates, c.halves, 60, 0.95)
    np.testing.assert_allclose(side._cumulated[0], want, err_msg="shares")


def test_the_interval_of_effective_rank_is_corrected_by_the_halves():
    x = torch.randn(200, 60, dtype=torch.float64) * torch.arange(1, 61) ** -0.5  # too few rows for quarters

    def rank(part):
        s = np.linalg.svd(part - part.mean(0), compute_uv=False)
        return math.exp(stats.entropy(s))

    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    e, halves = spectrum(x).effective_rank, np.mean([rank(x[part].numpy()) for part in order.chunk(2)])
    centre = e.value**2 / halves  # log scale: the bias is log halves - log value
    assert e.low == pytest.approx(min(centre**2 / e.high, e.value))
