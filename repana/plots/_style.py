"""The house style: widths of a paper's columns, colours told apart in grey and by the colour-blind, embedded fonts."""

import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, NullFormatter

from repana import _check, _report_refusals
from repana._numbers import number
from repana._results import Report

COLUMN, PAGE = 3.25, 6.75  # inches
TALLEST = 170 / 25.4  # inches that journals give a figure
# Okabe & Ito 2008, then Tol's muted brown-red, olive and indigo: ten classes that the colour-blind tell apart
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#999933", "#332288", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
LINES: tuple[Any, ...] = ("-", "--", "-.", (0, (6, 1.5, 1, 1.5, 1, 1.5)))  # dots are for the values without structure
HATCH = "/////"
GREY, FAINT = "#6e6e6e", "#dddddd"
SEQUENTIAL, DEPTHS, SIGNED = "Blues", "viridis", "RdBu"
MEDIA = {"paper": 1.0, "notebook": 1.3, "slide": 1.75}  # sizes in units of a paper's
SIZES: dict[str, float] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "figure.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
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
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.formatter.use_mathtext": True,
    "axes.formatter.limits": (-3, 4),
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "repana",
    "savefig.transparent": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica", "sans-serif"],
    "mathtext.fontset": "dejavusans",
}
_medium: ContextVar[str | None] = ContextVar("medium", default=None)


@contextmanager
def style(medium: str = "paper") -> Iterator[None]:
    """Figures drawn inside have the sizes of a "paper" (8 point text), a "notebook" or a "slide".

    Outside nothing changes; figures are then drawn for a paper.
    """
    _check.choice(medium, "medium", MEDIA)
    with mpl.rc_context(_settings(medium)):
        token = _medium.set(medium)
        try:
            yield
        finally:
            _medium.reset(token)


@contextmanager
def drawing() -> Iterator[float]:
    """What a figure function draws in: the style that is on, or the paper's. Gives the size of a figure's inch."""
    medium = _medium.get() or "paper"
    with style(medium):
        in_notebook()
        yield MEDIA[medium]


def _settings(medium: str) -> dict[Any, Any]:
    scale = MEDIA[medium]
    return {**RC, **{name: round(size * scale, 2) for name, size in SIZES.items()}}


class Plate(Figure):
    """A figure that is saved as it was drawn: fonts embedded, and the same bytes for the same content."""

    medium = "paper"
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
        kind = options.get("format") or str(getattr(fname, "name", fname)).rpartition(".")[2].lower()
        undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "ps": {}, "eps": {}}.get(kind, {})
        options["metadata"] = {**undated, **(options.get("metadata") or {})}
        self._for_layout = True
        with mpl.rc_context(_settings(self.medium)):
            try:
                super().savefig(fname, **options)
            except PermissionError as error:
                raise _report_refusals.not_writable(error.filename or fname) from None
            finally:
                self._for_layout = False


def plate(width: float, height: float) -> Plate:
    """An empty figure of a size in paper inches, larger on a slide. Call it inside `drawing`."""
    medium = _medium.get() or "paper"
    scale = MEDIA[medium]
    figure = Plate(figsize=(width * scale, height * scale), layout="constrained")
    figure.medium = medium
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
    """A layer name of at most so many characters, cut in the middle."""
    if len(name) <= most:
        return name
    left = (most - 1) // 2
    return name[:left] + "\u2026" + name[len(name) - (most - 1 - left) :]


def which(report: Report, run: str | None, split: str | None) -> str:
    """ ", run, split" where the report has several of them, to be said of a figure that shows one."""
    parts = [run or report.runs[0]] if len(report.runs) > 1 else []
    parts += [(split or report.splits[0]).replace("_", " ")] if len(report.splits) > 1 else []
    return "".join(f", {literal(shortened(part, 20))}" for part in parts)


def thin() -> float:
    """The width of what stands behind a curve."""
    return 0.8 * float(mpl.rcParams["lines.linewidth"])


def decade(value: float, place: Any = None) -> str:
    """A tick of a logarithmic axis in letters of full size: 0.01, 1, 100, and 10\u207b\u2075 beyond three zeros."""
    if not 1e-3 * 0.999 < abs(value) < 1e3 * 1.001:
        return number(value, 1).replace("1\u00d7", "")
    return f"{value:g}"


def decades(axis: Axis) -> None:
    """Label a logarithmic axis at its decades alone, in letters of full size."""
    axis.set_major_formatter(FuncFormatter(decade))
    axis.set_minor_formatter(NullFormatter())


def hatch(ax: Axes, x: Any, y: Any) -> None:
    """Mark the cell of an image whose value is not finite or not known."""
    ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, hatch=HATCH, edgecolor=GREY, linewidth=0))


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
