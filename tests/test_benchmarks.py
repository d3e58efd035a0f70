"""The benchmarks are not timed here; that they can be run is what a person expects of their command."""

import subprocess
import sys
from pathlib import Path


def test_every_suite_can_be_loaded():
    code = "import sys; sys.argv = ['benchmarks', 'none']; import benchmarks.__main__"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.stderr.strip().endswith("KeyError: 'none'")
