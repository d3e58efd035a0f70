"""Held-out ridge from fold moments and from inner products, against refits; non-negative codes against SciPy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from sklearn.linear_model import Ridge
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from repana.summaries.folds import FoldMoments
from repana.summaries.held_out import GRID, FoldSums, grid, held_out, held_out_rows, in_sample, in_sample_rows, solved
from repana.summaries.nnls import non_negative


def planted(n, d, t, seed=0, offset=0.0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=g, dtype=torch.float64) * torch.linspace(0.2, 3, d) + offset
    z = x @ torch.randn(d, t, generator=g, dtype=torch.float64) / d**0.5 + torch.randn(n, t, generator=g)
    fold = torch.randperm(n, generator=g) % 5
    return x, z, fold


def by_refits(x, z, fold, strengths):
    """Sums of squared errors on each fold, of scikit-learn's Ridge, and of the mean alone."""
    x, z, fold = x.numpy(), z.numpy(), fold.numpy()
    error = np.empty((5, z.shape[1], len(strengths)))
    spread = np.empty((5, z.shape[1]))
    for r, strength in enumerate(strengths):
        guess = cross_val_predict(Ridge(alpha=strength, solver="svd"), x, z, cv=PredefinedSplit(fold))
        for f in range(5):
            error[f, :, r] = ((z - guess)[fold == f] ** 2).sum(0)
            spread[f] = ((z[fold == f] - z[fold != f].mean(0)) ** 2).sum(0)
    return torch.tensor(error), torch.tensor(spread)


@pytest.mark.parametrize(("n", "d"), [(200, 30), (60, 60), (40, 200)])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_every_strength_is_that_of_refits(n, d, offset):
    """V7: primal and dual, with features far from the origin."""
    x, z, fold = planted(n, d, 7, offset=offset)
    strengths = torch.tensor([0.1, 3.0, 100.0], dtype=torch.float64)
    error, spread = by_refits(x, z, fold, strengths.tolist())
    found = held_out_rows(x, z, fold, 5, strengths)
    tolerance = 1e-10 if offset == 0 else 1e-7  # of scikit-learn's own centring
    torch.testing.assert_close(found.error, error, rtol=tolerance, atol=0)
    torch.testing.assert_close(found.spread, spread, rtol=1e-10, atol=0)


def test_moments_and_inner_products_agree():
    x, z, fold = planted(80, 100, 5)
    at = grid(float((x - x.mean(0)).square().sum()), 100, GRID[3:])  # with fewer rows than units moments lose the rest
    rows, sums = held_out_rows(x, z, fold, 5, at), held_out(FoldMoments.of(x, z, fold, 5), at)
    torch.testing.assert_close(rows.strengths, sums.strengths)
    torch.testing.assert_close(rows.error, sums.error, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(rows.explained(), sums.explained(), rtol=0, atol=1e-7)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 100), st.integers(1, 90))
def test_any_split_of_the_stream_gives_the_same(seed, cut):
    x, z, fold = planted(100, 8, 3, seed)
    whole = held_out(FoldMoments.of(x, z, fold, 5))
    parts = FoldSums(5, rows=30)
    for rows in (slice(None, cut), slice(cut, None)):
        parts.add(x[rows], z[rows], fold[rows])
    other = held_out(parts.value())
    torch.testing.assert_close(whole.error, other.error, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(whole.explained(), other.explained(), rtol=1e-9, atol=1e-12)


def test_strength_is_chosen_by_target():
    """A target that is nothing but noise takes the largest, one without noise the least."""
    x, z, fold = planted(400, 20, 1)
    noise = torch.randn(400, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found = held_out_rows(x, torch.cat([x[:, :1], noise], 1), fold, 5)
    assert found.best.tolist()[0] <= 1
    assert found.best.tolist()[1] >= len(GRID) - 6
    assert float(found.explained()[0]) == pytest.approx(1, abs=1e-7)
    assert abs(float(found.explained()[1])) < 0.01


def test_influences_sum_to_nothing():
    x, z, fold = planted(100, 10, 4)
    found = held_out_rows(x, z, fold, 5)
    assert float(found.influence().sum(0).abs().max()) < 1e-12


def test_one_strength_by_one_factor():
    x, z, fold = planted(100, 10, 4)
    weight, bias = solved(FoldMoments.of(x, z, fold, 5).normal(), 2.0)
    model = Ridge(alpha=2.0).fit(x.numpy(), z.numpy())
    assert np.allclose(weight.T.numpy(), model.coef_, rtol=1e-9, atol=1e-12)
    assert np.allclose(bias.numpy(), model.intercept_, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("n", "d"), [(300, 20), (30, 50)])
def test_in_sample_is_least_squares(n, d):
    x, z, _ = planted(n, d, 3)
    guess = np.linalg.lstsq(np.c_[np.ones(n), x.numpy()], z.numpy(), rcond=None)[0]
    left = z.numpy() - np.c_[np.ones(n), x.numpy()] @ guess
    want = 1 - (left**2).sum(0) / ((z.numpy() - z.numpy().mean(0)) ** 2).sum(0)
    assert np.allclose(in_sample_rows(x, z).numpy(), want, atol=1e-9)
    if d < n:
        one = torch.zeros(n, dtype=torch.int64)
        assert np.allclose(in_sample(FoldMoments.of(x, z, one, 1).normal()).numpy(), want, atol=1e-9)


def test_moments_far_from_the_origin_in_single_precision():
    """Spec 3.1: mean 100, deviation 1, true R^2 .9999."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(3000, 20, generator=g, dtype=torch.float64)
    z = x[:, :1] + 0.01 * torch.randn(3000, 1, generator=g, dtype=torch.float64)
    fold = torch.arange(3000) % 5
    found = held_out_rows((x + 100).float(), (z + 100).float(), fold, 5).explained()
    want = held_out_rows(x, z, fold, 5).explained()
    assert float(found[0]) == pytest.approx(float(want[0]), abs=2e-6)
    assert float(want[0]) == pytest.approx(0.9999, abs=2e-5)


@pytest.mark.parametrize(("t", "d", "n"), [(8, 20, 100), (40, 64, 60), (60, 24, 60), (1, 5, 10)])
def test_codes_are_scipys(t, d, n):
    g = torch.Generator().manual_seed(t)
    atoms = torch.rand(t, d, generator=g, dtype=torch.float64)
    rows = torch.relu(torch.randn(n, t, generator=g, dtype=torch.float64)) @ atoms
    rows += 0.1 * torch.randn(n, d, generator=g, dtype=torch.float64)
    found = non_negative(rows, atoms)
    want = torch.tensor(np.stack([nnls(atoms.T.numpy(), row)[0] for row in rows.numpy()]))
    assert bool((found.codes >= 0).all())
    assert float(found.gap.max()) < 1e-8
    ours, theirs = ((rows - z @ atoms).square().sum(1) for z in (found.codes, want))
    assert float((ours - theirs).abs().max()) < 1e-9 * float(theirs.max() + 1)
    if t <= d:
        torch.testing.assert_close(found.codes, want, atol=1e-7, rtol=1e-6)


def test_a_wide_dictionary_is_solved_without_factors(monkeypatch):
    monkeypatch.setattr("repana.summaries.nnls.EXACT", 4)
    g = torch.Generator().manual_seed(0)
    atoms = torch.eye(10, dtype=torch.float64) + 0.1 * torch.rand(10, 10, generator=g, dtype=torch.float64)
    rows = torch.randn(50, 10, generator=g, dtype=torch.float64)
    found = non_negative(rows, atoms)
    want = torch.tensor(np.stack([nnls(atoms.T.numpy(), row)[0] for row in rows.numpy()]))
    torch.testing.assert_close(found.codes, want, atol=1e-6, rtol=1e-6)


def test_a_zero_atom_has_no_code():
    atoms = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert non_negative(torch.tensor([[2.0, 1.0]]), atoms).codes.tolist() == [[2.0, 0.0]]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_moments_on_the_gpu():
    x, z, fold = planted(300, 40, 6)
    here = held_out_rows(x, z, fold, 5)
    there = held_out_rows(x.cuda(), z.cuda(), fold.cuda(), 5)
    torch.testing.assert_close(here.explained(), there.explained().cpu(), rtol=1e-9, atol=1e-12)


# --- one accumulator --------------------------------------------------------------------------------------------------


def parts_of(x, y):
    """X'X, X'Y and Y'Y of one set of sums, that of the columns of both."""
    both = torch.cat([x, y], 1)
    gram = FoldMoments.of(both, both[:, :1], torch.arange(len(x)) % 3, 3).normal().gram
    d = x.shape[1]
    return gram[:d, :d], gram[:d, d:], gram[d:, d:]


def orthonormal(n=60, d=8):
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.linalg.qr(x - x.mean(0))[0]


@pytest.mark.parametrize("m", [3, 8])
def test_the_sums_hold_cka_and_procrustes(m):
    """V10, V14: CKA(X, X[:, :m]) = sqrt(m/d), the same by Procrustes; disjoint blocks are sqrt 2 apart."""
    x = orthonormal()
    a, across, b = parts_of(x, x[:, :m])
    assert float(across.square().sum() / (a.norm() * b.norm())) == pytest.approx((m / 8) ** 0.5, abs=1e-9)
    size = (a.diagonal().sum() * b.diagonal().sum()) ** 0.5
    assert float(torch.linalg.matrix_norm(across, "nuc") / size) == pytest.approx((m / 8) ** 0.5, abs=1e-9)
    _, apart, _ = parts_of(x[:, :4], x[:, 4:])
    assert float((2 - 2 * torch.linalg.matrix_norm(apart, "nuc") / 4) ** 0.5) == pytest.approx(2**0.5, abs=1e-9)


def test_the_sums_hold_the_biased_cka_of_nothing():
    """V13: independent Gaussians, d/(n - 1 + d)."""
    g = torch.Generator().manual_seed(0)
    found = []
    for _ in range(10):
        x, y = torch.randn(64, 128, generator=g), torch.randn(64, 128, generator=g)
        a, across, b = parts_of(x, y)
        found.append(float(across.square().sum() / (a.norm() * b.norm())))
    assert np.mean(found) == pytest.approx(128 / (63 + 128), abs=0.01)


def test_the_sums_hold_canonical_correlations_and_components():
    from sklearn.cross_decomposition import CCA
    from sklearn.decomposition import PCA

    g = torch.Generator().manual_seed(0)
    x = torch.randn(400, 5, generator=g, dtype=torch.float64)
    y = x[:, :3] @ torch.randn(3, 4, generator=g, dtype=torch.float64) + torch.randn(400, 4, generator=g)
    a, across, b = parts_of(x, y)
    roots = [torch.linalg.inv(torch.linalg.cholesky(m)) for m in (a, b)]
    ours = torch.linalg.svdvals(roots[0] @ across @ roots[1].T)[:2].numpy()
    u, v = CCA(2, scale=False, max_iter=5000, tol=1e-12).fit_transform(x.numpy(), y.numpy())
    theirs = [np.corrcoef(u[:, k], v[:, k])[0, 1] for k in range(2)]
    assert ours == pytest.approx(np.array(theirs), abs=1e-4)
    values = torch.linalg.eigvalsh(a).flip(0).numpy() / 399
    assert values == pytest.approx(PCA().fit(x.numpy()).explained_variance_, rel=1e-9)


def test_the_sums_hold_the_matching_of_units():
    """V16: permuted units with noise of half their size: the permutation, at a mean correlation of 1/sqrt(1.25)."""
    from scipy.optimize import linear_sum_assignment

    g = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 16, generator=g)
    order = torch.randperm(16, generator=g)
    y = x[:, order] + 0.5 * torch.randn(4000, 16, generator=g)
    a, across, b = parts_of(x, y)
    correlation = across / (a.diagonal()[:, None] * b.diagonal()).sqrt()
    rows, columns = linear_sum_assignment(-correlation.numpy())
    assert order[columns].tolist() == rows.tolist()
    assert float(correlation[rows, columns].mean()) == pytest.approx(1.25**-0.5, abs=0.01)


def test_neighbours_that_two_layers_share():
    """V15: all of them with itself, k/(n - 1) with an independent layer."""
    from repana import nearest_neighbours

    g = torch.Generator().manual_seed(0)
    one, other = (nearest_neighbours(torch.randn(500, 20, generator=g), 10).indices for _ in range(2))
    shared = torch.stack([torch.isin(a, b).double().mean() for a, b in zip(one, other)])
    assert float(shared.mean()) == pytest.approx(10 / 499, abs=0.006)
