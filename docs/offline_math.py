"""Formulas of the documentation as MathML, which browsers draw without a script or a font from a network."""

from docutils import nodes
from latex2mathml.converter import convert


def inline(self, node) -> None:
    self.body.append(convert(node.astext()))
    raise nodes.SkipNode


def display(self, node) -> None:
    self.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (inline, None), (display, None))
    return {"parallel_read_safe": True}
