"""A report as text: one self-contained HTML page, a fragment for notebooks, tables for papers."""

import html
import os
from pathlib import Path

from repana import plots
from repana._files import put, tidy
from repana._numbers import number
from repana._results import Report, Row
from repana.report._bibliography import bibliography, bibtex
from repana.report._figures import CURVES
from repana.report._page import page
from repana.report._pictures import svg
from repana.report._sinks import log, log_embeddings
from repana.report._tables import interval, latex, markdown, table
from repana.report._terminal import of_differences, of_findings, of_layer, terminal


def write_html(report: Report, path: str | os.PathLike[str]) -> Path:
    """Write the page: readable without a network, without JavaScript, on paper, light or dark."""
    return write_text(page(report), path)


def write_text(text: str, path: str | os.PathLike[str]) -> Path:
    """Write text, whole or not at all, making the folder where needed."""
    target = Path(path)
    put(target, text.encode())
    tidy(target.parent)
    return target


def fragment(report: Report) -> str:
    """The summary, the cautions, the default figure and one table of six columns at most, for a notebook cell.

    Of many runs the trajectory or the summary of runs: a depth profile has room for ten.
    """
    names = plots.overview(report)
    if not names:
        return f"<p>{html.escape(repr(report))}</p>"
    parts = [f"<p>{html.escape(sentence)}</p>" for sentence in report.summary()]
    if len(report.runs) == 1:
        cautions = [f for f in report.findings() if f.kind == "caution"]
        items = "".join(f"<li><b>Caution</b> {html.escape(f'{f.text} {f.action}'.strip())}</li>" for f in cautions)
        parts.append(f"<ul>{items}</ul>" if items else "")
    if len(report.runs) <= CURVES:
        drawn, what = plots.depth_profile(report), "Depth profile"
    elif plots.is_training(report):
        drawn, what = plots.trajectory(report, *names), "Trajectory"
    else:
        drawn, what = plots.run_summary(report, *names), "Summary of runs"
    parts.append(svg(drawn, f"{what} of " + ", ".join(names)))
    run, split = report.runs[0], report.splits[0]
    shown = table(report, names[:5], run, split)
    head = "".join(f"<th>{html.escape(title)}</th>" for title in shown.titles)
    body = "".join(f"<tr><th>{html.escape(layer)}</th>{''.join(map(_cell, cells))}</tr>" for layer, cells in shown.body)
    caption = f"<caption>{html.escape(shown.caption)}</caption>"
    parts.append(f"<table>{caption}<tr><th>layer</th>{head}</tr>{body}</table>")
    rest = f"{len(report.rows):,} values in all: <code>report.frame()</code>, <code>report.to_html(path)</code>."
    missing = f" {len(report.failures)} not measured: <code>report.failures</code>." if report.failures else ""
    return "".join([*parts, f"<p>{rest}{missing}</p>"])


def _cell(row: Row | None) -> str:
    if row is None:
        return "<td></td>"
    note = html.escape(row.note, quote=True)
    return f'<td><span title="{note}">{number(row.value)}</span> <small>{interval(row)}</small></td>'


__all__ = [
    "bibliography",
    "bibtex",
    "fragment",
    "interval",
    "latex",
    "log",
    "log_embeddings",
    "markdown",
    "number",
    "of_differences",
    "of_findings",
    "of_layer",
    "page",
    "svg",
    "terminal",
    "write_html",
    "write_text",
]
