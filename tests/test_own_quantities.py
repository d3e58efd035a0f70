"""A user's own functions beside the names of analyzers, and what may go wrong with them."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

import repana
from repana import Analyzer, Estimate, InputError, Quantity, Report, profile
from repana.summaries import Moments, NeighbourGraph

X = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(60) % 3
QUICK = {"permutations": 0, "bootstrap": 0}


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def spread(features):
    """Mean standard deviation of features."""
    return float(features.std(0).mean())


@dataclass
class Pair:
    small: float
    large: Estimate
    name: str = "no number"


def pair(features, labels, *, level):
    return Pair(float(labels.max()), Estimate(features.max().item(), 0.0, level))


def within(moments: Moments):
    return moments.trace.sum()


def nearest(graph: NeighbourGraph, *, seed: int):
    return graph.neighbours.distances[:, 0].mean()


def test_functions_stand_beside_names():
    report = profile(net(), (X, Y), analyzers=["neural_collapse", spread, pair, within, nearest], **QUICK)
    assert report.failures == ()
    got = report.table("spread", "pair.small", "large", "within", "nearest")
    assert got["small"].tolist() == [2.0] * len(report.layers)
    recorded = repana.record(net(), (X, Y))
    for layer in report.layers:
        assert got["spread"][layer] == pytest.approx(float(recorded[layer].std(0).mean()), rel=1e-6)
        assert got["within"][layer] == pytest.approx(float(Moments.of(recorded[layer], Y).trace.sum()), rel=1e-6)
    assert report.select("large")[0].high == 0.95


def test_they_are_drawn_tabulated_and_saved(tmp_path):
    report = profile(net(), (X, Y), analyzers=[spread], **QUICK)
    again = Report.load(report.save(tmp_path / "r"))
    assert again.headline == ("spread.spread",)
    assert again.quantity("spread", "spread").formula == "Mean standard deviation of features."
    assert again.plot("spread").axes[0].get_title(loc="left") == "Spread"
    assert "Spread" in again.to_markdown()
    assert "Spread" in again.to_latex()
    assert "Mean standard deviation of features." in again.to_html(tmp_path / "p.html").read_text()
    assert "Spread" in again._repr_html_()


def test_an_analyzer_says_what_a_number_is_called():
    own = Analyzer(spread, (Quantity("spread", "mean sd", "lower", "mm", "Breadth", "Nobody 2031", headline=True),))
    report = profile(net(), (X, Y), analyzers=["spectrum", own], **QUICK)
    said = report.quantity("spread", "spread")
    assert (said.label, said.unit, said.better, said.source) == ("Breadth", "mm", "lower", "Nobody 2031")
    assert "spread.spread" in report.headline


def test_what_needs_no_labels_is_measured_without():
    report = profile(net(), X, analyzers=["all", spread, nearest], **QUICK)
    assert {"spread", "nearest", "spectrum"} <= {r.analyzer for r in report.rows}
    with pytest.raises(InputError, match="RA213"):
        profile(net(), X, analyzers=[pair], **QUICK)


def test_one_failure_never_costs_the_others():
    def broken(features):
        raise KeyError("boom")

    def words(features):
        return "many"

    report = profile(net(), (X, Y), analyzers=[broken, words, spread], **QUICK)
    layers = ", ".join(report.layers)
    n = len(report.layers)
    assert report.failures == (
        f"train, {n} layers ({layers}), broken: KeyError: 'boom'",
        f"train, {n} layers ({layers}), words: RA212: `words` returned str; expected a number, an `Estimate`, or a "
        "dataclass with such fields.",
    )
    assert len(report.select("spread")) == n


def test_real_valued_labels_name_the_function_that_takes_them():
    report = profile(net(), (X, torch.randn(60)), **QUICK)
    assert report.select("two_nn")
    lines = [line for line in report.failures if ", fisher: " in line]
    assert len(lines) == 1
    assert "repana.probes.regression_probe" in lines[0]


@pytest.mark.parametrize(
    ("own", "text"),
    [
        (lambda features: 1.0, "RA212: `analyzers` has <function"),
        (3, "RA212: `analyzers` has 3; expected names, functions of features and labels, or `Analyzer`s."),
        ("nosuch", "RA212: `analyzers` is 'nosuch'"),
    ],
)
def test_what_is_no_analyzer(own, text):
    with pytest.raises(InputError) as error:
        profile(net(), (X, Y), analyzers=["all", own], **QUICK)
    assert str(error.value).startswith(text)


def test_a_parameter_that_names_nothing():
    def odd(features, colour):
        return 1.0

    with pytest.raises(InputError) as error:
        profile(net(), (X, Y), analyzers=odd, **QUICK)
    assert str(error.value) == (
        "RA212: `odd` takes `colour`, which names nothing that is read of a layer; expected `features`, `labels`, "
        "`groups`, a parameter annotated with a summary such as `Moments`, or one with a default."
    )


def test_a_name_that_is_taken():
    def fisher(features):
        return 1.0

    with pytest.raises(InputError, match="RA212: `analyzers` has a function called 'fisher'"):
        profile(net(), (X, Y), analyzers=fisher, **QUICK)


def test_summaries_are_made_once_and_let_go_after_their_last_reader(monkeypatch):
    """One summary of a layer for all that read it, in memory no longer than it is read."""
    import weakref

    from repana.summaries.moments import Moments

    made, alive = [], []
    original = Moments.of_layer.__func__

    def counted(cls, layer):
        found = original(cls, layer)
        made.append(weakref.ref(found))
        return found

    monkeypatch.setattr(Moments, "of_layer", classmethod(counted))

    def first(moments: Moments) -> float:
        """Samples."""
        return float(moments.n)

    def second(moments: Moments) -> float:
        """Features."""
        return float(moments.d)

    def third(features) -> float:
        """Whether the summary is still there."""
        alive.append(made[-1]() is not None)
        return 0.0

    x, y = torch.randn(40, 3), torch.arange(40) % 2
    repana.profile({"a": x, "b": 2 * x}, y, analyzers=[first, second, third])
    assert len(made) == 2
    assert alive == [False, False]
