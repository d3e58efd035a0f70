"""Tables for papers, compiled where there is a LaTeX; trackers, each the real one in its offline mode."""

import math
import shutil
import subprocess

import numpy as np
import pytest
import torch
from planted import planted

import repana
from repana import FileError, InputError, Report
from repana._estimate import Estimate
from repana.report._sinks import key
from repana.report._tables import tex

NAMES = ["layer1.0", "a_b%c&d#e$f", 'x^y~z\\w{1}|<i>"q"']


@pytest.fixture
def report():
    nc1 = [Estimate(0.00123456, 0.001, 0.0015, 90), Estimate(12345.6), Estimate(math.inf)]
    rows = planted(NAMES, nc1).rows + planted(NAMES, [1.0, math.nan, 0.5], name="accuracy").rows
    other = planted(NAMES, [3.0, 2.0, 1.0], split="held_out").rows
    return Report(rows + other, {}, {"run": "run", "step": 7})


def test_latex_table(report):
    text = report.to_latex("nc1", "accuracy", caption="50 % of it")
    lines = text.splitlines()
    assert "  \\caption{50 \\% of it}" in lines
    assert "    {layer} & {NC1 $\\downarrow$} & {Accuracy $\\uparrow$} \\\\" in lines
    assert "    {\\texttt{layer1.0}} & 0.00123 & 1.00 \\\\" in lines
    assert "    & {\\footnotesize[\\num{0.00100}, \\num{0.00150}]} &  \\\\" in lines
    assert any(line.endswith("& 1.23e+04 & {--} \\\\") for line in lines)
    assert any(line.endswith("& {$\\infty$} & 0.500 \\\\") for line in lines)
    assert "footnotesize" not in report.to_latex("nc1", intervals=False)


def test_every_special_character_is_escaped():
    assert tex("a_b%c&d#e$f{g}") == "a\\_b\\%c\\&d\\#e\\$f\\{g\\}"
    assert tex("\\~^") == "\\textbackslash{}\\textasciitilde{}\\textasciicircum{}"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX")
def test_a_real_latex_compiles_it(report, tmp_path):
    head = "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs,siunitx}\\begin{document}\n"
    (tmp_path / "t.tex").write_text(head + report.to_latex("nc1", "accuracy") + "\\end{document}\n")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "t.pdf").stat().st_size > 1000


def test_markdown_and_csv(report, tmp_path):
    lines = report.to_markdown("nc1", "accuracy").splitlines()
    assert lines[0] == "| layer | NC1 | Accuracy |"
    assert lines[2] == "| layer1.0 | 0.00123 [0.00100, 0.00150] | 1.00 |"
    assert "\\|\\<i>" in lines[4]
    text = report.to_csv(tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_text() == text
    assert text.splitlines()[0].startswith("run,split,layer,depth")
    assert len(text.splitlines()) == 1 + len(report.rows)


def test_a_folder_without_permission(report, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(FileError) as error:
        report.to_csv("rows.csv")
    assert str(error.value) == "RA310: 'rows.csv' cannot be written; choose a folder that you may write to."


# --- trackers ---------------------------------------------------------------------------------------------------------


def wanted(report: Report) -> dict[str, float]:
    return {key(report, r): r.value for r in report.rows if math.isfinite(r.value)}


def test_keys(report):
    assert "repana/nc1/layer1.0" in wanted(report)
    assert "repana/held_out/nc1/layer1.0" in wanted(report)
    both = Report(report.rows + planted(["a"], [1.0], name="quotient").rows
                  + planted(["a"], [1.0], name="quotient", analyzer="fisher").rows, {}, report.provenance)  # fmt: skip
    assert {"repana/neural_collapse.quotient/a", "repana/fisher.quotient/a"} <= set(wanted(both))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_tensorboard(report, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        report.log(writer)
        report.log(writer, step=9)
    read = EventAccumulator(str(tmp_path)).Reload()
    assert set(read.Tags()["scalars"]) == set(wanted(report))
    for name, value in wanted(report).items():
        events = read.Scalars(name)
        assert [e.step for e in events] == [7, 9]
        np.testing.assert_allclose([e.value for e in events], value, rtol=1e-6)
    assert read.Tags()["images"] == ["repana/depth_profile"]
    assert "| layer | NC1 |" in read.Tensors("repana/table/text_summary")[0].tensor_proto.string_val[0].decode()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow(report, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    with mlflow.start_run() as run:
        report.log(mlflow)
    client = mlflow.MlflowClient()
    found = client.get_run(run.info.run_id).data.metrics
    assert found["repana/nc1/layer1.0"] == pytest.approx(0.00123456)
    assert len(found) == len(wanted(report))
    assert client.get_metric_history(run.info.run_id, "repana/nc1/layer1.0")[0].step == 7
    files = {a.path for a in client.list_artifacts(run.info.run_id, "repana")}
    assert files == {"repana/depth_profile_7.png", "repana/table_7.csv"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_wandb_offline(report, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    for name, value in (("WANDB_MODE", "offline"), ("WANDB_SILENT", "true"), ("WANDB_DIR", str(tmp_path))):
        monkeypatch.setenv(name, value)
    with wandb.init(project="repana", dir=str(tmp_path)) as run:
        report.log(run)
        summary = dict(run.summary)
    for name, value in wanted(report).items():
        assert summary[name] == pytest.approx(value)
    assert summary["repana/step"] == 7
    assert list(tmp_path.rglob("*.wandb"))
    assert list(tmp_path.rglob("*depth_profile*.png"))


@pytest.mark.filterwarnings("ignore")
def test_the_projector_has_every_layer(tmp_path):
    """Vectors, labels by name and pictures, of the same samples in every layer."""
    from torch.utils.tensorboard import SummaryWriter

    x, y = torch.randn(30, 4), torch.arange(30) % 3
    kept = repana.Activations({"a": x, "b.c": 2 * x}, y)
    with SummaryWriter(str(tmp_path)) as writer:
        repana.report.log_embeddings(kept, writer, max_samples=10, images=torch.rand(30, 1, 5, 5), step=7)
    files = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.tsv"))
    assert len(files) == 4
    vectors = [np.loadtxt(tmp_path / f) for f in files if f.endswith("tensors.tsv")]
    np.testing.assert_allclose(vectors[1], 2 * vectors[0], rtol=1e-5)
    labels = np.loadtxt(next(tmp_path.rglob("metadata.tsv")), int)
    rows = [int(np.abs(x.numpy() - v).sum(1).argmin()) for v in vectors[0]]
    np.testing.assert_array_equal(labels, y[rows])
    assert len(list(tmp_path.rglob("sprite.png"))) == 2
    assert "repana/b.c" in (tmp_path / "projector_config.pbtxt").read_text()
    with pytest.raises(InputError, match="RA231: a object takes no embeddings"):
        repana.report.log_embeddings(kept, object())
    with pytest.raises(InputError, match="RA201"):
        repana.report.log_embeddings(kept, writer, images=torch.rand(3, 1, 5, 5))


def test_what_is_no_tracker(report):
    with pytest.raises(InputError) as error:
        report.log(object())
    text = (
        "RA231: a object takes no report; expected a TensorBoard SummaryWriter, a W&B run or the mlflow module with an "
    )
    assert str(error.value) == text + "active run."


def test_a_result_prints_a_line_a_quantity():
    x, y = np.random.default_rng(0).normal(size=(40, 5)), np.arange(40) % 4
    result = repana.neural_collapse(x, y, bootstrap=10)
    lines = repr(result).split("\n")
    assert lines[0] == "NeuralCollapse"
    assert lines[1].split()[0] == "nc1"
    assert lines[-1].startswith("  arrays: cdnv_grid (4, 4)")
    assert len(lines) < 30
    assert str(result) == repr(result)


def test_every_result_shows_itself():
    x, y = np.random.default_rng(0).normal(size=(40, 5)), np.arange(40) % 4
    for result in (repana.fisher(x, y), repana.neural_collapse(x, y), repana.separation_law([8.0, 4.0, 2.0, 1.5])):
        html = result._repr_html_()
        assert "<table" in html
        assert "95% interval" in html
    assert repana.Estimate(1.0, 0.5, 2.0, 7, "<b>")._repr_html_() == "<code>1 [0.5, 2] (&lt;b&gt;)</code>"
