"""Nearest neighbours: every distance against differences in float64, on the features that break Gram matrices."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from repana import InputError, Neighbours, nearest_neighbours
from repana.summaries import neighbours as engine
from repana.summaries.neighbour_graph import distinct

N, D, K = 600, 96, 20
GENERATOR = torch.Generator().manual_seed(0)
SHEET = torch.randn(N, 10, generator=GENERATOR) @ torch.randn(10, D, generator=GENERATOR)
Y = torch.arange(N) % 4
MEANS = 2 * torch.randn(4, D, generator=GENERATOR)
NOISE = torch.randn(N, 10, generator=GENERATOR) @ torch.randn(10, D, generator=GENERATOR)


def massive(x):
    x = x.clone()
    x[:, 0] += 3000 * (torch.arange(N) % 2 * 2 - 1)
    x[:, 1] = 3000 + 30 * torch.randn(N, generator=torch.Generator().manual_seed(1))
    return x


def pairs(x, gap):
    x = x.clone()
    x[1::2] = x[::2] + gap * torch.randn(N // 2, D, generator=torch.Generator().manual_seed(2))
    return x


CASES = {
    "manifold": SHEET,
    "offset": SHEET + 100,
    "massive": massive(SHEET),
    "pairs 1e-2": pairs(SHEET, 1e-2),
    "pairs 1e-5": pairs(SHEET, 1e-5),
    **{f"collapsed {s}": MEANS[Y] + s * NOISE for s in (0.1, 0.03, 0.01, 0.003, 0.001)},
    "two clusters": (Y % 2 * 2.0 - 1)[:, None] + 1e-3 * NOISE,
    "tiny": SHEET * 1e-20,
    "huge": SHEET * 1e18,
    "doubled": SHEET.repeat(2, 1)[:N],
    "grid": torch.cartesian_prod(torch.arange(20.0), torch.arange(30.0)),
}


def direct(x, bank=None, own=True):
    """All distances by differences in float64."""
    x = x.double()
    bank = x if bank is None else bank.double()
    found = torch.stack([torch.linalg.vector_norm(bank - row, dim=1) for row in x])
    return found.fill_diagonal_(math.inf) if own else found


@pytest.mark.parametrize("labels", [None, Y], ids=["plain", "by class"])
@pytest.mark.parametrize("name", CASES)
def test_every_distance_is_that_of_differences(name, labels, monkeypatch):
    monkeypatch.setattr(engine, "SMALLEST_CLASS", 10)
    x = CASES[name]
    got, everything = nearest_neighbours(x, K, labels=labels), direct(x)
    want = everything.topk(K, largest=False).values
    torch.testing.assert_close(got.distances, want, rtol=1e-6, atol=0)
    torch.testing.assert_close(everything.gather(1, got.indices), want, rtol=1e-6, atol=0)
    assert (got.distances.diff(dim=1) >= 0).all()
    assert not (got.indices == torch.arange(len(x))[:, None]).any()


def test_class_centres_save_the_second_pass(monkeypatch):
    monkeypatch.setattr(engine, "SMALLEST_CLASS", 10)
    x = CASES["collapsed 0.001"]
    assert nearest_neighbours(x, K).redone == N
    assert nearest_neighbours(x, K, labels=Y).redone == 0


def test_without_the_certificate_collapsed_neighbours_are_wrong(monkeypatch):
    """The test above can fail: with no margin, what float32 chooses is taken for true."""
    x = CASES["collapsed 0.001"]
    monkeypatch.setattr(engine, "MARGIN", 0.0)
    monkeypatch.setattr(engine, "TIED", dict.fromkeys(engine.TIED, -math.inf))
    got, want = nearest_neighbours(x, K).distances, direct(x).topk(K, largest=False).values
    assert float((got / want - 1).abs().max()) > 1e-3


def test_beyond_float64_differences_decide():
    x = torch.randn(90, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 1e-9
    x[:45] += 1.0
    got = nearest_neighbours(x, 5)
    torch.testing.assert_close(got.distances, direct(x).topk(5, largest=False).values, rtol=1e-9, atol=0)
    assert got.redone == 90


@pytest.mark.parametrize("name", ["manifold", "offset", "massive", "collapsed 0.01", "two clusters", "grid"])
def test_float64_features_keep_their_digits(name):
    x = CASES[name].double()
    want = direct(x).topk(K, largest=False).values
    torch.testing.assert_close(nearest_neighbours(x, K).distances, want, rtol=1e-9, atol=0)


def test_cosine_and_inner_products():
    x = CASES["collapsed 0.1"] + 1
    unit = torch.nn.functional.normalize(x.double())
    got = nearest_neighbours(x, K, metric="cosine")
    want = (direct(unit).square() / 2).topk(K, largest=False).values
    torch.testing.assert_close(got.distances, want, rtol=1e-9, atol=1e-15)
    products = (x.double() @ x.double().T).fill_diagonal_(-math.inf)
    got = nearest_neighbours(x, K, metric="inner")
    torch.testing.assert_close(got.distances, products.topk(K).values, rtol=1e-9, atol=0)


@pytest.mark.parametrize("metric", engine.METRICS)
def test_a_bank_in_pieces_is_the_bank(metric):
    queries, bank = SHEET[:50], SHEET[50:]
    whole = nearest_neighbours(queries, K, bank, metric)
    merged = None
    for start in range(0, len(bank), 110):
        part = Neighbours.of(queries, k=K, bank=bank[start : start + 110], metric=metric, offset=start)
        merged = part if merged is None else merged.merge(part)
    torch.testing.assert_close(merged.distances, whole.distances, rtol=1e-6, atol=1e-12)
    assert torch.equal(merged.indices, whole.indices)
    assert merged.bank == len(bank)
    if metric == "euclidean":
        want = direct(queries, bank, own=False).topk(K, largest=False).values
        torch.testing.assert_close(whole.distances, want, rtol=1e-6, atol=0)


def test_own_samples_stay_out_of_every_piece():
    own = torch.arange(len(SHEET))
    parts = [Neighbours.of(SHEET, k=K, bank=SHEET[s : s + 200], offset=s, places=own) for s in (0, 200, 400)]
    merged = parts[0].merge(parts[1]).merge(parts[2])
    assert torch.equal(merged.indices, nearest_neighbours(SHEET, K).indices)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("labels", [None, Y], ids=["plain", "by class"])
def test_some_samples_among_all_have_the_lists_of_all(name, labels, monkeypatch):
    monkeypatch.setattr(engine, "LEAST_PIECE", 2 * K + 60)
    x = CASES[name]
    own = torch.arange(3, len(x), 7)
    codes = None if labels is None else labels[own % len(labels)]
    whole = nearest_neighbours(x, K)
    for memory in (1, 2**29):  # in pieces, and whole
        some = Neighbours.of_bank(x[own], x, codes, k=K, places=own, memory=memory)
        torch.testing.assert_close(some.distances, whole.distances[own], rtol=1e-6, atol=0)
        assert some.bank == len(x)
        if name not in ("doubled", "grid"):  # where copies and ties may stand in another order
            assert torch.equal(some.indices, whole.indices[own])
        assert not bool((some.indices == own[:, None]).any())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_distinct_rows_are_those_of_a_comparison_of_all(dtype):
    x = torch.randint(-1, 2, (500, 5), generator=torch.Generator().manual_seed(3)).to(dtype)
    x[x == 0] = torch.where(torch.rand(int((x == 0).sum())) < 0.5, 0.0, -0.0).to(dtype)
    seen, want = set(), []
    for i, row in enumerate(x.tolist()):
        key = tuple(v + 0.0 for v in row)
        if key not in seen:
            want.append(i)
        seen.add(key)
    assert distinct(x).tolist() == want
    assert distinct(SHEET.to(dtype)).tolist() == list(range(N))


@given(seed=st.integers(0, 2**16), power=st.integers(-40, 40))
def test_powers_of_two_change_no_digit(seed, power):
    x = torch.randn(80, 5, generator=torch.Generator().manual_seed(seed))
    got, want = nearest_neighbours(x * 2.0**power, 7), nearest_neighbours(x, 7)
    assert torch.equal(got.indices, want.indices)
    assert torch.equal(got.distances, want.distances * 2.0**power)


@given(seed=st.integers(0, 2**16))
def test_order_and_rotation(seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(80, 5, generator=generator, dtype=torch.float64)
    want = nearest_neighbours(x, 7).distances
    order = torch.randperm(80, generator=generator)
    torch.testing.assert_close(nearest_neighbours(x[order], 7).distances, want[order], rtol=1e-12, atol=0)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64))[0]
    torch.testing.assert_close(nearest_neighbours(x @ turn, 7).distances, want, rtol=1e-9, atol=0)


@pytest.mark.parametrize("memory", [1, 2**18, 2**29])
def test_chunks_change_nothing(memory):
    got, want = nearest_neighbours(SHEET, K, memory=memory), nearest_neighbours(SHEET, K)
    assert torch.equal(got.indices, want.indices)
    torch.testing.assert_close(got.distances, want.distances, rtol=1e-6, atol=0)


def test_ties_are_in_the_order_of_the_samples():
    x = torch.zeros(9, 2)
    x[8] = 1.0
    got = nearest_neighbours(x, 4)
    assert got.indices[0].tolist() == [1, 2, 3, 4]
    assert got.indices[8].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_first(dtype):
    half = SHEET.to(dtype)
    assert torch.equal(nearest_neighbours(half, K).distances, nearest_neighbours(half.float(), K).distances)


def test_tensor_float_32_is_off_inside_and_back_after():
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        got = nearest_neighbours(SHEET, K)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(got.distances, nearest_neighbours(SHEET, K).distances)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("name", CASES)
def test_cuda_agrees_with_cpu(name):
    x = CASES[name]
    got, want = nearest_neighbours(x.cuda(), K), nearest_neighbours(x, K)
    torch.testing.assert_close(got.distances.cpu(), want.distances, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: nearest_neighbours(SHEET[:5], 5), "RA233: `k` is 5; there are 4 other samples, so expected 1 to 4."),
        (lambda: nearest_neighbours(SHEET[:5], 0), "RA233: `k` is 0; there are 4 other samples, so expected 1 to 4."),
        (
            lambda: nearest_neighbours(SHEET, 5).first(6),
            "RA233: `k` is 6; there are 5 other samples, so expected 1 to 5.",
        ),
        (
            lambda: nearest_neighbours(SHEET, 5, SHEET[:, :3]),
            "RA234: `features` has 96 columns and `bank` has 3; expected the same layer in both.",
        ),
        (
            lambda: nearest_neighbours(SHEET * (torch.arange(N) > 1)[:, None], 5, metric="cosine"),
            "RA235: `features` has 2 sample(s) whose features are all zero, the first in row 0, and so no direction. "
            "Leave them out, or take the Euclidean metric.",
        ),
        (
            lambda: nearest_neighbours(SHEET, 5, metric="l1"),
            "RA212: `metric` is 'l1'; expected one of 'euclidean', 'cosine', 'inner'.",
        ),
        (
            lambda: nearest_neighbours([[1.0], [math.nan]], 1),
            "RA204: `features` has 1 NaN or infinite value(s) in 1 of 2 samples, the first in row 1. Drop those rows, "
            "or find the layer that overflows.",
        ),
    ],
)
def test_refusals(call, text):
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value) == text


def _tied(kind: str) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    return {
        "whole numbers": lambda: torch.randint(0, 4, (600, 3), generator=g).float(),
        "grid": lambda: torch.cartesian_prod(*[torch.arange(9.0)] * 3),
        "grid far from 0": lambda: torch.cartesian_prod(*[torch.arange(9.0)] * 3) + 1000,
        "bits": lambda: torch.randint(0, 2, (500, 12), generator=g).float(),
        "copies": lambda: torch.randn(20, 5, generator=g)[torch.randint(0, 20, (600,), generator=g)],
        "one point": lambda: torch.ones(300, 4),
        "float64": lambda: torch.cartesian_prod(*[torch.arange(24.0, dtype=torch.float64)] * 2),
    }[kind]()


@pytest.mark.parametrize("memory", [2**29, 2**16])
@pytest.mark.parametrize("kind", ["whole numbers", "grid", "grid far from 0", "bits", "copies", "one point", "float64"])
def test_ties_go_to_the_lowest_index(kind, memory):
    x = _tied(kind)
    squares = (x[:, None].double() - x[None].double()).square().sum(-1).fill_diagonal_(math.inf)
    order = torch.argsort(squares, dim=1, stable=True)
    for k in (1, 5, 40):
        assert torch.equal(Neighbours.of(x, k=k, memory=memory).indices, order[:, :k])


def relu_layer(n, d, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(n, 20, generator=generator) @ torch.randn(20, d, generator=generator)).relu()


LOW_CASES = {
    "like a layer": lambda: (relu_layer(1500, 128), None),
    "isotropic": lambda: (torch.randn(1500, 128, generator=torch.Generator().manual_seed(1)), None),
    "collapsed": lambda: (torch.eye(128)[torch.arange(1500) % 5] + 1e-5 * relu_layer(1500, 128), None),
    "far from the origin": lambda: (relu_layer(1500, 128) + 300, None),
    "copies": lambda: (relu_layer(750, 128)[torch.arange(1500) // 2], None),
    "one row far away": lambda: (torch.cat([relu_layer(1499, 128), torch.full((1, 128), 1e4)]), None),
    "another bank": lambda: (relu_layer(300, 128, 1), relu_layer(1500, 128, 2)),
    "a bank that rounds less": lambda: (relu_layer(300, 128, 1), relu_layer(1500, 128, 2).bfloat16().float()),
}


@pytest.mark.parametrize("case", LOW_CASES)
@pytest.mark.parametrize("k", [1, 12])
def test_products_of_bfloat16_only_choose(monkeypatch, case, k):
    """The certificate gives the neighbours of float64, whatever the first product rounds away."""
    x, bank = LOW_CASES[case]()
    apart = cdist(x.double(), x.double() if bank is None else bank.double())
    if bank is None:
        np.fill_diagonal(apart, np.inf)
    order = apart.argsort(1, kind="stable")[:, :k]
    searched = []
    original = engine._Step.search
    monkeypatch.setattr(engine._Step, "search", lambda s, rows: (searched.append(s._dtype), original(s, rows))[1])
    for low in (True, False):
        monkeypatch.setattr(engine, "multiplies_bfloat16", lambda low=low: low)
        searched.clear()
        found = nearest_neighbours(x, k, bank)
        assert (torch.bfloat16 in searched) is low
        np.testing.assert_allclose(found.distances, np.take_along_axis(apart, order, 1), rtol=1e-6, atol=1e-12)
        same = (found.indices.numpy() == order) | np.isclose(
            np.take_along_axis(apart, found.indices.numpy(), 1), np.take_along_axis(apart, order, 1), rtol=1e-6
        )
        assert same.all()


@pytest.mark.parametrize("memory", [1, 2**29])
@pytest.mark.parametrize("own", [False, True])
def test_copies_of_queries_that_are_not_the_bank_go_by_index(memory, own, monkeypatch):
    monkeypatch.setattr(engine, "LEAST_PIECE", 120)
    x = torch.randn(600, 40, generator=torch.Generator().manual_seed(7))
    x[torch.randperm(600, generator=torch.Generator().manual_seed(8))[:40]] = x[0].clone()
    queries = torch.arange(0, 600, 3)
    found = Neighbours.of_bank(x[queries], x, k=5, places=queries if own else None, memory=memory)
    want = torch.cdist(x[queries].double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist")
    if own:
        want[torch.arange(len(queries)), queries] = math.inf
    want = want.sort(dim=1, stable=True).indices[:, :5]
    assert torch.equal(found.indices, want)


def test_a_bank_of_just_more_than_two_pieces_of_neighbours(monkeypatch):
    monkeypatch.setattr(engine, "LEAST_PIECE", 1)
    x = torch.randn(41, 3, generator=torch.Generator().manual_seed(0))
    found = Neighbours.of_bank(x, x, k=20, places=torch.arange(41), memory=1)
    assert torch.equal(found.indices, nearest_neighbours(x, 20).indices)


def test_rows_without_features_are_alike():
    assert distinct(torch.empty(5, 0)).tolist() == [0]
