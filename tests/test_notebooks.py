"""The tutorials run from a fresh kernel, and are kept with their outputs for the documentation."""

import os
from pathlib import Path

import nbclient
import nbformat
import pytest

BOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks():
    assert [b.name[:2] for b in BOOKS] == ["01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11"]


@pytest.mark.parametrize("path", BOOKS, ids=lambda p: p.stem)
def test_outputs_are_kept(path):
    """What cells show, without errors and progress bars: python tools/notebooks.py."""
    book = nbformat.read(path, 4)
    outputs = [out for cell in book.cells for out in cell.get("outputs", ())]
    assert all(cell.execution_count for cell in book.cells if cell.cell_type == "code")
    assert sum("image/png" in out.get("data", {}) for out in outputs) >= 2
    assert not [out for out in outputs if out.output_type == "error" or out.get("name") == "stderr"]
    assert path.stat().st_size < 1_000_000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", BOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    book = nbformat.read(path, 4)
    nbclient.NotebookClient(
        book, kernel_name="python3", timeout=300, resources={"metadata": {"path": tmp_path}}
    ).execute()
    if folder := os.environ.get("REPANA_KEEP_NOTEBOOKS"):
        nbformat.write(book, Path(folder) / path.name)
    shown = [kind for cell in book.cells for out in cell.get("outputs", ()) for kind in out.get("data", ())]
    assert shown.count("image/png") >= 2
    said = "".join(out.text for cell in book.cells for out in cell.get("outputs", ()) if out.get("name") == "stderr")
    assert "arning" not in said
    assert "rror" not in said
