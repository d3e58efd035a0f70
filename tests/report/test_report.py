"""profile, Report, the depth figure and the page."""

import json
import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from networks import ResNet
from planted import planted
from torch import nn

import repana
from repana import (
    FileError,
    InputError,
    Report,
    fisher,
    neural_collapse,
    plots,
    profile,
    record,
)
from repana._estimate import Estimate
from repana._results import Row, row
from repana.plots import _style

X = torch.randn(60, 3, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(60) % 5
X = X + Y[:, None, None, None]  # as `small` in conftest.py has them


@pytest.fixture(scope="module")
def net(small):
    return small[0]


@pytest.fixture(scope="module")
def report(small):
    return small[3]


# --- profile ----------------------------------------------------------------------------------------------------------


def test_rows_are_what_the_analyzers_give(net, report):
    got = record(net, (X, Y))
    nc = neural_collapse(got["layer1.0"], Y, logits=got.logits, permutations=4, bootstrap=20)
    fd = fisher(got["layer1.0"], Y)
    rows = {(r.layer, r.quantity): r for r in report.rows if r.split == "train"}
    assert rows["layer1.0", "nc1"].value == pytest.approx(float(nc.nc1))
    assert rows["layer1.0", "nc1"].low == pytest.approx(nc.nc1.low)
    assert rows["layer1.0", "nc1"].null == pytest.approx(nc.nc1.null)
    assert rows["layer1.0", "nc4"].value == pytest.approx(float(nc.nc4))
    assert rows["layer1.0", "trace_ratio"].value == pytest.approx(float(fd.trace_ratio))
    head = neural_collapse(got["fc:in"], Y, weight=got.head.weight, bias=got.head.bias, bootstrap=0)
    assert rows["fc:in", "self_duality"].value == pytest.approx(float(head.self_duality))
    assert ("layer1.0", "self_duality") not in rows


def test_held_out_decisions_use_the_training_means(net, report):
    train, held = record(net, (X, Y)), record(net, (X[:30] + 0.1, Y[:30]))
    want = neural_collapse(held["fc:in"], Y[:30], reference=train.moments["fc:in"], bootstrap=0)
    found = report.select("ncc_accuracy", split="held_out")
    assert {r.layer: r.value for r in found}["fc:in"] == pytest.approx(float(want.ncc_accuracy))


def test_layers_come_in_forward_order(report):
    assert report.layers == ("input", "relu", "layer1.0", "layer1.1", "layer2.0", "layer2.1", "fc:in", "fc")
    assert [r.depth for r in report.select("nc1")] == list(range(8))


def test_law_of_separation_is_a_row_of_the_network(report):
    found = report.select("rho", split="train")
    assert len(found) == 1
    assert found[0].layer == ""
    want = repana.separation_law([r.value for r in report.select("fuzziness", split="train")])
    assert found[0].value == pytest.approx(float(want.rho))


def test_activations_in_place_of_a_model(net):
    got = record(net, (X, Y), ["layer1", "fc"])
    assert profile(got, permutations=0, bootstrap=0).layers == ("layer1", "fc")
    with pytest.raises(InputError, match="RA213: `held_out` is data but there is no model"):
        profile(got, held_out=(X, Y))


def test_values_of_a_subset_are_exact_over_all_samples(net):
    part = profile(net, (X, Y), ["layer1", "fc"], max_samples=25, permutations=0, bootstrap=10)
    whole = profile(net, (X, Y), ["layer1", "fc"], permutations=0, bootstrap=0)
    for name in ("nc1", "cdnv", "etf_error", "fisher.quotient", "trace_ratio"):
        for a, b in zip(part.select(name), whole.select(name)):
            assert a.value == pytest.approx(b.value, rel=1e-4), name


def test_one_layer_that_fails_does_not_stop_the_others(net):
    got = record(net, (X, Y), ["layer1", "fc"])
    spoilt = got["layer1"].clone()
    spoilt[3, 0] = math.nan
    broken = repana.Activations({"layer1": spoilt, "fc": got["fc"]}, Y, sample=got.sample, seen=60)
    report = profile(broken, permutations=0, bootstrap=0)
    assert report.layers == ("fc",)
    assert len(report.failures) == sum(a.default for a in repana.ANALYZERS.values())
    assert report.failures[0].startswith("train, layer1, neural_collapse: RA204: `features` has 1 NaN")


def test_nothing_measured_is_an_error(net):
    with pytest.raises(InputError, match="RA220: no quantity could be measured: train, fc, neural_collapse: RA202"):
        profile(net, (X, Y * 0), ["fc"], ["neural_collapse", "fisher"])
    assert {r.analyzer for r in profile(net, (X, Y * 0), ["fc"]).rows} == {"dimension", "spectrum", "topology"}
    with pytest.raises(InputError, match="RA213: the train data gave no labels"):
        profile(net, X, ["fc"], "neural_collapse")
    with pytest.raises(
        InputError, match="RA212: `analyzers` is 'nc'; expected one of 'all', 'neural_collapse', 'fisher'"
    ):
        profile(net, (X, Y), analyzers="nc")


def test_same_seed_same_numbers(net):
    a, b = (profile(net, (X, Y), ["fc"], permutations=3, bootstrap=10, seed=5) for _ in range(2))
    assert a.rows == b.rows


# --- the report -------------------------------------------------------------------------------------------------------


def same(a: Report, b: Report) -> None:
    assert [tuple(map(str, vars(r).values())) for r in a.rows] == [tuple(map(str, vars(r).values())) for r in b.rows]
    assert a.arrays.keys() == b.arrays.keys()
    for name, array in a.arrays.items():
        np.testing.assert_array_equal(array, b.arrays[name])
        assert array.dtype == b.arrays[name].dtype


def test_round_trip_is_lossless(report, tmp_path):
    back = Report.load(report.save(tmp_path / "r"))
    same(report, back)
    assert back.provenance == json.loads(json.dumps(report.provenance))
    same(back, Report.load(back.save(tmp_path / "again")))


def test_frame_has_the_promised_columns(report):
    frame = report.frame()
    assert set(frame.columns) >= {"run", "layer", "depth", "analyzer", "quantity", "value", "low", "high", "n", "note"}
    assert len(frame) == len(report.rows)


def test_table_and_series(report):
    table = report.table("nc1", "fisher.quotient")
    assert table.columns.tolist() == ["nc1", "quotient"]
    assert table.index.tolist() == list(report.layers)
    both = report.table("neural_collapse.quotient", "fisher.quotient")
    assert both.columns.tolist() == ["neural_collapse.quotient", "fisher.quotient"]
    series = report.series("nc1", split="held_out")
    assert series.columns.tolist() == [
        "value",
        "low",
        "high",
        "null",
        "null_low",
        "null_high",
        "p",
        "floor",
        "n",
        "note",
    ]
    assert len(report.table().columns) > 20


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda r: r.series("nc11"), "RA214: no quantity 'nc11' in this report; nearest: 'nc1', 'nc4', 'chance'."),
        (
            lambda r: r.series("quotient"),
            "RA215: 2 analyzers have a quantity 'quotient'; choose one of 'neural_collapse.quotient', "
            "'fisher.quotient'.",
        ),
        (
            lambda r: r.series("nc1", split="test"),
            "RA216: 'nc1' has no rows for run 'small', split 'test'; this report has runs 'small' and splits 'train', "
            "'held_out'.",
        ),
        (lambda r: r + r, "RA217: both reports have a run named 'small'; profile with another `run=` name."),
    ],
)
def test_refusals(report, call, text):
    with pytest.raises(InputError) as error:
        call(report)
    assert str(error.value) == text


def test_files_that_are_no_report(report, tmp_path):
    with pytest.raises(FileError) as error:
        Report.load(tmp_path)
    assert str(error.value) == f"RA307: {str(tmp_path)!r} is not a saved report: 'provenance.json' not found in it."
    report.save(tmp_path)
    (tmp_path / "provenance.json").write_text('{"format": 99}')
    with pytest.raises(FileError, match="RA308: .* has format 99 and this version of repana reads 6"):
        Report.load(tmp_path)


def stored(folder, kind: str):
    """The file of rows or arrays in a saved report."""
    return next(folder.glob(f"{kind}-*"))


def as_format(folder, version: int):
    """The report as a version before format 6 stored it: files of fixed names, in format 1 without digests."""
    text = json.loads((folder / "provenance.json").read_text())
    digests = {}
    for kind in ("rows", "arrays"):
        file = stored(folder, kind)
        name = f"{kind}{file.suffix}"
        digests[name] = text["sha256"][file.name]
        file.rename(folder / name)
    text |= {"format": version, "sha256": digests}
    if version == 1:
        del text["sha256"]
    (folder / "provenance.json").write_text(json.dumps(text))


@pytest.mark.parametrize("kind", ["rows", "arrays"])
@pytest.mark.parametrize("digests", [True, False])
def test_a_file_that_was_cut_is_refused(report, tmp_path, kind, digests):
    report.save(tmp_path)
    if not digests:  # as an older version wrote it
        as_format(tmp_path, 1)
    name = next(tmp_path.glob(f"{kind}*")).name
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError) as error:
        Report.load(tmp_path)
    start = f"RA309: {str(tmp_path)!r}: {name} was cut or changed after it was saved: "
    assert str(error.value).startswith(start)
    if digests:
        end = "its SHA-256 is not the one written in provenance.json. Save the report again."
        assert str(error.value) == start + end


def test_a_tampered_value_and_broken_provenance_are_refused(report, tmp_path):
    import pyarrow.parquet as pq

    report.save(tmp_path)
    rows = stored(tmp_path, "rows")
    pq.write_table(pq.read_table(rows).slice(1), rows)
    with pytest.raises(FileError, match="RA309: .*rows-.*.parquet was cut or changed"):
        Report.load(tmp_path)
    report.save(tmp_path)
    (tmp_path / "provenance.json").write_text("{")
    with pytest.raises(FileError, match="RA309: .*provenance.json was cut or changed .* it is not JSON"):
        Report.load(tmp_path)


@pytest.mark.parametrize("version", [1, 2, 5])
def test_a_report_of_an_older_format_is_read(report, tmp_path, version):
    report.save(tmp_path)
    as_format(tmp_path, version)
    same(report, Report.load(tmp_path))


def test_a_folder_without_permission(report, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(FileError, match=r"RA310: .*rows-.* cannot be written; choose a folder that you may write to\."):
        report.save(tmp_path / "closed")


def test_class_names_keep_their_order(tmp_path):
    x, y = torch.randn(60, 4), torch.arange(60) % 12
    report = profile(repana.Activations({"h": x}, y, sample=torch.arange(60), seen=60), permutations=0, bootstrap=0)
    assert Report.load(report.save(tmp_path)).classes() == tuple(map(str, range(12)))


def test_concat_renames_and_refuses(report, net, tmp_path):
    two = repana.concat({"a": report, "b": report})
    assert two.runs == ("a", "b")
    np.testing.assert_array_equal(two.array("cdnv_grid", "fc:in", run="b"), report.array("cdnv_grid", "fc:in"))
    assert two.about("b")["weights_sha256"] == report.about()["weights_sha256"]
    four = repana.concat({"x": two, "y": two})
    assert four.runs == ("x/a", "x/b", "y/a", "y/b")
    same(four, Report.load(four.save(tmp_path)))
    np.testing.assert_array_equal(four.array("cdnv_grid", "fc", run="y/b"), report.array("cdnv_grid", "fc"))
    assert sum([report, report.renamed("z")]).runs == ("small", "z")
    with pytest.raises(InputError) as error:
        repana.concat([])
    assert str(error.value) == "RA223: there are no reports; give at least one."


def test_reports_of_many_checkpoints_add(net, report, tmp_path):
    other = profile(net, (X, Y), permutations=0, bootstrap=0, run="later")
    both = report + other
    assert both.runs == ("small", "later")
    same(both, Report.load(both.save(tmp_path / "both")))
    assert len(plots.depth_profile(both, "nc1")[0].lines) >= 3


# --- the figure -------------------------------------------------------------------------------------------------------


def test_the_figure_draws_the_numbers_of_the_report(report):
    ax = Figure().subplots()
    assert plots.depth_profile(report, "nc1", ax=ax) == [ax]
    train, held = ax.lines[0], next(line for line in ax.lines if line.get_label() == "held-out")
    np.testing.assert_allclose(train.get_ydata(), [r.value for r in report.select("nc1", split="train")])
    np.testing.assert_allclose(held.get_ydata(), [r.value for r in report.select("nc1", split="held_out")])
    (null,) = (line for line in ax.lines if line.get_color() == "#6e6e6e" and len(line.get_ydata()))
    np.testing.assert_allclose(null.get_ydata(), [r.null for r in report.select("nc1")])
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(max(r.high for r in report.select("nc1", split="train")))
    assert ax.get_yscale() == "log"


def test_the_figure_changes_nothing_global(report):
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    before, open_figures = dict(mpl.rcParams), plt.get_fignums()
    report.plot("nc1", "cdnv")
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == open_figures


def test_same_figure_same_bytes(report):
    from repana.report import svg

    assert svg(plots.depth_profile(report, "nc1"), "a") == svg(plots.depth_profile(report, "nc1"), "a")


def test_infinite_and_missing_values_are_marked_not_lost():
    figure = planted(["a", "b", "c", "d"], [1.0, math.inf, math.nan, 2.0]).plot("nc1")
    markers = [line for line in figure.axes[0].lines if line.get_marker() == "^" and len(line.get_xdata())]
    assert [line.get_xdata().tolist() for line in markers] == [[1.0]]


@pytest.mark.parametrize(("name", "short"), [("short", "short"), ("a.very.long.layer.name", "a.very.long.lay\u2026")])
def test_names_are_cut_at_the_end(name, short):
    assert _style.shortened(name, 16) == short


# --- text -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.nan, "\u2013"),
        (math.inf, "\u221e"),
        (0.0, "0"),
        (1.0, "1.00"),
        (0.012345, "0.0123"),
        (12345.6, "12346"),
        (-2.5, "\u22122.50"),
        (1.234e-7, "1.23\u00d710\u207b\u2077"),
        (5e9, "5.00\u00d710\u2079"),
    ],
)
def test_numbers_are_short(value, text):
    from repana.report import number

    assert number(value) == text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_object_shows_itself_in_a_notebook():
    import nbclient
    import nbformat

    setup = """import torch, repana
net = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
data = torch.randn(60, 8), torch.arange(60) % 3
report = repana.profile(net, data, permutations=2, bootstrap=5)"""
    cells = [
        setup,
        "report",
        "report.plot('nc1')",
        "repana.plan(net, data)",
        "repana.record(net, data, progress=False)",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    nbclient.NotebookClient(book, kernel_name="python3", timeout=120).execute()
    shown = [
        {kind for out in cell.outputs if out.output_type == "execute_result" for kind in out.data}
        for cell in book.cells
    ]
    assert shown[1] == shown[3] == shown[4] == {"text/plain", "text/html"}
    assert shown[2] == {"text/plain", "image/png"}


def test_row_and_estimate_have_the_same_fields():
    e = Estimate(1.0, 0.5, 2.0, 7, "note", 3.0, 2.5, 3.5)
    r = row("a", "b", "c", 1, "neural_collapse", "nc1", e)
    assert r == Row("a", "b", "c", 1, "neural_collapse", "nc1", 0, 1.0, 0.5, 2.0, 3.0, 2.5, 3.5, 7, "note")
    assert float(e) == 1.0
    assert str(e) == "1 [0.5, 2] (note)"
    assert repr(e) == "Estimate(1 [0.5, 2] (note), n=7)"


def test_a_plain_network_is_profiled():
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.ReLU(), nn.Linear(6, 5))
    assert profile(net, (X, Y), permutations=0, bootstrap=0).layers == ("input", "3:in", "3")


# --- what a review found ----------------------------------------------------------------------------------------------


def test_the_input_of_the_classifier_is_that_of_the_run():
    from repana._results import penultimate

    a = planted(["x", "relu1", "fc"], [1.0, 1.0, 1.0], run="a") + planted(
        ["relu1"], [0.1], name="self_duality", run="a2"
    )
    b = planted(["x", "relu1", "relu3", "fc"], [1.0] * 4, run="b")
    both = a + Report(b.rows + planted(["relu3"], [0.1], name="self_duality", run="b").rows, {}, b.provenance)
    assert penultimate(both, "b") == "relu3"
    assert penultimate(both, "a") == "relu1"


def test_runs_of_different_analyzers_share_a_page():
    from repana.report import fragment, page

    both = planted(["a", "b"], [1.0, 2.0], run="x") + planted(
        ["c", "d"], [1.0, 2.0], name="trace_ratio", analyzer="fisher", run="y"
    )
    assert "<h2>Layers</h2>" in page(both)
    assert fragment(both)
    assert plots.heat_map(both, run="y").images[0].get_array().shape == (1, 2)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("a/epoch10", 10),
        ("step_500", 500),
        ("7", 7),
        ("run/ckpt-2.5", 2.5),
        ("resnet18", math.nan),
        ("exp1/model", math.nan),
    ],
)
def test_only_a_step_at_the_end_of_a_name_is_one(name, step):
    assert planted(["a"], [1.0], run=name).step(name) == pytest.approx(step, nan_ok=True)


def test_single_checkpoints_of_several_series_have_no_trajectory():
    from repana.report import page

    assert "Trajectory" not in page(planted(["a"], [1.0], run="a/epoch10") + planted(["a"], [1.0], run="b/epoch20"))


def test_layers_that_start_with_an_underscore_stay_in_legends():
    runs = [planted(["_a", "_b"], [1.0, 2.0], run=f"epoch{i}") for i in (1, 2)]
    axes = plots.trajectory(repana.concat(runs), "nc1")
    assert [t.get_text().strip() for t in plots.figure_of(axes).legends[0].get_texts()] == ["_a", "_b"]


def test_ignored_training_labels_are_no_class_of_the_held_out_rule():
    y = torch.arange(60) % 3
    x = torch.eye(3)[y] + 0.01 * torch.randn(60, 3)
    marked = torch.where(torch.arange(60) < 30, -100, y)
    train = repana.Activations({"h": x}, marked, sample=torch.arange(60), seen=60)
    held = repana.Activations({"h": x}, y, sample=torch.arange(60), seen=60)
    report = profile(train, held_out=held, permutations=0, bootstrap=0)
    assert report.select("ncc_accuracy", split="held_out")[0].value == 1.0


def test_class_names_from_arrays_and_numbers_as_they_are():
    from repana._activations import from_arrays

    x = torch.randn(30, 4).numpy()
    named = profile(
        from_arrays({"h": x, "labels": np.array(["dog", "cat", "eel"] * 10)}, "f"), permutations=0, bootstrap=0
    )
    assert named.classes() == ("cat", "dog", "eel")
    numbers = from_arrays({"h": x, "labels": np.arange(30) % 3 + 1}, "f")
    assert [t.get_text() for t in plots.layer_map(numbers).texts if t.get_weight() == "bold"] == ["1", "2", "3"]


def test_names_do_not_number_the_rows_of_a_classifier():
    x, y = torch.randn(30, 4), ["dog", "cat", "eel"] * 10
    for option in ("weight", "logits"):
        with pytest.raises(InputError) as error:
            neural_collapse(x, y, **{option: torch.randn(3 if option == "weight" else 30, 4)})
        text = (
            f"RA203: `labels` are names ('cat', 'dog', 'eel') and `{option}` numbers its classes; give each label as "
        )
        assert str(error.value) == text + "its row or column there, from 0."


def test_replicates_of_a_subset_lie_around_the_value_of_all(net):
    part = profile(net, (X, Y), ["layer1"], max_samples=25, permutations=0, bootstrap=40)
    row_ = part.select("cdnv")[0]
    stored = part.array("neural_collapse.bootstrap.cdnv", "layer1")
    assert np.exp(np.log(stored).mean()) == pytest.approx(row_.value, rel=1e-4)


X2, Y2 = torch.randn(40, 3, 8, 8), torch.arange(40) % 5


def planted_(run, layers):
    return Report(tuple(row(run, "s", k, i, "neural_collapse", "nc1", Estimate(1.0)) for i, k in enumerate(layers)))


def test_joined_reports_keep_the_order_of_each():
    both = planted_("a", ["in", "p", "q", "out"]) + planted_("b", ["in", "g", "q", "r", "out"])
    assert both.layers == ("in", "g", "p", "q", "r", "out") or both.layers == ("in", "p", "g", "q", "r", "out")
    with pytest.raises(TypeError):
        both + 1


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"convention": "zhang"},
            "RA212: `convention` is 'zhang'; expected one of 'papyan', 'zhu', 'he_su', 'galanti'.",
        ),
        ({"permutations": -1}, "RA212: `permutations` is -1; expected 0 or more."),
        ({"level": 95.0}, "RA212: `level` is 95.0; expected a number between 0 and 1, such as 0.95."),
        (
            {"max_samples": 0},
            "RA205: there are no features: max_samples=0 keeps moments alone, for `record`. Give `profile` at least a "
            "few samples of every class.",
        ),
        (
            {"max_samples": 7},
            "RA221: `max_samples` kept 7 samples of 5 classes, and fewer than 2 of class(es) ",
        ),
        ({"device": "gpu"}, "RA212: `device` 'gpu' cannot be used here: "),
        ({"dtype": "float61"}, "RA212: `dtype` is 'float61'; expected one of 'float16', 'bfloat16', 'float32'."),
    ],
)
def test_wrong_arguments_of_profile(options, text):
    with pytest.raises(InputError) as error:
        profile(ResNet().eval(), (X2, Y2), ["layer1", "fc"], **options)
    assert str(error.value).startswith(text)


def test_class_names_number_labels_and_name_the_page(tmp_path):
    names = ["ant", "bee", "cat", "dog", "emu"]
    text = [(X2, [names[i] for i in Y2.tolist()])]
    options = {"permutations": 0, "bootstrap": 0, "class_names": names}
    report = profile(ResNet().eval(), text, ["fc:in"], **options)
    assert report.classes() == tuple(names)
    numbered = profile(ResNet().eval(), (X2, Y2), ["fc:in"], **options)
    assert set(numbered.classes()) == set(names)
    for data, shown in (([(X2, ["fox"] * len(X2))], "'fox'"), ((X2, Y2 + 1), "5")):
        with pytest.raises(InputError) as error:
            profile(ResNet().eval(), data, ["fc:in"], **options)
        assert str(error.value) == (
            f"RA203: the data have the label {shown} and `class_names` has 5 names: 'ant', 'bee', 'cat', 'dog', 'emu'."
        )


def test_labels_off_by_one_are_an_issue():
    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = ResNet()

        def forward(self, x):
            z = self.net(x)
            return {"logits": z, "embedding": z[:, :3]}

    report = profile(Two().eval(), (X2, Y2 + 1), ["net.fc:in"], permutations=0, bootstrap=0)
    first = next(f for f in report.findings() if f.kind == "caution")
    assert (first.code, first.severity) == ("RF101", "issue")
    assert first.text == (
        "Labels reach 5 but no output has more than 5 columns: there are no logits: quantities of the classifier were "
        "left out."
    )
    assert first.action == "Number the labels as the model's outputs."


def test_an_unknown_option_of_profile_is_named():
    with pytest.raises(
        InputError, match="RA212: `an option of profile` is 'maks'; expected one of 'analysis_memory', 'analyzers'"
    ):
        profile(ResNet().eval(), (X2, Y2), maks=False)


def test_the_same_failure_is_said_once():
    with pytest.raises(InputError) as error:
        profile(ResNet().eval(), (X2, Y2 + 0.5), ["fc"], ["neural_collapse", "fisher"])
    assert str(error.value).count("RA203") == 1


def test_a_quantity_of_the_whole_network_has_no_depth(tmp_path):
    report = profile(ResNet().eval(), (X2, Y2), permutations=0, bootstrap=0)
    with pytest.raises(InputError) as error:
        report.plot("separation_law.rho")
    assert str(error.value) == (
        "RA222: 'separation_law.rho' is one number for the whole network and has no depth profile; see `report.select`."
    )
    (tmp_path / "file").write_text("x")
    with pytest.raises(Exception, match="RA307: .* is a file; a report is saved as a folder"):
        report.save(tmp_path / "file")


def test_one_bar_runs_over_all_measurements(capsys):
    """With the layer and the analyzer beside it, and nothing left behind."""
    profile(ResNet().eval(), (X2, Y2), ["fc", "relu"], ["fisher", "spectrum"], permutations=0, progress=True)
    shown = capsys.readouterr().err
    for named in ("recording", "measuring", "fc, fisher", "relu, spectrum"):
        assert named in shown
    assert shown.rstrip(" \r").endswith("\r") or shown.split("\r")[-1].strip() == ""
    profile(ResNet().eval(), (X2, Y2), ["fc"], ["fisher"], permutations=0, progress=False)
    assert capsys.readouterr().err == ""
