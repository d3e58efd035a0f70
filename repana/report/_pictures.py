"""Figures inside a page: inline SVG, and matrices as pixels."""

import base64
import html
import io
import re
from collections.abc import Callable, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from repana import plots


def svg(axes: Axes | Sequence[Axes], alternative: str, name: str = "f") -> str:
    """A figure as inline SVG with a text alternative; the same figure gives the same bytes.

    `name` keeps the identifiers inside apart from those of other figures on the page.
    """
    figure = plots.figure_of(axes)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", buffer.getvalue(), flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"\n\s*", "\n", text)
    label = html.escape(alternative, quote=True)
    return text[text.index("<svg") :].replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def pixels(matrix: np.ndarray, colours: str, low: float, high: float, alternative: str) -> str:
    """A matrix as a small picture, one pixel an entry, that the page enlarges; NaN is white."""
    from PIL import Image

    map_: Callable[..., np.ndarray] = mpl.colormaps[colours].with_extremes(bad="white")
    shades = map_(Normalize(low, high)(np.ma.masked_invalid(matrix)), bytes=True)
    buffer = io.BytesIO()
    Image.fromarray(shades[..., :3].copy()).save(buffer, "png", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img class="pixels" alt="{html.escape(alternative, quote=True)}" src="data:image/png;base64,{data}">'
