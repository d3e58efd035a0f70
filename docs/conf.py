"""The documentation's settings."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

project = "repana"
author = "The repana developers"
extensions = [
    "myst_nb",
    "sphinx_design",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
    "generated_pages",
    "offline_math",
]
html_theme = "pydata_sphinx_theme"
html_title = "repana"
html_static_path = ["_static"]
html_css_files = ["repana.css"]
html_math_renderer = "mathml"
html_theme_options = {
    "header_links_before_dropdown": 5,
    "navigation_depth": 2,
    "show_toc_level": 2,
    "navbar_align": "left",
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars = {"index": [], "generated/gallery/index": [], "reference/errors": [], "reference/changelog": []}
exclude_patterns = [
    "_build",
    "gallery",
    "generated/gallery/**/*.ipynb",
    "generated/gallery/**/*.py",
]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # tutorials are kept with their outputs; the tests run them
nb_merge_streams = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"


sphinx_gallery_conf = {
    "examples_dirs": str(HERE / "gallery"),
    "gallery_dirs": "generated/gallery",
    "image_scrapers": ("gallery_pictures.pictures",),
    "parallel": 2,
    "reset_modules": (),
    "filename_pattern": r"plot_",
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,
    "min_reported_time": 1e9,
    "only_warn_on_example_error": False,
    "abort_on_example_error": True,
}


def escape_bars(app, what, name, obj, options, lines):
    """Norms and absolute values are written |x|, which reStructuredText would read as a substitution."""
    lines[:] = [line if ">>>" in line else line.replace("|", "\\|") for line in lines]


def setup(app):
    app.connect("autodoc-process-docstring", escape_bars)
