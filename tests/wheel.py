"""Build the wheel, install it into an empty environment's path, use it from there. Run on its own: it takes a while."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_built_wheel_has_stub_template_and_works(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    target = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(target)
    assert (target / "repana" / "__init__.pyi").is_file()
    assert (target / "repana" / "templates" / "report.html.j2").is_file()
    assert (target / "repana" / "py.typed").is_file()
    assert (target / "repana" / "dimension" / "_balls.npz").is_file()
    assert (target / "repana" / "dimension" / "__init__.pyi").is_file()
    code = f"""
import sys; sys.path.insert(0, {str(target)!r})
import repana, torch
assert repana.__file__.startswith({str(target)!r}), repana.__file__
net = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
report = repana.profile(net, (torch.randn(30, 4), torch.arange(30) % 3), permutations=0, bootstrap=0)
repana.dimension.two_nn(torch.randn(30, 4), calibrate=True)
report.to_html({str(tmp_path / "page.html")!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    assert (tmp_path / "page.html").is_file()
