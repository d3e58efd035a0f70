"""Files and names from elsewhere: nothing runs, fills the machine, or acts on a page, a spreadsheet or a terminal."""

import zipfile

import numpy as np
import pytest
import torch
from planted import planted
from torch import nn

import repana
from repana import plots
from repana.errors import FileError, InputError
from repana.extraction import _checkpoints
from repana.extraction.sources._arrays import read_arrays
from repana.sweeps import _engines

NAME = "a|b\nc`<i>\\d\x1b[2J"


def test_an_archive_that_expands_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, x=np.zeros((4000, 4000)))
    with pytest.raises(FileError, match=r"RA330: .*says to hold 128,000,128 bytes, more than the .* that are read"):
        read_arrays(path)
    assert read_arrays(path, max_bytes=200_000_000)["x"].shape == (4000, 4000)
    np.savez_compressed(tmp_path / "plain.npz", x=np.random.default_rng(0).random((100, 100)))
    assert read_arrays(tmp_path / "plain.npz")["x"].shape == (100, 100)


def test_a_header_that_claims_more_than_the_archive_is_refused(tmp_path):
    import io

    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (10**7, 10**4)})
    path = tmp_path / "liar.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", head.getvalue())
    with pytest.raises(FileError, match="RA330: .*says to hold 800,000,000,000 bytes"):
        read_arrays(path)


def test_pickles_are_refused_where_the_reader_of_torch_is_not_safe(tmp_path, monkeypatch):
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "w.pt")
    monkeypatch.setattr(_checkpoints.torch, "__version__", "2.9.1+cpu")
    with pytest.raises(FileError, match="RA302: .* the safe reader of torch 2.9.1.* was breached"):
        _checkpoints.load_checkpoint(nn.Linear(2, 2), tmp_path / "w.pt")
    _checkpoints.load_checkpoint(nn.Linear(2, 2), tmp_path / "w.pt", allow_pickle=True)


@pytest.mark.parametrize("label", ["tab:a} \\input{x", "a b", "", "a%"])
def test_labels_of_tables_are_plain(label):
    report = planted(["a", "b"], [1.0, 2.0])
    with pytest.raises(InputError, match="RA263: `label` is"):
        report.to_latex("nc1", label=label)
    assert "\\label{tab:x-1.y_z}" in report.to_latex("nc1", label="tab:x-1.y_z")


def test_names_are_no_marks_in_markdown_and_no_commands_in_a_terminal():
    report = planted([NAME, "b"], [1.0, 2.0])
    line = report.to_markdown("nc1").splitlines()[2]
    assert line.startswith("| a\\|b c\\`\\<i>\\\\d")
    net = nn.Sequential()
    net.add_module("evil\x1b[2J", nn.Linear(3, 3))
    net.add_module("last", nn.Linear(3, 2))
    data = (torch.randn(20, 3), torch.arange(20) % 2)
    shown = repr(repana.plan(net, data, ["*"]))
    assert "\x1b" not in shown
    assert "evil\\x1b[2J" in shown
    assert "\x1b" not in repr(repana.record(net, data, ["*"]))


def test_no_name_is_a_formula_of_a_spreadsheet():
    report = planted(["=cmd()", "@b", "-1"], [1.0, 2.0, 3.0])
    text = plots.drawn_data(plots.depth_profile(report, "nc1"))
    cells = [cell.strip('"') for line in text.splitlines()[1:] for cell in line.split(",")]
    assert any(cell.startswith("'=cmd") for cell in cells)
    assert not any(cell.startswith(("=", "@", "+")) for cell in cells)
    assert [line.rpartition(",")[0].rpartition(",")[2] for line in text.splitlines()[1:]] == ["1", "2", "3"]


@pytest.mark.parametrize(("name", "module"), [("ray", "ray"), ("slurm", "submitit")])
def test_an_engine_that_is_not_installed(name, module, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=f"RA329: --on {name} needs {module}: pip install 'repana\\[{name}\\]'"):
        list(_engines.ENGINES[name]([], 1, 0, {"folder": "x"} if name == "slurm" else {}))
