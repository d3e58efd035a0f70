"""The information in a test loss: reference values, Monte Carlo, tails by another integral, and refusals."""

import mpmath
import numpy as np
import pytest
import torch
from scipy.stats import ncx2
from torch import nn

from repana.errors import InputError
from repana.kernels import inductive_bias, ntk
from repana.statistics.quadratic_forms import log_cdf


def test_the_reference_values():
    equal = -log_cdf(5 * 0.3, np.full(5, 0.5), np.array([1.2**0.5, 0, 0, 0, 0]))
    assert equal == pytest.approx(1.9623318670, abs=1e-10)
    mixed = log_cdf(1.0, np.array([1, 0.5, 0.25]), np.array([0.5, 0, 0.3]))
    assert np.exp(mixed) == pytest.approx(0.3355980665, abs=1e-10)


@pytest.mark.parametrize("n", [1, 2, 3, 8, 100])
@pytest.mark.parametrize("share", [1e-3, 0.1, 0.7, 1.0, 1.6, 8.0])
def test_equal_weights_are_a_noncentral_chi_square(n, share):
    e = np.random.default_rng(n).standard_normal(n)
    x = share * float((0.7 + e**2).sum())
    expected = ncx2.logcdf(x / 0.7, n, float((e**2).sum()) / 0.7)
    if np.isfinite(expected):
        assert log_cdf(x, np.full(n, 0.7), e) == pytest.approx(expected, rel=1e-8, abs=1e-9)


def by_quadrature(x, w, e):
    """The same integral on an upright line, with 60 digits."""
    mpmath.mp.dps = 60
    w, squares, x = [mpmath.mpf(float(v)) for v in w], [mpmath.mpf(float(v)) ** 2 for v in e], mpmath.mpf(x)

    def k(t):
        return mpmath.fsum(b * t / (1 - 2 * a * t) - mpmath.log(1 - 2 * a * t) / 2 for a, b in zip(w, squares))

    def slope(t):
        return mpmath.fsum(a / (1 - 2 * a * t) + b / (1 - 2 * a * t) ** 2 for a, b in zip(w, squares)) - 1 / t - x

    low, high = mpmath.mpf(10) ** -8, mpmath.mpf(10) ** 14
    for _ in range(250):
        middle = mpmath.sqrt(low * high)
        low, high = (middle, high) if slope(-middle) > 0 else (low, middle)
    c = -low

    def real(u):
        return (mpmath.exp(k(c + 1j * u) - (c + 1j * u) * x - k(c) + c * x) / (-(c + 1j * u))).real

    total = mpmath.quad(real, [0] + [-c * 2**j for j in range(-8, 24)]) / mpmath.pi
    return float(k(c) - c * x + mpmath.log(total))


SPREAD = 10.0 ** -np.linspace(0, 8, 12), 0.1 * np.random.default_rng(0).standard_normal(12)


@pytest.mark.slow
def test_weights_of_any_size():
    assert log_cdf(1e-3, *SPREAD) == pytest.approx(by_quadrature(1e-3, *SPREAD), rel=1e-9)


@pytest.mark.parametrize(
    ("x", "value"), [(1e-3, -35520.349719137186), (0.3, -1.6316435560386904), (2.0, -0.2187952068)]
)
def test_tails_of_any_depth(x, value):
    """Values of `by_quadrature`, which takes half a minute near the mean."""
    assert log_cdf(x, *SPREAD) == pytest.approx(value, rel=1e-9)


def test_several_squares_of_one_weight():
    r = np.random.default_rng(1)
    w, e = r.random(4), r.standard_normal((4, 3))
    assert log_cdf(3.0, w, e) == pytest.approx(log_cdf(3.0, np.repeat(w, 3), e.ravel()), abs=1e-11)


def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 32), nn.Tanh(), nn.Linear(32, 3)).double().eval()
    x = torch.randn(60, 5, dtype=torch.float64)
    return model, x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()


def test_it_is_the_share_of_draws_of_the_process():
    model, x, y = network()
    found = inductive_bias(ntk(model, (x, y)), 2.0, train=50)
    k, targets = ntk(model, (x, y)).matrix.numpy() / 3, np.eye(3)[y.numpy()]
    targets = targets - targets[:50].mean(0)
    fitted = k[:50, :50] + 1e-6 * np.trace(k[:50, :50]) / 50 * np.eye(50)
    v = (targets[:50] * np.linalg.solve(fitted, targets[:50])).sum() / 150
    mean = k[50:, :50] @ np.linalg.solve(fitted, targets[:50])
    spread = v * (k[50:, 50:] - k[50:, :50] @ np.linalg.solve(fitted, k[:50, 50:]))
    draws = np.random.default_rng(0).multivariate_normal(np.zeros(10), spread, (100_000, 3)).transpose(0, 2, 1)
    losses = ((mean + draws - targets[50:]) ** 2).mean((1, 2))
    share = (losses <= 2.0).mean()
    assert np.exp(-float(found.bias)) == pytest.approx(share, abs=4 * (share / 1e5) ** 0.5)
    assert float(found.expected_loss) == pytest.approx(losses.mean(), rel=0.02)
    assert float(found.loss) == pytest.approx(((mean - targets[50:]) ** 2).mean())
    assert float(found.bits) == pytest.approx(float(found.bias) / np.log(2))


def test_a_smaller_loss_takes_more_and_is_never_infinite():
    model, x, y = network()
    kernels = ntk(model, (x, y))
    nats = [float(inductive_bias(kernels, eps, train=50).bias) for eps in (3.0, 1.0, 0.1, 1e-3, 1e-8)]
    assert nats == sorted(nats)
    assert np.isfinite(nats).all()
    chosen = inductive_bias(kernels, 1.0, train=torch.arange(60) < 50)
    assert float(chosen.bias) == nats[1]


def test_a_task_of_the_kernel_takes_less_than_one_of_noise():
    model, x, _ = network()
    kernels = ntk(model, x)
    smooth = model(x)[:, :1].detach()
    noise = torch.randn(60, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * smooth.std()
    easy, hard = (inductive_bias(kernels, 0.01 * float(smooth.var()), train=50, targets=t) for t in (smooth, noise))
    assert float(easy.bias) < float(hard.bias)
    assert float(easy.bias) < easy.bias.null


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"eps": 0.0, "train": 50}, "`eps` is 0.0"),
        ({"eps": 0.1, "train": 60}, "60 of 60 samples"),
        ({"eps": 0.1, "train": 0}, "0 of 60 samples"),
        ({"eps": 0.1, "train": [True] * 3}, r"shape \(3,\)"),
        ({"eps": 0.1, "train": 50, "targets": torch.ones(4)}, "`targets` has shape"),
        ({"eps": 0.1, "train": 50, "variance": "prior"}, "'evidence'"),
    ],
)
def test_what_has_no_information_is_refused(options, text):
    model, x, y = network()
    with pytest.raises(InputError, match=text):
        inductive_bias(ntk(model, (x, y)), **options)


def test_a_kernel_without_labels_needs_targets():
    model, x, _ = network()
    with pytest.raises(InputError, match="RA297: the kernel has no labels"):
        inductive_bias(ntk(model, x), 0.1, train=50)


@pytest.mark.parametrize("shift", [0.0, 3.0, 20.0])
def test_kernels_in_single_precision_have_a_bias(shift):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 2))
    x = torch.randn(400, 10) + shift
    y = (x[:, 0] > shift).long()
    single = inductive_bias(ntk(model, (x, y)), 0.3, train=300)
    assert np.isfinite(float(single.bias))
    assert single.settings["noise"] > 0


def test_samples_without_a_label_are_left_out():
    model, x, y = network()
    some = torch.where(torch.arange(60) % 5 == 0, -100, y)
    found = inductive_bias(ntk(model, (x, some)), 1.0, train=50)
    kept = some != -100
    alone = inductive_bias(ntk(model, (x[kept], y[kept])), 1.0, train=int(kept[:50].sum()))
    assert float(found.bias) == pytest.approx(float(alone.bias), rel=1e-6)
    assert found.settings["outputs"] == 3
