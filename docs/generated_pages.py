"""Writes the pages that are made from the code, at every build: the API, quantities, findings, tutorials, changelog."""

import ast
import dataclasses
import inspect
import io
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from api_examples import EXAMPLES, SETUP

import repana
from repana.analyzers import ACROSS_LAYERS, ANALYZERS
from repana.comparison import COMPARISONS
from repana.comparison._table import REPORTED
from repana.dynamics._table import REPORTED as OF_TRAINING
from repana.findings import FINDINGS, explanations
from repana.heads._table import REPORTED as OF_HEADS
from repana.kernels._table import REPORTED as OF_KERNELS
from repana.ranking._table import REPORTED as OF_RANKINGS
from repana.report._formulas import mathml

DOCS = Path(__file__).parent
PACKAGE = Path(repana.__file__).parent
FAMILIES = (
    "collapse", "separation", "dimension", "topology", "spectra", "probes", "features", "comparison", "dynamics",
    "ranking", "heads", "kernels", "training",
)  # fmt: skip
PAGES = ("repana", *(f"repana.{name}" for name in (*FAMILIES, "plots", "summaries", "report")))
CONCEPTS = {
    "collapse": "neural_collapse", "separation": "separability", "dimension": "dimension", "topology": "topology",
    "spectra": "spectrum", "probes": "probing", "features": "features",
    "comparison": "comparison", "dynamics": "training", "ranking": "ranking", "heads": "heads", "kernels": "kernels",
    "training": "training",
}  # fmt: skip
TABLES = ("COMPARISONS",)  # exported, and no functions
OF_ANALYZER = {
    "class_divergences": "separation", "separation_law": "collapse", "layer_choice": "probes",
    "layer_differences": "probes", "probe_baselines": "probes", "complexity": "features", "layer_readings": "features",
    "complexity_vs_importance": "features",
}  # fmt: skip
WORDS = {
    "features": "features of one layer, a row per sample.",
    "labels": "the class of every sample; -100 leaves a sample out.",
    "model": "any PyTorch module; it is left as it was.",
    "data": "a loader, a pair of inputs and labels, or inputs alone.",
    "layers": 'which layers: "auto", names, patterns, classes or predicates.',
    "layer": "the address of a layer.",
    "report": "a report, as `repana.profile` gives it.",
    "activations": "what `repana.record` gives.",
    "level": "confidence level of the intervals.",
    "seed": "seed of all random draws.",
    "bootstrap": "bootstrap replicates.",
    "permutations": "label permutations of the null.",
    "jackknife": "groups of the jackknife.",
    "max_samples": "at most so many samples are used, a subset chosen by `seed`.",
    "max_features": "at most so many features are used.",
    "groups": "which rows depend on each other.",
    "repeats": "how often the whole procedure is repeated.",
    "nan_policy": '"raise", or "omit" rows that are not finite.',
    "ax": "Axes to draw on; by default those of a new figure.",
    "run": "which run of the report; by default the first.",
    "split": "which split of the report; by default the first.",
    "runs": "which runs of the report; by default all.",
    "splits": "which splits of the report; by default all.",
    "width": 'inches of a new figure, or "column", "neurips", "page", "nature", "nature-wide".',
    "title": "title of the figure.",
    "names": "names of the classes or layers.",
    "path": "a file or folder.",
    "dictionary": 'which features: "units", "classes", "pca", "nmf", or a matrix.',
    "targets": "one column per target.",
    "duplicates": 'what to do with equal samples: "drop", "keep" or "raise".',
    "k": "number of neighbours.",
    "progress": "whether a bar is shown.",
    "weight": "rows of the classifier.",
    "bias": "bias of the classifier.",
    "convention": "how scatter matrices and the global mean are formed; named above.",
    "moments": "class moments of the same samples, if at hand.",
    "discriminant": "the discriminant of the same samples, if at hand.",
    "reference": "class moments of the training split.",
    "perplexity": "of t-SNE.",
    "method": "which method; named above.",
    "logits": "outputs of the classifier, a row per sample.",
}


# --- quantities and findings ------------------------------------------------------------------------------------------


def quantities() -> list[str]:
    lines = [
        "# Quantities",
        "",
        "Made from the tables of the families. Coverage is the share of data sets whose 95% interval held the truth,",
        "as `python tests/generators.py` measured it on the data that stand below a table; a dash: not measured.",
        "",
    ]
    known = json.loads((DOCS / "coverage.json").read_text(encoding="utf-8"))
    for analyzer in (*ANALYZERS.values(), *ACROSS_LAYERS.values()):
        cases = [case for case in known if case["analyzer"] == analyzer.name]
        lines += [f"## {analyzer.name}", "", _links(analyzer.name), ""]
        lines += ["| quantity | formula | better | unit | coverage | source |", "|---|---|---|---|---|---|"]
        for q in analyzer.quantities:
            formula = mathml(q.formula).replace("|", "&#124;")
            shares = [f"{case['coverage'][q.name]:.2f}" for case in cases if q.name in case["coverage"]]
            shown = ", ".join(shares) or "\u2013"
            lines.append(f"| {q.label} (`{q.name}`) | {formula} | {q.better} | {q.unit} | {shown} | {q.source} |")
        lines.append("")
        lines += (
            [f"Coverage of {len(cases)} kinds of data, in order: {'; '.join(map(_kind, cases))}.", ""] if cases else []
        )
    return [*lines, *comparisons()]


def comparisons() -> list[str]:
    """The table of measures that compare two layers, or the outputs of two networks."""
    lines = []
    monitor = "[`Monitor`](api/repana.training.Monitor.md)"
    owners = {name: f"[`{name}`](api/repana.comparison.{name}.md)" for name in REPORTED}
    owners |= {"training": f"{monitor}, of every record", "dynamics": f"{monitor}, of a whole training"}
    owners |= {name: f"[`{name}`](api/repana.ranking.{name}.md)" for name in OF_RANKINGS}
    owners |= {name: f"[`{name}`](api/repana.heads.{name}.md)" for name in OF_HEADS}
    owners |= {name: f"[`{name}`](api/repana.kernels.{name}.md)" for name in OF_KERNELS}
    for name, described in (REPORTED | OF_TRAINING | OF_RANKINGS | OF_HEADS | OF_KERNELS).items():
        lines += [f"## {name}", "", owners[name], ""]
        lines += ["| quantity | formula | better | unit | source |", "|---|---|---|---|---|"]
        for q in described:
            formula = mathml(q.formula).replace("|", "&#124;")
            lines.append(f"| {q.label} (`{q.name}`) | {formula} | {q.better} | {q.unit} | {q.source} |")
        lines.append("")
    lines += [
        "## Measures that compare two layers",
        "",
        "`repana.comparison.COMPARISONS`, by name; `repana metrics` lists them too. *More similar* says which way; "
        "*equal*",
        "is the value of a layer with itself. Of a *metric* the triangle inequality holds.",
        "",
        "| measure | formula | range | more similar | equal | unchanged by | symmetric | metric | null | source |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for m in COMPARISONS.values():
        formula = mathml(m.formula).replace("|", "&#124;")
        low, high = (f"{v:.3g}".replace("inf", "\u221e").replace("-", "\u2212") for v in m.range)
        kept = ", ".join(m.invariant) or "\u2013"
        yes = ["yes" if v else "no" for v in (m.symmetric, m.metric)]
        lines.append(
            f"| `{m.name}` | {formula} | [{low}, {high}] | {m.similar} | {m.extreme:.3g} | {kept} | {yes[0]} | "
            f"{yes[1]} "
            f"| {m.null} | {m.source} |"
        )
    return [*lines, ""]


def _links(analyzer: str) -> str:
    """From an analyzer to its function, its concept page, the findings that read it, and figures."""
    parts = []
    name = analyzer if analyzer in registry() else {"dimension": "dimension_profile", "topology": "h0_separability",
                                                    "layer_choice": "best_layer"}.get(analyzer, "")  # fmt: skip
    family = OF_ANALYZER.get(analyzer, registry().get(name, "").rpartition(".")[2])
    if name in registry():
        parts.append(f"[`{name}`](api/{registry()[name]}.{name}.md)")
    if family in CONCEPTS:
        parts.append(f"[what it measures](../concepts/{CONCEPTS[family]}.md)")
    codes = [code for code, rule in FINDINGS.items() if rule.figure.partition(".")[0] == analyzer]
    if codes:
        parts.append("findings " + ", ".join(f"[{code}](findings.md#{code.lower()})" for code in codes))
    if name in gallery():
        parts.append("gallery " + ", ".join(f"[{title}]({link})" for title, link, _ in gallery()[name][:4]))
    return " \u00b7 ".join(parts)


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
        shown = FINDINGS[code].figure
        lines += [f"## {code}", "", f"**{title}.** {text}", ""]
        if shown:
            analyzer = shown.partition(".")[0]
            lines += [f"Reads [{shown}](quantities.md#{analyzer}).", ""]
    return lines


# --- the API ----------------------------------------------------------------------------------------------------------


@cache
def registry() -> dict[str, str]:
    """Every public name with the package whose page it has."""
    return {name: package for package in PAGES for name in exported(package)}


def exported(package: str) -> Iterator[str]:
    """The names that a stub gives, or `__all__` where there is none, those of families on their own pages alone."""
    stub = PACKAGE.joinpath(*package.split(".")[1:], "__init__.pyi")
    if not stub.exists():
        names = sorted(import_module(package).__all__)
        yield from (name for name in names if callable(getattr(import_module(package), name)))
        return
    for node in ast.parse(stub.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.ImportFrom) and node.level == 1 and node.module is not None:
            own = package != "repana" or node.module.split(".")[0] not in (*FAMILIES, "summaries")
            names = (alias.name for alias in node.names if own and not alias.name.startswith("__"))
            yield from (name for name in names if name not in TABLES)


def api() -> list[str]:
    """The index of the API: an overview of every package."""
    lines = [
        "# API",
        "",
        "Types of arguments are those of the summary line: arrays of any framework, where one stands.",
        "",
    ]
    lines += ["```{toctree}", ":maxdepth: 1", "", *(f"api_{name.replace('.', '_')}" for name in PAGES), "```"]
    return lines


def overview(package: str) -> list[str]:
    """A table of the functions and of the results of a package, each with a line and a link."""
    module = import_module(package)
    title = "repana: verbs and data types" if package == "repana" else package
    lines = [f"# {title}", "", (module.__doc__ or "").strip().split("\n\n")[0], ""]
    family = package.rpartition(".")[2]
    if family in CONCEPTS:
        lines += [f"What it measures, and when to believe it: [concepts](../concepts/{CONCEPTS[family]}.md).", ""]
    names = list(exported(package))
    groups = (
        ("Functions", [n for n in names if not isinstance(getattr(module, n), type)]),
        ("Classes", [n for n in names if isinstance(getattr(module, n), type)]),
    )
    for heading, members in groups:
        if members:
            lines += [f"## {heading}", "", "| name | what it does |", "|---|---|"]
            for name in members:
                text = _summary(getattr(module, name)).replace("|", "\\|")
                lines.append(f"| [`{name}`](api/{package}.{name}.md) | {text} |")
            lines.append("")
    if package == "repana":
        lines += _flagships()
    lines += ["```{toctree}", ":hidden:", "", *(f"api/{package}.{name}" for name in names), "```"]
    return lines


def _flagships() -> list[str]:
    """What stands at the top level too, of the families."""
    names = [n for n in repana.__all__ if registry().get(n, "repana") != "repana"]
    links = ", ".join(f"[`{n}`](api/{registry()[n]}.{n}.md)" for n in names)
    return ["## Of the families, at the top level too", "", f"{links}.", ""]


def _summary(value: Any) -> str:
    return (inspect.getdoc(value) or "").split("\n\n")[0].replace("\n", " ")


def page(package: str, name: str) -> list[str]:
    """One function or class: its documentation, parameters, an example, the figures that use it, and its neighbours."""
    value = getattr(import_module(package), name)
    kind = "class" if isinstance(value, type) else "function"
    lines = [f"# {name}", "", "```{eval-rst}", f".. auto{kind}:: {package}.{name}"]
    lines += ["   :members:", "```", ""] if kind == "class" else ["```", ""]
    lines += _fields(value) if kind == "class" else _parameters(value)
    lines += _example(name, value)
    lines += _figures(name)
    return [*lines, *_neighbours(package, name)]


def _parameters(function: Any) -> list[str]:
    """`name : type, default` and the sentence that says it."""
    text = inspect.getdoc(function) or ""
    lines = []
    for p in inspect.signature(function).parameters.values():
        star = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        kind = _type(p.annotation)
        default = "" if p.default is p.empty else f", default {_default(p.default)}"
        sentence = _sentence(text, p.name) or WORDS.get(p.name, "")
        lines += [f"`{star}{p.name}`{f' : {kind}' if kind else ''}{default}", f": {sentence or 'described above.'}", ""]
    return ["## Parameters", "", *lines] if lines else []


def _default(value: Any) -> str:
    text = repr(value)
    return f"`{text}`" if len(text) <= 40 and " object at " not in text else "a function or a long value"


def _type(annotation: Any) -> str:
    """An annotation without modules: array (n, d), tensor (n d), Report, str | None."""
    if annotation is inspect.Parameter.empty:
        return ""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = re.sub(r"(?:typing\.)?Annotated\[Any, '(.*?)(?:: .*?)?'\]", r"\1", text)
    text = re.sub(r"(?:jaxtyping\.)?\w+\[(?:torch\.)?(?:Tensor|ndarray), '([^']*)'\]", r"tensor (\1)", text)
    text = re.sub(r"\b[a-zA-Z_]\w*(?:\.\w+)*\.(?=\w)", "", text)
    return text.replace("NoneType", "None").replace("'", "").replace("<class ", "").replace(">", "").replace("|", "or")


def _sentence(text: str, name: str) -> str:
    """The first sentence, or item of a list, of a docstring that names an argument."""
    for block in re.split(r"\n\s*\n|\n- ", text.split(">>>")[0]):
        flat = " ".join(block.split()).removeprefix("- ")
        for sentence in re.split(r"(?<=[.;])\s+(?=[A-Z`])", flat):
            if re.search(rf"`{re.escape(name)}`|`{re.escape(name)}=", sentence):
                return sentence if sentence.endswith(".") else ""
    return ""


def _fields(value: Any) -> list[str]:
    """The fields of a result."""
    if not dataclasses.is_dataclass(value):
        return []
    lines = ["## Fields", "", "| field | type |", "|---|---|"]
    for field in dataclasses.fields(value):
        lines.append(f"| `{field.name}` | {_type(field.type).replace('|', 'or')} |")
    return [*lines, ""]


def _example(name: str, value: Any) -> list[str]:
    """A few lines that run now, with what they give, where the docstring has no example."""
    code = EXAMPLES.get(name)
    if code is None or ">>>" in (inspect.getdoc(value) or ""):
        return []
    return ["## Example", "", "```python", *_SHOWN, *code.splitlines(), "```", "", "```text", run(code), "```", ""]


_SHOWN = ["import repana", "", "model, train, held_out = repana.example_model()",
          "layers = repana.record(model, held_out)", "report = repana.example_report()", ""]  # fmt: skip


@cache
def _names() -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(SETUP, names)
    return names


def run(code: str) -> str:
    """What the last line of an example gives."""
    *before, last = ast.parse(code).body
    names = dict(_names())
    with redirect_stdout(io.StringIO()) as out:
        exec(compile(ast.Module(before, []), "example", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "example", "eval"), names)
            if value is not None:
                print(value if isinstance(value, repana.Report) else repr(value))
    return out.getvalue().rstrip()


@cache
def gallery() -> dict[str, list[tuple[str, str, str]]]:
    """Title, page and thumbnail of the gallery scripts that use a name, by the name."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for script in sorted((DOCS / "gallery").rglob("plot_*.py")):
        text = script.read_text(encoding="utf-8")
        title = text.split("\n")[1]
        folder = f"gallery/{script.parent.name}"
        entry = (title, f"{folder}/{script.stem}.rst", f"{folder}/images/thumb/sphx_glr_{script.stem}_thumb.png")
        for name in registry():
            if re.search(rf"\b{name}\(", text):
                found.setdefault(name, []).append(entry)
    return found


def _figures(name: str) -> list[str]:
    found = gallery().get(name, [])[:3]
    if not found or name in ("example_model", "example_report", "record", "figure_of"):
        return []
    lines = ["## In the gallery", "", "::::{grid} 1 2 3 3", ""]
    for title, link, picture in found:
        lines += [
            f":::{{grid-item-card}} {title}", f":link: ../{link.removesuffix('.rst')}", ":link-type: doc",
            f":img-top: ../{picture}", ":::", "",
        ]  # fmt: skip
    return [*lines, "::::", ""]


def _neighbours(package: str, name: str) -> list[str]:
    family = package.rpartition(".")[2]
    parts = [f"[all of {package}](../api_{package.replace('.', '_')}.md)"]
    if family in CONCEPTS:
        parts.append(f"[what the family measures](../../concepts/{CONCEPTS[family]}.md)")
    analyzer = next((a.name for a in (*ANALYZERS.values(), *ACROSS_LAYERS.values()) if a.name == name), None)
    if analyzer:
        parts.append(f"[its quantities](../quantities.md#{analyzer})")
    return ["## See also", "", " \u00b7 ".join(parts), ""]


def linked(app, what, name, obj, options, lines) -> None:
    """Names of functions in docstrings become links, other code is set as code."""

    def role(found: re.Match[str]) -> str:
        inside = found[1]
        bare = inside.removeprefix("repana.").rpartition(".")[2].removesuffix("()")
        drawn = registry().get(bare) == "repana.plots" and "plots" not in name  # arrays are called like their figures
        if bare in registry() and not drawn and re.fullmatch(r"[\w.]+(?:\(\))?", inside):
            return f":py:obj:`{inside} <{registry()[bare]}.{bare}>`"
        return f"``{inside}``"

    lines[:] = [line if ">>>" in line else re.sub(r"(?<![`:\w])`([^`<>]+)`(?![`_])", role, line) for line in lines]


# --- what is copied ---------------------------------------------------------------------------------------------------


def copied(target: Path) -> None:
    """The tutorials with their outputs, and the changelog."""
    folder = target / "tutorials"
    folder.mkdir(exist_ok=True)
    for book in sorted((DOCS.parent / "notebooks").glob("*.ipynb")):
        shutil.copy(book, folder / book.name)
    text = (DOCS.parent / "CHANGELOG.md").read_text(encoding="utf-8")
    (target / "changelog.md").write_text(text, encoding="utf-8")


def command_line() -> list[str]:
    """The help of every command."""
    from typer.testing import CliRunner

    from repana.cli import app

    lines = ["# Command line", "", "What `repana --help` and `repana COMMAND --help` print.", ""]
    names = [c.name or c.callback.__name__ for c in app.registered_commands if c.callback is not None]
    for name in ("", *names):
        help_ = CliRunner().invoke(app, [*([name] if name else []), "--help"], env={"COLUMNS": "100", "NO_COLOR": "1"})
        lines += [f"## repana {name}".rstrip(), "", "```text", *help_.output.strip("\n").split("\n"), "```", ""]
    return lines


def write(app) -> None:
    target = Path(app.srcdir) / "generated"
    (target / "api").mkdir(parents=True, exist_ok=True)
    for made in (quantities, findings, api, command_line):
        (target / f"{made.__name__}.md").write_text("\n".join(made()) + "\n", encoding="utf-8")
    for package in PAGES:
        name = f"api_{package.replace('.', '_')}.md"
        (target / name).write_text("\n".join(overview(package)) + "\n", encoding="utf-8")
        for one in exported(package):
            (target / "api" / f"{package}.{one}.md").write_text("\n".join(page(package, one)) + "\n", encoding="utf-8")
    copied(target)


def setup(app):
    app.connect("builder-inited", write)
    app.connect("autodoc-process-docstring", linked, priority=900)
    return {"parallel_read_safe": True}
