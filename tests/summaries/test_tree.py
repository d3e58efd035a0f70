"""The minimum spanning tree: both algorithms against scipy, closed forms, collapse, duplicates, invariances."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import pdist

import repana
from repana import InputError, minimum_spanning_tree
from repana.summaries.tree import _forest

SMALL = 2**16  # bytes: too few for the matrix of distances, so that Boruvka's algorithm runs


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def deaths(x):
    return np.sort(linkage(pdist(x.double().numpy()), method="single")[:, 2])


def blobs(n, d, spread, seed=0, classes=10):
    means = torch.randn(classes, d, generator=seeded(seed))
    return means[torch.arange(n) % classes] + spread * torch.randn(n, d, generator=seeded(seed + 1))


def connected(tree):
    i, j = tree.edges.T.numpy()
    from scipy.sparse import coo_matrix

    return connected_components(coo_matrix((np.ones(len(i)), (i, j)), shape=(tree.n, tree.n)))[0] == 1


@pytest.mark.parametrize("memory", [repana.summaries.neighbours.MEMORY, SMALL], ids=["prim", "boruvka"])
@pytest.mark.parametrize(
    ("x", "name"),
    [
        (blobs(700, 64, 1.0), "blobs"),
        (torch.rand(900, 2, generator=seeded(0)), "square"),
        (torch.rand(600, 20, generator=seeded(1), dtype=torch.float64), "cube"),
        (torch.randint(0, 5, (500, 3), generator=seeded(2)).double(), "grid with ties and duplicates"),
        (torch.rand(400, 5, generator=seeded(3)) + 1e3, "far from the origin"),
        (torch.cat([torch.zeros(50, 4), torch.ones(50, 4)]), "two points"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_lengths_are_those_of_single_linkage(x, name, memory):
    tree = minimum_spanning_tree(x, memory=memory)
    np.testing.assert_allclose(tree.lengths.numpy(), deaths(x), rtol=1e-6, atol=1e-12)
    assert connected(tree)
    assert (tree.edges[:, 0] < tree.edges[:, 1]).all()


@pytest.mark.parametrize("memory", [repana.summaries.neighbours.MEMORY, SMALL], ids=["prim", "boruvka"])
@pytest.mark.parametrize("spread", [1.0, 1e-1, 1e-2, 1e-3, 1e-4])
def test_collapsed_classes_keep_every_digit(spread, memory):
    """float32 products alone are wrong by half at 1e-3."""
    x = blobs(400, 768, spread)
    tree = minimum_spanning_tree(x, memory=memory)
    want = deaths(x)
    assert float(tree.lengths.sum()) == pytest.approx(want.sum(), rel=1e-6)
    np.testing.assert_allclose(tree.lengths.numpy(), want, rtol=1e-5)
    assert tree.double is (spread <= 1e-2)


@given(seed=st.integers(0, 2**16), n=st.integers(2, 60), d=st.integers(1, 4), levels=st.integers(1, 5))
def test_any_small_cloud(seed, n, d, levels):
    """Few distinct values, so that ties and duplicates abound."""
    x = torch.randint(0, levels, (n, d), generator=seeded(seed)).double()
    for memory in (2**24, 1):
        tree = minimum_spanning_tree(x, memory=memory)
        np.testing.assert_allclose(tree.lengths.numpy(), deaths(x), rtol=1e-9, atol=1e-12)
        assert connected(tree)


def test_closed_forms():
    line = minimum_spanning_tree(torch.arange(30.0)[:, None] * 0.5)
    torch.testing.assert_close(line.lengths, torch.full((29,), 0.5, dtype=torch.float64))
    corners = torch.eye(4).repeat_interleave(torch.tensor([3, 4, 5, 6]), 0)  # one-hot point classes
    tree = minimum_spanning_tree(corners)
    torch.testing.assert_close(tree.lengths, torch.tensor([0.0] * 14 + [math.sqrt(2)] * 3, dtype=torch.float64))
    five = minimum_spanning_tree([[0.0], [0.0], [1.0], [1.0], [5.0]])  # two duplicate pairs
    assert five.lengths.tolist() == [0, 0, 1, 4]
    assert minimum_spanning_tree([[3.0, 1.0]]).lengths.shape == (0,)
    assert minimum_spanning_tree(torch.zeros(5, 2)).lengths.tolist() == [0] * 4


def test_published_sums():
    """Regression values of the specification, from independent code."""
    from sklearn.datasets import load_digits, load_iris

    iris = minimum_spanning_tree(load_iris().data)
    assert float(iris.lengths.sum()) == pytest.approx(43.52377964, abs=1e-8)
    assert float(iris.lengths[-1]) == pytest.approx(1.640121947, abs=1e-9)
    assert int((iris.lengths == 0).sum()) == 1
    digits = minimum_spanning_tree(load_digits().data)
    assert float(digits.lengths.sum()) == pytest.approx(30692.7599, abs=1e-4)
    assert float(digits.lengths[-1]) == pytest.approx(32.10918872, abs=1e-8)


@given(seed=st.integers(0, 2**16))
def test_what_must_not_change_lengths(seed):
    x = torch.rand(80, 6, generator=seeded(seed), dtype=torch.float64)
    want = minimum_spanning_tree(x).lengths
    turn = torch.linalg.qr(torch.randn(6, 6, generator=seeded(seed), dtype=torch.float64))[0]
    moved = torch.nn.functional.pad(x[torch.randperm(80, generator=seeded(seed))] @ turn + 7, (0, 2), value=3.0)
    torch.testing.assert_close(minimum_spanning_tree(moved).lengths, want, rtol=1e-9, atol=1e-12)
    assert torch.equal(minimum_spanning_tree(x * 2.0**-40).lengths * 2.0**40, want)
    torch.testing.assert_close(minimum_spanning_tree(x, memory=1).lengths, want, rtol=1e-12, atol=0)


def test_the_uniform_square_has_its_known_length():
    """sum/sqrt(n) is .649 to .654 at n = 4000."""
    x = torch.rand(4000, 2, generator=seeded(0))
    assert 0.645 < float(minimum_spanning_tree(x).lengths.sum()) / math.sqrt(4000) < 0.658


def test_links_of_one_length_close_no_cycle():
    links, lengths = np.array([[0, 1], [1, 2], [0, 2], [3, 4]]), np.array([1.0, 1.0, 1.0, 2.0])
    kept = _forest(links, lengths, 5)
    assert kept.tolist() == [True, True, False, True]
    assert _forest(links[:2], lengths[:2], 3).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_taken_up(dtype):
    x = torch.rand(100, 8, generator=seeded(0)).to(dtype)
    torch.testing.assert_close(
        minimum_spanning_tree(x).lengths, minimum_spanning_tree(x.double()).lengths, rtol=1e-6, atol=0
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("spread", [1.0, 1e-3])
def test_the_device_changes_nothing(spread):
    x = blobs(600, 64, spread)
    torch.testing.assert_close(
        minimum_spanning_tree(x.cuda()).lengths.cpu(), minimum_spanning_tree(x).lengths, rtol=1e-9, atol=0
    )


def test_refusals():
    with pytest.raises(InputError, match="RA204: `features` has 1 NaN or infinite"):
        minimum_spanning_tree([[0.0], [math.nan]])


@pytest.mark.parametrize("factor", [1.0, 3e5])
def test_a_known_graph_gives_the_same_tree(factor):
    """Without a matrix; with duplicates the graph is of no use, and is not used."""
    x = factor * torch.randn(700, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    graph = repana.nearest_neighbours(x, 20)
    want = minimum_spanning_tree(x, memory=2**16)
    got = minimum_spanning_tree(x, graph=graph, memory=2**16)
    np.testing.assert_allclose(got.lengths, want.lengths, rtol=1e-12)
    assert got.searched <= want.searched
    again = torch.cat([x, x[:5]])
    both = minimum_spanning_tree(again, graph=repana.nearest_neighbours(again, 8), memory=2**16)
    np.testing.assert_allclose(both.lengths[5:], want.lengths, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "total", "longest", "zeros"),
    [
        ("iris", 43.52377964, 1.640121947, 1),
        ("wine", 342.8128603, 4.003449649, 0),
        ("breast_cancer", 1393.852091, 12.29994539, 0),
        ("digits", 30692.7599, 32.10918872, 0),
    ],
)
def test_sums_of_known_data(name, total, longest, zeros):
    from sklearn import datasets
    from sklearn.preprocessing import StandardScaler

    x = getattr(datasets, f"load_{name}")().data
    x = x if name in ("iris", "digits") else StandardScaler().fit_transform(x)
    lengths = minimum_spanning_tree(x).lengths
    assert float(lengths.sum()) == pytest.approx(total, rel=1e-9)
    assert float(lengths[-1]) == pytest.approx(longest, rel=1e-9)
    assert int((lengths == 0).sum()) == zeros
