"""The house style: widths of a paper's columns, colours told apart in grey and by the colour-blind, embedded fonts."""

import io
import math
import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator, NullFormatter

from repana import _check, _report_refusals
from repana._files import put
from repana._finding import split_name
from repana._numbers import RAISED, number
from repana._results import Report

COLUMN, PAGE = 3.25, 6.75  # inches
WIDTHS = {"column": COLUMN, "neurips": 5.5, "page": PAGE, "nature": 3.5, "nature-wide": 7.2}  # inches, by name
Width = float | str
TALLEST = 170 / 25.4  # inches that journals give a figure
# Okabe & Ito 2008, then Tol's muted brown-red, olive and indigo: ten classes that the colour-blind tell apart
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#999933", "#332288", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
LINES: tuple[Any, ...] = ("-", "--", "-.", (0, (6, 1.5, 1, 1.5, 1, 1.5)))  # dots are for the values without structure
HATCH = "/////"
TITLE_LETTER = 0.55  # width of a letter of a title, in font sizes
FEWEST_TICKS, MOST_TICKS = 3, 5  # of a logarithmic axis
GREY, FAINT = "#6e6e6e", "#dddddd"
SEQUENTIAL, DEPTHS, SIGNED = "Blues", "viridis", "RdBu"
PAPER = ("paper", False)
MEDIA = {"paper": 1.0, "nature": 1.0, "notebook": 1.3, "slide": 1.75}  # sizes in units of a paper's
FONTS = ("Arial", "Helvetica", "Liberation Sans", "DejaVu Sans")  # the first that are installed, glyph by glyph
SIZES: dict[str, float] = {
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "figure.titlesize": 7,
    "figure.labelsize": 7,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
    "legend.fontsize": 6,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
}
RC: dict[str, Any] = {
    "axes.spines.top": False,
    "grid.color": FAINT,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.formatter.use_mathtext": True,
    "axes.formatter.limits": (-3, 4),
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "repana",
    "savefig.transparent": False,
    "mathtext.fontset": "dejavusans",
}
DARK: dict[str, Any] = {
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "#1b1d21"),
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), "#e8e8e8"),
    "grid.color": "#3d4045",
}
_medium: ContextVar[tuple[str, bool] | None] = ContextVar("medium", default=None)


@contextmanager
def style(medium: str = "paper", *, dark: bool = False) -> Iterator[None]:
    """Figures drawn inside have the sizes of a "paper" (7 point text), a "notebook" or a "slide".

    "nature": as a paper's, without grid lines and hatching, as that journal asks. Outside nothing changes; figures are
    then drawn for a paper. `dark`: on a dark ground. Fonts are Arial, Helvetica, Liberation Sans or DejaVu Sans, the
    first that is installed.
    """
    _check.choice(medium, "medium", MEDIA)
    with mpl.rc_context(_settings(medium, dark)):
        token = _medium.set((medium, dark))
        try:
            yield
        finally:
            _medium.reset(token)


@contextmanager
def drawing() -> Iterator[float]:
    """What a figure function draws in: the style that is on, or the paper's. Gives the size of a figure's inch."""
    medium, dark = _medium.get() or PAPER
    with style(medium, dark=dark):
        in_notebook()
        yield MEDIA[medium]


def _settings(medium: str, dark: bool) -> dict[Any, Any]:
    scale = MEDIA[medium]
    return {
        **RC,
        **(DARK if dark else {}),
        "font.family": _fonts(),
        **{name: round(size * scale, 2) for name, size in SIZES.items()},
    }


@cache
def _fonts() -> list[str]:
    """The fonts that are installed, in the order of preference: a glyph that one lacks comes from the next."""
    installed = {font.name for font in fontManager.ttflist}
    return [name for name in FONTS if name in installed]


def in_inches(width: Width) -> float:
    """A width of paper in inches, by number or by name."""
    if isinstance(width, str):
        _check.choice(width, "width", WIDTHS)
        return WIDTHS[width]
    _check.in_range(width, "width", 0.5, 100.0)
    return float(width)


def check_report(report: Any) -> None:
    """Raises InputError for a single result in the place of a report."""
    if not isinstance(report, Report):
        raise _report_refusals.no_report(type(report).__name__)


def plain() -> bool:
    """Whether the journal wants neither grid lines nor hatching."""
    return (_medium.get() or PAPER)[0] == "nature"


def guides(ax: Axes, axis: Any = "y") -> None:
    """Faint lines at the ticks, behind everything."""
    if not plain():
        ax.grid(axis=axis, color=mpl.rcParams["grid.color"], linewidth=0.4, zorder=-1)
    ax.set_axisbelow(True)


class Plate(Figure):
    """A figure that is saved as it was drawn: fonts embedded, and the same bytes for the same content."""

    medium, dark = "paper", False
    _for_layout = False

    def draw(self, renderer: Any) -> None:
        """As matplotlib's, except that the first of the two passes of a save only computes the layout."""
        engine = self.get_layout_engine()
        if self._for_layout and engine is not None:
            self._for_layout = False
            engine.execute(self)
        else:
            super().draw(renderer)

    def savefig(self, fname: Any, **options: Any) -> None:
        """As matplotlib's, in the style of the figure, without the date."""
        path = Path(fname) if isinstance(fname, (str, os.PathLike)) else None
        content = io.BytesIO()
        ending = "" if path is None else path.suffix[1:].lower()
        kind = options.get("format") or ending or mpl.rcParams["savefig.format"]
        undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "ps": {}, "eps": {}}.get(kind, {})
        options["metadata"] = {**undated, **(options.get("metadata") or {})}
        self._for_layout = True
        with mpl.rc_context(_settings(self.medium, self.dark)):
            try:
                options["format"] = kind
                super().savefig(fname if path is None else content, **options)
                if path is not None:
                    put(path if ending else path.with_name(f"{path.name}.{kind}"), content.getvalue())
            finally:
                self._for_layout = False


def plate(width: float, height: float) -> Plate:
    """An empty figure of a size in paper inches, larger on a slide. Call it inside `drawing`."""
    medium, dark = _medium.get() or PAPER
    scale = MEDIA[medium]
    figure = Plate(figsize=(width * scale, height * scale), layout="constrained")
    figure.medium, figure.dark = medium, dark
    return figure


def axes_or_new(ax: Axes | None, width: float = COLUMN, height: float = 2.4) -> Axes:
    """The given Axes, or those of a new figure."""
    if ax is not None:
        return ax
    made = plate(width, height).subplots()
    assert isinstance(made, Axes)
    return made


def grid(panels: int, width: float = PAGE, height: float = 1.7, columns: int | None = None) -> list[Axes]:
    """Empty small multiples, three in a row on a page's width, one in a column's."""
    columns = columns or min(panels, (2 if panels == 4 else 3) if width > COLUMN + 1 else 1)
    rows = -(-panels // columns)
    axes = plate(width, height * rows + 0.5).subplots(rows, columns, squeeze=False).flatten().tolist()
    for spare in axes[panels:]:
        spare.remove()
    return axes[:panels]


def figure_of(axes: Axes | Sequence[Axes]) -> Figure:
    """The whole figure that the axes stand in."""
    first = axes if isinstance(axes, Axes) else axes[0]
    figure = first.get_figure(root=True)
    assert isinstance(figure, Figure)
    return figure


def colour(i: int, total: int) -> Any:
    """The i-th of so many curves: told apart one by one, or, where they are many, by their place in the order."""
    return COLOURS[i] if total <= len(COLOURS) else depth_colour(i, total)


def depth_colour(i: int, total: int) -> Any:
    """The i-th in an order: dark first."""
    return mpl.colormaps[DEPTHS](0.82 * i / max(1, total - 1))


def shortened(name: str, most: int) -> str:
    """A name of at most so many characters, cut at its end."""
    return name if len(name) <= most else name[: most - 1] + "\u2026"


def tail(name: str, most: int) -> str:
    """The name of a layer in at most so many characters, cut at its beginning, which other layers share."""
    return name if len(name) <= most else "\u2026" + name[len(name) - most + 1 :]


def which(report: Report, run: str | None, split: str | None) -> str:
    """The split and the run where the report has several of them, to be said of a figure that shows one."""
    parts = [split_name(split or report.splits[0])] if len(report.splits) > 1 else []
    parts += [run or report.runs[0]] if len(report.runs) > 1 else []
    return ", ".join(literal(shortened(part, 20)) for part in parts)


def at(report: Report, layer: str, run: str | None, split: str | None) -> str:
    """The layer, and what `which` says."""
    return ", ".join(filter(None, (literal(tail(layer, 24)), which(report, run, split))))


def title(ax: Axes, words: str, which: str = "") -> None:
    """What is drawn; of which split and run in grey after a middle dot, or below where the line is full."""
    suffix, size = f" \u00b7 {which}" if which else "", mpl.rcParams["axes.titlesize"]
    room = figure_of(ax).get_figwidth() if ax.get_subplotspec() is None else _width(ax)
    room -= max((len(label.get_text()) for label in ax.get_yticklabels()), default=0) * TITLE_LETTER * size / 72
    room *= 0.72 if ax.get_aspect() == 1.0 else 1.0  # an image leaves room for its colour bar
    letters = _letters_in(room)
    words = "\n".join(part for line in words.split("\n") for part in textwrap.wrap(line, letters) or [line])
    if not which:
        ax.set_title(words)
        return
    fits = len(words.rpartition("\n")[2] + suffix) <= letters
    drawn = ax.set_title(words if fits else f"{words}\n ")
    place = (1.0, 0.0) if fits else (0.0, 0.0)
    ax.annotate(suffix if fits else which, place, xycoords=drawn, color=GREY, size=size, va="bottom", ha="left",
                annotation_clip=False)  # fmt: skip


def wrapped(ax: Axes, words: str) -> str:
    """The title of a panel, in lines that fit its column."""
    return "\n".join(textwrap.wrap(words, _letters_in(_width(ax)))) or words


def _letters_in(inches: float) -> int:
    """How many letters of a title fit."""
    return max(12, int(inches / (TITLE_LETTER * mpl.rcParams["axes.titlesize"] / 72)))


def _width(ax: Axes) -> float:
    """Inches of the column of axes that these stand in."""
    spec = ax.get_subplotspec()
    return figure_of(ax).get_figwidth() / (1 if spec is None else spec.get_gridspec().ncols) - 0.35


def letters(axes: Sequence[Axes]) -> None:
    """A bold letter before the title of every panel of several."""
    scale = MEDIA[(_medium.get() or PAPER)[0]]
    for letter, ax in zip("abcdefghijklmnopqrstuvwxyz", axes if len(axes) > 1 else ()):
        ax.annotate(
            letter, (0, 1), (-9 * scale, 4), xycoords="axes fraction", textcoords="offset points", ha="right",
            fontweight="bold",
        )  # fmt: skip


def thin() -> float:
    """The width of what stands behind a curve."""
    return 0.8 * float(mpl.rcParams["lines.linewidth"])


def decade(value: float, place: Any = None) -> str:
    """A tick of a logarithmic axis in letters of full size: 0.01, 1, 100, and 10\u207b\u2075 beyond three zeros."""
    if not 1e-3 * 0.999 < abs(value) < 1e4 * 0.999:
        return number(value, 1).replace("1\u00d7", "") if abs(value) < 1e-3 else _power(value)
    return f"{value:,g}"


def _power(value: float) -> str:
    """A large tick as a power of ten."""
    exponent = math.floor(math.log10(abs(value)) + 1e-9)
    factor = round(value / 10**exponent)
    raised = str(exponent).translate(RAISED)
    return f"10{raised}" if factor == 1 else f"{factor}\u00d710{raised}"


class Decades(Locator):
    """Three to five powers of ten; where the axis has fewer than three, 1, 2 and 5 times powers of ten."""

    def __call__(self) -> Sequence[float]:
        low, high = self.axis.get_view_interval()  # type: ignore[union-attr]
        return self.tick_values(low, high)

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        low, high = sorted((vmin, vmax))
        if not 0 < low < high:
            return [high] if high > 0 else []
        powers = _powers(low, high)
        if len(powers) >= FEWEST_TICKS:
            step = -(-len(powers) // MOST_TICKS)
            return [10.0**e for e in powers if (e - powers[-1]) % step == 0]
        near = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
        for factors in ((1, 3), (1, 2, 5), range(1, 10)):
            ticks = [m * 10.0**e for e in near for m in factors if low * 0.999 <= m * 10.0**e <= high * 1.001]
            if len(ticks) >= FEWEST_TICKS:
                return ticks[:: -(-len(ticks) // (MOST_TICKS + 1))]
        return MaxNLocator(4).tick_values(low, high)


def _powers(low: float, high: float) -> range:
    """The exponents of the powers of ten between two numbers."""
    return range(math.ceil(math.log10(low) - 1e-3), math.floor(math.log10(high) + 1e-3) + 1)


def decades(axis: Axis, *, widen: bool = False) -> None:
    """Ticks of a logarithmic axis, in letters of full size. `widen`: show at least three powers of ten."""
    if widen:
        low, high = axis.get_view_interval()
        a, b = math.log10(low), math.log10(high)
        while len(_powers(10.0**a, 10.0**b)) < FEWEST_TICKS:  # the end that is nearer to its power goes there
            below, above = math.ceil(a - 1e-3) - 1, math.floor(b + 1e-3) + 1
            a, b = (below, b) if a - below <= above - b else (a, above)
        axis.set_view_interval(10.0**a, 10.0**b, ignore=True)
        (axis.axes.set_xlim if axis is axis.axes.xaxis else axis.axes.set_ylim)(10.0**a, 10.0**b)
    axis.set_major_locator(Decades())
    axis.set_minor_locator(LogLocator(subs=(1.0,), numticks=99))
    axis.set_major_formatter(FuncFormatter(decade))
    axis.set_minor_formatter(NullFormatter())


def hatch(ax: Axes, x: Any, y: Any) -> None:
    """Mark the cell of an image whose value is not finite or not known: hatched, or grey where a journal wants none."""
    look: dict[str, Any] = {"color": FAINT} if plain() else {"fill": False, "hatch": HATCH, "edgecolor": GREY}
    ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, linewidth=0, **look))


def ink() -> Any:
    """The colour of text, which stands out from the ground."""
    return mpl.rcParams["text.color"]


def literal(text: str) -> str:
    """Text as it is: a dollar sign in a layer's name starts no formula."""
    return text.replace("$", r"\$")


def legend_name(text: str) -> str:
    """Text for a legend, from which matplotlib would leave out what starts with an underscore."""
    return f" {literal(text)}" if text.startswith("_") else literal(text)


def in_notebook() -> None:
    """Let a notebook show figures that were made without pyplot, as pyplot's own figures are shown."""
    if "ipykernel" not in sys.modules:
        return
    shell: Any = sys.modules["IPython"].get_ipython()  # ipykernel has loaded it
    if shell is None:
        return
    formatter = shell.display_formatter.formatters["image/png"]
    try:
        formatter.lookup_by_type(Figure)
    except KeyError:
        formatter.for_type(Figure, _png)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
