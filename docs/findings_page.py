"""Writes the page of findings from their table, at every build."""

from pathlib import Path

from repana.findings import explanations


def write(app) -> None:
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
    target = Path(app.srcdir) / "generated"
    target.mkdir(exist_ok=True)
    (target / "findings.md").write_text("\n".join(lines), encoding="utf-8")


def setup(app):
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
