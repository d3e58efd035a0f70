"""The page: what the template shows, gathered from the report."""

import base64
import hashlib
import json
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
from matplotlib.axes import Axes

from repana import plots
from repana._finding import ABSENT, ALPHA, CAUTION, CHECK, RESULT, View, fraction, listed, share, split_name
from repana._numbers import number
from repana._quantity import Quantity
from repana._results import Report, Row, penultimate
from repana._version import __version__
from repana.errors import RepanaError
from repana.findings import FINDINGS, Finding, explanations, find, summarise
from repana.report._bibliography import bibliography
from repana.report._pictures import svg
from repana.report._tables import interval

FEW = 3  # runs that are shown in full; of more, a table of runs and what they share
CURVES = 10  # runs that are overlaid in one depth profile
EXAMPLES = 3  # runs named beside provenance that differs
FAMILIES = {"2": "Neural collapse", "3": "Class separation", "4": "Dimension", "5": "Probing", "6": "Features"}
NC1 = "neural_collapse.nc1"


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


@dataclass(frozen=True)
class Cell:
    text: str
    value: str  # for sorting
    detail: str
    unclear: bool = False


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
    environment.filters |= {"number": number, "interval": interval, "explained": lambda code: explained[code][1]}
    explained = explanations()
    script = folder.joinpath("report.js").read_text(encoding="utf-8").strip()
    few, found = len(report.runs) <= FEW, find(report)
    sections = list(_sections(report)) if report.headline else []
    here = {section.anchor for section, _ in sections}
    methods = _methods(report)
    template = environment.from_string(folder.joinpath("report.html.j2").read_text(encoding="utf-8"))
    return template.render(
        title=_title(report),
        facts=_facts(report),
        varied=_varied(report),
        summary=summarise(report),
        tiles=list(_tiles(report, found)) if len(report.runs) == 1 else [],
        cautions=_shared(report, [f for f in found if f.kind == CAUTION]),
        results=_by_family(report, [f for f in found if f.kind == RESULT and f.severity != ABSENT]),
        checks=_shared(report, [f for f in found if f.kind == CHECK and f.severity != ABSENT]),
        absent=_shared(report, [f for f in found if f.severity == ABSENT]),
        anchors={code: _anchor(rule.figure, here) for code, rule in FINDINGS.items()},
        overview=list(_overview(report)),
        sections=sections,
        runs_table=None if few else _runs_table(report),
        values=[v for run in report.runs for v in _values(report, run)] if few else [],
        network=[(r, report.quantity(r.analyzer, r.quantity)) for r in report.rows if not r.layer] if few else [],
        methods=methods,
        settings={name: _settings(report, name) for name in methods},
        confidence=report.confidence,
        bibtex=bibliography(report),
        notes=_notes(report) if few else [],
        failures=report.failures,
        provenance=_provenance(report),
        command=_command(report),
        rows=len(report.rows),
        version=__version__,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


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


def _varied(report: Report) -> str:
    """What differs between several runs, of what was recorded."""
    if len(report.runs) < 2:
        return ""
    found: dict[str, list[str]] = {}
    for run in report.runs:
        p = report.about(run)
        facts = [*_recorded(p), ("Step", str(p.get("step", "")))]
        facts += [(f"{analyzer} settings", _of_run(p, analyzer)) for analyzer in p.get("settings", {})]
        for name, text in facts:
            found.setdefault(name, []).append(text)
    told = []
    for name, texts in found.items():
        values = list(dict.fromkeys(texts)) + ([""] if len(texts) < len(report.runs) else [])
        if len(values) > 1 and name not in ("Weights", "Time"):
            told.append(f"{name.lower()} ({listed([value or 'not recorded' for value in values])})")
    return f"Varied between runs: {'; '.join(told)}." if told else "All recorded settings are the same for all runs."


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


def _anchor(quantity: str, here: set[str]) -> str:
    """The section that shows a quantity."""
    analyzer = quantity.partition(".")[0]
    found = next((s.anchor for s in plots.SECTIONS if analyzer in s.analyzers), "")
    return found if found in here else ""


# --- figures ----------------------------------------------------------------------------------------------------------


def _overview(report: Report) -> Iterator[Picture]:
    """The six panels over depth; of many runs the trajectory and the summary."""
    if not report.headline:
        return
    names = plots.overview(report)
    if plots.is_training(report):
        caption = f"Lines are layers, dark for the first; bands are {report.confidence} intervals."
        drawn = svg(plots.trajectory(report, *names), f"Trajectory over training: {_say(report, names)}", "trajectory")
        yield Picture("Trajectory", drawn, caption)
    if len(report.runs) > 1:
        caption = f"Each run at the input of its classifier, with its {report.confidence} interval."
        yield Picture("Runs", svg(plots.run_summary(report, *names), f"Runs: {_say(report, names)}", "runs"), caption)
    if len(report.runs) <= CURVES:
        caption = (
            f"One panel per quantity, from input to output. Bands: {report.confidence} intervals. Grey: shuffled "
            "labels, with the range that holds 95% of them. Hollow marks: not significant (p of 0.05 or more after "
            "Holm over the layers)."
        )
        axes = plots.depth_profile(report)
        drawn = svg(axes, _say(report, names), "depth")
        keys = dict.fromkeys((r.run, r.split) for r in report.rows if r.layer)
        curves = tuple(split_name(s) if len(report.runs) == 1 else f"{run}, {split_name(s)}" for run, s in keys)
        yield Picture("Layers", drawn, caption, _layout(report, names, axes), curves)


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


def _sections(report: Report) -> Iterator[tuple[plots.Section, list[Picture]]]:
    """The figures of every family that has some; of many runs those of the first, which the caption names."""
    run, split = report.runs[0], report.splits[0]
    layer = penultimate(report, run) if any(r.layer for r in report.rows) else ""
    for section in plots.SECTIONS:
        made = []
        for panel in section.panels if layer else ():
            try:
                drawn = panel.drawn(report, layer, run, split)
            except RepanaError:
                continue
            caption = panel.caption.format(run=run, split=split_name(split))
            words = caption.partition(". ")[0].removesuffix(".")
            made.append(Picture(panel.heading, svg(drawn, words, panel.heading.replace(" ", "")), caption))
        if made:
            yield section, made


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
            cells = tuple(_cell(by_place.get((analyzer, name, layer)), usual) for layer in columns)
            groups.setdefault(analyzer, []).append((name, report.quantity(analyzer, name).label, cells))
        title = split_name(split) if len(report.runs) == 1 else f"{run}, {split_name(split)}"
        title += f" (n = {usual:,} unless said)"
        yield Values(title, columns, tuple((a, tuple(lines)) for a, lines in groups.items()))


def _cell(r: Row | None, usual: int = -1) -> Cell:
    if r is None:
        return Cell("", "", "")
    parts = [
        interval(r),
        f"shuffled {number(r.null)}" if r.null == r.null else "",
        f"n {r.n}" if r.n != usual else "",
        r.note,
    ]
    unclear = r.p >= ALPHA
    return Cell(number(r.value), f"{r.value:.4g}", "; ".join(p for p in parts if p), unclear)


def _runs_table(report: Report) -> Values:
    """Key numbers of every run at the input of its classifier."""
    names = plots.overview(report)
    last = {run: penultimate(report, run) for run in report.runs}
    rows = {(r.run, f"{r.analyzer}.{r.quantity}", r.layer): r for r in reversed(report.rows)}
    lines = tuple((run, run, tuple(_cell(rows.get((run, name, last[run]))) for name in names)) for run in report.runs)
    return Values("runs", tuple(report.named(name).label for name in names), (("", lines),))


# --- methods and provenance -------------------------------------------------------------------------------------------


def _methods(report: Report) -> dict[str, list[Quantity]]:
    """The quantities of every analyzer that the report has rows of."""
    found: dict[str, list[Quantity]] = {}
    for analyzer, name in dict.fromkeys((r.analyzer, r.quantity) for r in report.rows):
        found.setdefault(analyzer, []).append(report.quantity(analyzer, name))
    return found


def _provenance(report: Report) -> list[tuple[str, str]]:
    by_run = [dict(_recorded(report.about(run))) for run in report.runs]
    names = list(dict.fromkeys(name for facts in by_run for name in facts))
    facts = [(name, _by_run({run: found.get(name, "") for run, found in zip(report.runs, by_run)})) for name in names]
    if len(report.runs) > 1:
        facts.insert(0, ("Runs", str(len(report.runs))))
    return facts


def _recorded(p: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is known of one run, by heading."""
    facts = [
        ("Model", f"{p['model']}, {p['parameters']:,} parameters" if "model" in p else ""),
        ("Weights", f"sha256 {p['weights_sha256'][:16]}\u2026" if "weights_sha256" in p else ""),
        ("Data", ", ".join(f"{k}: {v['samples']} samples ({v['kept']} kept)" for k, v in p.get("splits", {}).items())),
        ("Classes", "; ".join(f"{k}: {len(v)}" for k, v in p.get("classes", {}).items())),
        ("Device", ", ".join(str(p[k]) for k in ("device", "autocast") if p.get(k))),
        ("Seed", str(p.get("seed", ""))),
        ("Versions", ", ".join(f"{k} {v}" for k, v in p.get("versions", {}).items())),
        ("Time", f"{p['seconds']} s, {p['created']}" if "seconds" in p else ""),
    ]
    return [(name, text) for name, text in facts if text]


def _command(report: Report) -> str:
    """What makes this page again."""
    if len(report.runs) > 1:
        return "repana.concat(reports).to_html(path), or repana report RUNS -o PATH"
    p = report.about()
    if "command" in p:
        return shlex.join(p["command"])
    options = {k: v for k, v in p.get("arguments", {}).items() if v is not None}
    given = "".join(f", {name}={value!r}" for name, value in options.items())
    return f"repana.profile(model, data{given})"


def _settings(report: Report, analyzer: str) -> str:
    """The settings of an analyzer; where runs differ in them, those of each."""

    return _by_run({run: _of_run(report.about(run), analyzer) for run in report.runs})


def _of_run(about: Mapping[str, Any], analyzer: str) -> str:
    return ", ".join(f"{name} = {value}" for name, value in about.get("settings", {}).get(analyzer, {}).items())


def _by_run(texts: Mapping[str, str]) -> str:
    """One text where all runs share it, else each with its runs, a few named."""
    runs: dict[str, list[str]] = {}
    for run, text in texts.items():
        if text:
            runs.setdefault(text, []).append(run)
    if len(runs) == 1 and len(next(iter(runs.values()))) == len(texts):
        return next(iter(runs))
    lines = [f"{text} ({listed(names)})" for text, names in runs.items()]
    more = [f"and {len(lines) - EXAMPLES} more"] if len(lines) > EXAMPLES else []
    return "; ".join([*lines[:EXAMPLES], *more])


def _notes(report: Report) -> list[tuple[str, list[str]]]:
    """Notes on values, each with where it applies."""
    found: dict[str, list[str]] = {}
    for r in report.rows:
        if r.note:
            found.setdefault(r.note, []).append(f"{r.split} {r.layer or 'network'} {r.quantity}")
    recorded = [(note, []) for note in report.about().get("notes", ())]
    return [*recorded, *found.items()]
