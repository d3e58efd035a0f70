"""The batched solver against scikit-learn in float64, its certificate, and what must not change it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from repana.summaries.logistic import logistic


def blobs(n=600, d=20, c=5, signal=0.6, seed=0, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(c, (n,), generator=g)
    means = signal * torch.randn(c, d, generator=g)
    x = torch.randn(n, d, generator=g) * torch.arange(1, d + 1) ** -0.5 + means[y] * torch.arange(1, d + 1) ** -0.5
    x = x @ torch.linalg.qr(torch.randn(d, d, generator=g))[0]
    return ((x - x.mean(0)) / x.std(0)).to(dtype), y


def objective(x, y, w, b, penalty):
    z = x.double() @ torch.as_tensor(w).double() + torch.as_tensor(b).double()
    return float(torch.nn.functional.cross_entropy(z, y) + penalty / 2 * (torch.as_tensor(w).double() ** 2).sum())


def peer(x, y, c):
    model = LogisticRegression(C=c, tol=1e-9, max_iter=20000)
    return model.fit(x.double().numpy(), y.numpy())


@pytest.mark.parametrize("classes", [3, 10, 40])
def test_the_minimum_is_scikit_learns(classes):
    x, y = blobs(n=1500, c=classes)
    strengths = [1e-5, 1e-3, 1e-2, 1e-1]
    fits = logistic(x, y, torch.tensor([1 / (c * len(x)) for c in strengths]), classes)
    assert bool(fits.certified.all())
    for k, c in enumerate(strengths):
        model, penalty = peer(x, y, c), 1 / (c * len(x))
        best = objective(x, y, model.coef_.T, model.intercept_, penalty)
        mine = objective(x, y, fits.weight[:, :, k], fits.bias[:, k], penalty)
        explained = min(best, -float(sum(p * np.log(p) for p in np.bincount(y) / len(y))) - best)
        assert mine - best <= float(fits.gap[k]) * explained + 1e-6  # the certificate bounds the true gap
        agree = (fits.scores(x)[:, :, k].argmax(1).numpy() == model.predict(x.double().numpy())).mean()
        assert agree >= 0.998


def test_two_classes_are_a_sigmoid_of_half_the_penalty():
    x, y = blobs(c=2, dtype=torch.float64)
    penalty = 0.05
    fits = logistic(x, y, torch.tensor([penalty]), 2, tolerance=1e-10)
    model = LogisticRegression(C=1 / (penalty / 2 * len(x)), tol=1e-10, max_iter=10000).fit(x.numpy(), y.numpy())
    difference = fits.weight[:, 1, 0] - fits.weight[:, 0, 0]
    np.testing.assert_allclose(difference, model.coef_[0], atol=1e-4)
    np.testing.assert_allclose(fits.bias[1, 0] - fits.bias[0, 0], model.intercept_[0], atol=1e-4)


def test_problems_together_are_problems_alone():
    x, y = blobs(dtype=torch.float64)
    g = torch.Generator().manual_seed(1)
    penalty = torch.tensor([1e-1, 1e-2, 1e-3], dtype=torch.float64)
    weight = (torch.rand(len(x), 3, generator=g) < 0.7).double()
    labels = torch.stack([y, y[torch.randperm(len(y), generator=g)], y], 1)
    together = logistic(x, labels, penalty, 5, weight=weight, tolerance=1e-8)
    for p in range(3):
        rows = weight[:, p] > 0
        alone = logistic(x[rows], labels[rows, p], penalty[p : p + 1], 5, tolerance=1e-8)
        torch.testing.assert_close(together.weight[:, :, p], alone.weight[:, :, 0], atol=2e-4, rtol=1e-3)


def test_scale_of_the_penalty_is_standardisation():
    x, y = blobs(dtype=torch.float64)
    s = torch.linspace(0.3, 3, x.shape[1], dtype=torch.float64)
    penalty = torch.tensor([1e-2], dtype=torch.float64)
    a = logistic(x * s, y, penalty, 5, scale=s[:, None], tolerance=1e-9)
    b = logistic(x, y, penalty, 5, tolerance=1e-9)
    torch.testing.assert_close(a.scores(x * s), b.scores(x), atol=1e-3, rtol=1e-3)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_order_of_rows_classes_and_copies(seed):
    x, y = blobs(n=300, seed=seed % 7, dtype=torch.float64)
    g = torch.Generator().manual_seed(seed)
    penalty = torch.tensor([1e-2], dtype=torch.float64)
    base = logistic(x, y, penalty, 5, tolerance=1e-9).scores(x)
    order, names = torch.randperm(300, generator=g), torch.randperm(5, generator=g)
    torch.testing.assert_close(
        logistic(x[order], y[order], penalty, 5, tolerance=1e-9).scores(x), base, atol=1e-3, rtol=1e-3
    )
    renamed = logistic(x, names[y], penalty, 5, tolerance=1e-9).scores(x)
    torch.testing.assert_close(renamed[:, names], base, atol=1e-3, rtol=1e-3)
    twice = logistic(x.repeat(2, 1), y.repeat(2), penalty, 5, tolerance=1e-9).scores(x)
    torch.testing.assert_close(twice, base, atol=1e-3, rtol=1e-3)


def test_a_class_without_rows_has_no_probability():
    x, y = blobs()
    fits = logistic(x, y, torch.tensor([1e-2]), 7)
    p = torch.softmax(fits.scores(x), 1)
    assert float(p[:, 5:].max()) == 0
    assert bool(fits.certified.all())


def test_separable_classes_without_much_penalty_end_with_their_gap():
    x, y = blobs(signal=30.0)
    fits = logistic(x, y, torch.tensor([1e-10]), 5, iterations=60)
    assert float(fits.gap[0]) > 0
    assert float((fits.scores(x)[:, :, 0].argmax(1) == y).double().mean()) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_a_gpu():
    x, y = blobs()
    penalty = torch.tensor([1e-2])
    a, b = logistic(x, y, penalty, 5), logistic(x.cuda(), y.cuda(), penalty.cuda(), 5)
    torch.testing.assert_close(a.scores(x), b.scores(x.cuda()).cpu(), atol=1e-2, rtol=1e-2)
