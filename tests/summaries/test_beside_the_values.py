"""Intervals, counts and secondary fields of summaries, each against a reference written out."""

import numpy as np
import pytest
import torch

from repana import Moments, fisher
from repana.summaries import discriminant
from repana.summaries.class_groups import within_class_groups
from repana.summaries.covariance import Covariance
from repana.summaries.discriminant import Discriminant
from repana.summaries.pairwise_distances import PairwiseDistances
from repana.summaries.resampling import bootstrapped, permuted_orders


def test_shrinkage_goes_towards_the_diagonal():
    x, y = torch.randn(60, 3, dtype=torch.float64) * torch.tensor([1.0, 5.0, 25.0]), torch.arange(60) % 3
    x += y[:, None] * torch.tensor([1.0, 0.0, 30.0])
    m = np.stack([x[y == k].mean(0).numpy() for k in range(3)])
    e = x.numpy() - m[y]
    w, b = e.T @ e / 60, (m - m.mean(0)).T @ (m - m.mean(0)) / 3
    mixed = 0.7 * w + 0.3 * np.diag(np.diag(w))
    assert fisher(x, y, shrinkage=0.3).quotient.value == pytest.approx(np.trace(np.linalg.solve(mixed, b)))


def test_places_left_at_a_tie_count_in_part():
    x, y = torch.tensor([[0.0], [1.0], [2.0], [-2.0], [9.0]]), torch.tensor([0, 1, 0, 1, 1])
    assert float(PairwiseDistances.of(x, y, k=2).same[0]) == 0.5  # 1 is nearer, and one place is left for 2 and -2


def test_traces_of_a_bootstrap_are_around_its_means():
    x, slot = torch.randn(40, 3, dtype=torch.float64), torch.arange(40) % 2
    s = next(bootstrapped(x, slot, Moments.of(x, slot), 1, torch.Generator().manual_seed(0)))
    want = [np.repeat(x[slot == k].numpy(), s.weight[slot == k].int().numpy(), 0).var(0).sum() * 20 for k in (0, 1)]
    np.testing.assert_allclose(s.trace, want, err_msg="trace")


def test_spread_around_given_centres():
    x, y, at = torch.randn(30, 3, dtype=torch.float64), torch.arange(30) % 2, torch.randn(2, 3, dtype=torch.float64)
    np.testing.assert_allclose(Moments.of(x, y).around(at).spread, (x - at[y]).square().sum(0), err_msg="spread")


def test_a_single_sample_is_in_no_group():
    assert within_class_groups(torch.tensor([0, 0, 1]), 2, 0)[2] == -1


def test_features_that_vary_are_counted():
    x = torch.randn(30, 4)
    x[:, 1] = 2.0
    assert Covariance.from_moments(Moments.of(x, torch.arange(30) % 2, scatter=True)).varying == 3


@pytest.mark.parametrize(("n", "d", "c"), [(400, 12, 3), (400, 30, 8), (300, 40, 25)])
def test_groups_left_out_from_one_factor_are_those_factored_again(monkeypatch, n, d, c):
    """The jackknife of Fisher's eigenvalues by Woodbury's identity against a factorisation for each group."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, c, (n,), generator=generator)
    y[:c] = torch.arange(c)
    x = torch.randn(c, d, generator=generator, dtype=torch.float64)[y] + torch.randn(n, d, generator=generator)
    fast = Discriminant.of(x, y)
    monkeypatch.setattr("repana.summaries.discriminant._without_groups", lambda *given: ())
    slow = Discriminant.of(x, y)
    assert len(fast.deleted) == len(slow.deleted) == 20
    for a, b in zip(fast.deleted, slow.deleted):
        np.testing.assert_allclose(a.quotient, b.quotient, rtol=1e-9)
        np.testing.assert_allclose(a.canonical, b.canonical, rtol=1e-9)
        np.testing.assert_allclose(a.per_feature, b.per_feature, rtol=1e-9)
        assert (a.n, a.rank, a.classes) == (b.n, b.rank, b.classes)
        assert a.trace_ratio == pytest.approx(b.trace_ratio)


def test_a_group_that_holds_a_whole_direction_is_factored_again():
    """Without the one sample that varies in a feature nothing is left of it, and Woodbury's identity does not serve."""
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[:, 2] = 0
    x[7, 2] = 5
    y = torch.arange(200) % 2
    total = Moments.of(x, y, scatter=True)
    assert discriminant._without_groups(x, y, total, Discriminant.from_moments(total), 20, 0) == ()
    assert len(Discriminant.of(x, y).deleted) == 20


@pytest.mark.parametrize(("n", "d"), [(40, 60), (90, 20), (97, 7)])
def test_halves_and_quarters_are_those_of_the_samples(n, d):
    """Eigenvalues of parts and of uncentred features, from shared products, against those of the samples."""
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 30
    found = Covariance.of(x, seed=3)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(3))

    def values(z, centred):
        z = z - z.mean(0) if centred else z
        return np.linalg.svd(z.numpy(), compute_uv=False) ** 2 / len(z)

    def agree(got, want):
        np.testing.assert_allclose(got, want[: len(got)], rtol=1e-8)
        assert (want[len(got) :] < 1e-9 * want[0]).all()

    agree(found.eigenvalues, values(x, True))
    agree(found.uncentred, values(x, False))
    for parts, of, centred in (
        (found.halves, order.chunk(2), True),
        (found.uncentred_halves, order.chunk(2), False),
        (found.quarters, order.chunk(4), True),
    ):
        assert len(parts) == len(of)
        for got, rows in zip(parts, of):
            agree(got, values(x[rows], centred))
    e = x - x.mean(0)
    np.testing.assert_allclose(found.coordinates @ found.coordinates.T, e @ e.T, atol=1e-8)
    raw = found.uncentred_coordinates
    np.testing.assert_allclose(raw @ raw.T, x @ x.T, rtol=1e-9)


def few(kind):
    g = torch.Generator().manual_seed(5)
    x, y = torch.randn(60, 80, generator=g, dtype=torch.float64), torch.arange(60) % 4
    if kind == "of low rank":
        x = x[:, :20] @ torch.randn(20, 80, generator=g, dtype=torch.float64)
    if kind == "copies":
        x[30:] = x[:30]
    if kind == "dead features":
        x[:, ::4], x[:, 1] = 0.0, 1e3 * x[:, 1]
    if kind == "a class of one":
        y[0] = 9
    return x, y


@pytest.mark.parametrize("kind", ["independent", "of low rank", "copies", "dead features", "a class of one"])
def test_few_samples_have_the_eigenvalues_of_a_pseudo_inverse(kind):
    """Of all samples and without each group, against St^+ Sb written out; and under other labels."""
    x, y = few(kind)

    def written_out(x, y):
        z = x - x.mean(0)
        z = z[:, z.abs().amax(0) > 0] / z.std(0)[z.abs().amax(0) > 0]
        m = torch.stack([z[y == k].mean(0) for k in y.unique()])
        p = torch.stack([(y == k).double().mean() for k in y.unique()])
        total, between = z.T @ z / len(z), (m.T * p) @ m
        values = torch.linalg.eigvals(torch.linalg.pinv(total, rtol=1e-10, hermitian=True) @ between).real
        return values.sort(descending=True).values[: len(p) - 1]

    found = Discriminant.of(x, y, jackknife=5, permutations=7, seed=3)
    torch.testing.assert_close(found.canonical, written_out(x, y), rtol=1e-8, atol=1e-8)
    assert bool(found.quotient.isnan().all())
    assert "singular" in found.reason
    group = within_class_groups(y, 5, 3)
    for g, deleted in enumerate(found.deleted):
        left = group != g
        torch.testing.assert_close(deleted.canonical, written_out(x[left], y[left]), rtol=1e-8, atol=1e-8)
        assert deleted.n == int(left.sum())
        one = Discriminant.of(x[left], y[left], jackknife=0)
        assert deleted.trace_ratio == pytest.approx(one.trace_ratio)
        torch.testing.assert_close(deleted.per_feature, one.per_feature)
    for order, values in zip(permuted_orders(60, 7, 3), found.permuted.canonical):
        torch.testing.assert_close(values, written_out(x, y[order]), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_far_from_zero_is_no_feature(dtype):
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(300, 6, generator=g).to(dtype), torch.arange(300) % 3
    x[:, 2] += y * 0.5
    plain = fisher(x[:, 1:], y, permutations=99)
    x[:, 0] = 1e7 / 3
    with_it = fisher(x, y, permutations=99)
    for name in ("trace_ratio", "quotient", "bounded", "feature_max"):
        a, b = getattr(with_it, name), getattr(plain, name)
        assert (a.value, a.p) == (pytest.approx(b.value, rel=1e-6), b.p), name
        assert a.p == 0.01, name


def test_constants_do_not_make_few_samples_independent():
    g = torch.Generator().manual_seed(1)
    x, y = torch.randn(20, 50, generator=g), torch.arange(20) % 3
    x[1] = x[0]  # of another class
    plain = Discriminant.of(x, y)
    x[:, 45:] = 1e6 + torch.arange(5) / 3
    found = Discriminant.of(x, y)
    assert found.rank == plain.rank == 18
    assert float(found.canonical[-1]) < 0.99
