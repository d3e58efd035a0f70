"""What every quantity read across layers must do: keep to the invariances it declares, and to the order of samples."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from clouds import clouds

from repana import Activations, profile
from repana._activations import Classifier
from repana.analyzers import ACROSS_LAYERS

N, C = 200, 5
TAKEN = ["neural_collapse", "probing", "complexity"]
# Those of re-initialised networks and of dictionaries, which are given beside the layers, have tests of their own.
OF_MODELS = ("probe_baselines", "weight_probe")  # which read a model, or many of them
WITHOUT_MODEL = [a for a in ACROSS_LAYERS.values() if a.name not in OF_MODELS and a.default]
EVERY = {f"{a.name}.{q.name}": q for a in WITHOUT_MODEL for q in a.quantities}


@cache
def network() -> Activations:
    """Three layers of a small network and its classifier."""
    x, y = clouds(n=N, d=8, c=C, sd=1.2)
    generator = torch.Generator().manual_seed(3)
    weights = [torch.randn(8, 10, generator=generator).double(), torch.randn(10, 12, generator=generator).double() / 3]
    first = (x @ weights[0]).relu()
    last = (first @ weights[1]).tanh()
    head = Classifier(torch.randn(C, 12, generator=generator).double(), torch.zeros(C).double(), "last")
    return Activations({"x": x, "first": first, "last": last}, y, logits=last @ head.weight.T, head=head)


def turned(given: Activations, kind: str) -> Activations:
    """Every layer moved in its own way, and the classifier with the layer that it reads."""
    generator = torch.Generator().manual_seed(1)
    found = dict(given.features)
    weight, bias = given.head.weight, given.head.bias
    for name, x in found.items():
        d = x.shape[1]
        if kind == "rotation":
            turn = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))[0]
            found[name] = x @ turn
            weight = weight @ turn if name == "last" else weight
        elif kind == "scale":
            factor = float(torch.empty(1).uniform_(0.1, 10, generator=generator))
            found[name] = x * factor
            weight = weight / factor if name == "last" else weight
        else:
            shift = 5 * torch.randn(d, generator=generator, dtype=torch.float64)
            found[name] = x + shift
            bias = bias - weight @ shift if name == "last" else bias
    return Activations(found, given.labels, logits=given.logits, head=Classifier(weight, bias, "last"))


def values(given: Activations) -> dict[tuple[str, str], float]:
    report = profile(given, analyzers=TAKEN, permutations=0, bootstrap=0)
    assert not report.failures
    return {(f"{r.analyzer}.{r.quantity}", r.layer): r.value for r in report.rows if r.analyzer in ACROSS_LAYERS}


@cache
def before() -> dict[tuple[str, str], float]:
    return values(network())


@cache
def after(kind: str) -> dict[tuple[str, str], float]:
    return values(turned(network(), kind))


def test_every_quantity_is_measured():
    assert {name for name, _ in before()} == set(EVERY)


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, q in EVERY.items() for kind in q.invariant])
def test_invariances(name, kind):
    """Those that are declared hold."""
    for place, value in before().items():
        if place[0] == name:
            assert after(kind)[place] == pytest.approx(value, rel=1e-5, abs=1e-8, nan_ok=True), place


@pytest.mark.parametrize("name", ["complexity_vs_importance.support", "layer_readings.readable"])
def test_the_invariance_test_can_fail(name):
    """Features are units, so that other axes of the last layer are other features."""
    assert any(abs(after("rotation")[at] - v) > 1e-3 for at, v in before().items() if at[0] == name)


def test_order_of_samples_and_names_of_classes():
    given = network()
    order = torch.randperm(N, generator=torch.Generator().manual_seed(5))
    relabel = torch.randperm(C, generator=torch.Generator().manual_seed(6))
    back = torch.argsort(relabel)
    moved = Activations(
        {name: x[order] for name, x in given.features.items()},
        relabel[given.labels[order]],
        logits=given.logits[order][:, back],
        head=Classifier(given.head.weight[back], given.head.bias[back], "last"),
    )
    found = values(moved)
    for place, value in before().items():
        if not EVERY[place[0]].drawn:
            assert found[place] == pytest.approx(value, rel=1e-7, abs=1e-10, nan_ok=True), place


def test_duplicating_every_sample():
    given = network()
    twice = Activations(
        {name: x.repeat(2, 1) for name, x in given.features.items()}, given.labels.repeat(2),
        logits=given.logits.repeat(2, 1), head=given.head,
    )  # fmt: skip
    found = values(twice)
    for place, value in before().items():
        if not EVERY[place[0]].counts:
            assert found[place] == pytest.approx(value, rel=1e-7, abs=1e-10, nan_ok=True), place


def test_float32_agrees_with_float64():
    given = network()
    single = {name: x.float() for name, x in given.features.items()}
    head = Classifier(given.head.weight.float(), given.head.bias.float(), "last")
    narrow = Activations(single, given.labels, logits=given.logits.float(), head=head)
    wide = replace_features(narrow, torch.float64)
    found, wanted = values(narrow), values(wide)
    for place, value in wanted.items():
        assert found[place] == pytest.approx(value, rel=2e-4, abs=1e-5, nan_ok=True), place


def replace_features(given: Activations, dtype: torch.dtype) -> Activations:
    head = replace(given.head, weight=given.head.weight.to(dtype), bias=given.head.bias.to(dtype))
    layers = {name: x.to(dtype) for name, x in given.features.items()}
    return Activations(layers, given.labels, logits=given.logits.to(dtype), head=head)
