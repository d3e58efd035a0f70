"""What COMPARISONS declares holds, and what it does not declare fails on some data."""

import inspect
import math

import pytest
import torch
from comparison.recipes import gaussians

from repana import Estimate
from repana.comparison import COMPARISONS

FEATURES = [m for m in COMPARISONS.values() if m.reads == "features"]
LOGITS = [m for m in COMPARISONS.values() if m.reads == "logits"]
KINDS = ("rotation", "scale", "translation", "permutation", "linear", "unit_scale")
N, D, E = 90, 6, 7
SLACK = {"r2_forward": 0.02}  # a ridge's own strength is chosen again


def layers(seed=0):
    x, y = gaussians(N, D, E, seed, shared=0.6)
    x = x * torch.tensor([3.0, 2.0, 1.0, 1.0, 0.5, 0.3]) + 0.5  # unlike variances, off the origin
    return x, (y + 0.3).relu() + 0.05 * y


def changed(kind, x, seed=1):
    g = torch.Generator().manual_seed(seed)
    d = x.shape[1]
    normal = torch.randn(d, d, generator=g, dtype=torch.float64)
    if kind == "rotation":
        return x @ torch.linalg.qr(normal)[0]
    if kind == "scale":
        return 7.5 * x
    if kind == "translation":
        return x + 4 * torch.randn(d, generator=g, dtype=torch.float64)
    if kind == "permutation":
        return x[:, torch.randperm(d, generator=g)]
    if kind == "linear":
        return x @ (torch.eye(d, dtype=torch.float64) + 0.5 * normal)
    return x * torch.rand(d, generator=g, dtype=torch.float64).add(0.3).mul(3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("measure", FEATURES, ids=lambda m: m.name)
def test_declared_invariances_hold_and_the_others_fail(measure, kind):
    x, y = layers()
    value, slack = measure.call(x, y), SLACK.get(measure.name, 0)
    sides = [(measure.invariant, changed(kind, x), y)]
    sides += [(measure.invariant if measure.invariant_b is None else measure.invariant_b, x, changed(kind, y))]
    for declared, a, b in sides:
        after = measure.call(a, b)
        if kind in declared:
            assert after == pytest.approx(value, abs=1e-6 + slack)
        elif slack:
            continue  # of a held-out ridge nothing is exact
        else:
            if abs(after - value) <= 1e-4:  # another witness: a few large variances
                fall = 3.0 ** -torch.arange(7).double()
                p, q = x * fall[:D], y * fall
                value = measure.call(p, q)
                after = measure.call(changed(kind, p), q) if a is not x else measure.call(p, changed(kind, q))
            assert abs(after - value) > 1e-4, f"{measure.name} is unchanged by {kind}, and does not say so"


@pytest.mark.parametrize("measure", COMPARISONS.values(), ids=lambda m: m.name)
def test_a_layer_with_itself_is_the_extreme(measure):
    x = layers()[0]
    assert measure.call(x, x) == pytest.approx(measure.extreme, abs=2e-6)


@pytest.mark.parametrize("measure", COMPARISONS.values(), ids=lambda m: m.name)
def test_symmetry_is_as_declared(measure):
    x, y = layers() if measure.reads == "features" else (layers()[1], layers(3)[1])
    forward, backward = measure.call(x, y), measure.call(y, x)
    assert (abs(forward - backward) < 1e-9) == measure.symmetric


@pytest.mark.parametrize("measure", COMPARISONS.values(), ids=lambda m: m.name)
def test_range_and_direction(measure):
    x, y = layers() if measure.reads == "features" else (layers()[1], layers(3)[1])
    value, low, high = measure.call(x, y), *measure.range
    assert low - 1e-9 <= value <= high + 1e-9
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    near, far = measure.call(x, x + 0.05 * torch.ones_like(x).cumsum(1) * x.roll(1, 0)), value
    far = measure.call(x, noise[:, : x.shape[1]] if measure.reads == "features" else noise[:, : x.shape[1]].roll(7, 0))
    assert near > far if measure.similar == "higher" else near < far
    assert (measure.name.endswith("_distance") or measure.reads == "logits" or measure.similar == "higher") or (
        "distance" in measure.name
    )


@pytest.mark.parametrize("measure", [m for m in COMPARISONS.values() if m.metric], ids=lambda m: m.name)
def test_the_triangle_inequality(measure):
    g = torch.Generator().manual_seed(5)
    for _ in range(12):
        x, y, z = (torch.randn(20, 4, generator=g, dtype=torch.float64) for _ in range(3))
        y, z = x + y * torch.rand(1, generator=g), x + 0.5 * y + z * torch.rand(1, generator=g)
        assert measure.call(x, z) <= measure.call(x, y) + measure.call(y, z) + 1e-9


@pytest.mark.parametrize("measure", FEATURES, ids=lambda m: m.name)
def test_float32_far_from_the_origin(measure):
    x, y = layers()
    if "translation" not in measure.invariant:
        return
    a, b = (x + 1000).float(), (y + 1000).float()
    assert measure.call(a, b) == pytest.approx(measure.call(a.double(), b.double()), abs=1e-5)


@pytest.mark.parametrize("measure", COMPARISONS.values(), ids=lambda m: m.name)
def test_numpy_is_torch(measure):
    x, y = layers() if measure.reads == "features" else (layers()[1], layers(3)[1])
    assert measure.call(x.numpy(), y.numpy()) == measure.call(x, y)


@pytest.mark.parametrize("measure", FEATURES, ids=lambda m: m.name)
def test_order_of_the_samples(measure):
    x, y = layers()
    order = torch.randperm(N, generator=torch.Generator().manual_seed(2))
    if measure.name.endswith("held_out") or measure.name == "r2_forward":  # halves and folds are by place
        return
    assert measure.call(x[order], y[order]) == pytest.approx(measure.call(x, y), abs=1e-9)


@pytest.mark.parametrize("measure", LOGITS, ids=lambda m: m.name)
def test_outputs_do_not_feel_a_shift_of_a_row(measure):
    z, w = layers()[1], layers(3)[1]
    shift = 3 * torch.randn(N, 1, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    assert "row_shift" in measure.invariant
    assert measure.call(z + shift, w - shift) == pytest.approx(measure.call(z, w), abs=1e-9)
    temperature = abs(measure.call(3 * z, 3 * w) - measure.call(z, w))
    assert (temperature < 1e-9) == ("scale" in measure.invariant)


@pytest.mark.parametrize("measure", FEATURES, ids=lambda m: m.name)
def test_a_null_is_what_the_table_says(measure):
    x, y = layers()
    found = measure.estimate(x, y)
    assert isinstance(found, Estimate)
    assert math.isfinite(found.null) == (measure.null == "exact")
    if measure.null == "permuted":
        drawn = measure.function(x, y, **{**measure.options, "permutations": 5})
        drawn = getattr(drawn, measure.attribute) if measure.attribute else drawn
        assert drawn.permutations == 5


@pytest.mark.parametrize("measure", FEATURES, ids=lambda m: m.name)
def test_constant_layers_have_no_similarity(measure):
    x = layers()[0]
    found = measure.estimate(x, torch.ones(N, 3, dtype=torch.float64))
    if measure.name.startswith("knn"):  # every neighbour is tied
        return
    if measure.name == "rsa_correlation":
        return
    assert math.isnan(found.value)
    assert "constant" in found.note


def test_every_measure_is_documented():
    for measure in COMPARISONS.values():
        assert measure.formula
        assert measure.source
        for word in ("Raises", "Source", ">>>"):
            assert word in inspect.getdoc(measure.function.__wrapped__), measure.name
