"""Reports that stand on their own: of another version, of a fork, with rows that this build has never heard of."""

import json

import pyarrow.parquet as pq
import pytest
import torch
from planted import planted

from repana import Estimate, Flag, Report, profile
from repana._estimate import Note, noted
from repana._saved import RENAMED

X, Y = torch.randn(60, 6, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3


@pytest.fixture(scope="module")
def report():
    return profile({"a": X, "b": X.relu()}, Y, permutations=2, bootstrap=5)


def foreign(report: Report) -> Report:
    """With rows of an analyzer and of a quantity that no table here has."""
    rows = (
        *report.rows,
        *planted(["a", "b"], [1.0, 2.0], name="curvature", analyzer="future", run="model").rows,
        *planted(["a", "b"], [3.0, 4.0], name="nc9", run="model").rows,
    )
    return Report(rows, report.arrays, report.provenance)


def test_unknown_rows_are_drawn_tabulated_and_shown(report, tmp_path):
    made = Report.load(foreign(report).save(tmp_path / "r"))
    assert [a.get_title(loc="left") for a in made.plot("curvature", "nc9").axes] == ["Curvature", "Nc9"]
    assert "Curvature" in made.to_markdown("curvature")
    assert "Curvature" in made.to_latex("curvature")
    assert "curvature" in made.to_html(tmp_path / "p.html").read_text()
    assert "<table>" in made._repr_html_()
    assert made.findings()


def test_what_is_said_of_quantities_travels(report, tmp_path):
    kept = json.loads((report.save(tmp_path / "r") / "provenance.json").read_text())
    assert kept["quantities"]["neural_collapse.nc1"]["title"] == "NC1"
    assert kept["quantities"]["dimension.two_nn"]["unit"] == "dimensions"
    kept["quantities"]["neural_collapse.nc1"]["title"] = "Within over between"
    kept["quantities"]["neural_collapse.nc1"]["colour"] = "blue"  # of a later version
    (tmp_path / "r" / "provenance.json").write_text(json.dumps(kept))
    again = Report.load(tmp_path / "r")
    assert again.quantity("neural_collapse", "nc1").label == "Within over between"
    assert set(again.sources()) == set(report.sources())


def older(report: Report, folder, version: int):
    """The report as a build before format 3 wrote it: no flags, labels or quantities; names of layers in notes."""
    report.save(folder)
    for kind in ("rows", "arrays"):
        file = next(folder.glob(f"{kind}-*"))
        file.rename(folder / f"{kind}{file.suffix}")
    table = pq.read_table(folder / "rows.parquet")
    notes = [label or note for label, note in zip(table["label"].to_pylist(), table["note"].to_pylist())]
    at = table.column_names.index("note")
    table = table.set_column(at, "note", [notes]).drop_columns(["flags", "label"])
    before = {new: old for (_, old), new in RENAMED.items()}
    names = [before.get(name, name) for name in table["quantity"].to_pylist()]
    table = table.set_column(table.column_names.index("quantity"), "quantity", [names])
    pq.write_table(table, folder / "rows.parquet")
    kept = json.loads((folder / "provenance.json").read_text())
    for name in ("quantities", "sources", "sha256"):
        del kept[name]
    (folder / "provenance.json").write_text(json.dumps({**kept, "format": version}))


@pytest.mark.parametrize("version", [1, 2])
def test_reports_of_older_formats_are_read(report, tmp_path, version):
    older(report, tmp_path / "old", version)
    again = Report.load(tmp_path / "old")
    assert [r.label for r in again.rows] == [r.label for r in report.rows]
    assert [r.quantity for r in again.rows] == [r.quantity for r in report.rows]
    assert "memorization" in {r.quantity for r in again.rows}
    assert again.headline == report.headline
    assert again.quantity("neural_collapse", "nc1").label == "NC1"
    assert [(f.code, f.severity) for f in again.findings()] == [(f.code, f.severity) for f in report.findings()]
    assert "papyan2020prevalence" in again.to_html(tmp_path / "p.html").read_text()


def test_flags_come_with_notes():
    note = noted(Flag.TIES.note("3 ties"), "", Flag.SUBSET.note("10 of 20 samples"), Flag.TIES.note("again"))
    assert note == "3 ties; 10 of 20 samples; again"
    e = Estimate(1.0, note=note, flags=(Flag.CONSTANT,))
    assert e.flags == (Flag.CONSTANT, Flag.TIES, Flag.SUBSET)
    assert isinstance(e.note, Note)


def test_flags_of_a_report_are_those_of_its_estimates(tmp_path):
    two = profile({"a": X[:40]}, Y[:40] % 2, analyzers="neural_collapse", permutations=0, bootstrap=0)
    again = Report.load(two.save(tmp_path / "r"))
    assert again.select("etf_error")[0].flags == ("trivial",)
    assert again.frame().query("quantity == 'etf_error'")["flags"].tolist() == ["trivial"]


def test_what_is_asked_often_is_computed_once(report):
    assert report.layers is report.layers
    assert report.quantities is report.quantities
    assert report.runs is report.runs
    assert report.splits is report.splits
