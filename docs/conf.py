"""The documentation's settings."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "repana"
author = "The repana developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "quantities"]
html_theme = "pydata_sphinx_theme"
html_title = "repana"
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"


def escape_bars(app, what, name, obj, options, lines):
    """Norms and absolute values are written |x|, which reStructuredText would read as a substitution."""
    lines[:] = [line if ">>>" in line else line.replace("|", "\\|") for line in lines]


def setup(app):
    app.connect("autodoc-process-docstring", escape_bars)
