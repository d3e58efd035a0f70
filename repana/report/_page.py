"""The page: what the template shows, gathered from the report."""

import base64
import shlex
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

import jinja2
import numpy as np

from repana import plots
from repana._finding import listed
from repana._numbers import number
from repana._quantity import Quantity
from repana._results import Report, Row, penultimate
from repana._version import __version__
from repana.errors import RepanaError
from repana.findings import SEVERITIES, Finding, explanations, find
from repana.plots._style import SEQUENTIAL, SIGNED
from repana.report._bibliography import bibliography
from repana.report._pictures import pixels, svg
from repana.report._tables import interval, table

FEW = 3  # runs that are shown in full; of more, an overview and a drawer each
CURVES = 10  # runs that are overlaid in one depth profile
EXAMPLES = 3  # runs named beside a finding that many share


def page(report: Report) -> str:
    """The page as text. Names from the model are escaped by the template engine."""
    names = report.headline
    text = resources.files("repana").joinpath("templates/report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "interval": interval}
    methods = _methods(report)
    measured = {(r.analyzer, r.quantity) for r in report.rows}
    few = len(report.runs) <= FEW
    pairs = [(run, split) for run in report.runs for split in report.splits]
    tables = [t for t in (table(report, names, run, split) for run, split in pairs if few) if t.body]
    return environment.from_string(text).render(
        title=_title(report),
        runs=report.runs,
        provenance=_provenance(report),
        command=_command(report),
        findings=_findings(report),
        explained=explanations(),
        figures=list(_figures(report, names)),
        tables=tables,
        drawers=list(_layers(report)) if few else [],
        overview=[] if few else [(run, table(report, names, run, report.splits[0])) for run in report.runs],
        network=[(r, report.quantity(r.analyzer, r.quantity)) for r in report.rows if not r.layer] if few else [],
        methods=methods,
        shared={q for _, q in measured if sum(q == other for _, other in measured) > 1},
        settings={name: _settings(report, name) for name in methods},
        confidence=report.confidence,
        bibtex=bibliography(report),
        notes=_notes(report) if few else [],
        failures=report.failures,
        csv=base64.b64encode(report.frame().to_csv(index=False).encode()).decode(),
        rows=len(report.rows),
        version=__version__,
    )


def _methods(report: Report) -> dict[str, list[Quantity]]:
    """The quantities of every analyzer that the report has rows of."""
    found: dict[str, list[Quantity]] = {}
    for analyzer, name in dict.fromkeys((r.analyzer, r.quantity) for r in report.rows):
        found.setdefault(analyzer, []).append(report.quantity(analyzer, name))
    return found


def _title(report: Report) -> str:
    if len(report.runs) > FEW:
        return f"{len(report.runs)} runs, {report.runs[0]} to {report.runs[-1]}"
    return ", ".join(report.runs) or "report"


def _figures(report: Report, names: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    """Heading, SVG, caption of each figure that the report has something for."""
    if not names:
        return
    if plots.is_training(report):
        alternative = "Trajectory of " + ", ".join(names)
        caption = "Each row is one quantity over the steps of training, each column a series of checkpoints, each line "
        caption += f"a layer, dark for the first; bands are {report.confidence} intervals."
        yield "Trajectory", svg(plots.trajectory(report, *names), alternative, "trajectory"), caption
    if len(report.runs) > 1:
        caption = (
            "Each line is one run, read at the input of its classifier, with its "
            f"{report.confidence} interval; upright ticks are the shuffled-label null."
        )
        yield "Runs", svg(plots.run_summary(report, *names), "Summary of runs", "runs"), caption
    if len(report.runs) <= CURVES:
        caption = (
            f"Each panel is one quantity from input to output. Bands are {report.confidence} intervals; dotted lines, "
            "in the colour of their curve, are the shuffled-label null (labels permuted, or in closed "
            "form), with the range that holds 95% of permuted values. Hollow marks are not distinguishable from it (p "
            "of 0.05 or more after Holm over the layers). Thin vertical lines part the blocks of the network."
        )
        drawn = svg(plots.depth_profile(report, *names), "Depth profile of " + ", ".join(names), "depth")
        yield "Depth profile", drawn, caption
    run, split = report.rows[-1].run, report.splits[0]
    if any(r.run == run and r.split == split and r.layer for r in report.rows):
        caption = (
            f"All quantities of {run}, {split.replace('_', ' ')}, each on its own scale from its worst (light) to its "
        )
        caption += "best (dark) layer. A dot marks a value that is not distinguishable from shuffled labels (p of 0.05 "
        caption += "or more after Holm); hatching marks one that is not finite."
        drawn = plots.heat_map(report, run=run, split=split)
        yield "Heat map", svg(drawn, f"Heat map of layers and quantities of {run}", "heat"), caption
    layer = penultimate(report, run)
    for panel in plots.PANELS:
        try:
            drawn = panel.drawn(report, layer, run, split)
        except RepanaError:
            continue
        caption = panel.caption.format(run=run, split=split)
        yield panel.heading, svg(drawn, f"{panel.heading} of {run}", panel.heading.split()[-1]), caption


def _layers(report: Report) -> Iterator[tuple[str, list[Row], list[tuple[str, str]]]]:
    """All rows of each layer, and its class matrices as pixels."""
    by_layer: dict[str, list[Row]] = {}
    for r in report.rows:
        by_layer.setdefault(r.layer, []).append(r)
    for layer in report.layers:
        yield layer, by_layer[layer], [found for run in report.runs for found in _matrices(report, layer, run)]


def _matrices(report: Report, layer: str, run: str) -> Iterator[tuple[str, str]]:
    """Title and picture of the class matrices of a layer in one run, for its first split."""
    split, several = report.splits[0], len(report.runs) > 1
    for name, title, colours, ends in (
        ("neural_collapse.class_cosines", "cosines of class means, \u22121 red to 1 blue", SIGNED, (-1.0, 1.0)),
        ("neural_collapse.cdnv_grid", "log CDNV of class pairs, darker overlap more", SEQUENTIAL, None),
    ):
        try:
            matrix = report.array(name, layer, run=run, split=split)
        except RepanaError:
            continue
        if ends is None:
            with np.errstate(divide="ignore", invalid="ignore"):
                matrix = np.log(np.where(np.isfinite(matrix) & (matrix > 0), matrix, np.nan))
            known = matrix[np.isfinite(matrix)]
            ends = (known.min(), known.max() + 1e-9) if len(known) else (0.0, 1.0)
        title = f"{run}: {title}" if several else title
        yield title, pixels(matrix, colours, *ends, f"{title}, at {layer}")


def _findings(report: Report) -> list[tuple[Finding, list[tuple[str, str]]]]:
    """Each finding once, with the runs that share it and their evidence."""
    grouped: dict[tuple[str, str], list[Finding]] = {}
    for f in find(report):
        grouped.setdefault((f.severity, f.code), []).append(f)
    ordered = sorted(grouped.items(), key=lambda pair: (SEVERITIES.index(pair[0][0]), pair[0][1]))
    if len(report.runs) == 1:
        return [(same[0], [("", same[0].text)]) for _, same in ordered]
    found = []
    for _, same in ordered:
        if len({f.text for f in same}) == 1 and len(same) > 1:
            found.append((same[0], [(f"{len(same)} of {len(report.runs)} runs: ", same[0].text)]))
            continue
        lines = [(f"{f.run}: ", f.text) for f in same[:EXAMPLES]]
        if len(same) > EXAMPLES:
            lines.append((f"{len(same) - EXAMPLES} more runs of {len(report.runs)}", ""))
        found.append((same[0], lines))
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

    def text(run: str) -> str:
        found = report.about(run).get("settings", {}).get(analyzer, {})
        return ", ".join(f"{name} = {value}" for name, value in found.items())

    return _by_run({run: text(run) for run in report.runs})


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
