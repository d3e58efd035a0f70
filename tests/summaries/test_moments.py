"""Moments: exact against NumPy, the same for any split, and precise where float32 sums are not."""

from functools import reduce
from operator import add

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repana import Moments
from repana.summaries import moments as module
from repana.summaries.moments import MomentSums


def close(a: Moments, b: Moments, rtol=1e-9, atol=1e-12):
    for name, value in a.tensors().items():
        other = b.tensors()[name]
        assert (value is None) == (other is None), name
        if value is not None:
            torch.testing.assert_close(value, other, rtol=rtol, atol=atol, msg=lambda m, name=name: f"{name}: {m}")


def slow(x, y):
    x = x.double().numpy()
    y = y.numpy()
    classes = np.unique(y)
    e = np.concatenate([x[y == k] - x[y == k].mean(0) for k in classes])
    return Moments(
        classes=torch.from_numpy(classes),
        count=torch.tensor([int((y == k).sum()) for k in classes]),
        mean=torch.from_numpy(np.array([x[y == k].mean(0) for k in classes])),
        trace=torch.from_numpy(np.array([((x[y == k] - x[y == k].mean(0)) ** 2).sum() for k in classes])),
        spread=torch.from_numpy((e**2).sum(0)),
        scatter=torch.from_numpy(e.T @ e),
    )


@pytest.mark.parametrize("n", [1, 7, 300])
@pytest.mark.parametrize("d", [1, 5, 40])
@pytest.mark.parametrize("c", [1, 3, 100])  # 100: more than are summed by a matrix product
def test_equals_the_reference(n, d, c):
    x, y = torch.randn(n, d, dtype=torch.float64), torch.randint(0, c, (n,))
    close(Moments.of(x, y, scatter=True), slow(x, y), atol=1e-10)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=6), st.integers(0, 2**16), st.booleans())
def test_any_split_gives_the_same(cuts, seed, scatter):
    generator = torch.Generator().manual_seed(seed)
    n = sum(cuts) + 1
    x = torch.randn(n, 4, generator=generator, dtype=torch.float64) + 100
    y = torch.randint(0, 4, (n,), generator=generator)
    whole = Moments.of(x, y, scatter=scatter)
    edges = [0, *np.cumsum(cuts).tolist(), n]
    parts = [(x[a:b], y[a:b]) for a, b in zip(edges, edges[1:]) if b > a]
    moments = [Moments.of(a, b, scatter=scatter) for a, b in parts]
    close(reduce(add, moments), whole)
    close(sum(reversed(moments)), whole)
    sums = MomentSums(scatter=scatter)
    for a, b in parts:
        sums.add(a, b)
    close(sums.value(), whole)
    if len(moments) > 1:
        close(whole - moments[0], reduce(add, moments[1:]), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_chunk_size_does_not_matter(monkeypatch, rows):
    x, y = torch.randn(200, 6), torch.randint(0, 5, (200,))
    want = Moments.of(x, y)
    monkeypatch.setattr(module, "CHUNK_BYTES", rows * 4 * 6)
    close(Moments.of(x, y), want, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("sd", [1.0, 0.1, 1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("c", [10, 100])
def test_float32_at_mean_norm_30(sd, c):
    """The raw one-pass form is wrong by a factor of 700 at sd = 1e-3; the bar is 1e-5."""
    d, n = 64, 4000
    y = torch.arange(n) % c
    means = torch.randn(c, d, dtype=torch.float64)
    means = 30 * means / means.norm(dim=1, keepdim=True)
    x = (means[y] + sd * torch.randn(n, d, dtype=torch.float64) / d**0.5).float()
    got, want = Moments.of(x, y), Moments.of(x.double(), y)
    assert float(((got.trace - want.trace) / want.trace).abs().max()) < 1e-5
    assert float(((got.spread - want.spread) / want.spread).abs().max()) < 1e-5
    assert float((got.mean - want.mean).norm(dim=1).max()) < 1e-6 * sd + 1e-12


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_input_is_summed_in_float32(dtype):
    x, y = (torch.randn(4000, 8) + 3).to(dtype), torch.randint(0, 2, (4000,))
    close(Moments.of(x, y), Moments.of(x.double(), y), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("scale", [1e-25, 1e-20, 1e20])
def test_scales_whose_squares_leave_float32(scale):
    x, y = (torch.randn(50, 3, dtype=torch.float64) * scale).float(), torch.randint(0, 2, (50,))
    got, want = Moments.of(x, y), Moments.of(x.double(), y)
    torch.testing.assert_close(got.trace, want.trace, rtol=1e-6, atol=0)


def test_an_outlier_as_first_sample_is_no_bad_pilot():
    x = torch.randn(10_000, 4)
    x[0] = 1e4
    y = torch.zeros(len(x), dtype=torch.int64)
    got, want = Moments.of(x, y), Moments.of(x.double(), y)
    torch.testing.assert_close(got.trace, want.trace, rtol=1e-5, atol=0)
    torch.testing.assert_close(got.mean, want.mean, rtol=1e-5, atol=1e-6)


def test_batches_of_one_and_classes_that_come_late():
    x, y = torch.randn(30, 3, dtype=torch.float64), torch.tensor([7] * 10 + [-3, 7, 2] * 5 + [900] * 5)
    sums = MomentSums()
    for a, b in zip(x.split(1), y.split(1)):
        sums.add(a, b)
    close(sums.value(), Moments.of(x, y))
    assert sums.value().classes.tolist() == [-3, 2, 7, 900]


def test_without_labels_all_samples_are_one_class():
    x = torch.randn(20, 3, dtype=torch.float64)
    got = Moments.of(x)
    assert got.classes.tolist() == [0]
    torch.testing.assert_close(got.mean[0], x.mean(0))


def test_input_is_not_changed():
    x, y = torch.randn(20, 3), torch.randint(0, 3, (20,))
    before = x.clone()
    Moments.of(x, y, scatter=True)
    assert torch.equal(x, before)
