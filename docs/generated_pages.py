"""Writes the pages that are made from tables, at every build: quantities from ANALYZERS, findings from FINDINGS."""

from pathlib import Path

from repana.analyzers import ACROSS_LAYERS, ANALYZERS
from repana.findings import explanations


def quantities() -> list[str]:
    lines = ["# Quantities", "", "Made from the table of analyzers.", ""]
    for analyzer in (*ANALYZERS.values(), *ACROSS_LAYERS.values()):
        lines += [f"## {analyzer.name}", "", "| quantity | formula | better | unit | source |", "|---|---|---|---|---|"]
        for q in analyzer.quantities:
            formula = q.formula.replace("|", "\\|")
            lines.append(f"| {q.name} | `{formula}` | {q.better} | {q.unit} | {q.source} |")
        lines.append("")
    return lines


def findings() -> list[str]:
    lines = [
        "# Findings",
        "",
        "A finding is a sentence about a run, with its evidence. `report.findings()` gives them, page and notebook",
        "show them. The severity is issue (something is wrong with the numbers), tip (worth knowing), passed, or not",
        "applicable. Thresholds are ours; they are stated here and are constants of the code.",
        "",
    ]
    for code, (title, text) in explanations().items():
        lines += [f"## {code}", "", f"**{title}.** {text}", ""]
    return lines


def write(app) -> None:
    target = Path(app.srcdir) / "generated"
    target.mkdir(exist_ok=True)
    for page in (quantities, findings):
        (target / f"{page.__name__}.md").write_text("\n".join(page()), encoding="utf-8")


def setup(app):
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
