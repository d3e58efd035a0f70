"""Pictures of the gallery: a module, so that its scripts can run in several processes."""

from typing import Any


def pictures(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """The variable `figure` of a gallery script, drawn without pyplot, as the picture of its page.

    Where the script has `variants`, figures by name, they stand in tabs.
    """
    from sphinx_gallery.scrapers import figure_rst

    names = block_vars["example_globals"]
    figure = names.get("figure")
    if figure is None or getattr(figure, "in_gallery", False):
        return ""
    figure.in_gallery = True
    shown = {}
    for name, drawn in (names.get("variants") or {"": figure}).items():
        shown[name] = next(block_vars["image_path_iterator"])
        drawn.savefig(shown[name], format="png", dpi=150)
    if len(shown) == 1:
        return figure_rst(list(shown.values()), gallery_conf["src_dir"])
    tabs = [".. tab-set::", ""]
    for name, path in shown.items():
        inside = figure_rst([path], gallery_conf["src_dir"])
        tabs += [f"    .. tab-item:: {name}", "", *(f"        {line}" for line in inside.splitlines()), ""]
    return "\n".join(tabs)
