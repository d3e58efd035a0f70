"""The plan of a profile: what is counted, which machine it is held against, and that `profile` keeps to it."""

import math

import pytest
import torch
from networks import mlp
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import repana
from repana import InputError, plan_profile
from repana._cost import Cost, Size
from repana._costs import of_layer, planned_of
from repana._machine import MACHINES, Machine, machine_named
from repana._selection import selected
from repana.analyzers import ANALYZERS
from repana.summaries import Covariance, Discriminant, Moments, NeighbourGraph, PairwiseDistances, Subsample

SUMMARIES = (Covariance, Discriminant, Moments, NeighbourGraph, PairwiseDistances, Subsample)
X, Y = torch.randn(240, 12, generator=torch.Generator().manual_seed(0)), torch.arange(240) % 4


@pytest.mark.parametrize("cost", [a.cost for a in ANALYZERS.values()] + [s.cost for s in SUMMARIES])
@pytest.mark.parametrize("field", ["n", "d", "classes", "permutations"])
def test_more_of_anything_costs_no_less(cost, field):
    assert cost is not None
    least = {"n": 300, "d": 40, "classes": 3, "permutations": 19, "bootstrap": 20}
    found = [cost(Size(**{**least, field: least[field] * factor})) for factor in (1, 2, 8)]
    for name in ("flop", "bytes", "calls", "peak", "kept"):
        values = [getattr(c, name) for c in found]
        assert all(math.isfinite(v) and v >= 0 for v in values)
        if not (name == "peak" and field == "n"):  # few samples are measured in float64 throughout
            assert values == sorted(values), name


def test_a_summary_counts_where_it_is_first_read():
    size = Size(500, 64, 10, 199, 100)
    alone = of_layer(selected("fisher"), size)[0]
    own, summary = ANALYZERS["fisher"].cost(size), Discriminant.cost(size)
    assert alone.flop == own.flop + summary.flop
    assert alone.calls == own.calls + summary.calls
    both = selected(["neural_collapse", "fisher"])
    assert [a.name for a in both.analyzers] == ["neural_collapse", "fisher"]
    assert of_layer(both, size)[1].flop == own.flop
    assert of_layer(selected("all"), size)[1].flop == own.flop


def test_the_peak_holds_what_another_will_read():
    size = Size(4000, 256, 10, 199, 100)
    costs = dict(zip(selected("all").names, of_layer(selected("all"), size)))
    assert costs["separability"].peak >= ANALYZERS["separability"].cost(size).peak + PairwiseDistances.cost(size).kept
    assert of_layer(selected("spectrum"), size)[0].peak == Covariance.cost(size).peak


def test_layers_of_one_width_are_one_line():
    lines = planned_of(selected(["fisher", "spectrum"]), {"a": 8, "b": 16, "c": 8}, Size(100, 16, 3))
    assert [(x.analyzer, x.layers, x.size.d) for x in lines] == [
        ("fisher", ("a", "c"), 8), ("fisher", ("b",), 16), ("spectrum", ("a", "c"), 8), ("spectrum", ("b",), 16),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("analyzer", "n", "reads"),
    [
        ("dimension", 20_000, "all samples"),
        ("dimension", 20_001, "20,000 queries among all"),
        ("separability", 5_001, "a subset of 5,000"),
        ("topology", 2_001, "a subset of 2,000"),
        ("probing", 10**6, "all samples"),
    ],
)
def test_which_samples_are_read_is_said(analyzer, n, reads):
    assert of_layer(selected(analyzer), Size(n, 32, 10))[0].reads == reads


def test_seconds_are_counts_over_rates():
    machine = Machine("one", flops=1e9, bandwidth=1e8, call=1e-3, memory=1e9)
    assert machine.seconds(Cost(flop=2e9, bytes=3e8, calls=500)) == pytest.approx(2 + 3 + 0.5)


def test_machines():
    assert machine_named("H100") is MACHINES["H100"]
    eight = machine_named("8xH200")
    assert (eight.devices, eight.flops, eight.name) == (8, MACHINES["H200"].flops, "8 x H200")
    here = machine_named("measure")
    assert here.timed
    assert 1e8 < here.flops < 1e14
    assert 1e8 < here.bandwidth < 1e13
    assert 1e-8 < here.call < 1e-3
    for name in ("H1000", "0xH100", "xH100", "gpu"):
        with pytest.raises(InputError, match="RA212: `on` is .*; expected one of 'measure', 'cpu', 'H100'"):
            plan_profile({"a": X}, Y, on=name)


def test_of_a_model_operations_are_counted_and_shared_out():
    net = nn.Sequential(nn.Linear(12, 30), nn.ReLU(), nn.Linear(30, 4))
    found = plan_profile(net, (X, Y), on="8xH100", analyzers="spectrum")
    assert found.one_sample.flop == 2 * (12 * 30 + 30 * 4)
    assert found.seen == found.size.n == 240
    assert found.size.classes == 4
    assert found.pass_seconds == pytest.approx(240 * found.one_sample.flop / (8 * 40e12))
    assert found.feature_bytes == 4 * 240 * sum(p.width for p in found.recording.layers)
    assert found.seconds == pytest.approx(found.pass_seconds + found.analysis_seconds)
    again = plan_profile(net, (X, Y), on="H100", analyzers="spectrum")  # the counter leaves nothing behind
    assert again.one_sample.flop == found.one_sample.flop
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_of_this_machine_the_pass_is_timed():
    found = plan_profile(nn.Sequential(nn.Linear(12, 4)), (X, Y), samples=10**6)
    assert found.machine.timed
    assert found.pass_seconds == pytest.approx(10**6 * found.one_sample.seconds)
    assert found.seen == 10**6
    text = str(found)
    assert "1,000,000 samples, 4 classes; on this machine" in text
    assert "as timed" in text
    assert len(text.splitlines()) <= 24
    assert max(map(len, text.splitlines())) <= 140
    assert "<table" in found._repr_html_()


def test_kept_samples_classes_and_labels():
    net = nn.Sequential(nn.Linear(12, 4))
    found = plan_profile(net, (X, Y), samples=5000, max_samples=100, classes=1000)
    assert (found.seen, found.size.n, found.size.classes) == (5000, 100, 1000)
    assert "5,000 samples (100 kept), 1000 classes" in str(found)
    without = plan_profile(net, X)
    assert set(without.frame()["analyzer"]) >= {"topology", "dimension", "spectrum"}
    assert "probing" not in set(without.frame()["analyzer"])
    with pytest.raises(InputError, match="RA2"):
        plan_profile(net, X, analyzers="probing")


def test_data_without_a_length_need_one():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(TensorDataset(X, Y))

    net = nn.Sequential(nn.Linear(12, 4))
    with pytest.raises(InputError, match="RA265: the data do not tell how many samples they have; give `samples=`"):
        plan_profile(net, DataLoader(Stream(), batch_size=30))
    assert plan_profile(net, DataLoader(Stream(), batch_size=30), samples=240).seen == 240
    batches = ((X[i : i + 30], Y[i : i + 30]) for i in range(0, 240, 30))
    assert plan_profile(net, batches, samples=240).seen == 240
    assert len(repana.record(net, batches, ["0"]).sample) == 240  # the first batch came back


def test_a_profile_keeps_to_its_plan():
    limit = 12_000_000
    planned = plan_profile({"a": X, "b": X[:, :3]}, Y, analysis_memory=limit)
    frame = planned.frame()
    refused = {(x.analyzer, layer) for x in planned.lines if x.refused for layer in x.layers if x.analyzer in ANALYZERS}
    kept = {
        (x.analyzer, layer) for x in planned.lines if not x.refused for layer in x.layers if x.analyzer in ANALYZERS
    }
    assert refused
    assert kept
    assert (frame.loc[frame["refused"] != "", "seconds"] == 0).all()
    assert "refused: " in str(planned)
    report = repana.profile({"a": X, "b": X[:, :3]}, Y, analysis_memory=limit, permutations=5, bootstrap=5)
    smaller = plan_profile({"a": X, "b": X[:, :3]}, Y, analysis_memory=limit, permutations=5, bootstrap=5)
    measured = {(r.analyzer, r.layer) for r in report.rows if r.analyzer in ANALYZERS}
    assert measured == {
        (x.analyzer, layer) for x in smaller.lines if not x.refused for layer in x.layers if x.analyzer in ANALYZERS
    }
    assert any("RA264: needs up to" in line and "`analysis_memory` allows" in line for line in report.failures)


def test_what_a_refused_analyzer_would_have_made_counts_for_the_next():
    size, chosen = Size(3000, 2048, 10, 199, 100), selected(["neural_collapse", "fisher"])
    alone = of_layer(selected("fisher"), size)[0]
    assert of_layer(chosen, size)[1].peak < alone.peak
    assert of_layer(chosen, size, room=2e8)[1].peak == alone.peak
    x, y = torch.randn(300, 200), torch.arange(300) % 3
    limit = of_layer(selected("fisher"), Size(300, 200, 3, 5, 5))[0].peak - 1
    report = repana.profile({"a": x, "b": x[:, :4]}, y, analyzers=["neural_collapse", "fisher"], permutations=5,
                            bootstrap=5, analysis_memory=int(limit))  # fmt: skip
    assert sum("RA264" in line for line in report.failures) == 3  # collapse of both layers, fisher of one
    assert {r.layer for r in report.rows if r.analyzer == "fisher"} == {"b"}


def test_what_is_read_across_layers_is_bounded_too():
    features = {"a": torch.randn(60, 900), "b": torch.randn(60, 30)}
    y = torch.arange(60) % 3
    planned = plan_profile(features, y, analyzers="complexity", analysis_memory=10**6)
    assert {line.analyzer for line in planned.lines if line.refused} == {"complexity"}
    with pytest.raises(InputError, match="complexity: RA264: needs up to"):
        repana.profile(features, y, analyzers="complexity", analysis_memory=10**6)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"samples": 0}, "RA212: `samples` is 0"),
        ({"permutations": -1}, "RA212: `permutations` is -1"),
        ({"max_samples": -3}, "RA212: `max_samples` is -3"),
        ({"analysis_memory": -1}, "RA212: `analysis_memory` is -1"),
        ({"held_out": (X, Y)}, "RA212: `an option of profile` is 'held_out'"),
    ],
)
def test_refusals(options, text):
    with pytest.raises(InputError, match=text):
        plan_profile(nn.Sequential(nn.Linear(12, 4)), (X, Y), **options)


def test_options_are_those_of_a_profile():
    with pytest.raises(InputError, match="RA212: got 'foo', which say how to record"):
        plan_profile({"a": X}, Y, foo=3)
    assert plan_profile({"a": X}, Y, samples=10_000).size.n == 10_000
    net = nn.Sequential(nn.Linear(12, 4))
    with pytest.raises(InputError, match="RA212: `an option of profile` is 'poool'"):
        plan_profile(net, (X, Y), poool="cls")
    with pytest.raises(InputError, match="RA205: there are no features"):
        plan_profile(net, (X, Y), max_samples=0)


def test_a_profile_refuses_what_is_not_free(monkeypatch):
    monkeypatch.setattr("repana._loop.free_memory", lambda device: 1000)
    with pytest.raises(InputError, match="RA264: needs up to .* above the 1 kB that are free"):
        repana.profile({"a": X}, Y, analyzers="spectrum")


def test_a_function_of_the_users_own_has_no_known_cost():
    def spread(features):
        return float(features.std())

    found = plan_profile({"a": X}, Y, analyzers=["fisher", spread])
    assert math.isnan(found.frame().set_index("analyzer").loc["spread", "seconds"])
    assert math.isfinite(found.seconds)
    assert "The cost of spread is not known." in str(found)
    report = repana.profile({"a": X}, Y, analyzers=["fisher", spread], analysis_memory=10**9)
    assert {r.analyzer for r in report.rows} == {"fisher", "spread"}


def test_of_activations():
    activations = repana.record(mlp(), (torch.randn(50, 64), torch.arange(50) % 10))
    found = plan_profile(activations, analyzers="all", permutations=19, bootstrap=0)
    assert found.recording is None
    assert found.pass_seconds == 0
    assert (found.size.n, found.size.classes, found.size.permutations) == (50, 10, 19)
    assert "The pass" not in str(found)
