"""The command line as a person uses it; in a process of its own where exit codes and imports count."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from networks import odd
from typer.testing import CliRunner

import repana
from repana import Report
from repana.analyzers import ACROSS_LAYERS
from repana.cli import app, main
from repana.extraction._samples import digits

HERE = __file__.rpartition("/")[0]


def repana_command(*arguments, cwd=None):
    return subprocess.run([sys.executable, "-m", "repana", *arguments], capture_output=True, text=True, cwd=cwd)


def run(capsys, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["repana", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    out = capsys.readouterr()
    return stop.value.code, out.out, out.err


def test_help_is_instant_and_imports_nothing_heavy():
    code = "import sys; sys.argv = ['repana', '--help']\nimport repana.cli\n"
    code += "try: repana.cli.main()\nexcept SystemExit: pass\n"
    code += "heavy = {'torch', 'numpy', 'matplotlib', 'pandas', 'sklearn', 'scipy'} & set(sys.modules); print(heavy)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.rstrip().endswith("set()"), done.stdout + done.stderr


def test_unseen_model_from_the_command_line(tmp_path):
    """A dict output, a shared module and an in-place operation: written for this test, profiled from a file."""
    done = repana_command(
        "profile", f"{HERE}/networks.py:odd", "-d", "digits:held_out", "-o", str(tmp_path), "--null", "2"
    )
    assert done.returncode == 0, done.stderr
    report = Report.load(tmp_path / "report")
    assert report.layers == ("input", "act@1", "act@2", "shared@2", "out:in", "out")
    net = odd().eval()
    x, y = digits()[1]
    with torch.no_grad():
        norm = net.norm(net.first(x.flatten(1)))
        first = torch.relu(norm)
        second = torch.relu(net.shared(first))
        h = second + net.shared(second)
    last = net.shared(second).detach()
    for layer, features in {"act@1": first, "act@2": second, "shared@2": last, "out:in": h}.items():
        want = repana.neural_collapse(features, y, replicates=0)
        got = {r.layer: r.value for r in report.select("nc1")}[layer]
        assert got == pytest.approx(float(want.nc1), rel=1e-4), layer
    assert (tmp_path / "report.html").is_file()
    assert (tmp_path / "depth.pdf").read_bytes().startswith(b"%PDF")


def test_analyze_arrays_of_any_framework(tmp_path, capsys, monkeypatch):
    random = np.random.default_rng(0)
    y = np.array(["cat", "dog", "eel"])[np.arange(60) % 3]
    np.savez(tmp_path / "f.npz", first=random.normal(size=(60, 4)), last=random.normal(size=(60, 3)), labels=y)
    code, out, _ = run(capsys, monkeypatch, "analyze", str(tmp_path / "f.npz"), "-o", str(tmp_path / "out"))
    assert code == 0
    assert "first" in out
    report = Report.load(tmp_path / "out" / "report")
    assert report.layers == ("first", "last")
    assert report.provenance["class_names"] == ["cat", "dog", "eel"]
    np.save(tmp_path / "x.npy", random.normal(size=(60, 4)))
    np.save(tmp_path / "y.npy", y)
    command = [
        "analyze",
        str(tmp_path / "x.npy"),
        "--labels",
        str(tmp_path / "y.npy"),
        "-o",
        str(tmp_path / "two"),
        "-m",
        "fisher",
        "--json",
    ]
    code, out, _ = run(capsys, monkeypatch, *command)
    assert code == 0
    assert {line["layer"] for line in json.loads(out)} == {"features"}


def test_analyze_without_labels_measures_what_needs_none(tmp_path, capsys, monkeypatch):
    random = np.random.default_rng(0)
    np.savez(tmp_path / "f.npz", first=random.normal(size=(90, 4)), last=random.normal(size=(90, 3)))
    code, out, err = run(capsys, monkeypatch, "analyze", str(tmp_path / "f.npz"), "-o", str(tmp_path / "out"))
    assert code == 0, err
    assert "two_nn" in out
    assert {r.analyzer for r in Report.load(tmp_path / "out" / "report").rows} == {
        "dimension", "spectrum", "topology", "complexity", "layer_readings",
    }  # fmt: skip
    code, _, err = run(
        capsys, monkeypatch, "analyze", str(tmp_path / "f.npz"), "-m", "fisher", "-o", str(tmp_path / "o")
    )
    assert (code, err[:6]) == (2, "RA213:")


def test_layers_and_plan(capsys, monkeypatch):
    model = f"{HERE}/networks.py:mlp"
    code, out, _ = run(capsys, monkeypatch, "layers", model, "--input", "64")
    assert code == 0
    assert "3:in" in out
    code, out, _ = run(capsys, monkeypatch, "layers", model, "--input", "1x8x8", "--all", "--json")
    assert [line["layer"] for line in json.loads(out)] == ["0", "1", "2", "3"]
    code, out, _ = run(capsys, monkeypatch, "plan", model, "-d", "digits", "-l", "2")
    assert "for 1347 samples" in out
    code, _, err = run(capsys, monkeypatch, "layers", model)
    assert code == 2
    assert "give --data, or the shape of one input" in err


def test_metrics_is_the_table(capsys, monkeypatch):
    code, out, _ = run(capsys, monkeypatch, "metrics", "--json")
    assert code == 0
    lines = json.loads(out)
    assert len(lines) == sum(len(a.quantities) for a in (*repana.ANALYZERS.values(), *ACROSS_LAYERS.values()))
    assert all(line["formula"] and line["source"] for line in lines)
    assert "tr(Sw Sb^+)/c" in run(capsys, monkeypatch, "metrics")[1]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["profile", "nowhere.py:f", "-d", "digits"], 2, "RA304: model file 'nowhere.py' does not exist."),
        (["profile", f"{HERE}/networks.py:mlp", "-d", "digits", "-l", "9"], 2, "RA101: no layer matches '9'"),
        (["profile", f"{HERE}/networks.py:mlp"], 2, "Missing option"),
        (["profile", f"{HERE}/networks.py:mlp", "-d", "digits", "-m", "nc"], 2, "RA212: `analyzers` is 'nc'"),
        (["no-such-command"], 2, "No such command"),
    ],
)
def test_wrong_use(capsys, monkeypatch, arguments, code, text):
    found, _, err = run(capsys, monkeypatch, *arguments)
    assert found == code
    assert text in err


def test_unsafe_checkpoint_has_its_own_exit_code(tmp_path, capsys, monkeypatch):
    torch.save({"state_dict": {}, "path": tmp_path}, tmp_path / "c.pt")
    code, _, err = run(
        capsys, monkeypatch, "profile", f"{HERE}/networks.py:mlp", "-d", "digits", "-c", str(tmp_path / "c.pt")
    )
    assert code == 4
    assert "RA302" in err
    assert "pathlib" in err


def test_layers_that_fail_give_exit_code_3(tmp_path, capsys, monkeypatch):
    x = np.random.default_rng(0).normal(size=(30, 4))
    bad = x.copy()
    bad[3] = np.nan
    np.savez(tmp_path / "f.npz", a=x, b=bad, c=x, d=x, labels=np.arange(30) % 3)
    code, _, err = run(capsys, monkeypatch, "analyze", str(tmp_path / "f.npz"), "-o", str(tmp_path / "o"))
    assert code == 3
    assert "not measured: all, b, neural_collapse: RA204" in err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_demo(tmp_path):
    result = CliRunner().invoke(app, ["demo", "-o", str(tmp_path), "--epochs", "15"])
    assert result.exit_code == 0
    report = Report.load(tmp_path / "report")
    assert report.layers == ("input", "conv1", "conv2", "conv3", "linear1", "classifier:in", "classifier")
    train = {r.layer: r.value for r in report.select("accuracy", split="train")}
    assert train["classifier"] > 0.99
    collapse = [r.value for r in report.select("nc1", split="train")]
    assert collapse[-2] < 0.1 * collapse[0]
    assert (tmp_path / "report.html").stat().st_size > 50_000
    assert "the page" in result.output.lower()
