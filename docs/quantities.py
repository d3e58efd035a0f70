"""Writes the page of quantities from the ANALYZERS table, at every build."""

from pathlib import Path

from repana.analyzers import ACROSS_LAYERS, ANALYZERS


def write(app) -> None:
    lines = ["# Quantities", "", "Made from the table of analyzers.", ""]
    for analyzer in (*ANALYZERS.values(), *ACROSS_LAYERS.values()):
        lines += [f"## {analyzer.name}", "", "| quantity | formula | better | unit | source |", "|---|---|---|---|---|"]
        for q in analyzer.quantities:
            formula = q.formula.replace("|", "\\|")
            lines.append(f"| {q.name} | `{formula}` | {q.better} | {q.unit} | {q.source} |")
        lines.append("")
    target = Path(app.srcdir) / "generated"
    target.mkdir(exist_ok=True)
    (target / "quantities.md").write_text("\n".join(lines), encoding="utf-8")


def setup(app):
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
