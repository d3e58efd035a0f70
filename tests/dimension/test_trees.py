"""Spanning trees and the dimension of their growth, of clouds and of single texts."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import minimum_spanning_tree

import repana
from repana import InputError, ph_dimension, ph_dimensions, text_dimension
from repana.summaries.distances import distances
from repana.summaries.forest import spanning_edges


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def cube(n, d, seed):
    return torch.rand(n, d, generator=seeded(seed), dtype=torch.float64)


def scipy_edges(between):
    i, j = np.triu_indices(len(between), 1)  # sparse, so that zero edges survive
    graph = csr_matrix((between.numpy()[i, j], (i, j)), shape=between.shape)
    return np.sort(minimum_spanning_tree(graph).data)


@given(seed=st.integers(0, 2**16), sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6))
def test_trees_are_those_of_scipy(seed, sizes):
    """Of several clouds and subsets of several sizes at once, ties and all."""
    grid = torch.randint(0, 4, (60, 3), generator=seeded(seed)).double()
    clouds = [distances(cube(70, 3, seed)), distances(grid)]
    members = torch.full((len(sizes), 60), -1)
    owner = torch.arange(len(sizes)) % 2
    for i, size in enumerate(sizes):
        members[i, :size] = torch.randperm(60, generator=seeded(seed + i))[:size]
    edges, real = spanning_edges(clouds, owner, members)
    for i, size in enumerate(sizes):
        assert int(real[i].sum()) == size - 1
        part = clouds[i % 2][members[i, :size]][:, members[i, :size]]
        got = np.sort(edges[i][real[i]].numpy())
        if size > 1:
            np.testing.assert_allclose(got[got > 0], scipy_edges(part)[scipy_edges(part) > 0], rtol=1e-12)


def test_near_pairs_are_measured_by_differences():
    x = cube(50, 20, 0)
    x = torch.cat([x, x + 1e-9 * torch.randn(50, 20, generator=seeded(1), dtype=torch.float64)]) + 100
    want = torch.stack([torch.linalg.vector_norm(x - row, dim=1) for row in x])
    assert float((distances(x) - want).abs().max()) < 1e-12
    near = want[torch.arange(50), torch.arange(50) + 50]
    torch.testing.assert_close(distances(x)[torch.arange(50), torch.arange(50) + 50], near, rtol=1e-9, atol=0)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.5])
def test_the_square_has_two_dimensions_for_every_alpha(alpha):
    """E grows as n^((d - alpha)/d): the slope of the square is (2 - alpha)/2."""
    values = [float(ph_dimension(cube(900, 2, seed), alpha=alpha, largest=900)) for seed in range(2)]
    assert np.mean(values) == pytest.approx(2, rel=0.05)


def test_several_alphas_are_one_alpha_at_a_time():
    x = cube(300, 3, 0)
    several = ph_dimensions(x, alphas=(0.5, 1.0))
    assert [float(e) for e in several.by_alpha.values()] == pytest.approx(
        [float(ph_dimension(x, alpha=a)) for a in (0.5, 1.0)], rel=1e-12
    )


@pytest.mark.slow
@pytest.mark.parametrize(("d", "least"), [(2, 17), (5, 17)])
def test_intervals_hold_the_mean_over_clouds(d, least):
    """The estimate falls short of the dimension, so that what is covered is its own mean over fresh clouds."""
    found = [ph_dimension(cube(400, d, seed)) for seed in range(20)]
    mean = np.mean([float(e) for e in found])
    assert sum(e.low <= mean <= e.high for e in found) >= least


def test_it_varies_less_than_two_neighbours_do():
    """Table of the specification, n = 510: standard deviation 0.4 to 0.7 of that of TwoNN, mean 4.5 on the 5-cube."""
    clouds = [repana.NeighbourGraph.of(cube(510, 5, seed)) for seed in range(12)]
    trees = np.array([float(ph_dimension(c)) for c in clouds])
    pairs = np.array([float(repana.two_nn(c, method="ml")) for c in clouds])
    assert trees.std() < 0.9 * pairs.std()
    assert trees.mean() == pytest.approx(4.53, abs=0.2)


def test_scale_and_seed():
    x = cube(200, 3, 0)
    assert float(ph_dimension(x * 1e-20)) == pytest.approx(float(ph_dimension(x)), rel=1e-9)
    assert float(ph_dimension(x, seed=1)) != float(ph_dimension(x))
    assert float(ph_dimension(x)) == float(ph_dimension(x))


def test_an_outlier_has_no_dimension():
    """One sample far away: the tree's length is that of its one edge, and grows with its chance of being drawn."""
    x = cube(200, 3, 0)
    x[0] = 1e6
    got = ph_dimension(x)
    assert math.isnan(float(got)) or got.high / got.low > 1.5


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: ph_dimension(cube(20, 2, 0)), "RA227: ph_dimension needs at least 24 samples; 20 came."),
        (
            lambda: ph_dimension(cube(100, 2, 0), largest=200),
            "RA238: trees of 25 to 200 samples were asked for, 7 of each of 8 sizes; expected 3 <= smallest < largest "
            "<= 100 (the samples), at least 2 sizes and 1 subset of each.",
        ),
        (
            lambda: ph_dimension(cube(100, 2, 0), alpha=0.0),
            "RA212: `alpha` is 0.0; expected a number from 1e-06 to 1e+06.",
        ),
    ],
)
def test_refusals(call, text):
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value) == text


# --- texts ------------------------------------------------------------------------------------------------------------


def tokens(lengths, width=16, seed=0):
    """Clouds of several texts, and the text of every row."""
    number = torch.cat([torch.full((n,), i) for i, n in enumerate(lengths)])
    x = torch.rand(len(number), 3, generator=seeded(seed)) @ torch.randn(3, width, generator=seeded(seed + 1))
    return {"layer": x}, number


@pytest.mark.parametrize("method", ["ph", "mle", "two_nn"])
def test_a_text_among_others_is_as_alone(method):
    clouds, number = tokens([60, 200, 35, 120, 12])
    found = text_dimension(clouds, sample=number, method=method)
    function = {"ph": ph_dimension, "mle": repana.mle, "two_nn": repana.two_nn}[method]
    for i in range(4):
        want = function(clouds["layer"][number == i])
        got = found.estimates["layer"][i]
        assert (got.value, got.low, got.high) == pytest.approx((want.value, want.low, want.high), rel=1e-6)
    assert found.tokens == (60, 200, 35, 120, 12)
    if method != "two_nn":
        assert math.isnan(float(found.estimates["layer"][4]))
        assert found.estimates["layer"][4].note.startswith("12 tokens; ")


def test_many_texts_grow_in_parts(monkeypatch):
    clouds, number = tokens([40] * 12)
    want = text_dimension(clouds, sample=number)
    monkeypatch.setattr("repana.dimension._texts.TOGETHER", 1)
    got = text_dimension(clouds, sample=number)
    assert [e.value for e in got.estimates["layer"]] == pytest.approx([e.value for e in want.estimates["layer"]])


def test_means_by_group():
    clouds, number = tokens([80] * 6)
    found = text_dimension(clouds, sample=number)
    table = found.means(["a", "a", "a", "b", "b", "b"])
    values = [e.value for e in found.estimates["layer"]]
    logs = np.log(values)
    assert table["value"].tolist() == pytest.approx([np.exp(logs[:3].mean()), np.exp(logs[3:].mean())])
    plain = found.means(["a", "a", "a", "b", "b", "b"], average="mean")
    assert plain["value"].tolist() == pytest.approx([np.mean(values[:3]), np.mean(values[3:])])
    middle = found.means(average="median")
    assert middle["value"].tolist() == pytest.approx([np.median(values)])
    assert middle["low"].tolist() == [min(values)]  # of six values, the least and the largest at 95 %
    assert table["left_out"].tolist() == [0, 0]
    assert (table["low"] < table["value"]).all()
    assert table["texts"].tolist() == [3, 3]
    assert len(found.frame()) == 6
    assert repr(found) == "TextDimension(6 texts, 1 layers, 6 estimates)"
    with pytest.raises(InputError, match="RA"):
        found.means(["a"])


def test_texts_without_an_estimate_are_counted():
    clouds, number = tokens([80, 80, 12])
    table = text_dimension(clouds, sample=number).means()
    assert (int(table["texts"][0]), int(table["left_out"][0])) == (2, 1)


def test_texts_may_be_named_and_their_column_be_two_dimensional():
    clouds, number = tokens([80, 60])
    want = [e.value for e in text_dimension(clouds, sample=number).estimates["layer"]]
    column = text_dimension(clouds, sample=number[:, None])
    named = text_dimension(clouds["layer"], sample=np.array(["b", "c"])[number])
    assert [e.value for e in column.estimates["layer"]] == want
    assert [e.value for e in named.estimates["features"]] == want
    assert named.texts == ("b", "c")


def test_a_short_text_does_not_stop_the_others():
    clouds, number = tokens([80, 40])
    long, short = text_dimension(clouds, sample=number, largest=64).estimates["layer"]
    assert float(long) > 0
    assert math.isnan(float(short))
    assert short.note == "40 tokens; 64 are needed"


def test_growth_near_alpha_is_said():
    angle = torch.rand(400, 1, generator=seeded(0), dtype=torch.float64) * 2 * math.pi
    circle = torch.cat([angle.cos(), angle.sin()], 1)
    assert "near alpha = 1, where growth says little: take a smaller alpha" in ph_dimension(circle).note
    assert float(ph_dimension(circle, alpha=0.25)) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"sample": [[0, 1]] * 80},
            "RA239: `sample` has shape (80, 2) and type int64; expected (n,), the number or name",
        ),
        ({"k": 5}, "RA212: the method 'ph' has no option 'k'; it has 'alpha', 'largest', 'repeats', 'smallest', "),
        ({"level": 1.0}, "RA212: `level` is 1.0; expected a number between 0 and 1, such as 0.95."),
        ({"smallest": 2.5}, "RA212: `smallest` is 2.5; expected a whole number."),
    ],
)
def test_refusals_of_texts(options, text):
    clouds, number = tokens([80])
    with pytest.raises(InputError) as error:
        text_dimension(clouds, **{"sample": number, **options})
    assert str(error.value).startswith(text)
    with pytest.raises(repana.ModelError, match="RA101: layer 'lyer' was not recorded; nearest: 'layer'"):
        text_dimension(clouds, "lyer", sample=number)


def test_repeated_tokens_are_dropped_and_said():
    clouds, number = tokens([80])
    clouds["layer"][40:45] = clouds["layer"][:5]
    assert text_dimension(clouds, sample=number).estimates["layer"][0].note == "5 duplicates dropped"


class Embedding(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(500, 12)
        self.mixed = torch.nn.Linear(12, 12)

    def forward(self, input_ids, attention_mask=None):
        return self.mixed(self.embedding(input_ids))


def batch(n=3, width=70):
    ids = torch.stack([torch.randperm(500, generator=seeded(i))[:width] for i in range(n)])
    lengths = torch.tensor([70, 50, 40])[:n, None]
    mask = (torch.arange(width) < lengths).long()
    special = ((torch.arange(width) == 0) | (torch.arange(width) == lengths - 1)).long()
    return {"input_ids": ids, "attention_mask": mask, "special_tokens_mask": special}


def test_special_tokens_and_padding_are_no_points():
    model, given_batch = Embedding(), batch()
    made = repana.record(model, [given_batch], layers=["embedding"], pool="tokens", mask="content")
    found = text_dimension(made)
    assert found.tokens == (68, 48, 38)
    with torch.no_grad():
        alone = model.embedding(given_batch["input_ids"][1, 1:49])
    assert float(found.estimates["embedding"][1]) == pytest.approx(float(ph_dimension(alone)), rel=1e-6)
    assert text_dimension(repana.record(model, [given_batch], layers=["embedding"], pool="tokens")).tokens == (
        70,
        50,
        40,
    )


class Pooled(torch.nn.Module):
    """A model that ends in one vector a text, as encoders with a pooler do."""

    def __init__(self):
        super().__init__()
        self.tokens = Embedding()
        self.pooler = torch.nn.Linear(12, 5)

    def forward(self, input_ids, attention_mask=None):
        return self.pooler(self.tokens(input_ids).mean(1))


def test_layers_without_tokens_are_left_out_unless_named():
    made = repana.record(Pooled(), [batch()], pool="tokens", mask="content")
    assert "pooler" not in made.layers
    assert len(made.layers) > 0
    assert text_dimension(made).tokens == (68, 48, 38)
    with pytest.raises(repana.ModelError, match="RA116"):
        repana.record(Pooled(), [batch()], ["tokens.mixed", "pooler"], pool="tokens", mask="content")


def test_rows_of_samples_are_refused():
    made = repana.record(Embedding(), [batch()], layers=["embedding"])
    with pytest.raises(InputError) as error:
        text_dimension(made)
    assert str(error.value) == (
        "RA239: text_dimension needs several rows of every text, one a token, and there is one row a sample; record "
        "with `pool='tokens'` and `mask='content'`, or say with `sample=` which text each row belongs to."
    )
    with pytest.raises(repana.RepanaError, match="RA210: `mask` names 'special_tokens_mask' and the batch has"):
        repana.record(Embedding(), [{"input_ids": torch.zeros(2, 3, dtype=torch.int64)}], pool="tokens", mask="content")
