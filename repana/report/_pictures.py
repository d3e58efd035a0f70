"""Figures inside a page, as inline SVG."""

import html
import io
import re
from collections import Counter
from collections.abc import Sequence

from matplotlib.axes import Axes

from repana import plots


def svg(axes: Axes | Sequence[Axes], alternative: str, name: str = "f", *, adapts: bool = False) -> str:
    """A figure as inline SVG with a text alternative; the same figure gives the same bytes.

    `name` keeps the identifiers inside apart from those of other figures on the page. `adapts`: black, greys and the
    ground follow the colours of the page, which may be dark.
    """
    figure = plots.figure_of(axes)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    text = re.sub(r"<metadata>.*?</metadata>\s*|<!--.*?-->\s*", "", buffer.getvalue(), flags=re.DOTALL)
    text = re.sub(r"\n\s*", "\n", text)
    text = DRAWN.sub(lambda m: f' {m[1]}="{_rounded(m[2])}"', text)
    text = re.sub(r'style="([^"]*)"', lambda m: f'style="{re.sub(": |; ", lambda s: s[0][0], m[1])}"', text)
    text = re.sub(r">\n<", "><", text)
    text = re.sub(r' id="curve(\d+)-[^"]*"', r' class="c\1"', text)
    used = dict.fromkeys(re.findall(r'(?:xlink:href="#|url\(#)([^")]*)', text))
    short = {known: f"{name}{i}" for i, known in enumerate(used)}
    text = re.sub(r' id="([^"]*)"', lambda m: f' id="{short[m[1]]}"' if m[1] in used else "", text)
    text = re.sub(r'(xlink:href="#|url\(#)([^")]*)', lambda m: m[1] + short[m[2]], text)
    text = re.sub(r";?font-family:[^;\"]*|;stroke-linejoin:miter\b", "", text)  # once, at the root; the default
    text = re.sub(r' transform="rotate\(-0 [^"]*\)"', "", text)
    for _ in range(4):  # groups that hold one thing alone, or nothing
        text = re.sub(r"<g>(<(?:path|use|text)\b[^<>]*/>)</g>", r"\1", text)
        text = re.sub(r"<g>\s*</g>|<g/>", "", text)
    for colour, stands_for in ADAPTED if adapts else ():
        text = text.replace(colour, stands_for)
    text = _classes(text[text.index("<svg") :], name)
    label, fonts = html.escape(alternative, quote=True), ", ".join((*plots.FONTS, "sans-serif"))
    return text.replace("<svg ", f'<svg role="img" font-family="{fonts}" aria-label="{label}" ', 1)


def _classes(text: str, name: str) -> str:
    """Looks that several elements share once, as classes of this figure, in its own style element."""
    looks = [look for look, times in Counter(re.findall(r' style="([^"]*)"', text)).items() if times > 1]
    known = {look: f"{name}-{i}" for i, look in enumerate(looks)}
    rules = "".join(f".{known[look]}{{{look}}}" for look in looks)
    text = re.sub(r' style="([^"]*)"', lambda m: f' class="{known[m[1]]}"' if m[1] in known else m[0], text)
    text = re.sub(r' class="([^"]*)"([^<>]*) class="([^"]*)"', r' class="\1 \3"\2', text)
    return text.replace("</style>", f"{rules}</style>", 1)


ADAPTED = (("#000000", "currentColor"), ("#ffffff", "var(--paper,#ffffff)"), ("#dddddd", "var(--line,#dddddd)"),
           ("#6e6e6e", "var(--soft,#6e6e6e)"))  # fmt: skip
DRAWN = re.compile(r' (d|x|y|x1|x2|y1|y2|width|height|points)="([^"]*)"')


def _rounded(coordinates: str) -> str:
    """To tenths of a point, which are finer than a screen's pixel at the size of a page, and without idle spaces."""
    text = re.sub(r"(\d\.\d)\d+", r"\1", coordinates)
    text = re.sub(r"(\d)\.0\b", r"\1", text)
    return re.sub(r"\s*([A-Za-z])\s*|\s+(?=-)|(\s)\s+", r"\1\2", text).strip()
