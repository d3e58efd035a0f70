"""The house itself: a cheap import, names that exist, type checks that are on, errors that are explained."""

import ast
import copy
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import repana
from repana import FileError, InputError, Moments

ROOT = Path(__file__).parents[1]


def test_import_loads_nothing_and_changes_nothing():
    code = """
import sys, warnings, random
before, state, filters = set(sys.modules), random.getstate(), list(warnings.filters)
import repana
after = set(sys.modules) - before
assert not {m.split('.')[0] for m in after} & {'torch', 'numpy', 'scipy', 'matplotlib', 'pandas', 'sklearn'}, after
assert len(after) < 20, sorted(after)
assert random.getstate() == state and list(warnings.filters) == filters
repana.neural_collapse
assert 'torch' in sys.modules and 'matplotlib' not in sys.modules and 'pandas' not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_public_name_exists():
    assert "profile" in dir(repana)
    for name in repana.__all__:
        assert getattr(repana, name) is not None
    assert repana.__version__


def test_shape_checks_are_on_under_pytest(checked):
    from jaxtyping import TypeCheckError

    with pytest.raises(TypeCheckError):
        Moments.of(torch.zeros(3, 2, 2), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(TypeCheckError):
        Moments.of(torch.zeros(3, 2), torch.zeros(4, dtype=torch.int64))


def codes_raised() -> set[str]:
    found = set()
    for path in (ROOT / "repana").rglob("*.py"):
        found |= set(re.findall(r'"(RA\d{3})"', path.read_text()))
    return found


def test_every_error_code_has_a_paragraph():
    page = (ROOT / "docs" / "errors.md").read_text()
    explained = set(re.findall(r"^### (RA\d{3})", page, re.M))
    noted = set(re.findall(r'"(RA\d{3}): ', "".join(p.read_text() for p in (ROOT / "repana").rglob("*.py"))))
    assert explained == codes_raised() | noted | {"RA401"}
    for body in re.split(r"^### ", page, flags=re.M)[1:]:
        assert len(body.split("\n", 1)[1].split()) >= 12, body.split("\n")[0]


def test_refusals_are_built_in_one_place():
    for path in (ROOT / "repana").rglob("*.py"):
        if path.name in ("_check.py", "errors.py") or path.stem.endswith("_refusals"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("InputError", "ModelError", "FileError"):
                raise AssertionError(f"{path.name}:{node.lineno} builds an error of its own")


def test_errors_survive_processes():
    for error in (InputError("RA201", "text"), FileError("RA301", "other")):
        back = pickle.loads(pickle.dumps(error))
        assert (type(back), back.code, str(back)) == (type(error), error.code, str(error))
        assert copy.copy(error).code == error.code
    assert isinstance(InputError("RA201", "x"), ValueError)
    assert isinstance(FileError("RA301", "x"), OSError)


def test_functions_without_an_end_are_not_shipped():
    """No stub, no reminder: what is in the package works."""
    for path in (ROOT / "repana").rglob("*.py"):
        text = path.read_text()
        assert not re.search(r"\b(TODO|FIXME|XXX|NotImplementedError)\b", text), path


def test_every_error_code_is_tested():
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert {code for code in codes_raised() if f"{code}: " not in tests} == set()
