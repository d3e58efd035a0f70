"""Two runs: differences by name or depth, paired where the draws were alike; folders of runs as one report."""

import json
import math

import numpy as np
import pytest
import torch
from planted import planted
from typer.testing import CliRunner

import repana
from repana import FileError, InputError, Report, compare, profile
from repana._estimate import Estimate
from repana.cli import app
from repana.summaries import resampling

PAIRED = ["neural_collapse", "fisher", "separability", "probing", "spectrum"]


def measured(noise: float, run: str, seed: int = 0, n: int = 300, level: float = 0.95) -> Report:
    """The same samples, more or less noisy, so that two runs agree in what chance did."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 4
    means = torch.randn(4, 12, generator=torch.Generator().manual_seed(9))
    x = means[y] + noise * torch.randn(n, 12, generator=generator)
    made = repana.Activations({"a": x[:, :6], "b": x}, y, sample=torch.arange(n), seen=n)
    return profile(made, run=run, analyzers=PAIRED[:2], permutations=0, bootstrap=60, level=level)


def test_paired_intervals_are_narrower_and_cover_the_difference():
    both = measured(1.0, "before") + measured(1.05, "after")
    found = {(d.quantity, d.layer): d for d in compare(both).differences}
    for name in ("neural_collapse.nc1", "neural_collapse.vci", "fisher.trace_ratio", "fisher.explained"):
        d = found[name, "b"]
        assert d.paired
        assert d.low < d.value < d.high
        alone = Report(both.rows, {}, {"runs": [{**p, "splits": {}} for p in both.provenance["runs"]]})
        loose = next(e for e in compare(alone).differences if (e.quantity, e.layer) == (name, "b"))
        assert not loose.paired
        assert loose.value == d.value
        assert d.high - d.low < 0.5 * (loose.high - loose.low)
    assert not found["neural_collapse.ncc_accuracy", "b"].paired


def test_the_paired_interval_is_that_of_the_replicates():
    both = measured(1.0, "before") + measured(1.3, "after")
    d = next(d for d in compare(both, "before", "after", "cdnv").differences if d.layer == "a")
    a, b = (both.arrays[f"{run}/train/a/neural_collapse.bootstrap.cdnv"] for run in ("before", "after"))
    assert d.value == pytest.approx(
        both.select("cdnv", run="after")[0].value - both.select("cdnv", run="before")[0].value
    )
    half = 1.959964 * (np.log(b) - np.log(a)).std(ddof=1)
    for end, got in ((-half, d.low), (half, d.high)):
        ratio = d.b / d.a * math.exp(end)
        assert got == pytest.approx(math.sqrt(d.a * d.b) * (math.sqrt(ratio) - 1 / math.sqrt(ratio)))


def test_what_is_skewed_stays_skewed():
    """A collapse from 2.7 with a long tail to 0.007: the difference is clear, however long the tail."""
    draws = np.exp(np.random.default_rng(0).normal(size=200))
    reports = []
    for name, value, spread in (("before", 2.7, draws), ("after", 0.007, draws**0.1)):
        one = planted(["a"], [Estimate(value, value / 6, value * 6)], run=name, splits={"train": {"draws": "same"}})
        reports.append(Report(one.rows, {"train/a/neural_collapse.bootstrap.nc1": value * spread}, one.provenance))
    d = compare(*reports).differences[0]
    assert d.paired
    assert d.low < 2 * d.value
    assert -1.3 < d.high < 0


def test_differences_have_the_level_of_their_runs():
    wide, narrow = (measured(1.0, "before", level=v) + measured(1.3, "after", level=v) for v in (0.99, 0.9))
    ends = [next(d for d in compare(r).differences if d.layer == "a" and d.paired) for r in (wide, narrow)]
    root = [math.asinh(d.high / 2 / math.sqrt(d.a * d.b)) - math.log(d.b / d.a) / 2 for d in ends]
    assert root[0] / root[1] == pytest.approx(2.575829 / 1.644854)
    assert "90% interval that leaves out 0" in repr(compare(narrow))


def test_intervals_of_unlike_levels_are_not_combined():
    reports = [planted(["a"], [Estimate(1.0, 0.7, 1.4)], run=f"r{v}", arguments={"level": v}) for v in (0.9, 0.95)]
    d = compare(repana.concat(reports)).differences[0]
    assert math.isnan(d.low)
    assert d.note == "levels differ: 90% and 95%"


def test_other_samples_are_not_paired():
    both = measured(1.0, "before") + measured(1.0, "after", n=304)
    assert not any(d.paired for d in compare(both).differences)


@pytest.mark.parametrize("block", [2**10, 2**28])
def test_draws_do_not_depend_on_the_block(block, monkeypatch):
    monkeypatch.setattr(resampling, "BLOCK_BYTES", block)
    report = measured(1.0, "r")
    first = float(report.arrays["train/b/neural_collapse.bootstrap.nc1"][0])
    monkeypatch.setattr(resampling, "BLOCK_BYTES", 2**20)
    assert float(measured(1.0, "r").arrays["train/b/neural_collapse.bootstrap.nc1"][0]) == pytest.approx(first)


def test_independent_intervals_combine():
    both = planted(["a"], [Estimate(1.0, 0.7, 1.4)], run="x") + planted(["a"], [Estimate(3.0, 2.6, 3.3)], run="y")
    d = compare(both).differences[0]
    assert (d.value, d.paired) == (2.0, False)
    assert d.low == pytest.approx(2 - math.hypot(0.4, 0.4))
    assert d.high == pytest.approx(2 + math.hypot(0.3, 0.3))
    assert "leaves out 0" in repr(compare(both))
    assert len(compare(both).clear().differences) == 1


def test_layers_are_aligned_by_name_or_depth():
    small = planted(["in", "mid", "out"], [1.0, 2.0, 3.0], run="small")
    large = planted(["l0", "l1", "l2", "l3", "l4"], [10.0, 20.0, 30.0, 40.0, 50.0], run="large")
    found = compare(small + large)
    assert found.aligned == "relative depth"
    assert [(d.layer, d.other) for d in found.differences] == [("in", "l0"), ("mid", "l2"), ("out", "l4")]
    named = compare(small + planted(["mid", "out", "new"], [5.0, 5.0, 5.0], run="other"), align="name")
    assert [(d.layer, d.value) for d in named.differences] == [("mid", 3.0), ("out", 2.0)]
    frame = named.frame()
    assert frame.columns.tolist()[:4] == ["quantity", "split", "layer", "other"]
    assert "<table" in named._repr_html_()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda r: compare(r, "x", "z"),
            "RA216: 'run' has no rows for run 'z', split 'any'; this report has runs 'x', 'y' and splits 'train'.",
        ),
        (
            lambda r: compare(r, align="name"),
            "RA229: runs 'x' and 'y' share no quantity at an aligned layer and split; align='depth' matches by depth.",
        ),
        (lambda r: compare(r, "x", "y", "nc9"), "RA214: no quantity 'nc9' in this report; nearest: 'nc1'."),
    ],
)
def test_refusals(call, text):
    with pytest.raises(InputError) as error:
        call(planted(["a"], [1.0], run="x") + planted(["b"], [1.0], run="y"))
    assert str(error.value) == text


@pytest.fixture
def folders(tmp_path):
    for epoch in (1, 2, 3):
        planted(["in", "h", "out"], [Estimate(v / epoch, 0.9 * v / epoch, 1.1 * v / epoch) for v in (1, 2, 3)]).save(
            tmp_path / "decay" / f"epoch{epoch}" / "report"
        )
    return tmp_path


def test_a_folder_of_runs_is_one_report(folders):
    made = repana.load_runs([folders])
    assert made.runs == ("epoch1", "epoch2", "epoch3")
    assert [made.step(run) for run in made.runs] == [1, 2, 3]
    with pytest.raises(FileError, match="RA307: .* is not a saved report: 'provenance.json'"):
        repana.load_runs([folders / "none"])


def test_a_damaged_or_unfinished_report_is_left_out_and_named(folders):
    bad = next((folders / "decay" / "epoch2" / "report").glob("rows-*"))
    bad.write_bytes(bad.read_bytes()[:-3])
    (folders / "decay" / "epoch3" / "report" / "provenance.json").unlink()
    made = repana.load_runs(folders)
    assert len(made.runs) == 1
    assert len(made.failures) == 2
    assert "RA309" in made.failures[0]
    assert "RA307" in made.failures[1]
    assert made.summary()[-1].startswith("2 runs could not be measured or read: ")
    done = CliRunner().invoke(app, ["report", str(folders), "-o", str(folders / "page.html")])
    assert done.exit_code == 3
    assert "RA309" in done.output
    with pytest.raises(FileError, match="RA309"):
        repana.load_runs(folders / "decay" / "epoch2" / "report")


def test_report_and_compare_from_the_command_line(folders, tmp_path):
    done = CliRunner().invoke(app, ["report", str(folders), "-o", str(tmp_path / "page.html")])
    assert done.exit_code == 0, done.output
    assert "<h2>Trajectory</h2>" in (tmp_path / "page.html").read_text(encoding="utf-8")
    done = CliRunner().invoke(app, ["compare", str(folders), "-q", "nc1"])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0] == "epoch2 against epoch1: 3 of 3 values changed (0 paired, marked =)"
    assert lines[1].split()[:5] == ["nc1", "out", "3.00", "\u2192", "1.50"]
    assert lines[2] == "  2 further changes (--all)"
    assert len(lines) <= 20
    assert max(map(len, lines)) <= 100
    done = CliRunner().invoke(app, ["compare", str(folders), "--json", "--all"])
    lines = json.loads(done.stdout)
    assert [(line["to"], line["layer"]) for line in lines][:4] == [
        ("epoch2", "in"), ("epoch2", "h"), ("epoch2", "out"), ("epoch3", "in")]  # fmt: skip
    np.testing.assert_allclose(lines[0]["value"], -0.5)
    with pytest.raises(InputError) as error:
        CliRunner().invoke(app, ["compare", str(folders / "decay" / "epoch1")], catch_exceptions=False)
    text = "RA230: there is one run, 'run', and a comparison needs two; name another folder."
    assert str(error.value) == text


def test_one_of_two_analyzers_is_compared_alone():
    both = measured(1.0, "x") + measured(1.2, "y")
    assert {d.quantity for d in compare(both, "x", "y", "fisher.quotient").differences} == {"fisher.quotient"}
    with pytest.raises(InputError, match="RA230: there is one run, 'x', and a comparison needs two"):
        compare(measured(1.0, "x"))


def test_reports_inside_reports_are_all_opened(tmp_path):
    for place in ("x", "x/report", "z"):
        planted(["a"], [1.0]).save(tmp_path / place)
    assert repana.load_runs([tmp_path]).runs == ("x", "x/report", "z")


def test_equal_features_differ_by_nothing_and_others_do_not_seem_to():
    """Of neural collapse, Fisher's family, distances, probes and the spectrum: exactly 0 [0, 0]. A share that no sample
    changes is no proof of equal features."""
    x, y = tensors(400, 0)
    layers = {"a": x, "b": x.clone(), "c": x + 1e-3 * x.roll(1, 0)}
    runs = {k: profile({"l": z}, y, analyzers=PAIRED, run=k, permutations=0, bootstrap=20) for k, z in layers.items()}
    same, near = (compare(repana.concat([runs["a"], runs[other]])).differences for other in "bc")
    paired = {d.quantity for d in same if d.paired}
    assert {
        "probing.linear_probe",
        "probing.usable_information",
        "separability.dsi",
        "spectrum.effective_rank",
    } <= paired
    assert all((d.value, d.low, d.high) == (0, 0, 0) for d in same if d.paired)
    shares = [d for d in near if d.paired and d.quantity in ("probing.linear_probe", "separability.thornton")]
    assert all(d.low < 0 < d.high for d in shares if d.value == 0)
    spectrum = next(d for d in near if d.quantity == "spectrum.effective_rank")
    wide = runs["a"].select("effective_rank")[0]
    assert spectrum.high - spectrum.low < 0.2 * (wide.high - wide.low)


def test_every_quantity_of_equal_networks_differs_by_nothing():
    x, y = tensors(240, 0)
    layers = {"a": x, "b": (x @ torch.randn(8, 6)).relu()}
    runs = [profile(layers, y, run=run, permutations=20, bootstrap=20) for run in ("one", "two")]
    found = compare(repana.concat(runs)).differences
    assert len(found) > 130
    assert [d for d in found if d.value == d.value and (d.value, d.low, d.high) != (0, 0, 0)] == []
    assert {d.quantity.partition(".")[0] for d in found if d.paired} >= {"dimension", "topology", "complexity"}


@pytest.fixture(scope="module")
def near():
    """Two networks that differ by a little noise."""
    x, y = tensors(400, 0)
    generator = torch.Generator().manual_seed(1)
    runs, weights = [], torch.randn(8, 6, generator=generator)
    for run, noise in (("one", 0.0), ("two", 0.02)):
        moved = x + noise * torch.randn(400, 8, generator=generator)
        layers = {"a": moved[:, :5], "b": moved @ weights}
        runs.append(profile(layers, y, run=run, permutations=0, bootstrap=20))
    return repana.concat(runs)


@pytest.mark.parametrize(
    "quantity", ["dimension.two_nn_ml", "dimension.two_nn_calibrated", "dimension.mle", "dimension.gride_8",
                 "topology.h0_entropy", "probing.compression", "complexity.mean_complexity", "layer_readings.readable"],
)  # fmt: skip
def test_what_changes_little_has_a_short_paired_interval(quantity, near):
    """The interval of a difference is shorter than that of either network."""
    found = [d for d in compare(near).differences if d.quantity == quantity]
    found = [d for d in found if quantity != "layer_readings.readable" or d.layer == "a"]  # b gives its own units
    assert found
    for d in found:
        rows = near.select(quantity, run="one")
        own = next(r for r in rows if r.layer == d.layer)
        assert d.paired
        assert d.low <= d.value <= d.high
        assert 0 < d.high - d.low < 0.8 * (own.high - own.low), d.layer


def tensors(n: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 4
    return torch.randn(n, 8, generator=generator) + 2 * torch.randn(4, 8, generator=generator)[y], y
