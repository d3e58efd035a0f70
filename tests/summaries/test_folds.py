"""Fold moments and ridge from them, against scikit-learn and refits."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge, RidgeClassifierCV

from repana.summaries.folds import FoldMoments, RidgePath, one_hot

STRENGTHS = torch.logspace(3, -4, 8, dtype=torch.float64)


def data(n=200, d=12, t=3, seed=0, dtype=torch.float64, offset=0.0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=g, dtype=torch.float64)
    z = x @ torch.randn(d, t, generator=g, dtype=torch.float64) + torch.randn(n, t, generator=g, dtype=torch.float64)
    return (x + offset).to(dtype), z.to(dtype), torch.randint(5, (n,), generator=g)


def test_held_out_predictions_are_those_of_refits():
    x, z, fold = data()
    moments = FoldMoments.of(x, z, fold, 5)
    for f in range(5):
        scores = RidgePath.of(moments.without(f), STRENGTHS).scores(x[fold == f])
        for k, strength in enumerate(STRENGTHS.tolist()):
            refit = Ridge(alpha=strength).fit(x[fold != f].numpy(), z[fold != f].numpy())
            np.testing.assert_allclose(scores[:, :, k], refit.predict(x[fold == f].numpy()), atol=1e-9)


@pytest.mark.parametrize(("n", "d"), [(60, 8), (30, 20)])
def test_leave_one_out_is_brute_force(n, d):
    x, z, _ = data(n=n, d=d)
    path = RidgePath.of(FoldMoments.of(x, z, torch.zeros(n, dtype=torch.int64), 1).normal(), STRENGTHS)
    found = torch.cat([part for _, part in path.left_out(x, z, rows=7)])
    for i in range(0, n, 7):
        rest = np.arange(n) != i
        for k, strength in enumerate(STRENGTHS.tolist()):
            want = Ridge(alpha=strength).fit(x[rest].numpy(), z[rest].numpy()).predict(x[i : i + 1].numpy())[0]
            np.testing.assert_allclose(found[i, :, k], want, rtol=1e-6, atol=1e-8)


def test_leave_one_out_error_is_that_of_ridge_classifier_cv():
    x, _, fold = data(n=300)
    z = one_hot(fold, 5).double() * 2 - 1
    path = RidgePath.of(FoldMoments.of(x, z, torch.zeros(300, dtype=torch.int64), 1).normal(), STRENGTHS)
    error = path.left_out_error(x, z).mean(0)
    peer = RidgeClassifierCV(alphas=STRENGTHS.numpy()).fit(x.numpy(), fold.numpy())
    assert float(error.min()) == pytest.approx(-peer.best_score_, rel=1e-9)
    assert float(STRENGTHS[error.argmin()]) == pytest.approx(peer.alpha_)


def test_a_row_that_decides_its_own_fit_has_no_leave_one_out_value():
    x, z, _ = data(n=5, d=10)
    path = RidgePath.of(FoldMoments.of(x, z, torch.zeros(5, dtype=torch.int64), 1).normal(), STRENGTHS[:1] * 1e-20)
    assert all(bool(part.isnan().all()) for _, part in path.left_out(x, z))


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(1, 199), seed=st.integers(0, 99))
def test_moments_add(cut, seed):
    x, z, fold = data(seed=seed)
    whole = FoldMoments.of(x, z, fold, 5)
    parts = sum(FoldMoments.of(x[s], z[s], fold[s], 5) for s in (slice(0, cut), slice(cut, None)))
    for f in range(5):
        a, b = whole.normal([f]), parts.normal([f])
        for name in ("mean", "target_mean", "gram", "cross", "squares"):
            torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("offset", [0.0, 10.0, 1000.0])
def test_float32_far_from_the_origin(offset):
    x, z, fold = data(n=2000, dtype=torch.float32, offset=offset)
    exact = FoldMoments.of(x.double(), z.double(), fold, 5).normal()
    found = FoldMoments.of(x, z, fold, 5).normal()
    assert float((found.gram - exact.gram).norm() / exact.gram.norm()) < 1e-6
    assert float((found.cross - exact.cross).norm() / exact.cross.norm()) < 1e-6
    least = torch.linalg.eigvalsh(found.gram)[0]
    assert float(least) == pytest.approx(float(torch.linalg.eigvalsh(exact.gram)[0]), rel=1e-4)


def test_rows_without_a_fold_are_left_out():
    x, z, fold = data()
    some = torch.where(fold == 2, -1, fold)
    found = FoldMoments.of(x, z, some, 5).normal()
    torch.testing.assert_close(found.gram, FoldMoments.of(x, z, fold, 5).without(2).gram)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_a_gpu():
    x, z, fold = data(dtype=torch.float32)
    here, there = FoldMoments.of(x, z, fold, 5), FoldMoments.of(x.cuda(), z.cuda(), fold.cuda(), 5)
    torch.testing.assert_close(here.normal().gram, there.normal().gram.cpu(), rtol=1e-5, atol=1e-4)
