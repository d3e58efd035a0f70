"""Variance explained, redundancy, sparsity, superposition, coding rate: closed forms and planted truths."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from repana import (
    InputError,
    ResidualPath,
    coding_rate,
    dictionary,
    flow,
    hoyer,
    redundancy,
    residual_paths,
    superposition,
    variance_explained,
)


def features(n=4000, seed=0):
    g = torch.Generator().manual_seed(seed)
    f = torch.randn(n, 2, generator=g, dtype=torch.float64).sign()
    q = torch.linalg.qr(torch.randn(10, 10, generator=g, dtype=torch.float64))[0][:2]
    return f, (f * torch.tensor([3.0, 1.0])) @ q


@pytest.mark.parametrize("ratio", ["sums", "examples"])
def test_variance_that_two_features_explain(ratio):
    """V17: phi = 3 f1 q1 + f2 q2 of balanced signs: .9 and .1."""
    f, phi = features()
    found = variance_explained(phi, f, ratio=ratio, bootstrap=100)
    assert found.total.tolist() == pytest.approx([0.9, 0.1], abs=0.01)
    assert found.unique.tolist() == pytest.approx([0.9, 0.1], abs=0.01)
    assert float(found.joint) == pytest.approx(1, abs=1e-9)
    assert float(found.overlap) == pytest.approx(0, abs=0.01)


def test_noise_parts_the_two_ratios():
    """Mean of ratios below the ratio of sums under noise, equal without; the closed form is the ratio of sums."""
    g = torch.Generator().manual_seed(0)
    f = torch.randn(20000, 1, generator=g, dtype=torch.float64).sign()
    q = torch.nn.functional.normalize(torch.randn(1, 8, generator=g, dtype=torch.float64))
    phi = f @ q + 0.7 * torch.randn(20000, 8, generator=g, dtype=torch.float64)
    sums, examples = (float(variance_explained(phi, f, ratio=r, bootstrap=0).total) for r in ("sums", "examples"))
    truth = 1 / (1 + 8 * 0.49)
    assert sums == pytest.approx(truth, abs=0.01)
    assert examples < sums


def test_features_that_go_together_share_what_they_explain():
    g = torch.Generator().manual_seed(0)
    a = torch.randn(3000, 1, generator=g, dtype=torch.float64)
    b = a + 0.3 * torch.randn(3000, 1, generator=g, dtype=torch.float64)
    found = variance_explained(torch.cat([a, a + b], 1), torch.cat([a, b], 1), bootstrap=50)
    assert float(found.overlap) > 0.8
    assert found.overlap.low > 0.7
    assert bool((found.unique < found.total).all())


def test_intervals_and_reference_of_variance_explained():
    f, phi = features(600)
    noisy = phi + 2 * torch.randn(phi.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = variance_explained(noisy, f, bootstrap=200)
    assert bool((found.total_low < found.total).all() & (found.total < found.total_high).all())
    truth = 9 / (10 + 40)
    assert float(found.total_low[0]) < truth < float(found.total_high[0])
    size = float(noisy.square().sum(1).mean())
    doubled = variance_explained(noisy, f, bootstrap=0, reference=2 * size)
    assert float(doubled.total[0]) > float(found.total[0])
    with pytest.raises(InputError, match="RA251"):
        variance_explained(phi, torch.ones(600))
    with pytest.raises(InputError, match="RA211"):
        variance_explained(phi, f[:-1])


def test_parities_are_represented_unequally():
    """V18: a network trained on a sign, a 2-parity and a 3-parity: the easy one takes the most, 4 of 4 seeds."""
    for seed in range(4):
        torch.manual_seed(seed)
        x = torch.randint(2, (4000, 12)).float() * 2 - 1
        f = torch.stack([x[:, 0], x[:, 1:3].prod(1), x[:, 3:6].prod(1)], 1)
        net = torch.nn.Sequential(
            torch.nn.Linear(12, 128), torch.nn.ReLU(), torch.nn.Linear(128, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3)
        )
        optimizer = torch.optim.Adam(net.parameters(), 3e-3)
        for _ in range(60):
            for at in torch.randperm(4000).split(250):
                optimizer.zero_grad()
                torch.nn.functional.soft_margin_loss(net(x[at]), f[at]).backward()
                optimizer.step()
        with torch.no_grad():
            assert float((net(x).sign() == f).double().mean()) > 0.995
            found = variance_explained(net[:4](x), f, bootstrap=0)
        assert float(found.total[0]) > float(found.total[1:].max())


@pytest.mark.parametrize("local", [True, False])
def test_redundancy_says_nothing_on_a_white_layer(local):
    """sqrt(p) for every direction."""
    x = torch.randn(20000, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = x[:, 0] if local else x.sum(1)
    found = redundancy(x, z, keep=0.25, repeats=400)
    assert float(found.mean_redundancy) == pytest.approx(0.5, abs=0.06)
    assert found.mean_redundancy.null == 0.5


def test_redundancy_against_masks_taken_one_by_one():
    from repana.features._flow import cka_of

    g = torch.Generator().manual_seed(0)
    x = torch.randn(200, 12, generator=g, dtype=torch.float64) @ torch.randn(12, 12, generator=g, dtype=torch.float64)
    z = torch.stack([x[:, 0] + x[:, 3], torch.ones(200, dtype=torch.float64)], 1)
    found = redundancy(x, z, keep=0.5, repeats=30, seed=4)
    order = torch.rand(30, 12, generator=torch.Generator().manual_seed(4)).argsort(1)[:, :6]
    want = torch.stack([cka_of(x[:, at], z[:, :1]) / cka_of(x, z[:, :1]) for at in order]).mean()
    assert float(found.redundancy[0]) == pytest.approx(float(want), rel=1e-9)
    assert bool(found.redundancy[1].isnan())
    assert found.mean_redundancy.n == 1


def test_hoyer():
    assert hoyer(torch.eye(4)).tolist() == [1.0] * 4
    assert hoyer(torch.ones(2, 9)).tolist() == pytest.approx([0.0] * 2)
    assert math.isnan(float(hoyer(torch.zeros(1, 3))[0]))
    v = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(hoyer(v), hoyer(-3 * v))
    with pytest.raises(InputError, match="RA234"):
        hoyer(torch.ones(3, 1))


def simplex(m):
    """m + 1 unit vectors in m dimensions, each as far from the others as can be."""
    centred = torch.eye(m + 1, dtype=torch.float64) - 1 / (m + 1)
    _, _, v = torch.linalg.svd(centred)
    return torch.nn.functional.normalize(centred @ v[:m].T)


@pytest.mark.parametrize("m", [2, 5, 30])
def test_a_simplex_reaches_the_welch_floor(m):
    """V24: |cos| = 1/m, mean cos^2 the floor, dimensionalities sum to m."""
    found = superposition(simplex(m))
    assert float(found.mean_cosine) == pytest.approx(1 / m)
    assert float(found.mean_squared_cosine) == pytest.approx(float(found.welch))
    assert float(found.dimensions) == pytest.approx(m)
    assert found.dimensionality.tolist() == pytest.approx([m / (m + 1)] * (m + 1))


def test_random_directions():
    w = torch.randn(600, 50, generator=torch.Generator().manual_seed(0))
    found = superposition(w)
    assert float(found.mean_squared_cosine) == pytest.approx(1 / 50, rel=0.03)
    assert float(found.mean_squared_cosine) >= float(found.welch)
    assert float(found.random) == 1 / 50
    parted = superposition(torch.cat([torch.eye(4), torch.zeros(2, 4)]))
    assert float(parted.represented) == pytest.approx(4 / 6)
    assert parted.dimensionality.tolist() == [1.0] * 4 + [0.0] * 2
    assert float(parted.mean_squared_cosine) == 0
    with pytest.raises(InputError, match="RA227"):
        superposition(torch.zeros(3, 2))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_cosines_do_not_depend_on_rotation_length_or_blocks(seed):
    g = torch.Generator().manual_seed(seed)
    w = torch.randn(30, 6, generator=g, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=g, dtype=torch.float64))[0]
    scale = torch.rand(30, 1, generator=g, dtype=torch.float64) + 0.1
    one, other = superposition(w), superposition(scale * w @ turn)
    assert float(one.mean_squared_cosine) == pytest.approx(float(other.mean_squared_cosine), rel=1e-9)
    import repana.features._superposition as geometry

    old, geometry.ROWS = geometry.ROWS, 7
    try:
        assert float(superposition(w).mean_cosine) == pytest.approx(float(one.mean_cosine), rel=1e-12)
    finally:
        geometry.ROWS = old


@pytest.mark.parametrize(("n", "d"), [(50, 8), (8, 50)])
def test_coding_rate_on_either_side_of_the_gram(n, d):
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(n, d, generator=g, dtype=torch.float64), torch.arange(n) % 3
    found = coding_rate(x, y, epsilon=0.7, normalise=False)
    z = x.numpy()

    def rate(z):
        return 0.5 * np.linalg.slogdet(np.eye(d) + d / (len(z) * 0.49) * z.T @ z)[1]

    assert float(found.rate) == pytest.approx(rate(z))
    parts = sum((y == k).sum().item() / n * rate(z[(y == k).numpy()]) for k in range(3))
    assert float(found.class_rate) == pytest.approx(parts)
    assert float(found.reduction) == pytest.approx(rate(z) - parts)


def test_rate_reduction_is_largest_for_orthogonal_classes():
    g = torch.Generator().manual_seed(0)
    y = torch.arange(300) % 3
    apart = torch.nn.functional.one_hot(y, 3).double() @ torch.eye(3, 9, dtype=torch.float64)
    apart = apart + 0.05 * torch.randn(300, 9, generator=g)
    mixed = torch.randn(300, 9, generator=g)
    assert float(coding_rate(apart, y).reduction) > float(coding_rate(mixed, y).reduction)
    assert math.isnan(float(coding_rate(mixed).reduction))
    ignored = torch.where(torch.arange(300) < 30, -100, y)
    assert float(coding_rate(apart, ignored).rate) == pytest.approx(float(coding_rate(apart[30:], y[30:]).rate))
    with pytest.raises(InputError, match="RA2"):
        coding_rate(mixed, epsilon=0.0)


def seeded(k=0):
    return torch.Generator().manual_seed(k)


def test_a_share_of_variance_is_one():
    x = 5 + torch.randn(100, 8, generator=seeded())
    for words in (torch.zeros(3, 8), torch.randn(5, 8, generator=seeded(1)), torch.randn(20, 8, generator=seeded(2))):
        for encoder in ("project", "least_squares"):
            share = dictionary(x, words, encoder=encoder).explained(x)
            assert -1e-9 <= share <= 1 + 1e-9
    assert dictionary(x, torch.zeros(3, 8)).explained(x) == pytest.approx(0, abs=1e-12)
    big = dictionary(x, "classes", weight=100 * torch.randn(3, 8, generator=seeded(3)))
    assert 0 < big.explained(x) < 1


def test_components_of_few_rows():
    x = torch.randn(20, 300, generator=seeded(), dtype=torch.float64)
    few = dictionary(x, "pca", count=5)
    _, s, _ = torch.linalg.svd(x - x.mean(0))
    assert few.explained(x) == pytest.approx(float(s[:5].square().sum() / s.square().sum()))


def test_what_a_kind_has_no_use_for_is_refused():
    x = torch.rand(20, 4)
    with pytest.raises(InputError, match="RA254: `count`"):
        dictionary(x, "units", count=2)


@pytest.mark.parametrize("first", [True, False])
def test_attention_is_a_branch(first):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=first)
    found = residual_paths(nn.Sequential(nn.Linear(8, 8), layer), torch.randn(3, 5, 8))
    assert len(found) == 2


def test_a_null_of_the_units_that_were_kept():
    x = torch.randn(3000, 3, generator=seeded())
    found = redundancy(x, x[:, 0], keep=0.25, repeats=200)
    assert found.mean_redundancy.null == pytest.approx((1 / 3) ** 0.5)
    dead = redundancy(torch.ones(30, 3), x[:30, 0])
    assert dead.mean_redundancy.note


def test_variance_explained_in_closed_form():
    """Against a least-squares fit without each feature, equal features among them."""
    from repana import Split

    f = torch.randn(300, 5, generator=seeded(), dtype=torch.float64)
    f[:, 4] = f[:, 3]
    phi = f @ torch.randn(5, 7, generator=seeded(1), dtype=torch.float64) + torch.randn(300, 7, generator=seeded(2))
    split = Split.of(None, 300)
    found = variance_explained(phi, f, split=split, bootstrap=0)
    train, report = split.train_and_validation, split.test

    def share(columns):
        a, b = f[train][:, columns], phi[train]
        level_a, level_b = a.mean(0), b.mean(0)
        w = torch.linalg.lstsq(a - level_a, b - level_b, driver="gelsd").solution
        left = phi[report] - level_b - (f[report][:, columns] - level_a) @ w
        return 1 - float(left.square().sum() / (phi[report] - level_b).square().sum())

    whole = share(list(range(5)))
    assert float(found.joint) == pytest.approx(whole, abs=1e-7)
    assert found.total.tolist() == pytest.approx([share([j]) for j in range(5)], abs=1e-9)
    assert found.unique.tolist() == pytest.approx(
        [whole - share([i for i in range(5) if i != j]) for j in range(5)], abs=1e-6
    )
    assert found.unique[3:].tolist() == pytest.approx([0, 0], abs=1e-6)
    with pytest.raises(InputError, match="RA248"):
        variance_explained(phi, f, split=Split.of(None, 100))
    assert variance_explained(torch.ones(300, 7), f[:, :2], bootstrap=0).joint.note == "the layer is constant"


def test_small_refusals():
    x = torch.randn(30, 4)
    path = residual_paths(nn.Sequential(nn.Linear(4, 4), nn.TransformerEncoderLayer(4, 2, 8)), torch.randn(3, 4))
    with pytest.raises(InputError, match="RA227"):
        coding_rate(x, torch.full((30,), -100))
    named = {a: x for p in path for a in (p.skip, p.branch)}
    with pytest.raises(InputError, match="RA2"):
        flow(named, x, path, measure="cka", nonsense=3)
    named[path[0].branch] = x[:20]
    with pytest.raises(InputError, match="RA201"):
        flow(named, x, path, measure="cka")
    zero = flow({a: torch.zeros(30, 4) for a in named}, x, path, measure="cka")
    assert zero.carried.note


def test_what_the_skip_path_carries():
    """Features that only one of the two paths has are carried by that one, whichever it is."""
    g = torch.Generator().manual_seed(0)
    z, noise = torch.randn(300, 3, generator=g), torch.randn(300, 3, generator=g)
    layers = {"a:in": z, "a.out": noise}
    paths = [ResidualPath("a", "a:in", "a.out")]
    assert flow(layers, z, paths).carried.value == 1.0
    assert flow({"a:in": noise, "a.out": z}, z, paths).carried.value == 0.0
    two = [ResidualPath("a", "a:in", "a.out"), ResidualPath("b", "a.out", "a:in")]
    assert flow(layers, z, two, measure="cka").carried.value == 0.5
