"""Activations in the formats of other tools: read again by NumPy, by zarr, and by `repana analyze`."""

import os

import numpy as np
import pytest
import torch
from networks import mlp

import repana
from repana import Activations, FileError
from repana.store import _export

X, Y = torch.randn(90, 64, generator=torch.Generator().manual_seed(0)), torch.arange(90) % 10


@pytest.fixture(params=["tensors", "bfloat16 in several files"])
def activations(request, tmp_path):
    if request.param == "tensors":
        return repana.record(mlp(), (X, Y), batch_size=30)
    return repana.record(mlp(), (X, Y), store=tmp_path / "acts", store_dtype="bfloat16", lanes=3, batch_size=4)


def expected(activations):
    found = {name: torch.as_tensor(np.asarray(activations[name])) for name in activations.layers}
    return found | {"labels": activations.labels, "logits": activations.logits, "sample": activations.sample}


def test_an_npz_holds_every_array(activations, tmp_path, monkeypatch):
    monkeypatch.setattr(_export, "AT_ONCE", 4096)  # some rows at a time
    path = activations.export(tmp_path / "out.npz")
    with np.load(path) as archive:
        assert set(archive.files) == set(expected(activations))
        for name, want in expected(activations).items():
            want = want.float() if want.dtype == torch.bfloat16 else want
            np.testing.assert_array_equal(archive[name], want.numpy())
    first = path.read_bytes()
    assert activations.export(path).read_bytes() == first  # nothing of the time of writing is in it
    assert os.listdir(tmp_path) in (["out.npz"], ["acts", "out.npz"], ["out.npz", "acts"])


def test_a_zarr_group_holds_every_array(activations, tmp_path):
    import zarr

    path = activations.export(tmp_path / "out.zarr")
    group = zarr.open_group(str(path), mode="r")
    assert set(group.array_keys()) == set(expected(activations))
    for name, want in expected(activations).items():
        want = want.float() if want.dtype == torch.bfloat16 else want
        np.testing.assert_array_equal(group[name][:], want.numpy())
    with pytest.raises(FileError, match="RA331: .* exists, and a folder cannot be replaced"):
        activations.export(path)


def test_the_command_and_back(tmp_path, capsys, monkeypatch):
    from test_cli import run

    repana.record(mlp(), (X, Y), store=tmp_path / "acts", lanes=3, batch_size=4)
    out = str(tmp_path / "two.npz")
    code, said, _ = run(capsys, monkeypatch, "export", str(tmp_path / "acts"), "-o", out, "-l", "3:in", "-l", "3")
    assert code == 0
    assert "two.npz: Activations(90 of 90 samples, 2 layers" in said
    code, _, err = run(
        capsys, monkeypatch, "analyze", out, "-m", "fisher", "--permutations", "0", "--bootstrap", "0",
        "-o", str(tmp_path / "report"),
    )  # fmt: skip
    assert code == 0
    report = repana.load_runs(tmp_path / "report")
    assert {"3:in", "3"} <= set(report.layers)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("out.csv", "RA331: .* ends in '.csv'; expected one of '.npz', '.zarr'"),
        ("out", "RA331: .* ends in ''"),
        ("x" * 300 + ".npz", "RA310: "),
    ],
)
def test_refusals(name, text, tmp_path):
    with pytest.raises(FileError, match=text):
        Activations({"a": X}, Y).export(tmp_path / name)


def test_a_layer_with_the_name_of_another_array(tmp_path):
    with pytest.raises(FileError, match="RA331: layer\\(s\\) 'labels' have the names of other arrays"):
        Activations({"labels": X, "a": X}, Y).export(tmp_path / "out.npz")
    assert Activations({"labels": X}, None).export(tmp_path / "out.npz").is_file()


def test_without_zarr_its_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "zarr", None)
    with pytest.raises(FileError, match="RA331: a .zarr group needs the package zarr: pip install"):
        Activations({"a": X}, Y).export(tmp_path / "out.zarr")


def test_a_failed_export_leaves_nothing(tmp_path, monkeypatch):
    given = Activations({"a": X, "b": X}, Y)
    given.export(tmp_path / "out.npz")
    before = (tmp_path / "out.npz").read_bytes()

    def failing(self):
        yield from ()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_export._Array, "batches", failing)
    for name in ("out.npz", "out.zarr"):
        with pytest.raises(FileError, match="RA310"):
            given.export(tmp_path / name)
    assert os.listdir(tmp_path) == ["out.npz"]
    assert (tmp_path / "out.npz").read_bytes() == before
