"""The command line as a person uses it; in a process of its own where exit codes and imports count."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from networks import odd
from tiny import bert, table
from typer.testing import CliRunner

import repana
from repana import ModelError, Report
from repana.analyzers import ACROSS_LAYERS
from repana.cli import app, main
from repana.cli._options import Source
from repana.cli._output import analyzers_of
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


@pytest.mark.parametrize(("old", "new"), [("--null", "--permutations"), ("--replicates=5", "--bootstrap")])
def test_options_of_version_0_1_name_the_new_ones(old, new, capsys, monkeypatch):
    code, _, err = run(capsys, monkeypatch, "profile", "m.py:net", "--data", "x.npz", old, "5")
    assert code == 2
    assert new in err


def test_help_is_instant_and_imports_nothing_heavy():
    code = "import sys; sys.argv = ['repana', '--help']\nimport repana.cli\n"
    code += "try: repana.cli.main()\nexcept SystemExit: pass\n"
    code += "heavy = {'torch', 'numpy', 'matplotlib', 'pandas', 'sklearn', 'scipy'} & set(sys.modules); print(heavy)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.rstrip().endswith("set()"), done.stdout + done.stderr


def test_unseen_model_from_the_command_line(tmp_path):
    """A dict output, a shared module and an in-place operation: written for this test, profiled from a file."""
    done = repana_command(
        "profile", f"{HERE}/networks.py:odd", "-d", "digits:held_out", "-o", str(tmp_path), "--permutations", "2"
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
        want = repana.neural_collapse(features, y, bootstrap=0)
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
    assert "dim. (TwoNN)" in out
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
    quantities = sum(len(a.quantities) for a in (*repana.ANALYZERS.values(), *ACROSS_LAYERS.values()))
    assert len(lines) == quantities + len(repana.comparison.COMPARISONS)
    assert all(line["formula"] and line["source"] for line in lines)
    assert "tr(Sw Sb^+)/c" in run(capsys, monkeypatch, "metrics")[1]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["profile", "nowhere.py:f", "-d", "digits"], 2, "RA304: model file 'nowhere.py' does not exist."),
        (["profile", f"{HERE}/networks.py:mlp", "-d", "digits", "-l", "9"], 2, "RA101: no layer matches '9'"),
        (["profile", f"{HERE}/networks.py:mlp"], 2, "Missing option"),
        (["profile", f"{HERE}/networks.py:mlp", "-d", "digits", "-m", "nc"], 2, "RA212: `metrics` is 'nc'; expected"),
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


# --- what is measured, and what is said -------------------------------------------------------------------------------


@pytest.fixture
def arrays(tmp_path):
    random = np.random.default_rng(0)
    y = np.arange(60) % 3
    np.savez(tmp_path / "f.npz", **{f"l{i}": random.normal(size=(60, 4)) + y[:, None] for i in range(4)}, labels=y)
    return str(tmp_path / "f.npz")


@pytest.fixture
def unpainted(monkeypatch):
    """Without the page and the figure, which take seconds and are tested elsewhere."""
    monkeypatch.setattr(Report, "to_html", lambda self, path: None)
    monkeypatch.setattr(Report, "plot", lambda self: SimpleNamespace(savefig=lambda path: None))


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["nc1"], (["neural_collapse"], ["nc1"])),
        (["nc1, cdnv", "two_nn"], (["neural_collapse", "dimension"], ["nc1", "cdnv", "two_nn"])),
        (["fisher.quotient"], (["fisher"], ["fisher.quotient"])),
        (["rho", "separation_law"], (["neural_collapse"], ["rho"])),
        (["reinitialised"], (["probing"], ["reinitialised"])),
        (["mean_onset"], (["complexity"], ["mean_onset"])),
        (["spectrum", "all"], (["spectrum", "all"], [])),
        (None, ([], [])),
        (["linear_probe,clusters"], (["probing", "topology"], ["linear_probe", "clusters"])),
        (["effective_rank", "alignment"], (["spectrum", "separability"], ["effective_rank", "alignment"])),
        (["ntk.effective_rank"], (["ntk"], ["ntk.effective_rank"])),
    ],
)
def test_quantities_find_their_analyzer(names, found):
    assert analyzers_of(names) == found


@pytest.mark.usefixtures("unpainted")
def test_the_quantities_that_were_named_are_printed(arrays, tmp_path, capsys, monkeypatch):
    options = ["--permutations", "0", "--bootstrap", "0", "-o", str(tmp_path / "out")]
    code, out, err = run(capsys, monkeypatch, "analyze", arrays, "-m", "vci,rho,fisher.quotient", *options)
    assert code == 0, err
    assert {r.analyzer for r in Report.load(tmp_path / "out" / "report").rows} == {
        "neural_collapse", "fisher", "separation_law",
    }  # fmt: skip
    assert any(line.startswith("layer") and "VCI" in line for line in out.splitlines())
    assert "\nall  rho  " in out


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "nc11",
            "RA212: `metrics` is 'nc11'; expected analyzers or quantities, nearest: 'nc1', 'nc4', 'n1', 'chance', "
            "'danco'. `repana metrics` lists all.\n",
        ),
        (
            "quotient",
            "RA215: 2 analyzers have a quantity 'quotient'; choose one of 'neural_collapse.quotient', 'fisher.",
        ),
    ],
)
def test_names_that_are_no_metrics(arrays, capsys, monkeypatch, name, text):
    code, _, err = run(capsys, monkeypatch, "analyze", arrays, "-m", name)
    assert (code, err[: len(text)]) == (2, text)


@pytest.mark.usefixtures("unpainted")
def test_a_quantity_that_was_asked_for_and_is_not_there(arrays, tmp_path, capsys, monkeypatch):
    options = ["-m", "reinitialised", "--permutations", "0", "--bootstrap", "0", "-o", str(tmp_path / "out")]
    code, _, err = run(capsys, monkeypatch, "analyze", arrays, *options)
    assert code == 3
    assert "not measured: reinitialised (no layer or option for it; see `repana metrics`)" in err


NET = "from torch import nn\ndef make(width): return nn.Sequential(nn.Flatten(), nn.Linear(64, width))\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--batch-size", "0"], "RA212: `batch_size` is 0; expected a whole number of at least 1.\n"),
        (
            ["--pool", "average"],
            "RA212: `pool` is 'average'; expected one of 'auto', 'avg', 'max', 'flatten', 'grid', 'mean', 'cls', "
            "'last', 'tokens', 'none'.\n",
        ),
        ([], "RA311: 'FILE:make' needs 'width'; write \"FILE:make(width=...)\".\n"),
        (["--image-size", "4x4x4"], "RA321: `image_size` is '4x4x4'; expected one number, or height and width.\n"),
        (
            ["--image-mean", "a,b"],
            "RA212: `image_mean` is 'a,b'; expected numbers parted by commas, such as 0.5,0.5,0.5.\n",
        ),
        (["--prefix", "model."], "RA312: got `prefix`, which choose in a file; expected --checkpoint too.\n"),
    ],
)
@pytest.mark.parametrize("command", ["profile", "plan"])
def test_refusals_are_one_line(tmp_path, capsys, monkeypatch, command, arguments, text):
    (tmp_path / "net.py").write_text(NET)
    model = f"{tmp_path}/net.py:make" + ("(width=3)" if arguments and arguments[0].startswith("--image") else "")
    code, _, err = run(capsys, monkeypatch, command, model, "-d", "digits", *arguments)
    assert (code, err) == (2, text.replace("FILE", f"{tmp_path}/net.py"))


def test_an_example_of_no_shape(capsys, monkeypatch):
    code, _, err = run(capsys, monkeypatch, "layers", f"{HERE}/networks.py:mlp", "--input", "axb")
    assert (code, err) == (2, "RA212: `input` is 'axb'; expected sizes above 0, such as 3x32x32.\n")


def test_random_weights_are_the_same_for_the_same_seed(tmp_path):
    (tmp_path / "net.py").write_text(NET)
    source = Source(f"{tmp_path}/net.py:make(width=3)")
    first, again, other = (source.network(seed)[1].weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.usefixtures("unpainted")
def test_emphasis_is_for_terminals_that_want_it(monkeypatch):
    from repana.cli._output import emphasised

    text = "digits   7 layers\n\n  Three cautions.\nlayer   NC1"
    assert emphasised(text) == text  # no terminal here
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert emphasised(text).startswith("\x1b[1mdigits")
    assert "\x1b[33m" in emphasised(text)
    monkeypatch.setenv("NO_COLOR", "1")
    assert emphasised(text) == text


def test_class_names_and_notes_are_in_the_report(tmp_path, capsys, monkeypatch):
    """Of a table whose texts a tiny encoder reads; notes are printed once."""
    bert(tmp_path, "BertModel")
    path = table(tmp_path, ["b", "a"] * 6, words=["so " * 20, "good", "bad", "so"] * 3)
    command = ["profile", f"hf:{tmp_path}", "-d", path, "--held-out", path, "--text-column", "words", "-l", "pooler"]
    options = ["-m", "fisher", "--permutations", "0", "--bootstrap", "0", "-o", str(tmp_path / "out")]
    code, _, err = run(capsys, monkeypatch, *command, *options)
    assert code == 0, err
    note = (
        f"RA317: {path!r}: 3 of 12 texts have more than 16 tokens and are cut there, where the model's positions end."
    )
    assert err.count(note) == 1
    provenance = Report.load(tmp_path / "out" / "report").provenance
    assert (provenance["class_names"], provenance["notes"][-1]) == (["a", "b"], note)


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
    assert 50_000 < (tmp_path / "report.html").stat().st_size <= 400_000
    assert "report.html" in result.output


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        (["attention_mask"], "attention_mask"),
        (["none"], False),
        (["decoder.*=decoder_attention_mask", "none"], {"decoder.*": "decoder_attention_mask", "*": False}),
    ],
)
def test_options_by_layer(given, expected):
    from repana.cli._options import by_layer

    assert by_layer(given, {"none": False}) == expected


def test_layouts_and_methods_from_the_command_line(tmp_path, capsys, monkeypatch):
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.time, self.units = torch.nn.Linear(7, 7), torch.nn.Linear(9, 9)\n"
        "    def features(self, x):\n"
        "        return self.units(self.time(x.transpose(1, 2)).transpose(1, 2))\n"
    )
    model = f"{tmp_path / 'net.py'}:Net"
    shared = ["plan", model, "--input", "7x9", "--forward", "features", "--mask", "none", "-l", "time"]
    code, out, err = run(capsys, monkeypatch, *shared)
    assert code == 2
    assert 'layout={"time": "b c t"} or "b t c"' in err
    code, out, err = run(capsys, monkeypatch, *shared, "--layout", "time=b c t")
    assert code == 0, err
    assert "yours" in out


def test_a_model_that_fails_is_one_line(tmp_path, capsys, monkeypatch):
    (tmp_path / "net.py").write_text("import torch\nnet = torch.nn.Conv2d(1, 3, 3)\n")
    code, _, err = run(capsys, monkeypatch, "plan", f"{tmp_path / 'net.py'}:net", "--input", "2x8x8")
    assert code == 2
    assert err.startswith("RA261: the model failed with RuntimeError: Given groups=1, weight of size [3, 1, 3, 3]")
    assert err.endswith("Conv2d was called with (2, 2, 8, 8) float32. Check the shape of the data.\n")


def test_labels_of_an_npz(tmp_path, capsys, monkeypatch):
    x, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
    np.savez(tmp_path / "x.npz", features=x)
    np.savez(tmp_path / "y.npz", labels=y, other=x)
    options = ["-m", "nc1", "-o", str(tmp_path / "out"), "--permutations", "2", "--bootstrap", "2"]
    shared = ["analyze", str(tmp_path / "x.npz"), *options]
    code, _, err = run(capsys, monkeypatch, *shared, "--labels", str(tmp_path / "y.npz"))
    assert code == 0, err
    np.savez(tmp_path / "z.npz", a=y, b=x)
    code, _, err = run(capsys, monkeypatch, *shared, "--labels", str(tmp_path / "z.npz"))
    assert code == 2
    assert "labels" in err


def test_padding_is_settled_from_the_command_line(tmp_path):
    from typer.testing import CliRunner

    from repana.cli import app

    (tmp_path / "net.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layer = torch.nn.Linear(4, 6)\n"
        "    def forward(self, x):\n"
        "        return self.layer(x)\n"
        "make = Net\n"
    )
    for command in ("layers", "plan"):
        with pytest.raises(ModelError, match="RA107"):
            CliRunner().invoke(app, [command, f"{tmp_path}/net.py:make", "--input", "7x4"], catch_exceptions=False)
        done = CliRunner().invoke(app, [command, f"{tmp_path}/net.py:make", "--input", "7x4", "--mask", "none"])
        assert done.exit_code == 0, done.output
        assert "layer" in done.output


def test_command_line_with_a_factory_that_imports_its_neighbour(tmp_path):
    (tmp_path / "parts.py").write_text("WIDTH = 7\n")
    (tmp_path / "net.py").write_text(
        "import torch\nfrom parts import WIDTH\ndef make():\n    return torch.nn.Linear(4, WIDTH)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "repana", "layers", str(tmp_path / "net.py:make"), "--input", "4", "--json"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[-1]["width"] == 7


def test_a_damaged_array_file_is_not_called_unsafe(tmp_path):
    (tmp_path / "bad.npz").write_text("just text")
    done = subprocess.run(
        [sys.executable, "-m", "repana", "analyze", str(tmp_path / "bad.npz")], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "RA301" in done.stderr


def test_what_can_be_measured_is_listed_without_torch():
    """`repana metrics` starts in a fifth of a second: no module that measures is loaded."""
    code = (
        "import sys\nfrom repana.cli import app\ntry:\n    app(['metrics'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'numpy', 'scipy', 'pandas'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "neural_collapse" in done.stdout
    assert done.stderr.strip() == "[]"


def test_plan_of_a_profile(capsys, monkeypatch):
    model = f"{HERE}/networks.py:mlp"
    code, out, _ = run(capsys, monkeypatch, "plan", model, "-d", "digits", "--metrics", "all", "--samples", "50000")
    assert code == 0
    assert "50,000 samples, 10 classes; on this machine" in out
    for name in ("neural_collapse", "separability", "probing", "dimension", "complexity"):
        assert name in out
    assert "20,000 queries among all" in out
    code, out, _ = run(capsys, monkeypatch, "plan", model, "-d", "digits", "--on", "8xH100", "-m", "nc1", "--json")
    found = json.loads(out)
    assert {line["analyzer"] for line in found["lines"]} == {"neural_collapse"}
    assert sorted(name for line in found["lines"] for name in line["names"]) == ["3", "3:in", "input"]
    assert found["kept"] == found["samples"] == 1347
    code, _, err = run(capsys, monkeypatch, "plan", model, "-d", "digits", "--on", "laptop")
    assert code == 2
    assert "`on` is 'laptop'; expected one of 'measure', 'cpu', 'H100', 'H200'" in err
