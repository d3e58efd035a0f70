"""Monitors of plain loops: what is recorded, within which time, and that the training does not notice."""

import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from training.recipes import Clock, clusters, network, train, watched
from training.stored import net, probe

import repana
from repana.dynamics import StoppingRule
from repana.errors import FileError, InputError, ModelError
from repana.training import load_features
from repana.training._budget import Budget
from repana.training._records import Records
from repana.training._schedule import is_due

X, Y = clusters(120, seed=1)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.GRU(4, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.rnn(x.view(len(x), 3, 4))[0][:, -1])


@pytest.mark.parametrize("make", [network, lambda: (torch.manual_seed(0), Recurrent())[1]], ids=["mlp", "gru"])
def test_weights_are_bit_equal_with_and_without_a_monitor(make, tmp_path):
    """Also BatchNorm's statistics, dropout's draws, momentum, and the random numbers afterwards. Python's own are
    tested below: the checks of types that tests run under draw some."""
    states = []
    for number, options in enumerate((None, {}, {"train_probe": clusters(90), "stop_on": "h0_separability"})):
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        torch.manual_seed(0)
        net = make()
        if options is None:
            train(net, 25)
        else:
            monitor = repana.Monitor((X, Y), store=tmp_path / str(number), every=5, budget=None, **options)
            monitor.begin(net)
            train(net, 25, lambda n, s, loss, monitor=monitor: monitor.step(n, s) and None)
            monitor.finish(later=False)
            assert monitor.steps == [0, 5, 10, 15, 20, 25]
        drawn = [torch.rand(1).item(), np.random.rand()]  # noqa: NPY002
        states.append((net.state_dict(), drawn, [m.training for m in net.modules()]))
    for state, drawn, modes in states[1:]:
        assert all(torch.equal(state[name], states[0][0][name]) for name in state)
        assert drawn == states[0][1]
        assert modes == states[0][2]


def test_random_numbers_go_on_as_if_nothing_was_drawn(tmp_path):
    code = """
import random, sys, numpy as np, torch, repana
x = torch.randn(40, 4)
net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
random.seed(0), np.random.seed(0), torch.manual_seed(0)
state = lambda: (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist())
before = state()
monitor = repana.Monitor((x, (x[:, 0] > 0).long()), store=sys.argv[1], budget=None)
monitor.begin(net), monitor.step(net, 200), monitor.finish(later=["topology"])
assert state() == before
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_gradients_stay(tmp_path):
    """A record between backward and the update, which Lightning's accumulation makes possible."""
    net = network()
    nn.functional.cross_entropy(net(X), Y).backward()
    before = [p.grad.clone() for p in net.parameters()]
    repana.Monitor((X, Y), store=tmp_path, budget=None).step(net, 1)
    assert all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), before))
    assert not any(m._forward_hooks for m in net.modules())


def test_what_a_record_holds(tmp_path):
    monitor = watched(tmp_path, train_probe=clusters(90))
    report = monitor.finish(later=False)
    assert report.runs == ("step 1", "step 10", "step 20", "step 30", "step 40", "training")
    assert [report.step(run) for run in report.runs[:-1]] == [1, 10, 20, 30, 40]
    assert math.isnan(report.step("training"))
    one = repana.Report.load(tmp_path / "step_000000040" / "report")
    assert one.splits == ("train", "held_out")
    fresh = repana.Report.load(tmp_path / "step_000000040" / "report")
    rows = {(r.split, r.analyzer, r.quantity, r.layer): r for r in fresh.rows}
    accuracy = rows["held_out", "training", "accuracy", ""]
    assert accuracy.low < accuracy.value < accuracy.high or accuracy.value == 1
    assert rows["held_out", "logged", "batch_loss", ""].value > 0
    layers = {r.layer for r in one.rows if r.layer}
    assert {(s, "neural_collapse", "nc1", x) for s in one.splits for x in layers} <= set(rows)
    for name in ("h0_entropy", "participation_ratio", "cka_first", "cka_previous", "cka_best"):
        for layer in layers:
            assert math.isfinite(rows["held_out", "training", name, layer].value), (name, layer)
    assert rows["held_out", "training", "cka_first", "input"].value == pytest.approx(1)


def test_values_are_those_of_the_family_functions(tmp_path):
    net = network()
    monitor = watched(tmp_path, net)
    found = repana.record(net, (X, Y), progress=False)
    rows = {(r.analyzer, r.quantity, r.layer): r for r in monitor.folder.report(40).rows}
    with torch.no_grad():
        z = net.eval()(X)
    assert rows["training", "accuracy", ""].value == float((z.argmax(1) == Y).float().mean())
    loss = rows["training", "loss", ""]
    assert loss.value == pytest.approx(float(nn.functional.cross_entropy(z.double(), Y)), rel=1e-3)
    first = monitor.folder.activations(1, "probe")
    for layer in found.layers:
        x = found[layer]
        nc1 = repana.neural_collapse(x, Y, permutations=0, bootstrap=0).nc1
        assert rows["neural_collapse", "nc1", layer].value == pytest.approx(float(nc1), rel=1e-4)
        entropy = repana.h0_separability(x).h0_entropy
        assert rows["training", "h0_entropy", layer].value == pytest.approx(float(entropy), abs=1e-9)
        ratio = repana.spectrum(x).participation_ratio
        assert rows["training", "participation_ratio", layer].value == pytest.approx(float(ratio), rel=1e-6)
        similar = repana.cka(torch.as_tensor(first[layer]).float(), x)
        row = rows["training", "cka_first", layer]
        assert row.value == pytest.approx(float(similar), abs=2e-4)  # features were kept in half precision
        assert (row.low, row.high) == pytest.approx((similar.low, similar.high), abs=2e-3)


def test_without_labels(tmp_path):
    monitor = repana.Monitor(X, store=tmp_path, budget=None, stop_on="h0_separability", every=5)
    train(network(), 20, lambda n, s, loss: monitor.step(n, s))
    report = monitor.finish(later=False)
    assert "neural_collapse" not in {r.analyzer for r in report.rows}
    assert {"h0_entropy", "participation_ratio", "cka_first"} <= {r.quantity for r in report.rows}
    texts = {f.code: f for f in report.findings("training")}
    assert "No evidence" in texts["RF804"].text
    assert texts["RF804"].kind == "caution"


@pytest.mark.parametrize(("share", "cost"), [(0.05, 0.3), (0.2, 5.0)])
def test_the_budget_holds_by_a_fake_clock(share, cost, tmp_path, monkeypatch):
    """At no time more than the budget and one record; steps of a second, records that take as long as they say."""
    clock = Clock()
    monitor = repana.Monitor((X, Y), store=tmp_path, every=1, budget=share, page=False, clock=clock)
    made = Records.make

    def slow(self, *given):
        made(self, *given)
        clock.now += cost

    monkeypatch.setattr(Records, "make", slow)
    net, begun = network(), clock.now
    for step in range(1, 41):
        clock.now += 1.0
        monitor.step(net, step)
        own = len(monitor.steps) * cost
        assert own <= share * (clock.now - begun) + cost + 1e-9
    assert monitor.steps[0] == 1
    assert {s["step"] for s in monitor.skipped} | set(monitor.steps) == set(range(1, 41))
    assert all("% of the time" in s["reason"] for s in monitor.skipped)
    more = (len(monitor.steps) + 1) * cost
    assert more > share * (clock.now + cost - begun) - cost  # it is used, not only kept
    monitor.finish(later=False)
    assert monitor.steps[-1] == 40  # the last always runs


def test_the_clock_stands_still_between_two_processes():
    clock = Clock()
    budget = Budget(0.1, clock, training=10.0, own=1.0)
    clock.now = 1e6
    budget.elapsed()
    assert budget.training == 10.0
    clock.now += 5
    budget.elapsed()
    clock.now += 2
    assert budget.spent() == 2
    assert (budget.training, budget.own) == (15.0, 3.0)
    assert budget.used == pytest.approx(3 / 18)


def test_schedules():
    powers = [2**k for k in range(11)]
    assert [s for s in range(1, 5001) if is_due("log", s, s - 1)] == [*powers, 2000, 3000, 4000, 5000]
    assert [s for s in range(1, 9) if is_due(4, s, s - 1)] == [4, 8]
    assert [s for s in range(3, 1201, 3) if is_due(200, s, s - 3)] == [201, 402, 600, 801, 1002, 1200]
    in_strides = [s for s in range(3, 3001, 3) if is_due("log", s, s - 3)]
    assert in_strides == [3, 6, 9, 18, 33, 66, 129, 258, 513, 1026, 2001, 3000]


def test_a_repeated_step_is_passed_over(tmp_path):
    """As gradient accumulation repeats it: 3, 4, 4, 4, 5."""
    monitor = repana.Monitor((X, Y), store=tmp_path, every=1, budget=None)
    net = network()
    for step in (3, 4, 4, 4, 5):
        monitor.step(net, step)
    assert monitor.steps == [3, 4, 5]


def test_steps_are_counted_where_they_are_not_given(tmp_path):
    monitor = repana.Monitor((X, Y), store=tmp_path, every=2, budget=None)
    train(network(), 6, lambda n, s, loss: monitor.step(n))
    assert monitor.steps == [1, 2, 4, 6]
    monitor.close()
    with pytest.raises(InputError, match="RA287: .*up to step 6"):
        repana.Monitor((X, Y), store=tmp_path, every=2, budget=None).step(network())


def test_a_training_goes_on_where_it_was(tmp_path):
    net = network()
    monitor = watched(tmp_path, net, steps=30)
    monitor.close()
    again = repana.Monitor((X, Y), store=tmp_path, every=10, budget=None)
    again.begin(net, 30)
    train(net, 50, lambda n, s, loss: again.step(n, s), start=30)
    assert again.steps == [1, 10, 20, 30, 40, 50]
    assert not (tmp_path / "abandoned").exists()
    assert again._records._references["cka_first"].layers == again.folder.activations(1, "probe").layers
    again.close()


def test_records_of_a_timeline_that_was_left_are_moved_away(tmp_path):
    net = network()
    monitor = watched(tmp_path, net, steps=40)
    monitor.close()
    again = repana.Monitor((X, Y), store=tmp_path, every=10, budget=None)
    again.begin(net, 15)  # from a checkpoint of step 15
    assert again.steps == [1, 10, 15]
    left = list((tmp_path / "abandoned").glob("*/step_*"))
    assert sorted(p.name for p in left) == [f"step_{s:09d}" for s in (20, 30, 40)]
    train(net, 40, lambda n, s, loss: again.step(n, s), start=15)
    assert again.steps == [1, 10, 15, 20, 30, 40]
    report = again.finish(later=False)
    assert report.runs[:-1] == tuple(f"step {s}" for s in again.steps)
    assert repana.load_runs(tmp_path).runs == report.runs[:-1]  # none of those that were left
    assert "timeline was left" in (tmp_path / "live.html").read_text()


def test_going_back_within_a_process_is_a_new_timeline(tmp_path):
    monitor = watched(tmp_path, steps=30)
    monitor.step(network(), 10)
    assert monitor.steps == [1, 10]
    assert len(list((tmp_path / "abandoned").glob("*/step_*"))) == 3


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 1},
        {"level": 0.9},
        {"layers": ["0", "4"]},
        {"probe": (X.flip(0), Y.flip(0))},
        {"train_probe": clusters(60)},
        {"batch": 8},
    ],
    ids=["seed", "level", "layers", "order", "train_probe", "model"],
)
def test_other_settings_are_refused(changed, tmp_path):
    watched(tmp_path, steps=10).close()
    options = {"probe": (X, Y), "store": tmp_path, "budget": None, **changed}
    if "batch" in changed:
        options.pop("batch")
        net = nn.Sequential(nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3))
    else:
        net = network()
    monitor = repana.Monitor(options.pop("probe"), **options)
    with pytest.raises(InputError, match="RA286: ") as error:
        monitor.step(net, 11)
    assert not re.search("[0-9a-f]{64}", str(error.value))  # digests tell nobody what differs
    repana.Monitor((X, Y), store=tmp_path, budget=None).begin(network(), 10)  # the folder was let go


def test_two_monitors_need_two_folders(tmp_path):
    monitor = watched(tmp_path, steps=10)
    other = repana.Monitor((X, Y), store=tmp_path, budget=None)
    with pytest.raises(FileError, match="RA332: "):
        other.begin(network(), 10)
    monitor.close()
    other.begin(network(), 10)
    other.close()


def test_a_record_that_fails_never_stops_the_training(tmp_path, caplog):
    net = network()
    monitor = repana.Monitor((X, Y), store=tmp_path, every=1, budget=None)

    def after(net, step, loss):
        if step == 3:
            with torch.no_grad():
                net[0].weight[0, 0] = math.nan
        monitor.step(net, step)
        if step == 3:
            net.load_state_dict(network().state_dict())

    train(net, 5, after)
    assert monitor.steps == [1, 2, 4, 5]
    assert [f["step"] for f in monitor.failures] == [3]
    assert "NaN" in monitor.failures[0]["error"]
    assert "the record of step 3 failed" in caplog.text
    assert not list(tmp_path.glob(".put-*"))
    found = monitor.finish(later=False)
    assert {f.code: f for f in found.findings("training")}["RF805"].kind == "caution"


def test_what_can_never_be_recorded_is_refused_at_once(tmp_path):
    """A folder without records, and a refusal: each record would fail alike."""
    net = network()
    monitor = repana.Monitor((X, Y), store=tmp_path, layers=["nowhere"], budget=None)
    for start in (lambda: monitor.begin(net), lambda: monitor.step(net, 1)):
        with pytest.raises(ModelError, match="nowhere"):
            start()
    other = repana.Monitor((X, Y), store=tmp_path, budget=None)
    other.begin(net)  # the folder was let go
    assert other.steps == [0]
    other.close()


def test_three_failures_in_a_row_switch_it_off(tmp_path):
    net = network()
    monitor = repana.Monitor((X, Y), store=tmp_path, every=1, budget=None)
    monitor.step(net, 1)
    with torch.no_grad():
        net[0].weight[0, 0] = math.nan
    monitor.step(net, 2)
    monitor.step(net, 3)
    with pytest.warns(UserWarning, match="off from step 4 on"):
        monitor.step(net, 4)
    monitor.step(net, 5)
    assert monitor.off
    assert len(monitor.failures) == 3
    assert json.loads((tmp_path / "monitor.json").read_text())["off"]


def test_interrupts_pass(tmp_path, monkeypatch):
    monitor = repana.Monitor((X, Y), store=tmp_path, budget=None)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("repana.training._probe_sets.record", interrupted)
    with pytest.raises(KeyboardInterrupt):
        monitor.step(network(), 1)


def test_memory_that_does_not_suffice_halves_the_batches_once(tmp_path, monkeypatch):
    monitor = repana.Monitor((X, Y), store=tmp_path, budget=None, batch_size=40)
    sizes, record = [], repana.training._probe_sets.record

    def small(model, data, *given, **options):
        sizes.append(len(data[0][0]))
        if sizes[-1] > 20:
            raise torch.OutOfMemoryError("out of memory")
        return record(model, data, *given, **options)

    monkeypatch.setattr("repana.training._probe_sets.record", small)
    monitor.step(network(), 1)
    monitor.step(network(), 200)
    assert sizes == [40, 20, 20]
    assert monitor.steps == [1, 200]


def test_a_tracker_that_fails_is_warned_of_once(tmp_path):
    class Broken:
        def add_scalar(self, *_):
            raise ConnectionError("no network")

        def add_figure(self, *_, **__):
            pass

    class Working(Broken):
        names: list = []

        def add_scalar(self, name, value, step):
            self.names.append((name, step))

        def add_text(self, *_):
            pass

    monitor = repana.Monitor((X, Y), store=tmp_path, every=10, budget=None, sinks=[Broken(), Working()])
    with pytest.warns(UserWarning, match="Broken takes no more records") as caught:
        train(network(), 20, lambda n, s, loss: monitor.step(n, s))
    assert len(caught) == 1
    assert monitor.steps == [1, 10, 20]
    assert {step for _, step in Working.names} == {1, 10, 20}


def test_features_are_thinned_by_size(tmp_path):
    """Records number 1, 2, 4, 8 and the last three keep theirs."""
    monitor = watched(tmp_path, steps=11, every=1, keep=0)
    kept = [s for s in monitor.steps if monitor.folder.activations(s, "probe") is not None]
    assert kept == [1, 2, 4, 8, 9, 10, 11]
    similar = monitor.over_time("2")
    assert similar.layers_a == tuple(f"step {s}" for s in kept)
    with pytest.raises(ModelError, match="RA101"):
        monitor.over_time("nowhere")
    found = monitor.features("2")
    assert list(found) == kept
    assert all(torch.equal(x, y) for x, y in zip(found.values(), load_features(tmp_path, "2").values(), strict=True))
    targets = found[11][:, :2] - found[11][:, :2].mean(0)
    decoded = repana.time_to_decode(found, targets)
    assert decoded.curve.shape == (len(kept), 2)
    assert decoded.curve[-1].min() > 0.8
    assert decoded.layers == tuple(map(str, kept))
    with pytest.raises(InputError, match="RA288: 'test' is no split of this training; expected one of probe"):
        monitor.features("2", "test")


def test_a_folder_of_the_first_format_is_read_and_gone_on_with(tmp_path):
    shutil.unpack_archive(Path(__file__).parent / "store_1.zip", tmp_path)
    assert repana.training.load_training(tmp_path).runs == ("step 0", "step 10", "training")
    with repana.Monitor(probe(), store=tmp_path, every=10, budget=None) as monitor:
        monitor.begin(net(), 10)
        monitor.step(net(), 20)
        assert monitor.steps == [0, 10, 20]
        similar = {r.layer: r.value for r in monitor.reports[20].rows if r.quantity == "cka_first"}
        assert similar == pytest.approx(dict.fromkeys(similar, 1.0), abs=1e-5)
    about = json.loads((tmp_path / "monitor.json").read_text())
    (tmp_path / "monitor.json").write_text(json.dumps({**about, "format": 2}))
    with pytest.raises(FileError, match="another version"):
        repana.training.load_training(tmp_path)


def test_collapsed_features_are_not_rounded_away(tmp_path):
    """Half precision is for layers whose within-class spread is far above its rounding."""
    y = torch.arange(60) % 3
    g = torch.Generator().manual_seed(0)
    x = 5 * torch.eye(3, 8)[y] + 1e-4 * torch.randn(60, 8, generator=g)
    net = nn.Sequential(nn.Identity(), nn.Linear(8, 3))
    monitor = repana.Monitor((x, y), store=tmp_path, budget=None, layers=["0", "1:in"])
    monitor.step(net, 1)
    want = float(repana.neural_collapse(x, y, permutations=0, bootstrap=0).nc1)
    found = monitor.folder.activations(1, "probe")
    assert found["0"].dtype == torch.float32
    assert float(repana.neural_collapse(found["0"], y, permutations=0, bootstrap=0).nc1) == pytest.approx(
        want, rel=1e-4
    )


def test_what_is_put_off_comes_with_finish(tmp_path):
    monitor = watched(tmp_path, steps=10)
    before = {(r.run, r.analyzer, r.quantity, r.layer): r for r in monitor.report().rows}
    report = monitor.finish(later=["neural_collapse", "topology", "spectrum"])
    after = {(r.run, r.analyzer, r.quantity, r.layer): r for r in report.rows}
    for layer in ("2", "7:in"):
        key = ("step 10", "neural_collapse", "nc1", layer)
        assert math.isnan(before[key].low)
        assert after[key].low < after[key].value < after[key].high
        assert after[key].value == pytest.approx(before[key].value, rel=1e-3)
        assert math.isfinite(after[key].p)
        entropy = after["step 10", "training", "h0_entropy", layer]
        assert entropy.low < entropy.value < entropy.high
    again = repana.Monitor((X, Y), store=tmp_path, every=10, budget=None)
    step, best = again.choose()
    assert step in (1, 10)
    assert math.isfinite(best.low)


def test_stopping(tmp_path):
    """The rule stops the loop with `mode="stop"` alone."""
    rule = StoppingRule("training.loss", "", patience=2, min_delta=10.0)
    for mode in ("advise", "stop"):
        monitor = watched(tmp_path / mode, steps=60, every=5, stop_on=rule, mode=mode)
        assert monitor.advice.stop == 2
        assert monitor.steps[-1] == (60 if mode == "advise" else 10)
        report = monitor.finish(later=False)
        row = {r.quantity: r for r in report.of_run("training")}
        assert row["stop_step"].value == 10
        assert "stops at step 10" in {f.code: f for f in report.findings("training")}["RF803"].text
    falling = monitor.scores
    assert falling[0] > falling[-1]
    best = monitor.steps[int(np.argmin(falling))]
    assert monitor.choose()[0] == best  # less loss is better


def test_choices_are_checked(tmp_path):
    for options, code in (
        ({"every": 0}, "RA287"),
        ({"every": "sometimes"}, "RA287"),
        ({"budget": 2.0}, "RA287"),
        ({"stop_on": ("h0_separability",) + (1,) * 9}, "RA287"),
        ({"mode": "halt"}, "RA2"),
        ({"max_samples": 2}, "RA212"),
        ({"nonsense": 1}, "RA2"),
        ({"stop_on": ("h0_separability", None, 0)}, "RA212"),
    ):
        with pytest.raises(InputError, match=code):
            repana.Monitor((X, Y), store=tmp_path, **options)
    for step in (-1, True):
        with pytest.raises(InputError, match="RA287"):
            repana.Monitor((X, Y), store=tmp_path, budget=None).step(network(), step)
    for stop_on in ("training.nothing", "accuracy", "participation_ratio", ("logged.loss", "", 3)):
        with pytest.raises(InputError, match="RA287: "):
            repana.Monitor((X, Y), store=tmp_path / "a", budget=None, stop_on=stop_on)
    with pytest.raises(InputError, match="RA288"):
        repana.Monitor((X, Y), store=tmp_path / "b", budget=None).report()


def test_a_large_probe_set_is_balanced_and_the_same_in_every_process(tmp_path):
    y = (torch.arange(5000) % 50 == 0).long()  # 2% of the second class
    x = torch.randn(5000, 12, generator=torch.Generator().manual_seed(0))
    sets = []
    for number, data in enumerate(
        (
            (x, y),
            torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=16, shuffle=True),
            torch.utils.data.TensorDataset(x, y),
        )
    ):
        torch.manual_seed(number)
        monitor = repana.Monitor(data, store=tmp_path / str(number), max_samples=100, budget=None)
        monitor.step(nn.Sequential(nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 2)), 1)
        held = monitor.folder.activations(1, "probe")
        sets.append(held["input"])
        assert held.labels.bincount().tolist() == [50, 50]
    assert torch.equal(sets[0], sets[1])
    assert torch.equal(sets[0], sets[2])


def test_an_averaged_model_can_be_watched(tmp_path):
    """As of stochastic weight averaging: any model may be passed, also one that changes between records."""
    net = network()
    averaged = torch.optim.swa_utils.AveragedModel(net)
    monitor = repana.Monitor((X, Y), store=tmp_path, every=5, budget=None)

    def after(net, step, loss):
        averaged.update_parameters(net)
        monitor.step(averaged, step)

    train(net, 10, after)
    assert monitor.steps == [1, 5, 10]
    assert "module.2" in monitor.report().layers


def test_a_training_that_ended_can_be_finished_later_and_goes_on(tmp_path):
    """A monitor that never saw the model measures what was put off, and leaves what the folder says of itself."""
    net = network()
    monitor = watched(tmp_path, net, steps=10)
    monitor.finish(later=False)
    said = json.loads((tmp_path / "monitor.json").read_text())
    later = repana.Monitor((X, Y), store=tmp_path, every=10, budget=None).finish(later=["topology"])
    assert "topology" in {r.analyzer for r in later.rows}
    assert json.loads((tmp_path / "monitor.json").read_text()) == said
    monitor.begin(net, 10)  # the same object again, as a second `fit` does
    with pytest.raises(FileError, match="RA332: "):
        repana.Monitor((X, Y), store=tmp_path, budget=None).begin(net, 10)
    monitor.step(net, 20)
    monitor.close()
    assert repana.Monitor((X, Y), store=tmp_path).steps == [1, 10, 20]


def test_what_is_held_in_memory_is_brief(tmp_path):
    monitor = watched(tmp_path, steps=10, stop_on=("neural_collapse.equinorm", None, 2))
    held, whole = monitor.reports[10], monitor.folder.report(10)
    assert not held.arrays
    assert len(held.rows) < len(whole.rows) / 3
    assert math.isfinite(monitor.choose()[1].value)
    assert monitor.report().array("cdnv_grid", "2", run="step 10").shape == (3, 3)


def test_very_many_skipped_steps_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("repana.training._journal.LAST", 5)
    monitor = repana.Monitor((X, Y), store=tmp_path, every=1, budget=0.0)
    net = network()
    for step in range(1, 31):
        monitor.step(net, step)
    assert monitor.steps == [1]
    assert [s["step"] for s in monitor.skipped] == [26, 27, 28, 29, 30]
    report = monitor.finish(later=False)
    assert "29 were skipped" in {f.code: f for f in report.findings("training")}["RF805"].text


def test_a_monitor_that_ended_measures_later_what_was_put_off(tmp_path):
    """The same object, as callbacks leave it; one family after the other; unknown ones are refused and mark nothing."""
    monitor = watched(tmp_path, steps=10)
    monitor.end(later=False)
    with pytest.raises(InputError, match="nonsense"):
        monitor.finish(later=["nonsense"])
    assert "topology" in {r.analyzer for r in monitor.finish(later=["topology"]).rows}
    both = {r.analyzer for r in repana.training.load_training(tmp_path, later=["spectrum"]).rows}
    assert {"topology", "spectrum"} <= both


def test_a_closed_monitor_takes_its_folder_again(tmp_path):
    net = network()
    monitor = watched(tmp_path, net, steps=10)
    monitor.close()
    monitor.step(net, 20)
    with pytest.raises(FileError, match="RA332: "):
        repana.Monitor((X, Y), store=tmp_path, budget=None).begin(net, 20)
    monitor.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_that_was_forked_does_not_hold_the_folder(tmp_path):
    monitor = watched(tmp_path, steps=1)
    ready, done = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forking a process with threads
        child = os.fork()
    if not child:
        os.read(ready, 1)
        os._exit(0)
    monitor.close()
    try:
        other = repana.Monitor((X, Y), store=tmp_path, every=10, budget=None)
        other.begin(network(), 1)
        other.close()
    finally:
        os.write(done, b"x")
        os.waitpid(child, 0)
        os.close(ready)
        os.close(done)


@pytest.mark.parametrize("kind", [torch.int32, torch.int8, torch.bool])
def test_labels_of_any_whole_type(kind, tmp_path):
    y = (X[:, 0] > 0).to(kind)
    net = nn.Sequential(nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 2))
    monitor = repana.Monitor((X, y), store=tmp_path, budget=None, max_samples=60)
    monitor.step(net, 1)
    assert not monitor.failures
    assert "loss" in {r.quantity for r in monitor.folder.report(1).rows}


def test_a_sampler_that_draws_from_some_rows_alone(tmp_path):
    """The usual split of one data set into training and validation rows."""
    data = torch.utils.data.TensorDataset(torch.arange(60).float()[:, None].repeat(1, 12), Y[:60])
    sampler = torch.utils.data.SubsetRandomSampler(range(40, 60))
    for number, loader in enumerate(
        (
            torch.utils.data.DataLoader(data, batch_size=8, sampler=sampler),
            torch.utils.data.DataLoader(data, batch_sampler=torch.utils.data.BatchSampler(sampler, 8, False)),
        )
    ):
        monitor = repana.Monitor(loader, store=tmp_path / str(number), budget=None, max_samples=10)
        monitor.step(network(), 1)
        rows = monitor.folder.activations(1, "probe")["input"][:, 0]
        assert rows.min() >= 40
        assert len(rows) == 10


@pytest.mark.parametrize("labelled", ["train", "held_out"])
def test_labels_in_one_of_two_sets(labelled, tmp_path):
    probe, train_probe = ((X, Y), clusters(60)[0]) if labelled == "held_out" else (X, clusters(60))
    monitor = repana.Monitor(probe, train_probe=train_probe, store=tmp_path, every=5, budget=None)
    train(network(), 5, lambda n, s, loss: monitor.step(n, s))
    report = monitor.finish(later=["neural_collapse", "topology"])
    assert not report.failures
    assert {r.split for r in report.rows if r.analyzer == "neural_collapse"} == {labelled}
    assert {r.split for r in report.rows if r.analyzer == "topology"} == {"train", "held_out"}
    assert {r.split for r in report.rows if r.quantity == "h0_entropy" and r.analyzer == "training"} == {"held_out"}


def test_a_disk_that_is_full_never_stops_the_training(tmp_path, monkeypatch, caplog):
    monitor = watched(tmp_path, steps=1)

    def full(*_):
        raise FileError("RA310", "no room is left")

    monkeypatch.setattr("repana.training._run_folder.put", full)
    monitor.step(network(), 10)
    assert "no room is left" in caplog.text


def test_a_direction_is_that_of_the_quantity_or_of_the_rule(tmp_path):
    """A logged loss that falls: better is lower, and the last record best."""
    rule = StoppingRule("logged.loss", "", better="lower")
    monitor = repana.Monitor((X, Y), store=tmp_path, every=1, budget=None, stop_on=rule)
    net = network()
    for step in range(1, 6):
        monitor.step(net, step, metrics={"loss": 1.0 / step})
    assert monitor.choose()[0] == 5
    by_short_name = repana.Monitor((X, Y), store=tmp_path / "b", every=1, budget=None, stop_on="equinorm")
    assert (by_short_name.rule.quantity, by_short_name.rule.better) == ("neural_collapse.equinorm", "lower")


def test_settings_hold_no_addresses(tmp_path):
    code = """
import sys, functools, torch, repana
def read(scale, model, batch):
    return model(batch[0] * scale)
x = torch.arange(240.0).view(60, 4) / 100
net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
monitor = repana.Monitor([(x, torch.arange(60) % 2)], store=sys.argv[1], forward=functools.partial(read, 1.0))
monitor.begin(net, int(sys.argv[2]))
assert not monitor.failures, monitor.failures
monitor.close()
"""
    for step in ("1", "2"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path), step], check=True)


def test_a_record_of_other_weights_is_not_gone_on_with(tmp_path):
    """A script that is run again on its folder has another start, whose step 0 is not the old one."""
    for seed in (0, 7):
        model = network(seed)
        with repana.Monitor((X, Y), store=tmp_path, every=10, budget=None) as monitor:
            monitor.begin(model)
            train(model, 20, lambda n, s, loss, monitor=monitor: monitor.step(n, s) and None)
            monitor.finish(later=False)
    fresh = tmp_path / "fresh"
    with repana.Monitor((X, Y), store=fresh, every=10, budget=None) as monitor:
        monitor.begin(network(7))
    values = [
        {(r.layer, r.quantity): r.value for r in repana.Report.load(at / "step_000000000" / "report").rows}
        for at in (tmp_path, fresh)
    ]
    assert values[0] == pytest.approx(values[1], nan_ok=True)
    assert len(list((tmp_path / "abandoned").glob("*/step_*"))) == 3


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"budget": "5%"}, "RA287: `budget` is a share of the time from 0 to 1, or None; got '5%'"),
        ({"budget": 5}, "RA287: `budget`"),
        ({"batch_size": 0}, "RA212: `batch_size` is 0"),
        ({"seed": "a"}, "RA212: `seed` is 'a'"),
        ({"sinks": "tb"}, "RA287: `sinks` is a list of writers"),
        ({"mode": "stop"}, "RA287: mode='stop' needs a rule"),
        ({"stop_on": 3}, "RA287: `stop_on` is a StoppingRule"),
        ({"store_dtype": "float16"}, "RA287: `store_dtype` is no option of a monitor"),
        ({"store": 5}, "RA287: `store` is the path of a folder; got 5"),
    ],
)
def test_arguments_of_a_monitor_are_checked(tmp_path, unchecked, options, text):
    with pytest.raises(InputError, match=text):
        repana.Monitor((X, Y), **{"store": tmp_path, **options})


def test_what_no_record_could_do_is_raised_by_the_first(tmp_path):
    with pytest.raises(InputError, match="RA287: the probe set 'probe' has 3 samples; expected at least 4"):
        repana.Monitor((X[:3], Y[:3]), store=tmp_path / "few", budget=None).begin(network())
    rule = StoppingRule(layer="hed")
    with pytest.raises(InputError, match="RA287: `stop_on` reads layer 'hed'; recorded are 'input', '2'"):
        repana.Monitor((X, Y), store=tmp_path / "layer", budget=None, stop_on=rule).begin(network())
    (tmp_path / "file").write_text("")
    for store in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(FileError, match="RA310"):
            repana.Monitor((X, Y), store=store, budget=None).begin(network())
    repana.Monitor((X, Y), store=tmp_path / "bar", budget=None, progress=False).begin(network())


def test_metrics_that_are_no_numbers_cost_nothing_else(tmp_path, unchecked):
    monitor = repana.Monitor((X, Y), store=tmp_path, every=1, budget=None)
    monitor.step(network(), np.int64(1), metrics={"a": "x", "b": torch.tensor(2.0)})
    monitor.step(network(), 2, metrics=[1])
    assert monitor.steps == [1, 2]
    report = monitor.report()
    assert {r.quantity: r.value for r in report.rows if r.analyzer == "logged"} == {"b": 2.0}
    assert "metrics: 'a' is no number, 'x'" in "; ".join(report.failures)
    assert "metrics: expected a mapping from names to numbers, got list" in "; ".join(report.failures)


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (Y.float(), "labels are torch.float32; expected whole numbers"),
        (Y + 5, "labels reach 7 but no output has more than 3 columns"),
        (nn.functional.one_hot(Y), r"labels have shape \(120, 3\)"),
        (Y - 1, "40 of 120 samples have a label below 0 and are left out"),
    ],
    ids=["float", "beyond", "one hot", "below"],
)
def test_labels_that_give_no_accuracy_are_named(tmp_path, labels, text):
    monitor = repana.Monitor((X, labels), store=tmp_path, budget=None)
    monitor.step(network(), 1)
    assert re.search(f"accuracy and loss of probe: {text}", "; ".join(monitor.report().failures))


def test_a_damaged_record_does_not_cost_the_others(tmp_path, caplog):
    watched(tmp_path).finish(later=False)
    (part,) = (tmp_path / "step_000000010").rglob("part-00000.safetensors")
    part.write_bytes(b"junk")
    rows = next((tmp_path / "step_000000020" / "report").glob("rows*"))
    rows.write_bytes(b"junk")
    report = repana.training.load_training(tmp_path)
    assert report.runs == ("step 1", "step 10", "step 30", "step 40", "training")
    assert any(line.startswith("step 20: RA3") for line in report.failures)
    assert list(load_features(tmp_path, "2")) == [1, 30, 40]
    assert "the features of step 10 are left out" in caplog.text
    with repana.Monitor(clusters(120, seed=1), store=tmp_path, every=10, budget=None) as monitor:
        monitor.begin(network(), 50)
        assert monitor.steps == [1, 10, 30, 40, 50]
