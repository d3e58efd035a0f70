"""The public face: what is at the top, what a family exports, and the signatures that a user sees."""

import inspect
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

import repana
from repana import InputError

ROOT = Path(__file__).parents[1]
FAMILIES = (
    "collapse", "separation", "dimension", "topology", "spectra", "probes", "features", "comparison", "dynamics",
    "ranking", "heads", "kernels",
)  # fmt: skip
PAGE = (ROOT / "docs" / "howto" / "names.md").read_text()
NAMES = re.findall(r"^\| `(\w+)` \| `(repana[\w.]*)` \|$", PAGE, re.M)

sys.path.insert(0, str(ROOT))
from tools import stubs  # noqa: E402


def test_the_top_is_small_and_has_the_families():
    packages = {name for name in repana.__all__ if inspect.ismodule(getattr(repana, name))}
    assert len(set(repana.__all__) - packages) <= 53
    assert set(FAMILIES) <= packages


@pytest.mark.parametrize(("name", "where"), NAMES)
def test_every_name_of_the_first_version_is_found(name, where):
    module, _, new = where.rpartition(".")
    there = getattr(import_module(module), new)
    assert there is getattr(repana, name)


def test_the_table_of_names_is_whole():
    assert len(NAMES) == 157
    with pytest.raises(AttributeError):
        _ = repana.nosuch


@pytest.mark.parametrize("family", FAMILIES)
def test_stubs_are_what_the_code_says(family):
    assert (ROOT / "repana" / family / "__init__.pyi").read_text() == stubs.stub(family), "run tools/stubs.py"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_exports_what_exists(family):
    module = import_module(f"repana.{family}")
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module)


@pytest.mark.parametrize("name", ["two_nn", "fisher", "separability", "spectrum", "h0_separability"])
def test_help_shows_what_can_be_given(name):
    function = getattr(repana, name)
    shown = inspect.signature(function).parameters
    assert next(iter(shown)) == "features"
    assert {"seed", "level", "nan_policy"} <= set(shown)
    assert all(p.kind is p.KEYWORD_ONLY for p in list(shown.values())[2:])
    x = torch.randn(80, 4, generator=torch.Generator().manual_seed(0))
    given = (x, torch.arange(80) % 4) if "labels" in shown else (x,)
    defaults = {k: p.default for k, p in shown.items() if p.default is not p.empty}
    assert repr(function(*given, **defaults)) == repr(function(*given))


def test_help_of_two_nn():
    done = subprocess.run([sys.executable, "-c", "import repana; help(repana.two_nn)"], capture_output=True, text=True)
    for word in ("features", "max_samples", "duplicates", "calibrate"):
        assert word in done.stdout.split("\n\n")[1]


@pytest.mark.slow
def test_pyright_knows_every_option(tmp_path):
    (tmp_path / "use.py").write_text(
        "import repana\nimport torch\nx = torch.randn(50, 3)\n"
        "reveal_type(repana.two_nn(x, max_samples=20, calibrate=True))\n"
        "reveal_type(repana.dimension.gride(x, n1=2, duplicates='keep'))\n"
        "reveal_type(repana.fisher(x, [0, 1], jackknife=0).trace_ratio)\n"
        "repana.two_nn(x, nosuch=1)\n"
    )
    pyright = shutil.which("pyright", path=str(Path(sys.executable).parent))
    assert pyright is not None
    command = [pyright, "--pythonpath", sys.executable, str(tmp_path / "use.py")]
    said = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path).stdout
    assert said.count('is "Estimate"') == 3, said
    assert 'No parameter named "nosuch"' in said
    assert said.count("error:") == 1, said


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x, y: repana.fisher(x, y, groups=3), "RA212: `groups` of `fisher` is now `jackknife`."),
        (lambda x, y: repana.fisher(x, y, null=3), "RA212: `null` of `fisher` is now `permutations`."),
        (
            lambda x, y: repana.neural_collapse(x, y, replicates=3),
            "RA212: `replicates` of `neural_collapse` is now `bootstrap`.",
        ),
        (lambda x, y: repana.two_nn(x, most=30), "RA212: `most` of `two_nn` is now `max_samples`."),
        (lambda x, y: repana.probes.mdl(x, y, orders=2), "RA212: `orders` of `mdl` is now `repeats`."),
        (
            lambda x, y: repana.dimension.ph_dimension(x, subsamples=2),
            "RA212: `subsamples` of `ph_dimension` is now `repeats`.",
        ),
        (lambda x, y: repana.profile({"a": x}, y, null=2), "RA212: `null` of `profile` is now `permutations`."),
    ],
)
def test_an_old_argument_names_the_new_one(call, text):
    with pytest.raises(InputError) as error:
        call(torch.randn(30, 3), torch.arange(30) % 3)
    assert str(error.value) == text
