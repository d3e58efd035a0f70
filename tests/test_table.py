"""What every quantity of the ANALYZERS table must do: be documented, invariant as declared, precise in float32."""

import inspect
import math
from dataclasses import fields

import pytest
import torch
from clouds import clouds
from hypothesis import given, settings
from hypothesis import strategies as st

from repana import Estimate, Flag
from repana._estimate import estimates
from repana.analyzers import ACROSS_LAYERS, ANALYZERS

EVERY = [(a, q) for a in ANALYZERS.values() for q in a.quantities]
IDS = [f"{a.name}.{q.name}" for a, q in EVERY]
N, D, C = 180, 12, 5
HEAVY = ("dimension_estimators", "probing")  # these take one example where the others take four
LIGHT = [a for a in ANALYZERS.values() if a.name not in HEAVY]


def data(seed):
    x, y = clouds(n=N, d=D, c=C, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(C, D, generator=generator, dtype=torch.float64)
    return x, y, w


def measured(analyzer, x, y, w, **options):
    taken = inspect.signature(analyzer.function).parameters
    if "weight" in taken:
        options |= {"weight": w, "bias": torch.zeros(C, dtype=w.dtype)}
    options |= {name: 0 for name in ("bootstrap", "jackknife") if name in taken}  # intervals are not compared,
    options |= {"permutations": 2} if "permutations" in taken else {}  # nor nulls
    return {name: float(e) for name, e in estimates(call(analyzer, x, y, **options)).items()}


def call(analyzer, x, y, **options):
    return analyzer.function(x, y, **options) if analyzer.labels else analyzer.function(x, **options)


@pytest.mark.parametrize("analyzer", [*ANALYZERS.values(), *ACROSS_LAYERS.values()], ids=lambda a: a.name)
def test_table_and_result_agree(analyzer):
    listed = [q.name for q in analyzer.quantities]
    declared = [f.name for f in fields(analyzer.result) if f.type in (Estimate, "Estimate")]
    assert listed == declared
    for q in analyzer.quantities:
        assert q.formula
        assert q.source
        assert q.better in ("", "lower", "higher")
        assert q.name in analyzer.function.__doc__ or "per_feature" in analyzer.function.__doc__
    for word in ("Raises", "Source", ">>>"):
        assert word in analyzer.function.__doc__


def change(kind, x, seed):
    generator = torch.Generator().manual_seed(seed + 1)
    if kind == "rotation":
        return x @ torch.linalg.qr(torch.randn(D, D, generator=generator, dtype=torch.float64))[0]
    if kind == "scale":
        return x * float(torch.empty(1).uniform_(0.01, 100, generator=generator))
    if kind == "translation":
        return x + 10 * torch.randn(D, generator=generator, dtype=torch.float64)
    return x @ (torch.eye(D, dtype=torch.float64) + 0.3 * torch.randn(D, D, generator=generator, dtype=torch.float64))


CLASSIFIER = ("classifier", "self_duality", "duality", "bias_collapse", "nc4", "accuracy")


@pytest.mark.parametrize("kind", ["rotation", "scale", "translation", "linear"])
@pytest.mark.parametrize("analyzer", LIGHT, ids=lambda a: a.name)
@settings(max_examples=4)
@given(seed=st.integers(0, 2**16))
def test_invariances(analyzer, kind, seed):
    """Quantities that read the classifier follow it; they are checked on rotations, the classifier rotated too."""
    x, y, w = data(seed)
    if kind == "rotation":
        both = change(kind, torch.cat([x, w]), seed)
        moved, turned = both[:N], both[N:]
    else:
        moved, turned = change(kind, x, seed), w
    before, after = measured(analyzer, x, y, w), measured(analyzer, moved, y, turned)
    for q in analyzer.quantities:
        follows = q.name.startswith(CLASSIFIER)
        if kind in q.invariant and (not follows or kind == "rotation") and not math.isnan(before[q.name]):
            assert after[q.name] == pytest.approx(before[q.name], rel=1e-6, abs=1e-9), q.name


@pytest.mark.parametrize("kind", ["rotation", "scale", "translation", "linear"])
@pytest.mark.parametrize("name", HEAVY)
def test_invariances_once(name, kind):
    test_invariances.hypothesis.inner_test(ANALYZERS[name], kind, 7)


def test_the_invariance_test_can_fail():
    """The orthogonal-frame error reads uncentred means, so a translation must change it."""
    x, y, w = data(0)
    analyzer = ANALYZERS["neural_collapse"]
    before, after = measured(analyzer, x, y, w), measured(analyzer, x + 5, y, w)
    assert abs(after["of_error"] - before["of_error"]) > 0.01


@pytest.mark.parametrize("analyzer", LIGHT, ids=lambda a: a.name)
@settings(max_examples=4)
@given(seed=st.integers(0, 2**16))
def test_order_of_samples_and_names_of_classes(analyzer, seed):
    x, y, w = data(seed)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(seed))
    relabel = torch.randperm(C, generator=torch.Generator().manual_seed(seed))
    before = measured(analyzer, x, y, w)
    after = measured(analyzer, x[order], relabel[y[order]], w[torch.argsort(relabel)])
    drawn = {q.name for q in analyzer.quantities if q.drawn}
    for name, value in before.items():
        if name in drawn:
            continue
        assert after[name] == pytest.approx(value, rel=1e-7, abs=1e-10, nan_ok=True), name


@pytest.mark.parametrize("name", HEAVY)
def test_order_of_samples_and_names_of_classes_once(name):
    test_order_of_samples_and_names_of_classes.hypothesis.inner_test(ANALYZERS[name], 7)


@pytest.mark.parametrize("analyzer", LIGHT, ids=lambda a: a.name)
@settings(max_examples=4)
@given(seed=st.integers(0, 2**16))
def test_duplicating_every_sample_changes_nothing(analyzer, seed):
    """All but those that say so are functions of the empirical distribution: variances divide by n, not n - 1."""
    x, y, w = data(seed)
    before, after = measured(analyzer, x, y, w), measured(analyzer, x.repeat(2, 1), y.repeat(2), w)
    for q in analyzer.quantities:
        if not q.counts:
            assert after[q.name] == pytest.approx(before[q.name], rel=1e-7, abs=1e-10, nan_ok=True), q.name


@pytest.mark.parametrize("name", HEAVY)
def test_duplicating_every_sample_changes_nothing_once(name):
    test_duplicating_every_sample_changes_nothing.hypothesis.inner_test(ANALYZERS[name], 7)


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("analyzer", ANALYZERS.values(), ids=lambda a: a.name)
def test_float32_agrees_with_float64(analyzer, offset):
    x, y, w = data(3)
    single = (x + offset).float()
    got, want = measured(analyzer, single, y, w.float()), measured(analyzer, single.double(), y, w.float().double())
    for name, value in want.items():
        assert got[name] == pytest.approx(value, rel=2e-5, abs=1e-6, nan_ok=True), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("analyzer", ANALYZERS.values(), ids=lambda a: a.name)
def test_half_precision_features(analyzer, dtype):
    x, y, w = data(4)
    half = x.to(dtype)
    got, want = measured(analyzer, half, y, w), measured(analyzer, half.double(), y, w)
    for name, value in want.items():
        assert got[name] == pytest.approx(value, rel=1e-4, abs=1e-5, nan_ok=True), name


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("analyzer", ANALYZERS.values(), ids=lambda a: a.name)
def test_cuda_agrees_with_cpu(analyzer):
    x, y, w = data(5)
    got, want = measured(analyzer, x.cuda(), y.cuda(), w.cuda()), measured(analyzer, x, y, w)
    for name, value in want.items():
        assert got[name] == pytest.approx(value, rel=1e-8, nan_ok=True), name


def test_every_interval_contains_its_value():
    x, y, w = data(6)
    for analyzer in ANALYZERS.values():
        options = (
            {"weight": w, "bias": torch.zeros(C, dtype=w.dtype)}
            if "weight" in inspect.signature(analyzer.function).parameters
            else {}
        )
        for name, e in estimates(call(analyzer, x, y, **options)).items():
            if not math.isnan(e.low):
                assert e.low <= e.value <= e.high or "interval is of the population's" in e.note, name
            elif not math.isnan(e.value) and Flag.NOT_APPLICABLE not in e.flags:
                raise AssertionError(f"{name} has no interval")
