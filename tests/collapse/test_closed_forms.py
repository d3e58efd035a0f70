"""Networks trained to their optimum in float64, whose geometry is known in closed form; the quantities must say so."""

import math

import numpy as np
import pytest
import torch
from clouds import simplex

from repana import Moments, neural_collapse
from repana.collapse import _formulas as formulas

COUNTS = (100, 50, 25, 25)


def optimum(loss, start):
    """Minimise over float64 arrays by L-BFGS to machine precision."""
    from scipy.optimize import minimize

    shapes, sizes = [s.shape for s in start], [s.numel() for s in start]

    def split(v):
        return [p.reshape(s) for p, s in zip(v.split(sizes), shapes)]

    def both(v):
        v = torch.tensor(v, requires_grad=True)
        value = loss(*split(v))
        value.backward()
        return float(value.detach()), v.grad.numpy()

    noisy = torch.cat([(s + 0.1 * torch.randn(s.shape, dtype=torch.float64)).flatten() for s in start]).numpy()
    options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-18, "gtol": 1e-11, "maxcor": 50}
    found = minimize(both, noisy, jac=True, method="L-BFGS-B", options=options)
    return [p.detach() for p in split(torch.from_numpy(found.x))]


def product(factors):
    out = factors[0]
    for factor in factors[1:]:
        out = factor @ out
    return out


def linear_network(counts, layers, lw, lh, *, bias):
    """Features and weights that minimise mean squared error with weight decay; classes of different size."""
    n, c = sum(counts), len(counts)
    y = torch.repeat_interleave(torch.arange(c), torch.tensor(counts))
    target = torch.nn.functional.one_hot(y, c).double().T

    def loss(h, b, *ws):
        decay = lw / 2 * sum(w.square().sum() for w in ws) + lh / 2 * h.square().sum()
        fitted = product(ws) @ h + (b[:, None] if bias else 0)
        return (fitted - target).square().sum() / (2 * n) + decay

    eye = torch.eye(c, dtype=torch.float64)
    h, b, *ws = optimum(loss, [target, torch.zeros(c, dtype=torch.float64), *[eye] * layers])
    return h.T.contiguous(), y, product(ws), b


@pytest.mark.slow
@pytest.mark.parametrize(
    ("counts", "layers", "lw", "lh", "diagonal"),
    [
        (COUNTS, 1, 5e-3, 5e-5, (0.99, 0.697107, 0.49, 0.49)),
        (COUNTS, 2, 5e-3, 5e-5, (0.98664, 0.61659, 0.38346, 0.38346)),
        (COUNTS, 3, 5e-3, 5e-5, (0.98496, 0.57954, 0.33844, 0.33844)),
        ((160, 20, 10, 10), 2, 2e-2, 2e-4, (1.31438, 0.28746, 0.16, 0.16)),
    ],
)
def test_deep_linear_network_with_imbalance(counts, layers, lw, lh, diagonal):
    """Dang et al. 2023: WW' and the means' Gram are diagonal, so the frame is a general orthogonal one."""
    h, y, w, _ = linear_network(counts, layers, lw, lh, bias=False)
    square, n = (w @ w.T).diagonal(), sum(counts)
    np.testing.assert_allclose(square.numpy(), diagonal, atol=2e-5)
    got = neural_collapse(h, y, weight=w, gof_target=square / (square + n * lh) ** 2, bootstrap=0)
    assert float(got.nc1) < 1e-6
    assert float(got.gof_error) < 1e-4
    assert float(got.of_error) > 0.01  # not an orthonormal frame, since classes differ in size
    torch.testing.assert_close(w, (square + n * lh)[:, None] * Moments.of(h, y).mean, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layers", "diagonal"), [(1, (0.60177, 0.51473, 0.39482, 0.39482)), (2, (0.55984, 0.45603, 0.31779, 0.31779))]
)
def test_linear_network_with_a_free_bias_and_imbalance(layers, diagonal):
    h, y, w, b = linear_network(COUNTS, layers, 5e-3, 5e-5, bias=True)
    np.testing.assert_allclose((w @ w.T).diagonal().numpy(), diagonal, atol=2e-5)
    np.testing.assert_allclose(b.numpy(), np.array(COUNTS) / sum(COUNTS), atol=1e-6)
    got = neural_collapse(h, y, weight=w, bias=b, bootstrap=0)
    assert float(got.nc1) < 1e-6
    assert float(got.vci) < 1e-6
    assert float(got.nc4) == float(got.accuracy) == 1


@pytest.mark.slow
@pytest.mark.parametrize("layers", [1, 2])
def test_balanced_linear_network_with_bias_is_a_simplex(layers):
    h, y, w, b = linear_network((30, 30, 30, 30), layers, 5e-3, 5e-5, bias=True)
    got = neural_collapse(h, y, weight=w, bias=b, bootstrap=0)
    for name in (
        "nc1",
        "etf_error",
        "classifier_etf_error",
        "equinorm",
        "equiangularity",
        "self_duality",
        "duality_zhu",
    ):
        assert float(getattr(got, name)) < 1e-4, name
    np.testing.assert_allclose(b.numpy(), 0.25, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("c", "n", "lw", "lh", "scale"),
    [(4, 25, 5e-3, 1e-4, 5.634228), (10, 10, 1e-3, 1e-4, 6.898715), (3, 40, 2e-2, 1e-3, 3.507218)],
)
def test_cross_entropy_optimum_is_collapsed(c, n, lw, lh, scale):
    """Unconstrained features with balanced cross-entropy: W Hbar = a J, a simplex frame, self-dual."""
    y = torch.arange(c).repeat_interleave(n)

    def loss(h, w):
        ce = torch.nn.functional.cross_entropy((w @ h).T, y)
        return ce + lw / 2 * w.square().sum() + lh / 2 * h.square().sum()

    h, w = optimum(loss, [torch.zeros(c + 2, c * n), torch.zeros(c, c + 2)])
    got = neural_collapse(h.T, y, weight=w, bias=torch.zeros(c), bootstrap=0)
    for name in ("nc1", "cdnv", "vci", "etf_error", "self_duality", "duality_zhu", "classifier_etf_error", "equinorm"):
        assert float(getattr(got, name)) < 1e-5, name
    assert float(got.nc4) == float(got.accuracy) == 1
    wanted = scale * (torch.eye(c, dtype=torch.float64) - 1 / c)
    torch.testing.assert_close(w @ Moments.of(h.T.contiguous(), y).mean.T, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_multi_label_optimum_has_simplex_means_and_classifier():
    """Pick-all-label cross-entropy: single tags form a simplex frame; a pair's mean is 1.794689 of their average."""
    c, each, lw, lh = 4, 10, 5e-3, 1e-4
    sets = [(k,) for k in range(c)] + [(i, j) for i in range(c) for j in range(i)]
    group = torch.arange(len(sets)).repeat_interleave(each)
    tags = torch.zeros(len(group), c, dtype=torch.float64)
    for row, g in enumerate(group.tolist()):
        tags[row, list(sets[g])] = 1

    def loss(h, w):
        ce = -(tags * (w @ h).T.log_softmax(1)).sum(1).mean()
        return ce + lw / 2 * w.square().sum() + lh / 2 * h.square().sum()

    h, w = optimum(loss, [torch.zeros(c + 1, len(group)), torch.zeros(c, c + 1)])
    means = Moments.of(h.T.contiguous(), group).mean
    for k, pair in enumerate(sets[c:], start=c):
        torch.testing.assert_close(means[k], 1.794689 * means[list(pair)].mean(0), rtol=1e-4, atol=1e-5)
    single = group < c
    got = neural_collapse(h.T[single], group[single], weight=w, bootstrap=0)
    for name in ("nc1", "etf_error", "classifier_etf_error", "self_duality"):
        assert float(getattr(got, name)) < 1e-4, name


def test_simplex_encoded_label_interpolation():
    """SELI for counts (40, 40, 10, 10): Z = J D^1/2 = V L U', WW' ~ VLV', Hbar'Hbar ~ D^-1/2 U L U' D^-1/2."""
    d = torch.diag(torch.tensor([40.0, 40, 10, 10], dtype=torch.float64))
    v, length, u = torch.linalg.svd((torch.eye(4, dtype=torch.float64) - 0.25) @ d.sqrt())
    gram_w = v @ torch.diag(length) @ v.T
    half = torch.diag(d.diagonal().rsqrt())
    gram_h = half @ u.T @ torch.diag(length) @ u @ half
    cosine = formulas.cosines(gram_w)
    assert float(gram_w[0, 0] / gram_w[2, 2]) == pytest.approx(1.558482, abs=1e-6)
    assert float(cosine[2, 3]) == pytest.approx(-0.116963, abs=1e-6)
    assert float(cosine[0, 1]) == pytest.approx(-0.433399, abs=1e-6)
    assert float(gram_h[2, 2] / gram_h[0, 0]) == pytest.approx(1.612574, abs=1e-6)


@pytest.mark.slow
def test_regression_features_follow_the_targets():
    """NRC: with mean squared error on targets of covariance S, WW' = sqrt(lh/lw) (S^1/2 - sqrt(lh lw) I)."""
    m, lw, lh = 60, 1e-2, 1e-2
    targets = torch.randn(m, 2, dtype=torch.float64) @ torch.tensor([[1.0, 0.4], [0.0, 0.6]], dtype=torch.float64)
    centred = targets - targets.mean(0)

    def loss(h, w, b):
        fit = (w @ h + b[:, None] - targets.T).square().sum() / (2 * m)
        return fit + lh / (2 * m) * h.square().sum() + lw / 2 * w.square().sum()

    zeros = torch.zeros(2, dtype=torch.float64)
    h, w, b = optimum(loss, [centred.T, torch.eye(2, dtype=torch.float64), zeros])
    values, vectors = torch.linalg.eigh(centred.T @ centred / m)
    want = math.sqrt(lh / lw) * vectors @ torch.diag(values.sqrt() - math.sqrt(lh * lw)) @ vectors.T
    torch.testing.assert_close(w @ w.T, want, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(b, targets.mean(0), rtol=1e-5, atol=1e-6)
    assert formulas.gram_distance(w @ w.T, want) < 1e-5


def test_pair_distance_and_kernel_at_a_simplex():
    rows = simplex(10, 12)
    pairs = formulas.off_diagonal(formulas.cosines(rows @ rows.T))
    assert formulas.uniformity(pairs, "log", 1.0)[0] == pytest.approx(-0.399254, abs=1e-6)
    assert formulas.uniformity(pairs, "log", 1.0)[1] == pytest.approx(0, abs=1e-12)
    assert float(pairs[0]) == pytest.approx(-1 / 9)
