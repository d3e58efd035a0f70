"""The page: what the template shows, gathered from the report."""

import base64
import gzip
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

import jinja2
from matplotlib.axes import Axes

from repana import plots
from repana._finding import ABSENT, ALPHA, CAUTION, CHECK, RESULT, View, fraction, share, split_name
from repana._numbers import number
from repana._results import Report, Row, penultimate
from repana._version import __version__
from repana.errors import RepanaError
from repana.findings import FINDINGS, Finding, explanations, find, summarise
from repana.report import _methods
from repana.report._bibliography import bibliography
from repana.report._formulas import mathml
from repana.report._pictures import svg
from repana.report._tables import interval, latex
from repana.statistics.permutation import adjusted

FEW = 3  # runs that are shown in full; of more, a table of runs and what they share
CURVES = 10  # runs that are overlaid in one depth profile
MOST_RUNS = 12  # of many, runs that have a panel of their own
BAR = 60  # percent of a cell that the bar of the largest value takes
FAMILIES = {"2": "Neural collapse", "3": "Class separation", "4": "Dimension", "5": "Probing", "6": "Features"}
NC1 = "neural_collapse.nc1"
FIGURE_OF = {"neural_collapse.cdnv": "class-pairs", "probing.gap": "probes", "probing.memorization": "probes"}


@dataclass(frozen=True)
class Tile:
    """A key number, with a word on it and the section that shows it."""

    label: str
    value: str
    detail: str
    anchor: str


@dataclass(frozen=True)
class Picture:
    heading: str
    drawing: str
    caption: str
    layout: str = ""  # where the panels lie, for the cursor: JSON
    curves: tuple[str, ...] = ()
    code: str = ""  # the line of Python that draws it
    data: str = ""  # what is drawn, as CSV: gzip in base64
    analyzer: str = ""  # whose methods say how it is computed

    @property
    def anchor(self) -> str:
        return self.heading.lower().replace(" ", "-")


@dataclass(frozen=True)
class Cell:
    text: str
    value: str  # for sorting
    detail: str
    unclear: bool = False
    bar: int = 0  # percent of the cell


@dataclass(frozen=True)
class OneRun:
    """What a page of many runs shows of one: its summary, its cautions, its figure over depth."""

    name: str
    summary: tuple[str, ...]
    cautions: tuple[str, ...]
    picture: Picture


@dataclass(frozen=True)
class Values:
    """All values of one run and split: a line a quantity, by analyzer, a column a layer."""

    title: str
    columns: tuple[str, ...]
    groups: tuple[tuple[str, tuple[tuple[str, str, tuple[Cell, ...]], ...]], ...]


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
    sections = list(_sections(report)) if report.headline and few else []
    here = {section.anchor for section, _ in sections}
    drawn = {p.anchor for _, by_run in sections for _, pictures in by_run for p in pictures}
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
        overview=list(_overview(report)),
        sections=sections,
        runs_table=None if few else _runs_table(report),
        values=[v for run in report.runs for v in _values(report, run)] if few else [],
        network=[(r, report.quantity(r.analyzer, r.quantity)) for r in report.rows if not r.layer] if few else [],
        singles=[] if few else list(_singles(report)),
        methods=shown,
        settings={name: _methods.settings(report, name) for name in shown},
        description=_methods.describe(report),
        latex=_latex(report) if few and report.headline else "",
        confidence=report.confidence,
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
    if len(report.runs) > FEW:
        return f"{len(report.runs)} runs, {report.runs[0]} to {report.runs[-1]}"
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
        lines.append((same[0], f"{len(same)} of {len(report.runs)} runs: {texts[0]}{example}"))
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


# --- figures ----------------------------------------------------------------------------------------------------------


def _overview(report: Report) -> Iterator[Picture]:
    """The six panels over depth; of many runs the trajectory and the summary."""
    if not report.headline:
        return
    names = plots.overview(report)
    listed = ", ".join(map(repr, names))
    if plots.is_training(report):
        caption = f"Lines are layers, dark for the first; bands are {report.confidence} intervals."
        axes, words = plots.trajectory(report, *names), f"Trajectory over training: {_say(report, names)}"
        code = f"repana.plots.trajectory(report, {listed})"
        yield Picture("Trajectory", svg(axes, words, "trajectory"), caption, code=code, data=_packed(axes))
    if len(report.runs) > 1:
        caption = f"Each run at the input of its classifier, with its {report.confidence} interval."
        axes, code = plots.run_summary(report, *names), f"repana.plots.run_summary(report, {listed})"
        drawn = svg(axes, f"Runs: {_say(report, names)}", "runs")
        yield Picture("Runs", drawn, caption, code=code, data=_packed(axes))
    if len(report.runs) <= CURVES:
        axes = plots.depth_profile(report)
        keys = dict.fromkeys((r.run, r.split) for r in report.rows if r.layer)
        curves = tuple(split_name(s) if len(report.runs) == 1 else f"{run}, {split_name(s)}" for run, s in keys)
        yield Picture(
            "Layers", svg(axes, _say(report, names), "depth", adapts=True), _depth_caption(report),
            _layout(report, names, axes), curves, "report.plot()", _packed(axes),
        )  # fmt: skip


def _depth_caption(report: Report) -> str:
    return (
        f"One panel per quantity, from input to output. Bands: {report.confidence} intervals. Grey: shuffled "
        "labels, with the range that holds 95% of them. Hollow marks: not significant (p of 0.05 or more after "
        "Holm over the layers)."
    )


def _singles(report: Report) -> Iterator[OneRun]:
    """Of many runs up to twelve, one by one."""
    found = find(report)
    for i, run in enumerate(report.runs[:MOST_RUNS]):
        axes = plots.depth_profile(report, *plots.overview(report)[:6], runs=[run], width=5.5)
        picture = Picture(
            run, svg(axes, f"Quantities by layer of {run}", f"run{i}"), _depth_caption(report),
            code=f"report.plot(runs=[{run!r}])", data=_packed(axes),
        )  # fmt: skip
        cautions = tuple(f"{f.text} {f.action}".strip() for f in found if f.run == run and f.kind == CAUTION)
        yield OneRun(run, summarise(report, run), cautions, picture)


def _latex(report: Report) -> str:
    """The table of the quantities of the default figure."""
    names = [name for name in plots.overview(report) if any(f"{r.analyzer}.{r.quantity}" == name for r in report.rows)]
    try:
        return latex(report, *names, run=report.runs[0])
    except RepanaError:
        return ""


def _packed(drawn: Any) -> str:
    """What a figure draws as CSV, which the browser unpacks."""
    return base64.b64encode(gzip.compress(plots.drawn_data(drawn).encode(), mtime=0)).decode()


def _layout(report: Report, names: Sequence[str], axes: Sequence[Axes]) -> str:
    """Layers, quantities, and the corners of every panel as shares of the drawing."""
    panels = [[round(float(x), 4) for x in ax.get_position().extents] for ax in axes]
    return json.dumps({"layers": report.layers, "names": [report.qualified(n) for n in names], "panels": panels})


def _say(report: Report, names: Sequence[str]) -> str:
    """What a figure over depth shows, in words."""
    parts = []
    for name in names:
        analyzer, _, quantity = name.partition(".")
        found = [r for r in report.rows if (r.analyzer, r.quantity) == (analyzer, quantity) and r.layer]
        rows = [r for r in found if (r.run, r.split) == (found[0].run, found[0].split) and r.value == r.value]
        if len(rows) > 1:
            a, b = rows[0], rows[-1]
            way = "falls" if b.value < a.value else "rises"
            label = report.named(name).label
            parts.append(f"{label} {way} from {number(a.value, 2)} at {a.layer} to {number(b.value, 2)} at {b.layer}")
    return "; ".join(parts) or "Quantities by layer"


def _identifier(heading: str) -> str:
    """What keeps the identifiers inside a figure apart from those of others: two letters of every word."""
    return "".join(word[:2] for word in heading.split())


def _sections(report: Report) -> Iterator[tuple[plots.Section, list[tuple[str, list[Picture]]]]]:
    """The figures of every family that has some, run by run."""
    for section in plots.SECTIONS:
        by_run = [(run, list(_pictures(report, section, i, run))) for i, run in enumerate(report.runs)]
        by_run = [(run, made) for run, made in by_run if made]
        if by_run:
            yield section, by_run


def _pictures(report: Report, section: plots.Section, i: int, run: str) -> Iterator[Picture]:
    rows = [r for r in report.rows if r.run == run and r.layer]
    if not rows:
        return
    split, layer = rows[0].split, penultimate(report, run)
    for panel in section.panels:
        try:
            drawn = panel.drawn(report, layer, run, split)
        except RepanaError:
            continue
        caption = panel.caption.format(run=run, split=split_name(split))
        words = caption.partition(". ")[0].removesuffix(".")
        at = [repr(layer)] if panel.one_layer else []
        code = f"repana.plots.{panel.draw.__name__}({', '.join(['report', *at, f'run={run!r}', f'split={split!r}'])})"
        name = _identifier(panel.heading) + (str(i) if i else "")
        yield Picture(
            panel.heading, svg(drawn, words, name), caption, code=code, data=_packed(drawn), analyzer=panel.analyzer
        )


# --- values -----------------------------------------------------------------------------------------------------------


def _values(report: Report, run: str) -> Iterator[Values]:
    for split in report.splits:
        rows = [r for r in report.rows if r.run == run and r.split == split and r.layer]
        if not rows:
            continue
        columns = tuple(layer for layer in report.layers if any(r.layer == layer for r in rows))
        by_place = {(r.analyzer, r.quantity, r.layer): r for r in rows}
        usual = Counter(r.n for r in rows).most_common(1)[0][0]
        groups: dict[str, list[tuple[str, str, tuple[Cell, ...]]]] = {}
        for analyzer, name in dict.fromkeys((r.analyzer, r.quantity) for r in rows):
            line = [by_place.get((analyzer, name, layer)) for layer in columns]
            p, unit = adjusted([r for r in line if r is not None]), report.quantity(analyzer, name).unit
            cells = tuple(_cell(r, usual, p, unit) for r in line)
            groups.setdefault(analyzer, []).append((name, report.quantity(analyzer, name).label, cells))
        title = split_name(split) if len(report.runs) == 1 else f"{run}, {split_name(split)}"
        title += f" (n = {usual:,} unless said)"
        yield Values(title, columns, tuple((a, tuple(lines)) for a, lines in groups.items()))


def _cell(r: Row | None, usual: int = -1, p: Mapping[str, float] | None = None, unit: str = "") -> Cell:
    if r is None:
        return Cell("", "", "")
    parts = [
        interval(r),
        f"shuffled {number(r.null)}" if r.null == r.null else "",
        f"n {r.n:,}" if r.n != usual else "",
        r.note,
    ]
    unclear = (p or {}).get(r.layer, 0.0) >= ALPHA
    shown = f"{100 * r.value:.3g}%" if unit == "share" and math.isfinite(r.value) else number(r.value)
    return Cell(shown, f"{r.value:.4g}", "; ".join(p for p in parts if p), unclear)


def _runs_table(report: Report) -> Values:
    """Key numbers of every run at the input of its classifier."""
    names = plots.overview(report)
    last = {run: penultimate(report, run) for run in report.runs}
    rows = {(r.run, f"{r.analyzer}.{r.quantity}", r.layer): r for r in reversed(report.rows)}
    columns = [[rows.get((run, name, last[run])) for run in report.runs] for name in names]
    bars = [_bars(column) for column in columns]
    lines = tuple(
        (run, run, tuple(replace(_cell(column[i]), bar=bar[i]) for column, bar in zip(columns, bars)))
        for i, run in enumerate(report.runs)
    )
    return Values("runs", tuple(report.named(name).label for name in names), (("", lines),))


def _bars(column: Sequence[Row | None]) -> list[int]:
    """The length of the bar of every value, from 0; on logarithms where values span a factor of 20."""
    values = [math.nan if r is None else r.value for r in column]
    finite = [v for v in values if math.isfinite(v)]
    if not finite or min(finite) < 0 or max(finite) == 0:
        return [0] * len(values)
    low, high = min(finite), max(finite)
    log = low > 0 and high / low > 20
    shares = [math.log(20 * v / low) / math.log(20 * high / low) if log and v > 0 else v / high for v in values]
    return [round(BAR * share) if math.isfinite(share) else 0 for share in shares]
