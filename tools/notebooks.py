"""Run the tutorials and keep what their cells show, for the documentation: python tools/notebooks.py [NAME ...]."""

import os
import sys
import tempfile
from pathlib import Path

import nbclient
import nbformat

FOLDER = Path(__file__).parents[1] / "notebooks"


def main(*names: str) -> None:
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    for path in sorted(FOLDER.glob("*.ipynb")):
        if names and not any(name in path.name for name in names):
            continue
        book = nbformat.read(path, 4)
        with tempfile.TemporaryDirectory() as folder:
            resources = {"metadata": {"path": folder}}
            nbclient.NotebookClient(
                book, kernel_name="python3", timeout=600, resources=resources, record_timing=False
            ).execute()
        book.metadata.pop("widgets", None)
        for cell in book.cells:
            shown = [out for out in cell.get("outputs", ()) if out.get("name") != "stderr"]  # progress bars
            for output in shown:
                output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
            if cell.cell_type == "code":
                cell.outputs = shown
        nbformat.write(book, path)
        print(path.name, f"{path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(*sys.argv[1:])
