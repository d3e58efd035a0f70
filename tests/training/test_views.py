"""A training seen from outside: the folder, the command line, the live page, the figures."""

import json
import re
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from training.recipes import clusters, watched
from typer.testing import CliRunner

import repana
from repana import plots
from repana.cli import app
from repana.dynamics import log_slope
from repana.errors import FileError, InputError
from repana.training import load_training


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    at = tmp_path_factory.mktemp("run")
    monitor = watched(at, steps=40, every=5, train_probe=clusters(90), stop_on=("h0_separability", None, 2))
    monitor.finish(later=False)
    return at


@pytest.fixture(scope="module")
def report(folder):
    return load_training(folder)


def run(*words):
    done = subprocess.run([sys.executable, "-W", "ignore", "-m", "repana", *words], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_a_folder_gives_the_report_that_the_monitor_gave(folder, report):
    monitor = repana.Monitor(clusters(120, seed=1), store=folder)
    assert monitor.steps == [1, *range(5, 41, 5)]
    assert report.runs == (*(f"step {s}" for s in monitor.steps), "training")
    other = load_training(folder, stop_on=("training.loss", "", 1))
    row = {r.quantity: r for r in other.of_run("training")}
    assert row["stop_step"].label == ""
    assert row["best_step"].value in monitor.steps
    with pytest.raises(FileError, match="RA333"):
        load_training(folder / "step_000000005")


def test_a_folder_without_records_or_of_another_version(tmp_path):
    (tmp_path / "monitor.json").write_text('{"format": 1, "settings": {}}')
    with pytest.raises(InputError, match="RA288: "):
        load_training(tmp_path)
    (tmp_path / "monitor.json").write_text('{"format": 99}')
    with pytest.raises(FileError, match="RA333: .*another version"):
        load_training(tmp_path)
    (tmp_path / "monitor.json").write_text('{"format": 1, ')
    with pytest.raises(FileError, match="RA333"):
        load_training(tmp_path)


@pytest.mark.slow
def test_watch(folder, tmp_path):
    shown = CliRunner().invoke(app, ["watch", str(folder)])
    out = shown.output
    assert shown.exit_code == 0, out
    assert "9 records, the last at step 40." in out
    assert re.search(r"^ +40 +[\d.]+ ", out, re.M)
    code, out, _ = run("watch", str(folder), "--json")
    told = json.loads(out)
    assert list(told["records"]) == ["1", *map(str, range(5, 41, 5))]
    assert told["records"]["40"]["held_out.training.accuracy"] > 0.5
    code, out, _ = run("watch", str(folder), "-o", str(tmp_path / "page"))
    assert code == 0
    assert "Layers over training" in (tmp_path / "page" / "report.html").read_text()
    assert repana.Report.load(tmp_path / "page" / "report").profiles[0] == "step 1"
    refused = CliRunner().invoke(app, ["watch", str(tmp_path)])
    assert refused.exit_code != 0
    assert "RA333" in str(refused.exception)


def test_the_live_page_stands_alone(folder):
    text = (folder / "live.html").read_text()
    assert len(text) < 2_000_000
    assert 'http-equiv="refresh"' in text
    assert not re.search(r'(src|href)="', text)
    assert "zero training error" in text or "Zero training error" not in text
    assert text.count("<svg") == 6
    assert "<polyline" in text


def test_names_of_layers_are_escaped(tmp_path):
    from repana.training._live_page import page_of

    monitor = watched(tmp_path, steps=2, every=1)
    records = {s: monitor.reports[s] for s in monitor.steps}
    assert "<script>" not in page_of(records, {"notes": ["<script>"]}, None, "<script>")
    monitor.close()


def test_the_map_draws_the_numbers(report):
    ax = plots.step_map(report, "training.h0_entropy")
    values = np.asarray(ax.collections[0].get_array())
    layers = [t.get_text() for t in ax.get_yticklabels()]
    for j, step in enumerate([1, *range(5, 41, 5)]):
        for row in report.select("training.h0_entropy", run=f"step {step}"):
            assert values[layers.index(row.layer), j] == pytest.approx(row.value)
    edges = ax.collections[0].get_coordinates()[0, :, 0]
    assert np.all(np.diff(edges) > 0)
    assert edges[1] == 3.0  # halfway between the records of steps 1 and 5
    plt.close("all")


def test_settling_draws_the_curve_and_the_step(report):
    ax = plots.settling(report)
    row = next(r for r in report.of_run("training") if r.quantity == "settled_step" and r.layer == "2")
    curve = report.array("dynamics.cka_last", "2", run="training", split="all")
    steps = report.array("dynamics.kept_steps", "", run="training", split="all")
    near = curve[:, 0] >= 0.95
    first = next((steps[i] for i in range(len(near)) if near[i:].all()), steps[-1])
    assert row.value == first
    line = next(x for x in ax.get_lines() if x.get_label() == "2")
    np.testing.assert_allclose(line.get_ydata(), curve[:, 0])
    plt.close("all")


def test_zero_training_error_is_marked(report):
    row = next((r for r in report.of_run("training") if r.quantity == "zero_error_step"), None)
    assert row is not None
    axes = plots.trajectory(report, "nc1")
    assert any(list(line.get_xdata()) == [row.value, row.value] for line in axes[0].get_lines())
    slopes = {r.layer: r for r in report.of_run("training") if r.quantity == "nc1_slope_after"}
    steps = [s for s in (1, *range(5, 41, 5)) if s >= row.value]
    for layer, slope in slopes.items():
        nc1 = {s: {r.layer: r.value for r in report.select("nc1", run=f"step {s}", split="train")} for s in steps}
        values = [nc1[s][layer] for s in steps]
        assert slope.value == pytest.approx(float(log_slope(steps, values)))
    plt.close("all")


def test_figures_of_other_reports_are_refused():
    report = repana.example_report()
    for draw in (plots.step_map, plots.settling):
        with pytest.raises(InputError, match="RA2"):
            draw(report)
    plt.close("all")
