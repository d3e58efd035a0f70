"""The how-tos of stores and sweeps: their files are written and their commands run, on fewer processes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs" / "howto"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
SMALLER = (  # what a machine without GPUs and without Slurm can do
    ("torchrun --nproc-per-node 8", f"{sys.executable} -m torch.distributed.run --nproc-per-node 2"),
    ("--option slurm_partition=gpu --option timeout_min=60", "--option cluster=local --option timeout_min=5"),
    ("python mine.py", f"{sys.executable} mine.py"),
)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["disk", "sweep", "crash", "devices", "cost"])
def test_commands_of_a_page_run(page, tmp_path):
    text = (DOCS / f"{page}.md").read_text()
    (tmp_path / "bin").mkdir()
    repana = tmp_path / "bin" / "repana"
    repana.write_text(f'#!/bin/sh\nexec {sys.executable} -m repana "$@"\n')
    repana.chmod(0o755)
    own = [b for kind, b in BLOCK.findall(text) if kind == "python" and "def model" in b]
    shared = [b for kind, b in BLOCK.findall((DOCS / "disk.md").read_text()) if "def model" in b]
    (tmp_path / "mine.py").write_text((own or shared)[0])
    ran = 0
    for kind, block in BLOCK.findall(text):
        if kind == "toml":
            (tmp_path / "sweep.toml").write_text(block)
        elif kind == "python" and "def model" not in block:
            done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-2000:]
        elif kind == "sh":
            for line in block.strip().splitlines():
                for long, short in SMALLER:
                    line = line.replace(long, short)
                line = f"PATH={tmp_path / 'bin'}:$PATH; {line}"
                done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=300)
                assert done.returncode == 0, f"{line}\n{done.stdout[-500:]}\n{done.stderr[-2000:]}"
                ran += 1
    assert ran >= 3 or page == "devices"
    if page == "disk":
        one, eight = (
            {p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file() and p.name != "log.jsonl"}
            for f in (tmp_path / "acts" / "one", tmp_path / "acts" / "eight")
        )
        assert one == eight
