"""Tables of layers by quantities: for the page, Markdown, LaTeX."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from repana import _report_refusals
from repana._estimate import span
from repana._finding import split_name
from repana._numbers import SIGNIFICANT, number
from repana._quantity import Quantity
from repana._results import Report, Row

LABEL = re.compile(r"[A-Za-z0-9:._-]+")  # of a table in LaTeX


@dataclass(frozen=True)
class Table:
    """Quantities by layer for one run and split; a cell is a row of the report, or None."""

    caption: str
    quantities: tuple[Quantity, ...]
    body: tuple[tuple[str, tuple[Row | None, ...]], ...]

    names: tuple[str, ...] = ()  # analyzer.quantity

    @property
    def titles(self) -> tuple[str, ...]:
        return tuple(q.label for q in self.quantities)


def table(report: Report, names: Sequence[str], run: str, split: str) -> Table:
    full = [report.qualified(name) for name in names]
    cells = {(r.layer, f"{r.analyzer}.{r.quantity}"): r for r in report.of_run(run) if r.split == split}
    body = [(layer, tuple(cells.get((layer, name)) for name in full)) for layer in report.layers]
    counts = [r.n for r in cells.values()]
    caption = f"{run}, {split_name(split)}" + (f", n = {max(counts):,}" if counts else "")
    lines = tuple(report.quantity(*name.split(".")) for name in full)
    return Table(caption, lines, tuple((layer, row) for layer, row in body if any(row)), tuple(full))


def interval(row: Row) -> str:
    """[low, high], or nothing."""
    return span(row.low, row.high)


def _chosen(report: Report, names: Sequence[str], run: str | None, split: str | None) -> Table:
    run = run or (report.select(names[0])[0].run if names else report.runs[0])
    held = {f"{r.analyzer}.{r.quantity}" for r in report.of_run(run)}
    names = names or tuple(name for name in report.headline if report.qualified(name) in held)
    if not names:
        raise _report_refusals.nothing_selected("a headline quantity", run, split or "", report.runs, report.splits)
    split = split or report.select(names[0], run=run)[0].split
    for name in names:
        report.select(name, run=run, split=split)  # refuses what is not there
    return table(report, names, run, split)


def markdown(report: Report, *quantities: str, run: str | None = None, split: str | None = None) -> str:
    """A Markdown table, each value with its interval in brackets."""
    shown = _chosen(report, quantities, run, split)
    lines = ["| layer | " + " | ".join(shown.titles) + " |", "|---|" + "---:|" * len(shown.titles)]
    for layer, cells in shown.body:
        texts = [f"{number(c.value)} {interval(c)}".strip() if c else "" for c in cells]
        lines.append(f"| {_cell(layer)} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """A name in a cell of Markdown, where nothing in it is a mark."""
    return re.sub(r"([\\|<`])", r"\\\1", " ".join(text.split("\n")))


TEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "|": "\\textbar{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    '"': "\\textquotedbl{}",
    "\u2026": "\\ldots{}",
}


def tex(text: str) -> str:
    """Text with every character that LaTeX would act on escaped."""
    return "".join(TEX.get(sign, sign) for sign in text)


def latex(
    report: Report,
    *quantities: str,
    run: str | None = None,
    split: str | None = None,
    intervals: bool = True,
    caption: str | None = None,
    label: str = "tab:repana",
) -> str:
    """A LaTeX table for `booktabs` and `siunitx`: layers by quantities, the interval under each value.

    Columns are aligned at the decimal marker; headings say which way is better. Needs \\usepackage{booktabs,siunitx}.
    """
    if not LABEL.fullmatch(label):
        raise _report_refusals.latex_label(label)
    shown = _chosen(report, quantities, run, split)
    columns = "l" + "S[table-format=-1.3e-1, table-align-text-after=false]" * len(shown.titles)
    arrows = {"lower": " $\\downarrow$", "higher": " $\\uparrow$"}
    heads = [f"{{{tex(t)}{arrows.get(q.better, '')}}}" for t, q in zip(shown.titles, shown.quantities)]
    lines = [
        "\\begin{table}",
        "  \\centering",
        f"  \\caption{{{tex(caption if caption is not None else shown.caption)}}}",
        f"  \\label{{{label}}}",
        f"  \\begin{{tabular}}{{{columns}}}",
        "    \\toprule",
        "    {layer} & " + " & ".join(heads) + " \\\\",
        "    \\midrule",
    ]
    for layer, cells in shown.body:
        values = [_number(c.value) if c else "{--}" for c in cells]
        lines.append(f"    {{\\texttt{{{tex(layer)}}}}} & " + " & ".join(values) + " \\\\")
        if intervals and any(c and math.isfinite(c.low) for c in cells):
            below = [_span(c) if c and math.isfinite(c.low) else "" for c in cells]
            lines.append("    & " + " & ".join(below) + " \\\\")
    return "\n".join([*lines, "    \\bottomrule", "  \\end{tabular}", "\\end{table}", ""])


def _number(value: float) -> str:
    """Three significant digits, as siunitx reads them, a sign in braces for what is not finite."""
    if math.isnan(value):
        return "{--}"
    if math.isinf(value):
        return "{$\\infty$}" if value > 0 else "{$-\\infty$}"
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        digits = 0 if value == 0 else max(0, SIGNIFICANT - 1 - math.floor(math.log10(abs(value))))
        return f"{value:.{digits}f}"
    return f"{value:.{SIGNIFICANT - 1}e}"


def _span(row: Row) -> str:
    return f"{{\\footnotesize[\\num{{{_number(row.low)}}}, \\num{{{_number(row.high)}}}]}}"
