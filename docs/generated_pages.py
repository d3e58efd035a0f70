"""Writes the pages that are made from the code, at every build: quantities, findings, and the API from the stubs."""

import ast
import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import repana
from repana.analyzers import ACROSS_LAYERS, ANALYZERS
from repana.findings import explanations

PACKAGE = Path(repana.__file__).parent
FAMILIES = ("collapse", "separation", "dimension", "topology", "spectra", "probes", "features")
PAGES = ("repana", *(f"repana.{name}" for name in (*FAMILIES, "plots", "summaries")))


def quantities() -> list[str]:
    lines = [
        "# Quantities",
        "",
        "Made from the tables of the families. Coverage is the share of data sets whose 95% interval held the truth,",
        "as `python tests/generators.py` measured it on the data that stand below a table; a dash: not measured.",
        "",
    ]
    known = json.loads((Path(__file__).parent / "coverage.json").read_text(encoding="utf-8"))
    for analyzer in (*ANALYZERS.values(), *ACROSS_LAYERS.values()):
        cases = [case for case in known if case["analyzer"] == analyzer.name]
        lines += [f"## {analyzer.name}", "", "| quantity | formula | better | unit | coverage | source |"]
        lines.append("|---|---|---|---|---|---|")
        for q in analyzer.quantities:
            formula = q.formula.replace("|", "\\|")
            shares = [f"{case['coverage'][q.name]:.2f}" for case in cases if q.name in case["coverage"]]
            shown = ", ".join(shares) or "\u2013"
            lines.append(f"| {q.name} | `{formula}` | {q.better} | {q.unit} | {shown} | {q.source} |")
        lines.append("")
        lines += (
            [f"Coverage of {len(cases)} kinds of data, in order: {'; '.join(map(_kind, cases))}.", ""] if cases else []
        )
    return lines


def _kind(case: dict[str, Any]) -> str:
    return f"{case['data']} ({case['sets']} data sets; {', '.join(case['coverage'])})"


def findings() -> list[str]:
    lines = [
        "# Findings",
        "",
        "A finding is a sentence about a run. `report.findings()` gives them; the page, the notebook and the command",
        "line show them, and `report.summary()` begins with the heaviest. A *result* says what the network does. A",
        "*check* is a condition of validity; one that does not hold is a *caution*, which says what to do. Thresholds",
        "are ours; they are stated here and are constants of the code.",
        "",
    ]
    for code, (title, text) in explanations().items():
        lines += [f"## {code}", "", f"**{title}.** {text}", ""]
    return lines


def api() -> list[str]:
    """The index of the API: what stands at the top, and a page for every package."""
    entries = [f"api_{name.replace('.', '_')}" for name in PAGES]
    return ["# API", "", "```{toctree}", ":maxdepth: 1", "", *entries, "```"]


def api_page(package: str) -> list[str]:
    """Every public name of a package, from its stub."""
    module = import_module(package)
    title = "The top level" if package == "repana" else package
    lines = [f"# {title}", "", (module.__doc__ or "").strip().split("\n\n")[0], "", "```{eval-rst}"]
    for name in exported(package):
        value = getattr(module, name)
        if isinstance(value, type):
            lines += [f".. autoclass:: {package}.{name}", "   :members:", ""]
        elif callable(value):
            lines.append(f".. autofunction:: {package}.{name}")
    return [*lines, "```"]


def exported(package: str) -> Iterator[str]:
    """The names that a stub gives, or `__all__` where there is none, those of families on their own pages alone."""
    stub = PACKAGE.joinpath(*package.split(".")[1:], "__init__.pyi")
    if not stub.exists():
        yield from sorted(import_module(package).__all__)
        return
    for node in ast.parse(stub.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.ImportFrom) and node.level == 1 and node.module is not None:
            own = package != "repana" or node.module.split(".")[0] not in (*FAMILIES, "summaries")
            yield from (alias.name for alias in node.names if own and not alias.name.startswith("__"))


def write(app) -> None:
    target = Path(app.srcdir) / "generated"
    target.mkdir(exist_ok=True)
    for page in (quantities, findings, api):
        (target / f"{page.__name__}.md").write_text("\n".join(page()) + "\n", encoding="utf-8")
    for package in PAGES:
        name = f"api_{package.replace('.', '_')}.md"
        (target / name).write_text("\n".join(api_page(package)) + "\n", encoding="utf-8")


def setup(app):
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
