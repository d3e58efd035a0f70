"""The summary of a report, and what is printed of it: at most 24 lines of 100 columns."""

import math

import pytest
import torch
from planted import planted
from typer.testing import CliRunner

import repana
from repana import Report, profile
from repana._estimate import Estimate
from repana.cli import app
from repana.report import of_differences, of_findings, terminal


def lines_of(text: str) -> list[str]:
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100, max(lines, key=len)
    return lines


def joined(*parts: Report) -> Report:
    return Report(tuple(r for p in parts for r in p.rows), {}, {"run": "run"})


def probes(layers: list[str], accuracy: list[float], chosen: str, p: float = 0.005) -> Report:
    found = [Estimate(a, a - 0.02, min(a + 0.02, 1.0), 200, p=p, permutations=199) for a in accuracy]
    return joined(
        planted(layers, found, name="linear_probe", analyzer="probing"),
        planted(layers, accuracy, name="validation_accuracy", analyzer="probing"),
        planted(layers, [0.1] * len(layers), name="chance", analyzer="probing"),
        planted([""], [Estimate(accuracy[-1], label=chosen)], name="chosen_accuracy", analyzer="layer_choice"),
    )


def test_the_first_sentence_says_where_classes_become_decodable():
    report = probes(["input", "conv", "fc"], [0.9, 0.985, 0.99], "fc")
    first = report.summary()[0]
    assert first == (
        "From conv on, a linear probe is within 1 point of its best over layers (98.5% [96.5, 100]; chance 10%); the "
        "raw input already gives 90% [88, 92]."
    )
    assert len(report.summary()) <= 3


def test_the_second_says_whether_the_last_hidden_layer_has_collapsed():
    nc1 = [Estimate(5.0, 4.0, 6.0, null=9.0), Estimate(1e-3, 9e-4, 2e-3, null=10.0)]
    report = planted(["a", "b:in"], nc1)
    assert report.summary()[0] == (
        "At a, training features have not collapsed onto their class means (NC1 5.0, 56% of the shuffled-label value)."
    )
    heads = planted(["b:in"], [0.5], name="self_duality")
    found = joined(report, heads).summary()
    assert found[0] == (
        "At the penultimate layer, training features have collapsed onto their class means (NC1 0.0010, 1e-4 of the "
        "shuffled-label value)."
    )


def test_where_there_is_nothing_to_find_the_first_sentence_says_so():
    x, y = torch.randn(120, 6), torch.randint(4, (120,))
    report = profile({"a": x, "b": x.relu()}, y, analyzers=["neural_collapse", "fisher"], bootstrap=0)
    assert report.summary()[0].startswith("No class structure was found: none of ")
    assert "No class structure was found" in lines_of(str(report))[2]


def test_cautions_are_counted_and_the_heaviest_named():
    few = planted(["a", "b"], [1.0, 2.0], classes={"train": {"x": 3, "y": 30}})
    assert few.summary()[-1] == ("Two cautions: class x has 3 samples; classes are unbalanced.")
    assert planted(["a"], [1.0]).summary() == ("No cautions.",)


def test_many_runs_are_summarised_by_their_range():
    same = repana.concat([planted(["a", "b:in"], [1.0, k / 10], run=f"seed{k}") for k in range(1, 8)])
    assert same.summary() == ("NC1 at the penultimate layer: 1.00 in all 7 runs.",)
    report = repana.concat([planted(["a:in", "b"], [k / 10, 1.0], run=f"seed{k}") for k in range(1, 8)])
    assert report.summary() == (
        "NC1 at the penultimate layer: 0.100 to 0.700 over 7 runs (median 0.400; lowest seed1, highest seed7).",
    )
    lines = lines_of(terminal(report))
    assert lines[0].startswith("7 runs   2 layers")
    assert len(lines) <= 24
    assert report.summary("seed3")[-1] == "No cautions."


@pytest.mark.parametrize("layers", [3, 12, 60])
@pytest.mark.parametrize("name", ["conv{}", "encoder.layer.{}.attention.output.dense", "a" * 60 + "{}"])
def test_a_report_fits_a_terminal(layers, name):
    names = [name.format(k) for k in range(layers)]
    report = probes(names, [0.5 + 0.4 * k / layers for k in range(layers)], names[-1])
    lines = lines_of(terminal(report, footer="out/report.html"))
    assert len(lines) <= 24
    assert sum(line.endswith(f"{100 * (0.5 + 0.4 * k / layers):.1f}") for k in (0, layers - 1) for line in lines) == 2
    more = [line for line in lines if line.endswith("more (--all)")]
    assert bool(more) == (layers == 60)
    assert len(lines_of(terminal(report, every=True))) >= layers


def test_the_columns_are_those_that_were_asked_for(small):
    report = small[3]
    head = lines_of(terminal(report, ["cdnv", "two_nn"]))
    assert any("CDNV" in line and "TwoNN dimension" in line for line in head)
    usual = lines_of(str(report))
    assert any("probe acc. %" in line and "NC1 / shuffled" in line for line in usual)
    assert len(usual) <= 24


def test_without_labels_the_columns_need_none():
    report = profile({"a": torch.randn(80, 5), "b": torch.randn(80, 4), "c": torch.randn(80, 3)}, bootstrap=0)
    lines = lines_of(str(report))
    assert "dim. (TwoNN)" in "".join(lines)
    assert lines[2].startswith("  Intrinsic dimension (TwoNN) peaks at ")


def test_findings_are_grouped_by_kind(small):
    text = of_findings(small[3])
    lines_of(text)
    places = [text.index(head) for head in ("Results", "Cautions", "Checks", "Not measured")]
    assert places == sorted(places)


def test_a_saved_report_is_shown(tmp_path, small):
    report = small[3]
    report.save(tmp_path / "report")
    shown = CliRunner().invoke(app, ["show", str(tmp_path / "report")])
    assert shown.exit_code == 0, shown.output
    assert shown.output.startswith("small   ")
    for option in (["--findings"], ["--layer", report.layers[0]], ["--all"], ["-q", "cdnv"]):
        found = CliRunner().invoke(app, ["show", str(tmp_path / "report"), *option])
        assert found.exit_code == 0, found.output
        lines_of(found.output)
    table = CliRunner().invoke(app, ["show", str(tmp_path / "report"), "--table"])
    assert len(table.output.splitlines()) == len(report.rows) + 1
    with pytest.raises(repana.RepanaError, match="'nothing'"):
        CliRunner().invoke(app, ["show", str(tmp_path / "report"), "--layer", "nothing"], catch_exceptions=False)


def test_a_comparison_is_twenty_lines_however_many_runs():
    runs = []
    for k in range(12):
        parts = [
            planted(["a", "b", "c"], [v + k for v in (1.0, 2.0, 3.0)], name=f"q{j}", run=f"r{k}") for j in range(6)
        ]
        runs.append(Report(tuple(r for p in parts for r in p.rows), {}, {"run": f"r{k}"}))
    whole = repana.concat(runs)
    found = [repana.compare(whole, "r0", f"r{k}") for k in range(1, 4)]
    assert len(lines_of(of_differences(found))) <= 20
    every = of_differences(found, every=True)
    assert every.count("q0") == 9


def test_a_difference_below_one_percent_is_no_change():
    pair = repana.concat(
        [planted(["a"], [Estimate(v, v - 1e-4, v + 1e-4)], run=run) for run, v in (("x", 0.2962), ("y", 0.2966))]
    )
    text = of_differences([repana.compare(pair)], every=True)
    assert text.startswith("y against x: 0 of 1 values changed")
    assert "no change" in text


def test_metrics_are_grouped_and_one_is_shown_in_full():
    every = CliRunner().invoke(app, ["metrics"]).output
    lines_of(every)
    assert "\nfisher\n" in every
    one = CliRunner().invoke(app, ["metrics", "nc1"]).output
    assert one.splitlines()[0] == "neural_collapse.nc1"
    assert "tr(Sw Sb^+)/c" in one
    with pytest.raises(repana.InputError):
        CliRunner().invoke(app, ["metrics", "nothing"], catch_exceptions=False)


def test_values_that_are_not_known_are_dashes():
    report = joined(probes(["a", "b"], [0.5, math.nan], "a"))
    assert "\u2013" in terminal(report)
