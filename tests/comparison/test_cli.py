"""`repana similarity`: two models over data, two stores, and what is refused."""

import json
import sys

import pytest
import torch
from safetensors.torch import save_file

import repana
from repana._demo import digits_cnn
from repana.cli import main

MODEL = "repana._demo:digits_cnn"


def run(capsys, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["repana", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    out = capsys.readouterr()
    return stop.value.code, out.out, out.err


@pytest.fixture
def weights(tmp_path):
    paths = []
    for seed in (0, 1):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            save_file(digits_cnn().state_dict(), tmp_path / f"seed{seed}.safetensors")
        paths.append(tmp_path / f"seed{seed}.safetensors")
    return paths


def test_two_checkpoints_of_a_factory(tmp_path, weights, capsys, monkeypatch):
    code, out, err = run(
        capsys,
        monkeypatch,
        "similarity",
        MODEL,
        MODEL,
        "-d",
        "digits:held_out",
        "-c",
        weights[0],
        "--checkpoint-b",
        weights[1],
        "--untrained",
        "--other-seed",
        weights[0],
        "-m",
        "cka",
        "-o",
        tmp_path / "out",
    )
    assert code == 0, err
    assert "classifier" in out
    assert "untrained" in out
    report = repana.Report.load(tmp_path / "out" / "report")
    assert report.about()["compared"] == "similarity"
    assert {r.quantity for r in report.rows} == {"cka", "cka_untrained", "cka_other_seed"}
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    assert (tmp_path / "out" / "depth.pdf").is_file()
    value = report.array("similarity.cka", "")[1, 1]
    assert 0 < value < 1


def test_two_stores(tmp_path, weights, capsys, monkeypatch):
    for place, path in enumerate(weights):
        code, _, err = run(
            capsys, monkeypatch, "record", MODEL, "-d", "digits:held_out", "-c", path, "-o", tmp_path / f"store{place}"
        )
        assert code == 0, err
    stores = [tmp_path / "store0", tmp_path / "store1"]
    code, out, err = run(capsys, monkeypatch, "similarity", *stores, "-o", tmp_path / "out", "--json", "-m", "cka,knn")
    assert code == 0, err
    lines = json.loads(out)
    assert {line["measure"] for line in lines} == {"cka", "knn"}
    code, out, err = run(
        capsys, monkeypatch, "similarity", *stores, "--other-seed", stores[0], "-m", "cka", "-o", tmp_path / "third"
    )
    assert code == 0, err
    assert "other seed" in out
    code, _, err = run(capsys, monkeypatch, "similarity", *stores, "--untrained", "-o", tmp_path / "fourth")
    assert code != 0
    assert "RA277: `untrained`" in err
    assert len(lines) == 2 * 7 * 7
    loaded = repana.similarity(*map(repana.Activations.load, stores), measures="cka")
    first = next(line for line in lines if line["layer_a"] == line["layer_b"] == "conv2")
    assert first["value"] == pytest.approx(loaded.estimate("conv2").value)


def test_refusals(tmp_path, weights, capsys, monkeypatch):
    code, _, err = run(capsys, monkeypatch, "similarity", MODEL, MODEL)
    assert code == 2
    assert err.startswith(f"RA283: {MODEL} is no store of recordings and no data came; give two stores")
    code, _, err = run(capsys, monkeypatch, "similarity", MODEL, MODEL, "-d", "digits:held_out", "-m", "ckaa")
    assert code == 2
    assert err.strip().endswith(
        "RA278: no measure is called 'ckaa'; the nearest are 'cka', 'cka_rbf', 'cca', 'cca_biased'."
    )
