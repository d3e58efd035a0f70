"""The documentation's settings."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

project = "repana"
author = "The repana developers"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
    "generated_pages",
]
html_theme = "pydata_sphinx_theme"
html_title = "repana"
exclude_patterns = ["_build", "gallery", "generated/gallery/*.ipynb", "generated/gallery/*.py"]
suppress_warnings = ["config.cache"]  # the scraper below is a function, which the cache cannot hold
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"


def pictures(block, block_vars, gallery_conf):
    """The variable `figure` of a gallery script, drawn without pyplot, as the picture of its page."""
    from sphinx_gallery.scrapers import figure_rst

    figure = block_vars["example_globals"].get("figure")
    if figure is None or getattr(figure, "in_gallery", False):
        return ""
    path = next(block_vars["image_path_iterator"])
    figure.savefig(path, format="png", dpi=150)
    figure.in_gallery = True
    return figure_rst([path], gallery_conf["src_dir"])


sphinx_gallery_conf = {
    "examples_dirs": str(HERE / "gallery"),
    "gallery_dirs": "generated/gallery",
    "image_scrapers": (pictures,),
    "reset_modules": (),
    "filename_pattern": r"plot_",
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 1e9,
    "only_warn_on_example_error": False,
    "abort_on_example_error": True,
}


def escape_bars(app, what, name, obj, options, lines):
    """Norms and absolute values are written |x|, which reStructuredText would read as a substitution."""
    lines[:] = [line if ">>>" in line else line.replace("|", "\\|") for line in lines]


def setup(app):
    app.connect("autodoc-process-docstring", escape_bars)
