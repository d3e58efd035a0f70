"""All pairs of layers: the same samples or a refusal, floors, best layers, alignment, the report; and sets of
networks."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from comparison.recipes import gaussians
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import repana
from repana import Activations, InputError, ModelError
from repana.comparison import (
    cka,
    group_separation,
    identification,
    layer_monotonicity,
    neighbourhoods,
    output_correlation,
    predictivity,
    procrustes,
    similarity,
)
from repana.comparison._layer_measures import MEASURES
from repana.comparison._layer_pairs import like_places, monotone_path
from repana.extraction._together import record_together


def network(seed, width=12):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(8, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, 3),
        ).eval()


def data(n=120, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 8, generator=g), torch.arange(n) % 3


def layers(seed=0, n=80):
    x, y = gaussians(n, 5, 6, seed, 0.5)
    return {"one": x, "two": y, "three": torch.cat([x, y], 1).relu()}


def test_all_pairs_are_the_pairs_one_by_one():
    a, b = Activations(layers(0)), Activations(layers(1))
    b = Activations({k: v + a[k] for k, v in b.features.items()})
    found = similarity(a, b, measures=list(MEASURES))
    for i, p in enumerate(a.layers):
        for j, q in enumerate(b.layers):
            one = cka(a[p], b[q])
            assert found.matrix("cka").value[i, j] == pytest.approx(one.value, abs=1e-12)
            assert found.matrix("cka").low[i, j] == pytest.approx(one.low, abs=1e-10)
            assert found.matrix("cka").p[i, j] == pytest.approx(one.p, rel=1e-6)
            near = neighbourhoods(a[p], b[q], permutations=0).overlap
            assert found.matrix("knn").value[i, j] == pytest.approx(near.value)
            assert found.matrix("knn").null[i, j] == pytest.approx(10 / 79)
            assert found.matrix("rsa").value[i, j] == pytest.approx(
                repana.comparison.rsa(a[p], b[q], jackknife=0).value
            )
            other = procrustes(a[p], b[q], jackknife=0, permutations=0)
            assert found.matrix("procrustes").value[i, j] == pytest.approx(other.held_out.value)
            assert found.matrix("procrustes_biased").value[i, j] == pytest.approx(other.similarity.value)
            assert found.matrix("r2").value[i, j] == pytest.approx(predictivity(a[p], b[q]).forward.value, abs=1e-9)
            whole = repana.comparison.cca(a[p], b[q], jackknife=0, permutations=0)
            assert found.matrix("cca").value[i, j] == pytest.approx(whole.held_out.value)
            assert found.matrix("cca_biased").value[i, j] == pytest.approx(whole.mean.value)
            assert found.matrix("svcca_biased").value[i, j] == pytest.approx(whole.svcca.value)


def test_one_network_is_compared_with_itself():
    a = Activations(layers())
    found, twice = similarity(a, measures=list(MEASURES)), similarity(a, a, measures=list(MEASURES))
    for name in MEASURES:
        assert np.allclose(found.matrix(name).value, twice.matrix(name).value, atol=1e-9), name
        assert np.allclose(np.diag(found.matrix(name).value), 1, atol=1e-6), name
    assert found.itself
    assert list(found.best()["best"]) != list(a.layers)
    assert list(twice.best()["best"]) == list(a.layers)


def test_both_models_run_on_the_same_batches():
    a, b, (x, y) = network(0), network(1), data()
    shuffled = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True)
    together = similarity(a, b, shuffled, measures="cka")
    apart = similarity(repana.record(a, (x, y)), repana.record(b, (x, y)), measures="cka")
    assert np.allclose(together.matrix().value, apart.matrix().value, atol=1e-6)
    once = similarity(a, b, iter([(x[:60], y[:60]), (x[60:], y[60:])]), measures="cka")
    assert np.allclose(once.matrix().value, apart.matrix().value, atol=1e-6)


def test_models_and_randomness_are_left_as_they_were():
    a, b, (x, y) = network(0).train(), network(1), data()
    states = [{k: v.clone() for k, v in m.state_dict().items()} for m in (a, b)]
    before = torch.get_rng_state()
    made = record_together([a, b], DataLoader(TensorDataset(x, y), batch_size=50, shuffle=True))
    assert torch.equal(torch.get_rng_state(), before)
    assert a.training
    assert not b.training
    assert torch.is_grad_enabled()
    for m, state in zip((a, b), states):
        assert all(torch.equal(v, m.state_dict()[k]) for k, v in state.items())
        assert not any(module._forward_hooks for module in m.modules())
    assert torch.equal(made[0].sample, made[1].sample)
    assert made[0].provenance["fingerprint"] == made[1].provenance["fingerprint"]


def test_hooks_leave_when_the_second_model_fails():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.calls = nn.Linear(8, 3), 0

        def forward(self, x):
            if len(x) > 10:
                raise RuntimeError("out of order")
            return self.inner(x)

    a, b, (x, y) = network(0).train(), Broken(), data()
    for pair in ((a, b), (b, a)):
        with pytest.raises(RuntimeError, match="out of order"):
            similarity(*pair, (x, y), layers="re:.*")
    assert a.training
    assert torch.is_grad_enabled()
    assert not any(module._forward_hooks for m in (a, b) for module in m.modules())


def refused(call):
    with pytest.raises(InputError) as error:
        call()
    return str(error.value)


def test_another_order_is_refused():
    a, b, (x, y) = network(0), network(1), data()
    g = torch.Generator().manual_seed(1)
    loader = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True, generator=g)
    text = refused(lambda: similarity(repana.record(a, (x, y)), repana.record(b, loader)))
    assert text.startswith("RA276: the two recordings are of the same samples in another order (fingerprints ")
    assert "give both models and the data to `similarity`" in text


def test_other_samples_are_refused_unless_the_user_knows_better():
    a, b, (x, y) = network(0), network(1), data()
    one, other = repana.record(a, (x, y)), repana.record(b, (x + 1, y))
    text = refused(lambda: similarity(one, other))
    assert text.startswith("RA276: the two networks were given different inputs (fingerprints ")
    assert text.endswith("say `paired=True`.")
    assert similarity(one, other, paired=True).n == 120
    fewer = repana.record(b, (x[:50], y[:50]))
    assert refused(lambda: similarity(one, fewer, paired=True)) == (
        "RA276: the two recordings have 120 and 50 rows; expected the same samples in the same order."
    )
    some = [repana.record(a, (x, y), max_samples=60, seed=s) for s in (0, 1)]
    assert refused(lambda: similarity(*some)).startswith("RA276: row ")
    arrays = [Activations(layers(), torch.arange(80) % k) for k in (2, 3)]
    assert refused(lambda: similarity(*arrays)).startswith("RA276: the labels differ, first in row 2;")
    assert "RA212: `paired` is False; expected 'check', or True" in refused(
        lambda: similarity(one, other, paired=False)
    )


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda a, m: similarity(a, m), "RA277: one of the two is a model and the other a recording"),
        (lambda a, m: similarity(m, m), "RA277: models came without `data`; expected the data that they run on."),
        (lambda a, m: similarity(a, a, data()), "RA277: `data` came with Activations, which are recorded already"),
        (lambda a, m: similarity(a, a, measures="ckaa"), "RA278: no measure is called 'ckaa'; the nearest are 'cka'"),
        (
            lambda a, m: similarity(a, a).matrix("rsa"),
            "RA278: 'rsa' was not measured here; expected one of 'cka', 'knn'.",
        ),
        (
            lambda a, m: similarity(a, a, untrained=m),
            "RA277: `untrained` is a Sequential; expected Activations, a model",
        ),
        (
            lambda a, m: similarity(a, a, other_seed=a.select("one")),
            "RA277: `other_seed` has the layers 'one' and the second",
        ),
        (lambda a, m: similarity(a).identification(), "RA279: layers of one network were compared"),
        (lambda a, m: similarity(a, a.select("one")).identification(), "RA279: the networks have 3 and 1 layers"),
        (lambda a, m: cka(a, a), "RA277: `a` is Activations, which have many layers; take one"),
        (lambda a, m: layer_monotonicity(similarity(a, a)), "RA282: the similarity of two networks came"),
        (
            lambda a, m: group_separation({"p": a, "q": a, "r": a}, {"p": 0}, "one"),
            "RA282: `groups` has none for 'q', 'r'",
        ),
        (
            lambda a, m: group_separation(dict.fromkeys("pqr", a), {"p": 0, "q": 1, "r": 2}, "one"),
            "RA282: no two networks are of one",
        ),
        (lambda a, m: identification({"p": a, "q": m}), "RA281: a Sequential came in the place of Activations"),
    ],
)
def test_refusals(call, text):
    assert refused(lambda: call(Activations(layers()), network(0))).startswith(text)


def test_floors_stand_beside():
    a, b, (x, y) = network(0), network(1), data()
    found = similarity(a, b, (x, y), untrained=True, other_seed=network(2), measures=("cka", "knn"))
    assert set(found.floors) == {"untrained", "other_seed"}
    for matrices in found.floors.values():
        assert set(matrices) == {"cka", "knn"}
        assert matrices["cka"].value.shape == found.matrix("cka").value.shape
    rows = {r.quantity for r in found.report().rows}
    assert rows == {f"{m}{end}" for m in ("cka", "knn") for end in ("", "_untrained", "_other_seed")}
    first, second, third = (repana.record(m, (x, y)) for m in (a, b, network(2)))
    recorded = similarity(first, second, untrained=third)
    assert np.allclose(recorded.floors["untrained"]["cka"].value, similarity(first, third).matrix("cka").value)
    ceiling = similarity(second, third).matrix("cka").value  # two networks trained alike
    assert np.allclose(found.floors["other_seed"]["cka"].value, ceiling, atol=1e-6)
    frame = found.frame()
    assert set(frame[frame.against == "other_seed"].layer_a) == set(found.layers_b)
    assert "untrained" in repr(found)


def test_tokens_of_a_text_are_left_out_together():
    g = torch.Generator().manual_seed(0)
    sample = torch.arange(60) // 4
    x = torch.randn(15, 5, generator=g)[sample] + 0.2 * torch.randn(60, 5, generator=g)
    rows = Activations({"one": x}, sample=sample, seen=15)
    other = Activations({"one": x + 0.5 * torch.randn(60, 5, generator=g)}, sample=sample, seen=15)
    alone = similarity(Activations({"one": x}), Activations({"one": other["one"]}))
    together = similarity(rows, other)
    assert together.estimate("one").value == pytest.approx(alone.estimate("one").value)
    wide = [f.estimate("one").high - f.estimate("one").low for f in (together, alone)]
    assert wide[0] > 1.3 * wide[1]
    assert together.estimate("one").low == pytest.approx(cka(x, other["one"], groups=sample).low, abs=1e-9)


def test_many_samples_are_drawn():
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    found = similarity(Activations({"one": x}), Activations({"one": x}), max_samples=100)
    assert (found.n, found.settings["of"]) == (100, 300)
    kept = found.report().about()["splits"]["all"]
    assert (kept["samples"], kept["kept"]) == (300, 100)


def test_best_frame_and_difference():
    x, y = gaussians(150, 5, 5, 0, 0.8)
    a, b = Activations({"one": x, "two": y.relu() + 0.01}), Activations({"p": y.relu() + 0.1 * y, "q": x + 0.1 * y})
    found = similarity(a, b)
    assert list(found.best()["best"]) == ["q", "p"]
    assert (found.best()["agreement"] == 1).all()
    assert isinstance(found.frame(), pd.DataFrame)
    assert len(found.frame()) == 2 * 4
    gap = found.difference(("one", "q"), ("one", "p"))
    assert gap.low > 0
    assert gap.value == pytest.approx(found.estimate("one", "q").value - found.estimate("one", "p").value)
    independent = math.hypot(*(e.high - e.low for e in (found.estimate("one", "q"), found.estimate("one", "p")))) / 2
    assert (gap.high - gap.low) / 2 < 1.5 * independent
    with pytest.raises(ModelError, match="RA101"):
        found.estimate("nosuch")


def test_samples_without_a_direction_cost_their_layer_alone():
    x, y = gaussians(100, 5, 5, 0, 0.8)
    dead = (y - 2.5).relu()
    assert bool((dead == 0).all(1).any())
    found = similarity(Activations({"one": x, "dead": dead}), Activations({"one": y, "dead": dead}))
    assert np.isnan(found.matrix("knn").value).tolist() == [[False, True], [True, True]]
    assert np.isfinite(found.matrix("cka").value).all()
    assert "no direction" in found.estimate("one", "dead", "knn").note
    assert "no direction" not in found.estimate("one", "one", "knn").note
    assert "no direction" in repr(found)
    assert np.isfinite(similarity(Activations({"dead": dead}), metric="euclidean").matrix("knn").value).all()


def test_a_monotone_path():
    values = np.array([[0.9, 0.1, 0.0], [0.8, 0.2, 0.1], [0.1, 0.7, 0.2], [0.0, 0.3, 0.9]])
    assert monotone_path(values) == [(0, 0), (1, 0), (2, 1), (3, 2)]
    x, y = gaussians(150, 6, 6, 0, 0.5)
    deep = Activations({"a": x, "b": x + 0.1 * y, "c": y.relu(), "d": y})
    flat = Activations({"p": x, "q": y})
    path = similarity(deep, flat, measures="cka").alignment()
    assert list(zip(path["layer_a"], path["layer_b"])) == [("a", "p"), ("b", "p"), ("c", "q"), ("d", "q")]


def test_identification_over_networks():
    g = torch.Generator().manual_seed(0)
    base = [torch.randn(100, 5, generator=g) for _ in range(3)]
    nets = {
        k: Activations({n: x + 0.1 * torch.randn(100, 5, generator=g) for n, x in zip("xyz", base)})
        for k in ("p", "q", "r")
    }
    found = identification(nets)
    assert (found.value, found.n, found.null) == (1.0, 18, pytest.approx(1 / 3))
    z = nets["p"]["z"]
    named = {k: Activations(n.features, logits=n["z"]) for k, n in nets.items()}
    assert identification(named).n == 12  # without the logits
    assert z.shape == (100, 5)


def test_networks_and_their_outputs():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(100, 4, generator=g)
    noisy = {str(s): x + s * torch.randn(100, 4, generator=g) for s in (0.1, 0.3, 0.6, 1.0, 2.0, 4.0)}
    nets = {k: Activations({"one": z}, logits=z) for k, z in noisy.items()}
    found = output_correlation(nets, "one", permutations=99)
    assert found.value < -0.8
    assert found.p <= 0.05
    assert output_correlation(nets, "one", output="jsd", permutations=19).value < -0.7
    sides = group_separation(nets, {k: float(k) > 0.8 for k in nets}, "one", permutations=99)
    assert 0 <= sides.average_precision.value <= 1
    assert sides.violations.p <= 1


def test_near_layers_are_more_alike():
    g = torch.Generator().manual_seed(0)
    steps = torch.randn(5, 200, 5, generator=g).cumsum(0)
    found = layer_monotonicity(similarity(Activations({str(k): x for k, x in enumerate(steps)})))
    assert found.violations.value == 0
    assert found.correlation.value < -0.8


def test_the_report_of_a_similarity(tmp_path):
    a, b, (x, y) = network(0), network(1), data()
    found = similarity(a, b, (x, y), untrained=True, names=("before", "after"))
    report = found.report()
    report.save(tmp_path / "report")
    again = repana.Report.load(tmp_path / "report")
    assert again.named("similarity.cka").label == "CKA, debiased"
    assert again.runs == ("before and after",)
    assert np.array_equal(again.array("similarity.cka", ""), found.matrix("cka").value)
    codes = {f.code for f in again.findings()}
    assert {"RF701", "RF702", "RF703", "RF704", "RF705", "RF706", "RF711"} == codes
    page = again.to_html(tmp_path / "page.html").read_text()
    assert "Similarity of layers" in page
    assert "samples paired at random" in page
    assert "shuffled labels" not in page

    assert again.summary()
    assert "kornblith2019similarity" in page
    assert not {f.code for f in repana.example_report().findings()} & {f"RF70{k}" for k in range(1, 10)}


def test_two_comparisons_on_the_same_samples_are_paired():
    """Whether layer one is nearer to b than to c: the samples are the same, and so is what is left out."""
    x, y = gaussians(200, 6, 6, 0, 0.7)
    a, b, c = (Activations({"one": t}) for t in (x, y, y + 0.3 * x.roll(1, 0)))
    one, other = (similarity(a, t, names=("a", name)).report() for t, name in ((b, "b"), (c, "c")))
    found = {d.quantity: d for d in repana.compare(one, other).differences}
    assert found["similarity.cka"].paired
    assert found["similarity.cka"].high < 0
    before = repana.drift(a, b, names=("a", "b")).report()
    after = repana.drift(a, c, names=("a", "c")).report()
    drifts = {d.quantity: d for d in repana.compare(before, after).differences}
    assert all(drifts[f"drift.{q}"].paired for q in ("cka", "total", "residual_share"))
    assert drifts["drift.residual_share"].low > 0


def test_reports_are_compared_along_the_alignment():
    x, y = gaussians(120, 5, 5, 0, 0.5)
    labels = torch.arange(120) % 3
    deep, flat = ({"a": x, "b": x + 0.1 * y, "c": y}, {"p": x, "q": y})
    reports = [
        repana.profile(f, labels, analyzers="fisher", run=n, permutations=2)
        for f, n in ((deep, "deep"), (flat, "flat"))
    ]
    along = similarity(Activations(deep), Activations(flat), measures="cka")
    found = repana.compare(repana.concat(reports), None, None, "trace_ratio", align=along)
    assert [(d.layer, d.other) for d in found.differences] == [("a", "p"), ("b", "p"), ("c", "q")]
    assert found.aligned == "similarity"
    with pytest.raises(InputError, match="RA212: `align` is 'other'"):
        repana.compare(*reports, align="other")


def test_layers_of_one_name_behind_a_prefix_go_together():
    deep = ("h.0", "h.1", "h.2", "ln_f")
    head = (*(f"transformer.{x}" for x in deep), "score")
    assert like_places(deep, head, ("score",)) == ((0, 0), (1, 1), (2, 2), (3, 3))
    one, other = ("input", "1", "3", "5", "7", "8:in", "8"), ("input", "1", "2:in", "2")
    assert like_places(one, other, ("8", "2")) == ((0, 0), (1, 1), (2, 1), (3, 1), (4, 1), (5, 2), (6, 3))


def test_layers_of_unlike_networks_are_paired_by_depth():
    a, b = (
        Activations(layers()),
        Activations(dict(zip("pqrst", [*layers().values(), *layers(3).values()]))),
    )
    assert similarity(a, b).pairs == ((0, 0), (1, 2), (2, 4))
    assert similarity(a, a).pairs == ((0, 0), (1, 1), (2, 2))
    found = similarity(a, b).report().layers
    assert found[0].endswith(" ~ p")
    assert len(found) == 3


def test_constant_layers_are_said():
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    found = similarity(
        Activations({"one": x, "dead": torch.zeros(60, 3)}), measures=("cka", "procrustes", "cca", "rsa", "r2")
    )
    for name in ("cka", "procrustes", "cca", "rsa", "r2"):
        assert math.isnan(found.matrix(name).value[0, 1]), name
    assert found.settings["constant"][0] == {"dead": 3}
    finding = next(f for f in found.report().findings() if f.code == "RF705")
    assert finding.severity == "tip"
    assert finding.layers == ("dead",)
