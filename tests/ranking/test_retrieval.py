"""Retrieval: reference values, ties by enumeration, public evaluators, forms of relevance, and what is refused."""

import itertools
import math

import numpy as np
import pytest
import pytrec_eval
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn.metrics import ndcg_score

from repana.errors import InputError
from repana.ranking import retrieval, whitening
from repana.ranking._by_layer import paired_difference


def r0():
    """Scores and grades (language_models.md 3.4)."""
    r = np.random.default_rng(0)
    s = r.standard_normal((12, 30))
    g = r.integers(0, 4, (12, 30)) * (r.random((12, 30)) < 0.3)
    return s + 0.6 * g, g


S, G = r0()
NAMES = ("hit@1", "recall@5", "precision@5", "recall_capped@5", "mrr", "map", "ndcg@5", "ndcg@10")
R0 = (0.8333333333, 0.4479497354, 0.5833333333, 0.6125, 0.9166666667, 0.6444616188, 0.5905452840, 0.6575011466)
R0T = (0.75, 0.4460437248, 0.5773415473, 0.6068653569, 0.8640046296, 0.6069121400, 0.5679100417, 0.6230301016)


def of_scores(scores, grades, **options):
    return retrieval(scores, None, grades, score="precomputed", **options)


@pytest.mark.parametrize(("scores", "values", "exp"), [(S, R0, 0.5572699537), (np.round(S), R0T, 0.5372454832)])
def test_reference_values(scores, values, exp):
    found = of_scores(scores, G).estimates()
    assert [found[name].value for name in NAMES] == pytest.approx(values, abs=1e-10)
    assert of_scores(scores, G, gain="exp").ndcg[5].value == pytest.approx(exp, abs=1e-10)
    nulls = (found["hit@5"], found["recall@5"], found["mrr"], found["map"], found["ndcg@5"])
    expected = (0.7319925711, 1 / 6, 0.4402930206, 0.3100202524, 0.1926233721)
    assert [e.null for e in nulls] == pytest.approx(expected, abs=1e-10)


def test_by_hand():
    found = of_scores([[3, 3, 2, 2, 2, 1, 1.0]], [[0, 1, 2, 0, 1, 3, 0]], k=(1, 3)).estimates()
    names = ("recall@3", "mrr", "map", "ndcg@3", "hit@1")
    assert [found[n].value for n in names] == pytest.approx([0.4166666667, 0.75, 0.6575396825, 0.2762502495, 0.5])
    exp = of_scores([[3, 3, 2, 2, 2, 1, 1.0]], [[0, 1, 2, 0, 1, 3, 0]], k=3, gain="exp")
    assert exp.ndcg[3].value == pytest.approx(0.1577946127, abs=1e-10)


def one_order(order, grades, k):
    """Measures of one order of items, from their definitions."""
    ranked = [grades[i] for i in order]
    hits = [g > 0 for g in ranked]
    relevant = sum(hits)
    dcg = sum(g / math.log2(i + 2) for i, g in enumerate(ranked[:k]))
    best = sum(g / math.log2(i + 2) for i, g in enumerate(sorted(grades, reverse=True)[:k]))
    precision = [sum(hits[: i + 1]) / (i + 1) for i in range(len(hits))]
    return {
        f"hit@{k}": float(any(hits[:k])),
        f"recall@{k}": sum(hits[:k]) / relevant,
        f"recall_capped@{k}": sum(hits[:k]) / min(relevant, k),
        f"precision@{k}": sum(hits[:k]) / k,
        f"ndcg@{k}": dcg / best,
        "mrr": 1 / (hits.index(True) + 1),
        "map": sum(p for p, hit in zip(precision, hits) if hit) / relevant,
    }


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=6).filter(
        lambda items: any(g for _, g in items)
    ),
    st.integers(1, 7),
)
def test_ties_are_the_mean_over_all_orders(items, k):
    scores, grades = [s for s, _ in items], [g for _, g in items]
    orders = [
        one_order(order, grades, k)
        for order in itertools.permutations(range(len(items)))
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
    ]
    found = of_scores([scores], [grades], k=k).estimates()
    for name in orders[0]:
        assert found[name].value == pytest.approx(np.mean([o[name] for o in orders]), abs=1e-12), name


def test_ndcg_with_ties_is_that_of_scikit_learn():
    assert of_scores(np.round(S), G, k=7).ndcg[7].value == pytest.approx(ndcg_score(G, np.round(S), k=7), abs=1e-14)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_untied_runs_are_those_of_pytrec_eval(seed):
    """It holds scores in float32, so these are distinct there."""
    r = np.random.default_rng(seed)
    scores = r.permutation(40 * 90).reshape(40, 90).astype(np.float32)
    grades = r.integers(0, 4, (40, 90)) * (r.random((40, 90)) < 0.1)
    grades[grades.sum(1) == 0, 0] = 1
    judged = {f"q{q}": {f"d{i}": int(g) for i, g in enumerate(row)} for q, row in enumerate(grades)}
    run = {f"q{q}": {f"d{i}": float(s) for i, s in enumerate(row)} for q, row in enumerate(scores)}
    measures = {"recall.5", "P.5", "ndcg_cut.5,10", "recip_rank", "map", "success.5"}
    theirs = pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(run)
    ours = of_scores(scores, grades, k=(5, 10)).per_query
    pairs = {
        "recall_5": "recall@5", "P_5": "precision@5", "ndcg_cut_5": "ndcg@5", "ndcg_cut_10": "ndcg@10",
        "recip_rank": "mrr", "map": "map", "success_5": "hit@5",
    }  # fmt: skip
    for name, own in pairs.items():
        expected = [theirs[f"q{q}"][name] for q in range(40)]
        assert ours[own].numpy() == pytest.approx(np.array(expected), abs=1e-12), name


def test_constant_scores_are_the_null():
    found = of_scores(np.zeros_like(S), G).estimates()
    assert all(e.value == pytest.approx(e.null, abs=1e-14) for e in found.values())


def test_only_the_order_of_scores_counts():
    order = np.random.default_rng(1).permutation(30)
    first = of_scores(np.round(S), G).per_query
    for other in (of_scores(np.exp(np.round(S)), G), of_scores(np.round(S)[:, order], G[:, order])):
        for name, values in first.items():
            assert torch.allclose(values, other.per_query[name], atol=1e-14), name


@pytest.fixture(scope="module")
def rows():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(120) % 6
    means = torch.randn(6, 10, generator=generator)
    return means[y] + torch.randn(120, 10, generator=generator), y


def test_forms_of_relevance_agree(rows):
    x, y = rows
    grades = (y[:40, None] == y[40:]).int()
    forms = (
        grades,
        grades.numpy(),
        csr_matrix(grades.numpy()),
        [row.nonzero()[:, 0].tolist() for row in grades],
        [{int(i): 1.0 for i in row.nonzero()[:, 0]} for row in grades],
        (y[:40], y[40:]),
        ([f"class {c}" for c in y[:40].tolist()], [f"class {c}" for c in y[40:].tolist()]),
    )
    found = [retrieval(x[:40], x[40:], form).per_query for form in forms]
    for other in found[1:]:
        assert all(torch.equal(found[0][name], other[name]) for name in found[0])


@pytest.mark.parametrize("score", ["cosine", "dot", "euclidean"])
def test_scores_against_every_pair_by_hand(rows, score):
    x, y = (part.numpy() for part in rows)
    q, b = x[:40].astype(float), x[40:].astype(float)
    by_hand = {
        "cosine": (q / np.linalg.norm(q, axis=1)[:, None]) @ (b / np.linalg.norm(b, axis=1)[:, None]).T,
        "dot": q @ b.T,
        "euclidean": -np.linalg.norm(q[:, None] - b, axis=2),
    }[score]
    ours, theirs = retrieval(q, b, (y[:40], y[40:]), score=score), of_scores(by_hand, y[:40, None] == y[40:])
    assert all(torch.allclose(ours.per_query[n], theirs.per_query[n], atol=1e-14) for n in ours.per_query)


def test_the_queries_among_themselves(rows):
    """Each leaves itself out, by its place: a copy of it stays, and is found."""
    x, y = rows
    found = retrieval(x, None, y, k=1)
    expected = retrieval(x, x, y[:, None] == y, k=1, exclude_self=True)
    assert found.hit[1].value == expected.hit[1].value < 1
    units = torch.nn.functional.normalize(x.double(), dim=1)
    nearest = (units @ units.T).fill_diagonal_(-2).argmax(1)
    assert found.hit[1].value == pytest.approx(float((y[nearest] == y).double().mean()))
    twice = retrieval(torch.cat([x, x]), None, torch.cat([torch.arange(120)] * 2), k=1)
    assert twice.hit[1].value == 1
    assert "240 of 240 queries have an item with a cosine above 0.9999" in twice.hit[1].note


def test_ignored_labels_are_of_no_class(rows):
    x, y = rows
    ignored = y.clone()
    ignored[:30] = -100
    found = retrieval(x, None, ignored)
    assert found.settings["without_relevant"] == 30
    assert found.per_query["map"][:30].isnan().all()


def test_many_relevant_items_are_counted_as_few_are(rows):
    """Above 32 of a query, scores are sorted."""
    x, y = rows
    scores = torch.round(2 * x[:, :1] @ x[:, 1:2].T)
    found = of_scores(scores, y[:, None] < 4 + 0 * y)
    parts = [of_scores(scores[i : i + 1], (y[i] < 4).repeat(1, 120)) for i in range(3) if y[i] < 4]
    assert [float(p.per_query["map"]) for p in parts] == pytest.approx(found.per_query["map"][:3].tolist(), abs=1e-14)
    assert found.map.value == pytest.approx(1)  # every item is relevant


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batches_and_copies_tie_exactly(dtype):
    """The same queries alone or together, and copies of an item, have the same scores to the last bit."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(300, 33, generator=generator, dtype=dtype)
    bank = torch.randn(111, 33, generator=generator, dtype=dtype)
    bank = torch.cat([bank, bank[:100]])
    relevant = torch.zeros(300, 211, dtype=torch.int64)
    relevant[:, 0] = 1  # item 111 is a copy of it, and is not relevant
    found = retrieval(x, bank, relevant, k=1).per_query["mrr"]
    for size in (1, 7):
        parts = [retrieval(x[i : i + size], bank, relevant[i : i + size], k=1) for i in range(0, 3 * size, size)]
        assert torch.equal(torch.cat([p.per_query["mrr"] for p in parts]), found[: 3 * size])
    scores = torch.nn.functional.normalize(x.double(), dim=1) @ torch.nn.functional.normalize(bank.double(), dim=1).T
    above = (scores > scores[:, :1] + 1e-12).sum(1)
    expected = 0.5 * (1.0 / (above + 1) + 1 / (above + 2))
    assert torch.allclose(found, expected.double(), atol=1e-14)


@pytest.mark.parametrize("score", ["cosine", "euclidean"])
def test_float32_far_from_the_origin(rows, score):
    x, y = rows
    far = (x + 1e4).float()
    ours, exact = (retrieval(v[:40], v[40:], (y[:40], y[40:]), score=score) for v in (far, far.double()))
    assert all(torch.allclose(ours.per_query[n], exact.per_query[n], atol=1e-4) for n in ours.per_query)


def test_queries_without_relevant_items_are_left_out():
    grades = G.copy()
    grades[3] = 0
    found, without = of_scores(S, grades), of_scores(np.delete(S, 3, 0), np.delete(G, 3, 0))
    assert found.map.value == pytest.approx(without.map.value, abs=1e-15)
    assert "1 of 12 queries have no relevant item" in found.map.note
    assert found.per_query["ndcg@5"][3].isnan()
    assert found.settings["without_relevant"] == 1


def test_paired_difference_of_two_systems():
    """The same queries are drawn for both (language_models.md 3.1: [.1699, .3515] paired, [.107, .408] unpaired)."""
    found = paired_difference(of_scores(S, G), of_scores(S + 0.5 * G, G), "ndcg@5")
    assert found.value == pytest.approx(0.2570585928, abs=1e-10)
    assert (found.low, found.high) == pytest.approx((0.1699, 0.3515), abs=2e-3)


def test_few_queries_have_no_interval():
    found = of_scores(S[:9], G[:9]).map
    assert math.isnan(found.low)
    assert "9 units, and 10 are needed" in found.note


@pytest.mark.slow
def test_intervals_cover():
    """Queries of a population with graded difficulty, 50 at a time: the interval holds the population's mean."""
    r = np.random.default_rng(0)
    hard = r.random(20000)
    scores = r.standard_normal((20000, 20))
    scores[:, 0] += 3 * hard
    grades = np.zeros((20000, 20))
    grades[:, 0] = 1
    truth = of_scores(scores, grades, k=3)
    held = []
    for draw in range(300):
        at = r.integers(0, 20000, 50)
        found = of_scores(scores[at], grades[at], k=3, seed=draw)
        held.append([found.mrr.low <= truth.mrr.value <= found.mrr.high, *[
            found.ndcg[3].low <= truth.ndcg[3].value <= found.ndcg[3].high,
        ]])  # fmt: skip
    assert 0.91 <= min(np.mean(held, 0)) <= max(np.mean(held, 0)) <= 0.98, np.mean(held, 0)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: of_scores(np.full((2, 3), np.nan), np.ones((2, 3))), "RA293: `queries` has 6 scores that are NaN"),
        (lambda: retrieval(np.zeros((2, 3)), np.ones((4, 3)), np.ones((2, 4))), "RA293: 2 rows of `queries` are zero"),
        (lambda: retrieval(np.ones((2, 3)), np.ones((4, 5)), np.ones((2, 4))), "RA293: `queries` has 3 features"),
        (lambda: retrieval(np.ones((2, 3)), np.ones((4, 3)), np.ones((4, 2))), "RA292: `relevant` has shape (4, 2)"),
        (lambda: retrieval(np.ones((2, 3)), np.ones((4, 3)), -np.ones((2, 4))), "RA292: `relevant` has 8 grades"),
        (lambda: retrieval(np.ones((2, 3)), np.ones((4, 3)), np.zeros((2, 4))), "RA292: No query has a relevant item"),
        (lambda: retrieval(np.ones((2, 3)), np.ones((4, 3)), [[0], [4]]), "RA292: `relevant` names item 4"),
        (
            lambda: retrieval(np.ones((2, 3)), np.ones((4, 3)), [["d1"], ["d2", "d3"]]),
            "RA292: `relevant` names item 'd1'",
        ),
        (lambda: retrieval(np.ones((2, 3)), np.ones((4, 3)), [[0], [1, 1]]), "RA292: `relevant` names an item twice"),
        (lambda: retrieval(np.ones((2, 3)), np.ones((4, 3)), [[0], [1], [2]]), "RA292: `relevant` lists items for 3"),
        (lambda: retrieval(np.ones((2, 3)), np.ones((4, 3)), ([0, 1], [1, 2])), "RA292: `relevant` has 2 labels of"),
        (lambda: retrieval(np.ones((2, 3)), np.ones((4, 3)), "all"), "RA292: `relevant` is a 0-dimensional str"),
        (lambda: retrieval(np.ones((2, 3)), np.ones((4, 3)), [[0], [1]], exclude_self=True), "RA292: `exclude_self`"),
        (lambda: retrieval(S, S, G, score="precomputed"), "RA293: `score='precomputed'`"),
        (lambda: retrieval(S, S, G, score="manhattan"), "RA212: "),
        (lambda: of_scores(S, G, k=0), "RA212: "),
    ],
)
def test_what_does_not_fit_is_refused(call, code):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value).startswith(code)


def h0():
    r = np.random.default_rng(4)
    a = r.standard_normal((6, 6))
    return r.standard_normal((40, 6)) @ a + 3, r.standard_normal((20, 6)) @ a + 3


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({"kind": "center"}, 0.6854919020),
        ({}, 0.1103278186),
        ({"n_components": 3}, 0.5021301304),
        ({"eps": 0.1}, 0.3153488761),
    ],
)
def test_whitening_on_other_rows(options, first):
    fit, x = h0()
    units = torch.nn.functional.normalize(whitening(fit, **options)(x), dim=1)
    assert float(units[0] @ units[1]) == pytest.approx(first, abs=1e-10)


def test_whitening_refuses_what_proves_nothing():
    fit, x = h0()
    with pytest.raises(InputError, match="RA294: The whitening was fitted on all 40 rows"):
        whitening(fit)(fit)
    with pytest.raises(InputError, match="RA294: Whitening to 6 components needs more than the 4 dimensions"):
        whitening(fit[:5])
    assert whitening(fit[:5], n_components=3)(x).shape == (20, 3)
    assert torch.isfinite(whitening(fit[:5], eps=0.1)(x)).all()
    white = whitening(fit)
    assert torch.allclose(torch.cov(((torch.from_numpy(fit) - white.mean) @ white.matrix).T), torch.eye(6).double())
