"""The page: what the template shows, gathered from the report."""

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources

import jinja2

from repana import plots
from repana._finding import ABSENT, CAUTION, CHECK, RESULT, View, fraction, share, split_name
from repana._numbers import number
from repana._results import Report
from repana._version import __version__
from repana.errors import RepanaError
from repana.findings import FINDINGS, Finding, explanations, find, summarise
from repana.report import _methods
from repana.report._bibliography import bibliography
from repana.report._figures import families_of, overview_of, sections_of, singles_of
from repana.report._formulas import mathml
from repana.report._tables import interval, latex
from repana.report._values import runs_table, values_of

FEW = 3  # runs that are shown in full; of more, a table of runs and what they share
FAMILIES = {
    "2": "Neural collapse",
    "3": "Class separation",
    "4": "Dimension",
    "5": "Probing",
    "6": "Features",
    "7": "Comparison",
    "8": "Training",
}
NC1 = "neural_collapse.nc1"
FIGURE_OF = {"neural_collapse.cdnv": "overlap-of-classes", "probing.gap": "probes", "probing.memorization": "probes",
             "similarity.cka": "similarity-of-layers", "unlearning.recovery": "residual-knowledge-of-the-forget-set",
             "drift.cka": "layers", "training.h0_entropy": "trajectory"}  # fmt: skip


@dataclass(frozen=True)
class Tile:
    """A key number, with a word on it and the section that shows it."""

    label: str
    value: str
    detail: str
    anchor: str


def page(report: Report) -> str:
    """The page as text. Names from the model are escaped by the template engine."""
    folder = resources.files("repana").joinpath("templates")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "number": number,
        "interval": interval,
        "explained": lambda code: explained[code][1],
        "mathml": mathml,
        "split_name": split_name,
    }
    explained = explanations()
    script = minified(folder.joinpath("report.js").read_text(encoding="utf-8"))
    few, found = len(report.runs) <= FEW, find(report)
    sections = list(sections_of(report)) if report.headline and few else []
    here = {section.anchor for section, _ in sections}
    drawn = {p.anchor for _, by_run in sections for _, pictures in by_run for p in pictures}
    overview = list(overview_of(report))
    drawn |= {p.anchor for p in overview}
    shown = _methods.methods(report)
    template = environment.from_string(folder.joinpath("report.html.j2").read_text(encoding="utf-8"))
    return template.render(
        title=_title(report),
        facts=_facts(report),
        varied=_methods.varied(report),
        summary=summarise(report),
        tiles=list(_tiles(report, found)) if len(report.runs) == 1 else [],
        cautions=_shared(report, [f for f in found if f.kind == CAUTION]),
        results=_by_family(report, [f for f in found if f.kind == RESULT and f.severity != ABSENT]),
        checks=_shared(report, [f for f in found if f.kind == CHECK and f.severity != ABSENT]),
        absent=_shared(report, [f for f in found if f.severity == ABSENT]),
        anchors={code: _anchor(rule.figure, here, drawn) for code, rule in FINDINGS.items()},
        overview=overview,
        sections=sections,
        families=families_of(report),
        runs_table=None if few else runs_table(report),
        values=[v for run in report.runs for v in values_of(report, run)] if few else [],
        network=[(r, report.quantity(r.analyzer, r.quantity)) for r in report.rows if not r.layer] if few else [],
        singles=[] if few else list(singles_of(report)),
        methods=shown,
        settings={name: _methods.settings(report, name) for name in shown},
        description=_methods.describe(report),
        latex=_latex(report) if few and report.headline else "",
        confidence=report.confidence,
        null=report.null_name(),
        compared=all(report.about(run).get("compared") for run in report.runs),
        bibtex=bibliography(report),
        notes=_methods.notes(report) if few else [],
        failures=report.failures,
        provenance=_methods.provenance(report),
        command=_methods.command(report),
        rows=len(report.rows),
        version=__version__,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def minified(script: str) -> str:
    """The script without indentation, and without idle spaces in lines that hold no slash (which may be a pattern)."""
    lines = []
    for line in script.strip().split("\n"):
        parts = re.split(r"('[^']*'|`[^`]*`)", line.strip())
        parts[::2] = [re.sub(r"\s*(=>|[=,;{}?:<>&|])\s*", r"\1", part) for part in parts[::2]]
        lines.append(line.strip() if "/" in line else "".join(parts))
    return "\n".join(lines)


# --- the first screen -------------------------------------------------------------------------------------------------


def _title(report: Report) -> str:
    if len(report.profiles) > FEW:
        return f"{len(report.profiles)} runs, {report.profiles[0]} to {report.profiles[-1]}"
    return ", ".join(report.runs) or "report"


def _facts(report: Report) -> str:
    """One line: model, layers, samples, classes, date."""
    p = report.about()
    facts = [f"{p['model']}, {p['parameters']:,} parameters"] if "model" in p else []
    facts += [f"{len(report.layers)} layer{'s' * (len(report.layers) != 1)}"]
    facts += [f"{split_name(k)} {v['samples']:,} samples" for k, v in p.get("splits", {}).items()]
    facts += [f"{len(report.classes())} classes"] if report.splits and report.classes() else []
    facts += [str(p["created"])[:10]] if "created" in p else []
    return " \u00b7 ".join(facts)


def _tiles(report: Report, found: Sequence[Finding]) -> Iterator[Tile]:
    view = View(report, report.runs[0])
    known = {f.code: f for f in found if f.severity != ABSENT}
    split = view.splits[-1] if view.splits else ""
    row = view.at("neural_collapse.accuracy", split=split)
    if row is not None:
        value, _, ends = share(row).partition(" ")
        yield Tile(f"{split_name(split).capitalize()} accuracy", value, ends, "findings")
    if "RF501" in known:
        layer = known["RF501"].layers[0]
        row = view.at("probing.linear_probe", layer)
        yield Tile("Decodable from", layer, "" if row is None else f"{share(row)} by a linear probe", "probing")
    row = view.at(NC1)
    if row is not None and row.null > 0:
        detail = f"{fraction(row.value / row.null)} of shuffled labels"
        yield Tile("NC1, penultimate layer", number(row.value, 2), detail, "class-separation-and-collapse")
    rows = [r for r in view.rows("dimension.two_nn") if r.value == r.value]
    if len(rows) > 2:
        top = max(rows, key=lambda r: r.value)
        value = f"{number(top.value, 2)} \u2192 {number(rows[-1].value, 2)}"
        yield Tile("Dimension, peak \u2192 end", value, f"peak at {top.layer}", "dimension-and-spectrum")
    if "RF205" in known:
        pair, _, detail = known["RF205"].text.removeprefix("Closest classes: ").removesuffix(".").partition(" (")
        yield Tile("Closest classes", pair, detail.removesuffix(")"), "class-separation-and-collapse")


# --- findings ---------------------------------------------------------------------------------------------------------

Lines = list[tuple[Finding, str]]


def _shared(report: Report, found: Sequence[Finding]) -> Lines:
    """A line a code; of several runs how many share it, with one of their sentences."""
    if len(report.runs) == 1:
        return [(f, f.text) for f in found]
    by_code: dict[str, list[Finding]] = {}
    for f in found:
        by_code.setdefault(f.code, []).append(f)
    lines = []
    for same in by_code.values():
        texts = list(dict.fromkeys(f.text for f in same))
        example = "" if len(texts) == 1 else f" ({same[0].run})"
        whole = same[0].run not in report.profiles  # read of all runs together
        many = "" if whole else f"{len(same)} of {len(report.profiles)} runs: "
        lines.append((same[0], f"{many}{texts[0]}{example}"))
    return lines


def _by_family(report: Report, found: Sequence[Finding]) -> list[tuple[str, Lines]]:
    lines = _shared(report, found)
    groups = [(title, [x for x in lines if x[0].code[2] == digit]) for digit, title in FAMILIES.items()]
    return [(title, members) for title, members in groups if members]


def _anchor(quantity: str, here: set[str], drawn: set[str]) -> str:
    """The figure that shows a quantity: the default figure, one of its family, or the section."""
    if quantity in plots.OVERVIEW:
        return "layers"
    if FIGURE_OF.get(quantity) in drawn:
        return FIGURE_OF[quantity]
    analyzer = quantity.partition(".")[0]
    found = next((s.anchor for s in plots.SECTIONS if analyzer in s.analyzers), "")
    return found if found in here else ""


def _latex(report: Report) -> str:
    """The table of the quantities of the default figure."""
    try:
        return latex(report, *plots.overview(report), run=report.runs[0])
    except RepanaError:
        return ""
