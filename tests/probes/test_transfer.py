"""Transferability and erased concepts, against direct computation."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from repana import InputError, Split, erase, transferability
from repana.probes._transferability import leep, log_evidence, nce

DIGITS = load_digits(return_X_y=True)


def noise(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("n", "d"), [(500, 50), (500, 200)])
def test_the_h_score_of_noise_is_its_null(n, d):
    found = transferability(noise(n, d), torch.arange(n) % 10, jackknife=0, repeats=2)
    assert found.h_score.value == pytest.approx(d * 9 / (n - 1), abs=0.15)
    assert found.h_score.null == pytest.approx(d * 9 / (n - 1))
    assert abs(found.h_score_corrected.value) < 0.05


def test_the_h_score_of_few_rows_means_nothing():
    found = transferability(noise(100, 200), torch.arange(100) % 10, jackknife=0, repeats=2)
    assert found.h_score.value == pytest.approx(9)
    assert "whatever the labels" in found.h_score.note
    assert math.isnan(found.h_score_corrected.value)
    assert found.h_score_shrunk.value < 3


def test_the_h_score_is_invariant_to_linear_maps():
    x, y = noise(300, 10), torch.arange(300) % 3
    x[:, 0] += y
    a = transferability(x.double(), y, jackknife=0, repeats=2).h_score.value
    b = transferability(x.double() @ noise(10, 10, 4).double() + 3, y, jackknife=0, repeats=2).h_score.value
    assert a == pytest.approx(b, rel=1e-8)


@pytest.mark.parametrize(("n", "d"), [(300, 20), (60, 150)])
def test_log_me_is_the_largest_evidence(n, d):
    x = noise(n, d).double()
    y = (x[:, 0] + noise(n, 1, 5)[:, 0] > 0).long()
    wanted = []
    for k in range(2):
        t = (y == k).double().numpy()

        def negative(p, t=t):
            covariance = x.numpy() @ x.numpy().T / np.exp(p[0]) + np.eye(n) / np.exp(p[1])
            log_det = np.linalg.slogdet(covariance)[1]
            return (log_det + t @ np.linalg.solve(covariance, t) + n * np.log(2 * np.pi)) / 2

        best = minimize(negative, [3, 2], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-9, "maxiter": 500})
        wanted.append(-best.fun / n)
    found = transferability(x, y, jackknife=0, repeats=2).log_me.value
    assert found == pytest.approx(float(np.mean(wanted)), abs=1e-6)
    assert found == pytest.approx(transferability(37 * x, y, jackknife=0, repeats=2).log_me.value, abs=1e-9)


def test_an_exact_fit_has_no_bound():
    y = torch.arange(40) % 2
    value, exact = log_evidence(torch.eye(2, dtype=torch.float64)[y], y, 2)
    assert exact
    assert math.isfinite(value)
    found = transferability(torch.eye(2)[y] + 1e-9 * noise(40, 2), y, jackknife=0, repeats=2)
    assert "no bound" in found.log_me.note


def test_leep_and_nce_by_hand():
    y = torch.arange(100) % 5
    even = torch.full((100, 7), 1 / 7, dtype=torch.float64)
    assert leep(even, y, 5) == pytest.approx(-math.log(5))
    sure = torch.nn.functional.one_hot((y + 1) % 5, 7).double()  # two source classes never come
    assert leep(sure, y, 5) == pytest.approx(0, abs=1e-12)
    assert nce(sure, y, 5) == pytest.approx(0, abs=1e-12)
    assert nce(even, y, 5) == pytest.approx(-math.log(5))


def test_leep_is_never_above_nce_plus_rounding():
    """Tran et al. and Nguyen et al.: LEEP is at least NCE plus the mean log-likelihood of the source class."""
    x = noise(400, 6)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    theta = torch.softmax(x @ noise(6, 8, 3), 1)
    found = transferability(x, y, theta, repeats=2)
    assert found.leep.value >= found.nce.value + float(theta.amax(1).log().mean())
    assert found.leep.low <= found.leep.value <= 0
    with pytest.raises(InputError, match="RA250: "):
        transferability(x, y, x)


def test_the_few_shot_bound_holds_where_it_says_something():
    y = torch.arange(600) % 3
    collapsed = 10 * torch.eye(3)[y] + 0.3 * noise(600, 3)
    found = transferability(collapsed, y, jackknife=0)
    assert found.few_shot_bound.value < 1
    assert found.few_shot_error.value <= found.few_shot_bound.value
    loose = transferability(torch.eye(3)[y] + noise(600, 3), y, jackknife=0)
    assert 0.1 < loose.few_shot_error.value < 0.6 < loose.few_shot_bound.value


# --- erasure ----------------------------------------------------------------------------------------------------------


def test_leace_leaves_class_means_equal_and_linear_readers_without_a_hold():
    x, y = torch.tensor(DIGITS[0]), torch.tensor(DIGITS[1])
    found = erase(x, y)
    at = found_split(y).train_and_validation
    z = found(x)
    means = torch.stack([z[at][y[at] == k].mean(0) for k in range(10)])
    assert float((means - means.mean(0)).abs().max()) < 1e-12
    assert found.rank == 9
    torch.testing.assert_close(found.matrix @ found.matrix, found.matrix, atol=1e-10, rtol=0)
    alive = x[at].std(0) > 0
    model = LogisticRegression(C=1.0, tol=1e-8, solver="newton-cholesky").fit(z[at][:, alive].numpy(), y[at].numpy())
    assert np.abs(model.coef_).max() < 1e-4  # the tolerance of its search
    assert found.read_before.value > 0.95
    assert found.read_after.value <= 0.15
    assert found.neighbours_after.value > 0.7  # the guarantee is for linear readers
    qda = QuadraticDiscriminantAnalysis(reg_param=0.1).fit(z[at][:, alive].numpy(), y[at].numpy())
    assert qda.score(z[found_split(y).test][:, alive].numpy(), y[found_split(y).test].numpy()) > 0.8
    assert abs(found.read_random.value - found.read_before.value) < 0.03


def found_split(y):
    return Split.of(y, len(y))


def test_leace_moves_less_than_any_other_projection_that_guards():
    """Among affine maps that make class means equal it moves least: less than the orthogonal one, in its own metric."""
    x = noise(2000, 8).double() @ noise(8, 8, 2).double()
    y = (x[:, 0] + x[:, 1] > 0).long()
    at = found_split(y).train_and_validation
    maps = [erase(x, y, method=method, repeats=1) for method in ("leace", "mean_projection")]
    moved = [float((x[at] - m(x[at])).square().sum(1).mean()) for m in maps]
    assert moved[0] <= moved[1] * (1 + 1e-9)
    for m in maps:
        z = m(x[at])
        assert float((z[y[at] == 0].mean(0) - z[y[at] == 1].mean(0)).abs().max()) < 1e-10


def test_numbers_of_classes_are_no_quantity():
    x, y = torch.tensor(DIGITS[0]), torch.tensor(DIGITS[1])
    assert erase(x, y, repeats=1).rank == 9  # an integer label taken as a scalar concept would give 1


def test_what_the_head_loses():
    x = noise(1500, 10)
    y, other = (x[:, 0] > 0).long(), (x[:, 1] > 0).long()
    weight = torch.zeros(2, 10)
    weight[1, 0] = 1.0
    uses = erase(x, y, weight=weight)
    assert uses.head_before.value > 0.99
    assert uses.head_after.value < 0.65
    assert uses.head_random.value > 0.8
    unused = erase(x, other, weight=weight, bias=torch.zeros(2), targets=y)
    assert unused.head_after.value > 0.95
    with pytest.raises(InputError, match="RA211: `weight`"):
        erase(x, y, weight=weight[:, :5])


def test_shrinkage_of_the_covariance_for_few_rows():
    x = noise(60, 100)
    y = torch.arange(60) % 2
    found = erase(x, y, shrinkage=0.3, repeats=1)
    assert math.isfinite(found.moved.value)
    with pytest.raises(InputError, match="a number from 0 to 1 here"):
        erase(x, y, shrinkage="ledoit_wolf")


def test_erased_features_keep_their_precision():
    x = noise(200, 5).half()
    assert erase(x, torch.arange(200) % 2, repeats=1)(x).dtype == torch.float16
