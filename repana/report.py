"""A report as text: one self-contained HTML page, a fragment for notebooks, Markdown."""

import base64
import html
import io
import math
import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from repana import plots
from repana._results import Report, Row
from repana._version import __version__
from repana.analyzers import ACROSS_LAYERS, ANALYZERS, quantity
from repana.plots.depth import headline

SIGNIFICANT = 3


def write_html(report: Report, path: str | os.PathLike[str]) -> Path:
    """Write the page: readable without a network, without JavaScript, on paper, light or dark."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page(report), encoding="utf-8")
    return target


def page(report: Report) -> str:
    """The page as text. Names from the model are escaped by the template engine."""
    names = headline(report)
    text = resources.files("repana").joinpath("templates/report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["number"] = number
    environment.filters["interval"] = interval
    template = environment.from_string(text)
    used = {r.analyzer for r in report.rows}
    return template.render(
        title=", ".join(report.runs) or "report",
        provenance=_provenance(report),
        figure=svg(plots.figure_of(plots.depth_profile(report, *names)), "Depth profile of " + ", ".join(names)),
        headline=names,
        tables=[_table(report, names, run, split) for run in report.runs for split in report.splits],
        drawers=_drawers(report),
        network=[(r, quantity(r.analyzer, r.quantity)) for r in report.rows if not r.layer],
        methods=[a for a in (*ANALYZERS.values(), *ACROSS_LAYERS.values()) if a.name in used],
        shown={(r.analyzer, r.quantity) for r in report.rows},
        settings=report.provenance.get("settings", {}),
        notes=_notes(report),
        failures=report.failures,
        csv=base64.b64encode(report.frame().to_csv(index=False).encode()).decode(),
        rows=len(report.rows),
        version=__version__,
    )


def fragment(report: Report) -> str:
    """The depth figure and the table of headline quantities, for a notebook cell."""
    names = headline(report)
    if not names:
        return html.escape(repr(report))
    figure = svg(plots.figure_of(plots.depth_profile(report, *names)), "Depth profile")
    tables = [_table(report, names, run, split) for run in report.runs for split in report.splits]
    parts = [f"<p>{html.escape(repr(report))}</p>", figure]
    for table in tables:
        head = "".join(f"<th>{html.escape(title)}</th>" for title in table["titles"])
        body = "".join(
            f"<tr><th>{html.escape(layer)}</th>" + "".join(f"<td>{cell}</td>" for cell in map(_cell, cells)) + "</tr>"
            for layer, cells in table["body"]
        )
        parts.append(f"<p>{html.escape(table['caption'])}</p><table><tr><th>layer</th>{head}</tr>{body}</table>")
    if report.failures:
        parts.append(f"<p>{len(report.failures)} not measured; see <code>report.failures</code>.</p>")
    return "".join(parts)


def markdown(report: Report, *quantities: str, run: str | None = None, split: str | None = None) -> str:
    """A Markdown table, each value with its interval in brackets."""
    names = quantities or headline(report)
    run, split = run or report.runs[0], split or report.splits[0]
    table = _table(report, names, run, split)
    lines = ["| layer | " + " | ".join(table["titles"]) + " |", "|---|" + "---:|" * len(names)]
    for layer, cells in table["body"]:
        shown = [f"{number(c.value)} {interval(c)}".strip() if c else "" for c in cells]
        lines.append(f"| {layer.replace('|', chr(92) + '|')} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def svg(figure: Figure, alternative: str) -> str:
    """A figure as inline SVG with a text alternative; the same figure gives the same bytes."""
    buffer = io.StringIO()
    with plots.style():
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=False)
    text = buffer.getvalue()
    label = html.escape(alternative, quote=True)
    return text[text.index("<svg") :].replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def number(value: float) -> str:
    """Three significant digits, powers of ten where they are shorter, a word for what is not finite."""
    if math.isnan(value):
        return "\u2013"
    if math.isinf(value):
        return "\u221e" if value > 0 else "\u2212\u221e"
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        digits = max(0, SIGNIFICANT - 1 - math.floor(math.log10(abs(value))))
        return f"{value:.{digits}f}".replace("-", "\u2212")
    mantissa, _, exponent = f"{value:.{SIGNIFICANT - 1}e}".partition("e")
    power = str(int(exponent)).translate(
        str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")
    )
    return f"{mantissa}\u00d710{power}".replace("-", "\u2212")


def interval(row: Row) -> str:
    """[low, high], or nothing."""
    return "" if math.isnan(row.low) else f"[{number(row.low)}, {number(row.high)}]"


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    return (
        f'<span title="{html.escape(row.note, quote=True)}">{number(row.value)}</span> <small>{interval(row)}</small>'
    )


def _table(report: Report, names: Sequence[str], run: str, split: str) -> dict[str, Any]:
    """Headline quantities by layer for one run and split."""
    by_place = {(r.layer, f"{r.analyzer}.{r.quantity}"): r for r in report.rows if r.run == run and r.split == split}
    full = [_full(report, name) for name in names]
    lines = [quantity(*name.split(".")) for name in full]
    body = [(layer, [by_place.get((layer, name)) for name in full]) for layer in report.layers]
    body = [(layer, cells) for layer, cells in body if any(cells)]  # not the layers of other runs
    counts = [r.n for r in by_place.values()]
    caption = f"{run}, {split}" + (f", n = {max(counts)}" if counts else "")
    return {"caption": caption, "titles": [q.title or q.name for q in lines], "quantities": lines, "body": body}


def _full(report: Report, name: str) -> str:
    row = report.select(name)[0]
    return f"{row.analyzer}.{row.quantity}"


def _drawers(report: Report) -> list[tuple[str, list[Row]]]:
    """All rows of each layer."""
    return [(layer, [r for r in report.rows if r.layer == layer]) for layer in report.layers]


def _provenance(report: Report) -> list[tuple[str, str]]:
    p = report.provenance
    recorded = [
        ("Model", f"{p['model']}, {p['parameters']:,} parameters" if "model" in p else ""),
        ("Weights", f"sha256 {p['weights_sha256'][:16]}\u2026" if "weights_sha256" in p else ""),
        ("Data", ", ".join(f"{k}: {v['samples']} samples ({v['kept']} kept)" for k, v in p.get("splits", {}).items())),
        ("Classes", "; ".join(f"{k}: {len(v)}" for k, v in p.get("classes", {}).items())),
        ("Device", ", ".join(str(p[k]) for k in ("device", "autocast") if p.get(k))),
        ("Seed", str(p.get("seed", ""))),
        ("Versions", ", ".join(f"{k} {v}" for k, v in p.get("versions", {}).items())),
        ("Time", f"{p['seconds']} s, {p['created']}" if "seconds" in p else ""),
        ("Runs", ", ".join(str(r.get("run", "")) for r in p["runs"]) if "runs" in p else ""),
    ]
    return [(name, text) for name, text in recorded if text]


def _notes(report: Report) -> list[tuple[str, list[str]]]:
    """Notes on values, each with where it applies."""
    found: dict[str, list[str]] = {}
    for r in report.rows:
        if r.note and not r.note.startswith("feature "):
            found.setdefault(r.note, []).append(f"{r.split} {r.layer or 'network'} {r.quantity}")
    recorded = [(note, []) for note in report.provenance.get("notes", ())]
    return [*recorded, *found.items()]
