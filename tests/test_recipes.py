"""The recipes of CONTRIBUTING.md, executed on a copy of the package; and a family taken out of the registry."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

MODULE = '''"""How evenly the samples of a layer are spread over its features."""

from dataclasses import dataclass

from repana._estimate import Estimate
from repana._reads import reads
from repana.summaries.covariance import Covariance


@dataclass(frozen=True)
class Evenness:
    """See `evenness`."""

    evenness: Estimate


@reads
def evenness(covariance: Covariance, *, level: float = 0.95) -> Evenness:
    """Share of the largest eigenvalue that the mean eigenvalue has: mean lambda / max lambda.

    In [0, 1], unitless. Raises InputError for no samples. Source: by definition.
    """
    v = covariance.eigenvalues
    return Evenness(Estimate(float(v.mean() / v.max()), n=covariance.n))
'''

TEST = """
import torch, repana
from repana.spectra._evenness import evenness

x = torch.eye(4, dtype=torch.float64).repeat(2, 1) * torch.tensor([1.0, -1.0]).repeat_interleave(4)[:, None]
assert abs(float(evenness(x).evenness) - 1.0) < 1e-9
y = torch.arange(60) % 3
net = torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
report = repana.profile(net, (torch.randn(60, 5), y), analyzers=["evenness", "spectrum"], permutations=0, bootstrap=0)
assert report.failures == (), report.failures
assert len(report.select("evenness.evenness")) == len(report.layers)
page = report.to_html("page.html").read_text()
assert "<mfrac>" in page and "\u03bb" in page and "Somebody 2031" in page and "somebody2031" in page
report.plot("evenness.evenness")
"""


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(ROOT / "repana", tmp_path / "repana", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def run(folder, code):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_new_quantity_is_two_files_of_the_package(copy):
    """Its module and the family's table; the other two are its test and the changelog."""
    (copy / "repana" / "spectra" / "_evenness.py").write_text(MODULE)
    table = copy / "repana" / "spectra" / "_table.py"
    text = table.read_text()
    line = 'Quantity("evenness", "mean lambda / max lambda", source="Somebody 2031")'
    line = f"Analyzer(evenness, ({line},), default=False),\n"
    text = text.replace("ANALYZERS = (\n", "ANALYZERS = (\n    " + line)
    text = text.replace("SOURCES = {\n", 'SOURCES = {\n    "Somebody 2031": "@misc{somebody2031, year = {2031}}",\n')
    table.write_text(text.replace("\n\nANALYZERS", "\nfrom repana.spectra._evenness import evenness\n\nANALYZERS", 1))
    run(copy, TEST)


@pytest.mark.parametrize("family", ["collapse", "probes"])
def test_a_family_can_be_left_out(copy, family):
    path = copy / "repana" / "analyzers" / "__init__.py"
    lines = [line for line in path.read_text().splitlines() if f"repana.{family}._table" not in line]
    text = "\n".join(lines).replace(f"{family.upper()}, ", "").replace(f", {family.upper()})", ")")
    path.write_text(text + "\n")
    run(
        copy,
        "import torch, repana\n"
        "data = {'a': torch.randn(60, 5), 'b': torch.randn(60, 4)}\n"
        "report = repana.profile(data, torch.arange(60) % 3, permutations=0, bootstrap=0)\n"
        "assert report.failures == (), report.failures\n"
        f"from repana.analyzers import FAMILIES\nassert {family!r} not in [f.name for f in FAMILIES]\n"
        "assert report.findings()\nreport.to_html('page.html')\n",
    )
