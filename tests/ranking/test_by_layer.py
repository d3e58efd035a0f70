"""Rankings layer by layer on a real network: rows of one frame, paired differences, the figure, and refusals."""

import numpy as np
import pytest
import torch

import repana
from repana import plots
from repana.errors import InputError, ModelError
from repana.ranking import by_layer, cross_modal, pair_scores, retrieval, whitening, zero_shot

LAYERS = ["conv1", "linear1", "classifier:in"]


@pytest.fixture(scope="module")
def recorded():
    model, (x, y), (x_test, y_test) = repana.example_model()
    parts = [(x[:300], y[:300]), (x[300:600], y[300:600]), (x_test[:120], y_test[:120])]
    return [repana.record(model, part, LAYERS, progress=False) for part in parts]


@pytest.fixture(scope="module")
def found(recorded):
    bank, fit, queries = recorded
    maps = {layer: whitening(fit[layer], n_components=8) for layer in LAYERS}
    return by_layer(retrieval, queries, bank, (queries.labels, bank.labels), k=(1, 10), whiten=maps)


def test_every_layer_is_what_the_function_gives(recorded, found):
    bank, fit, queries = recorded
    alone = retrieval(queries["linear1"], bank["linear1"], (queries.labels, bank.labels), k=(1, 10))
    assert found["linear1", "", False].map == alone.map
    white = whitening(fit["linear1"], n_components=8)
    whitened = retrieval(white(queries["linear1"]), white(bank["linear1"]), (queries.labels, bank.labels), k=(1, 10))
    assert found["linear1", "", True].map == whitened.map
    frame = found.frame()
    assert list(frame.columns[:4]) == ["layer", "pooling", "whitened", "quantity"]
    assert len(frame) == 6 * 12
    best = found.best("map")
    assert found[best].map.value == frame[frame.quantity == "map"].value.max()
    assert "classifier:in, whitened" in repr(found)


def test_differences_are_paired(found):
    layer, deeper = ("conv1", "", False), ("classifier:in", "", False)
    paired = found.difference(layer, deeper, "ndcg@10")
    first, second = found[layer].ndcg[10], found[deeper].ndcg[10]
    assert paired.value == pytest.approx(second.value - first.value)
    assert 0 < paired.low < paired.value < paired.high
    same = found.difference(layer, layer, "ndcg@10")
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_poolings_share_a_frame(recorded):
    bank, _, queries = recorded
    twice = {"a": queries, "b": {layer: 2 * queries[layer] for layer in LAYERS}}
    found = by_layer(retrieval, twice, {"a": bank, "b": bank}, (queries.labels, bank.labels), k=5)
    assert set(found.frame()["pooling"]) == {"a", "b"}
    assert found.difference(("conv1", "a"), ("conv1", "b"), "map").value == 0  # the cosine knows no scale


def test_other_functions_by_layer(recorded):
    bank, _, queries = recorded
    judged = (queries.labels[:-1] == queries.labels[1:]).int()
    pairs = by_layer(
        pair_scores, {x: queries[x][:-1] for x in LAYERS}, {x: queries[x][1:] for x in LAYERS}, judged, bootstrap=100
    )
    assert pairs["classifier:in"].auc.value > pairs["conv1"].auc.value
    assert np.isfinite(pairs.difference("conv1", "classifier:in", "auc").low)
    prompts = {x: torch.stack([bank[x][bank.labels == c].mean(0) for c in range(10)]) for x in LAYERS}
    classes = by_layer(zero_shot, queries, prompts, queries.labels)
    assert classes["classifier:in"].accuracy.value > 0.9
    both = by_layer(cross_modal, queries, {x: 2 * queries[x] for x in LAYERS}, k=1)
    assert both["linear1"].i2t[1].value > 0.9


def test_the_figure_shows_the_numbers(found, tmp_path):
    axes = plots.ranking_depth(found, "map", "hit@1")
    lines = {line.get_label(): line for line in axes[0].get_lines()}
    assert lines["features"].get_ydata().tolist() == [found[x, "", False].map.value for x in LAYERS]
    assert lines["features, whitened"].get_ydata().tolist() == [found[x, "", True].map.value for x in LAYERS]
    assert lines["null"].get_ydata().tolist() == [found[x, "", False].map.null for x in LAYERS]
    assert [ax.get_title(loc="left") for ax in axes] == ["MAP", "Hit rate at 1"]
    found.plot().savefig(tmp_path / "depth.pdf")
    with pytest.raises(InputError, match="RA296: No quantity 'depth'"):
        plots.ranking_depth(found, "depth")


def test_what_does_not_fit_is_refused(recorded, found):
    bank, _, queries = recorded
    relevant = (queries.labels, bank.labels)
    for call, code in (
        (lambda: by_layer(retrieval, queries["conv1"], bank["conv1"], relevant), "RA296: `by_layer` reads mappings"),
        (lambda: by_layer(retrieval, queries, {"conv1": bank["conv1"]}, relevant), "RA296: Layer 'linear1'"),
        (lambda: by_layer(retrieval, {"a": queries}, {"b": bank}, relevant), "RA296: Layer 'a'"),
        (lambda: by_layer(retrieval, queries, bank, relevant, whiten={}), "RA294: `whiten` has nothing for 'conv1'"),
        (lambda: found.difference(("conv1", "", False), ("conv1", "", True), "auc"), "RA296: No quantity 'auc'"),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert str(caught.value).startswith(code)
    with pytest.raises(ModelError, match="RA101"):
        found["conv1"]  # whitened or not
