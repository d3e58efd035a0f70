"""Findings on comparisons, each where it holds and where it does not; and their figures."""

import copy
from functools import cache

import numpy as np
import pytest
import torch
from comparison.recipes import gaussians
from torch import nn

import repana
from repana import Activations, plots
from repana.comparison import drift, similarity, unlearning
from repana.comparison._barrier import Barrier
from repana.findings import FINDINGS, explanations


def one(report, code):
    (found,) = [f for f in report.findings() if f.code == code]
    return found


def pair(shared=0.8, d=5, n=200):
    x, y = gaussians(n, d, d, 0, shared)
    return Activations({"one": x, "two": x.tanh()}), Activations({"one": y, "two": y.tanh()})


def related():
    return similarity(*pair(), measures=("cka", "knn"))


def unrelated():
    x, z = gaussians(200, 5, 5, 0)
    return similarity(Activations({"one": x}), Activations({"one": z}), measures=("cka", "knn"))


def lopsided():
    """One direction of large variance in common, and nothing else."""
    x, z = gaussians(200, 20, 20, 0)
    strong = 12 * torch.randn(200, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64).sign()
    a, b = torch.cat([strong, x], 1), torch.cat([strong, z], 1)
    return similarity(Activations({"one": a, "two": x}), Activations({"one": b, "two": z}), measures=("cka", "knn"))


def influenced():
    x, y = gaussians(100, 3, 3, 0, 0.8)
    x[7] += 300
    return similarity(Activations({"one": x}), Activations({"one": y}), measures="cka")


def floored(above):
    a, b = pair()
    floor = Activations({k: v + 0.01 for k, v in b.features.items()}) if not above else pair(0.0)[1]
    return similarity(a, b, untrained=floor)


def flat():
    x = gaussians(200, 5, 5, 0)[0]
    return similarity(Activations({k: x * (1 + i) for i, k in enumerate("abc")}))


def dead():
    x = gaussians(200, 5, 5, 0)[0]
    return similarity(Activations({"one": x, "two": torch.cat([x, torch.zeros(200, 5)], 1)}))


def few():
    return similarity(*pair(d=30, n=60), measures=("procrustes_biased", "cca_biased", "cca"))


def moved(size):
    x, noise = gaussians(200, 5, 5, 0)
    return drift(Activations({"one": x, "two": x}), Activations({"one": x, "two": x + size * noise}))


def twice():
    """The same weights and inputs twice, and other features."""
    x = gaussians(100, 4, 4, 0)[0]
    said = {"weights_sha256": "abc", "fingerprint": {"ordered": "1", "content": "2"}}
    return drift(*(Activations({"one": t}, provenance=said) for t in (x, x + 0.01 * x.roll(1, 0))))


def forgot(with_reference):
    x, y = gaussians(160, 6, 6, 0, 0.9)
    labels = torch.arange(160) % 4

    def sets(features, logits=None):
        logits = nn.functional.one_hot(labels, 4).double() if logits is None else logits
        at = {"forget": labels == 0, "retain": labels > 0}
        return {s: Activations({"one": features[k]}, labels[k], logits[k]) for s, k in at.items()}

    headless = nn.functional.one_hot(labels, 4).double()
    headless[:, 0] = -1
    return unlearning(sets(x), sets(x, headless), sets(y) if with_reference else None)


CASES = [
    ("RF701", related, "not applicable", "No untrained copies were compared (`untrained=`)."),
    (
        "RF701",
        lambda: floored(True),
        "passed",
        "Similarity (CKA, debiased) exceeds that of random weights at all 2 layers",
    ),
    (
        "RF701",
        lambda: floored(False),
        "passed",
        "No layer is more similar (CKA, debiased) than to a network with random",
    ),
    ("RF702", related, "passed", "All 4 similarities exceed a random pairing of the samples (p below 0.05)."),
    ("RF702", unrelated, "tip", "Similarity is not distinguishable from a random pairing of the samples at one (CKA"),
    ("RF703", related, "passed", "CKA and shared neighbours agree at all 2 layers."),
    ("RF703", lopsided, "tip", "CKA and neighbours disagree at one (one: CKA "),
    ("RF704", flat, "tip", "All pairs of layers are equally similar (within "),
    ("RF704", related, "passed", "Pairs of layers differ in similarity by up to "),
    ("RF705", dead, "tip", "A tenth of the units or more are constant at two."),
    ("RF705", related, "passed", "Nearly all units vary."),
    ("RF706", influenced, "tip", "One sample decides the CKA at one (one: without sample 7 alone it is "),
    ("RF706", related, "passed", "No single sample decides a similarity."),
    ("RF707", lambda: moved(1.0), "passed", "The change begins at two (CKA "),
    ("RF707", lambda: moved(0.0), "passed", "No layer changed: debiased CKA is not below 0.95 at all 2 layers."),
    ("RF708", lambda: twice(), "issue", "Both recordings are of the same weights and inputs, and differ at one."),
    ("RF708", lambda: moved(1.0), "passed", "Equal before and after, to the last digit: one."),
    (
        "RF709",
        lambda: forgot(True),
        "passed",
        "Forgotten in the head only: every hidden layer is the original's to rounding.",
    ),
    ("RF709", lambda: forgot(False), "passed", "Forgotten in the head only"),
    ("RF710", lambda: forgot(False), "issue", "No retrained network was compared"),
    (
        "RF710",
        lambda: forgot(True),
        "passed",
        "Compared with a network that was retrained without the forgotten samples.",
    ),
    (
        "RF711",
        few,
        "tip",
        "procrustes_biased, cca_biased are in sample, with 60 samples and up to 30 features: biased upwards.",
    ),
    ("RF711", related, "not applicable", "No in-sample measure was taken."),
    (
        "RF711",
        lambda: similarity(*pair(), measures="procrustes_biased"),
        "passed",
        "Samples are 40 times the widest layer's features.",
    ),
]


@pytest.mark.parametrize(("code", "made", "severity", "text"), CASES)
def test_findings(code, made, severity, text):
    found = one(made().report(), code)
    assert found.severity == severity
    assert found.text.startswith(text)
    assert bool(found.action) == (found.kind == "caution")


def test_every_finding_of_comparisons_is_tested():
    others = {"dynamics", "dictionary_quality", "splice", "ntk", "weight_probe", "density_persistence", "relation"}
    of_comparisons = {code for code, rule in FINDINGS.items() if rule.reads and not others & {*rule.reads}}
    assert {code for code, *_ in CASES} == of_comparisons
    assert all(len(explanations()[code][1].split()) > 15 for code, *_ in CASES)


def test_a_profile_and_a_comparison_side_by_side():
    report = repana.concat([repana.example_report(), related().report()])
    codes = {run: {f.code for f in report.findings(run)} for run in report.runs}
    assert not any(c.startswith("RF7") for c in codes[report.runs[0]])
    assert all(c.startswith("RF7") for c in codes[report.runs[1]])
    assert report.summary()


# --- figures ----------------------------------------------------------------------------------------------------------


def test_the_matrix_and_the_pairs_are_drawn_as_they_are():
    found = similarity(*pair(), untrained=pair(0.0)[1], other_seed=pair(0.7)[1])
    left, right = plots.layer_similarity(found.report())
    assert np.array_equal(np.asarray(left.images[0].get_array()), np.clip(found.matrix().value, 0, 1))
    lines = {str(line.get_label()): line.get_ydata() for line in right.lines}
    assert lines["arrays a and arrays b"].tolist() == [found.matrix().value[i, i] for i in (0, 1)]
    assert lines["with random weights"].tolist() == [found.floors["untrained"]["cka"].value[i, i] for i in (0, 1)]
    assert lines["another seed"].tolist() == [found.floors["other_seed"]["cka"].value[i, i] for i in (0, 1)]
    assert lines["samples paired at random"].tolist() == [0, 0]
    assert [t.get_text() for t in left.texts][0] == f"{found.matrix().value[0, 0]:.2f}".replace("0.", ".")
    assert sum(p.get_linewidth() == 1.1 for p in left.patches) == 2  # the most similar of each row
    knn = plots.layer_similarity(found.report(), "knn")
    assert np.array_equal(np.asarray(knn[0].images[0].get_array()), found.matrix("knn").value)


def test_hatching_where_nothing_is_shared():
    left, _ = plots.layer_similarity(unrelated().report())
    assert any(p.get_hatch() for p in left.patches)
    left, _ = plots.layer_similarity(related().report())
    assert not any(p.get_hatch() for p in left.patches)


@cache
def of_many_layers(layers):
    g = torch.Generator().manual_seed(0)
    base = torch.randn(60, 4, generator=g)
    names = [f"encoder.layers.{k}.attention.output" for k in range(layers)]
    acts = Activations({n: base + 0.2 * k * torch.randn(60, 4, generator=g) for k, n in enumerate(names)})
    found = similarity(acts, acts, measures="cka", names=("a network with a rather long name", "another network"))
    return found.report(), drift(acts, acts).report()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("width", [3.25, 5.5, 6.75])
@pytest.mark.parametrize("layers", [2, 12, 40])
def test_no_text_is_clipped(layers, width):
    from report.test_plots import assert_nothing_clipped

    similar, moved_on = of_many_layers(layers)
    for drawn in (plots.layer_similarity(similar, width=width), plots.drift_depth(moved_on, width=width)):
        figure = plots.figure_of(drawn)
        figure.draw_without_rendering()
        assert_nothing_clipped(figure)


def test_default_figures_are_those_of_the_kind():
    assert len(related().report().plot().axes) == 2
    assert len(moved(1.0).report().plot().axes) == 6
    assert len(forgot(True).report().plot().axes) == 2
    assert len(moved(1.0).report().plot("cka").axes) == 1
    assert len(forgot(False).plot().axes) == 2
    text = "RA283: the run 'before to after' holds no similarity; expected a report of `similarity(...)`"
    with pytest.raises(repana.InputError, match=text.replace("(", r"\(").replace(")", r"\)")):
        plots.layer_similarity(moved(1.0).report())


def test_the_line_between_two_networks_is_drawn():
    points = torch.linspace(0, 1, 3, dtype=torch.float64)
    curve = torch.tensor([[1.0, 0.9, 1.1], [2.0, 1.9, 2.1], [1.0, 0.9, 1.1]], dtype=torch.float64)
    e = repana.Estimate(1.0)
    left, right = plots.barrier_curve(Barrier(e, e, e, e, points, curve, curve / 4, curve / 2, curve / 5, {}))
    assert [list(line.get_ydata()) for line in left.lines] == [[1, 2, 1], [0.5, 1, 0.5]]
    assert [list(line.get_ydata()) for line in right.lines] == [[0.25, 0.5, 0.25], [0.2, 0.4, 0.2]]
    alone = plots.barrier_curve(Barrier(e, e, e, e, points, curve, curve, None, None, {}))
    assert len(alone[0].lines) == 1


def test_samples_in_front_of_the_classifier_are_drawn():
    x, y = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    after = copy.deepcopy(net)
    with torch.no_grad():
        after[0].weight.mul_(1.5)
    found = repana.comparison.head_geometry(repana.record(net, (x, y)), repana.record(after, (x, y)))
    ax = plots.head_plane(found)
    assert sum(len(c.U) for c in ax.collections) == 60
    assert plots.robustness_depth(moved(1.0).report()).lines[0].get_ydata()[0] == pytest.approx(1)
