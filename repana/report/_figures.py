"""The figures of a page: the default one, those of every family run by run, and those of single runs."""

import base64
import csv
import gzip
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from repana import plots
from repana._finding import CAUTION, split_name
from repana._numbers import number, percent
from repana._results import Report, Row, penultimate
from repana.errors import RepanaError
from repana.findings import find, summarise
from repana.report._pictures import svg

CURVES = 10  # runs that are overlaid in one depth profile
MOST_RUNS = 12  # of many, runs that have a panel of their own
BUTTONS = (
    ("Neural collapse", ("neural_collapse",)),
    ("Separability", ("fisher", "separability", "data_complexity")),
    ("Probing", ("probing", "layer_differences", "probe_baselines")),
    ("Dimension", ("dimension", "dimension_estimators")),
    ("Spectrum", ("spectrum",)),
    ("Topology", ("topology",)),
    ("Features", ("layer_readings", "complexity")),
    ("Comparison", ("similarity", "drift", "unlearning")),
)  # above the default figure


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
class OneRun:
    """What a page of many runs shows of one: its summary, its cautions, its figure over depth."""

    name: str
    summary: tuple[str, ...]
    cautions: tuple[str, ...]
    picture: Picture


def overview_of(report: Report) -> Iterator[Picture]:
    """The six panels over depth; of many runs the trajectory and the summary."""
    if not report.headline:
        return
    names = plots.overview(report)
    listed = ", ".join(map(repr, names))
    yield from _of_comparison(report)
    if plots.is_training(report):
        caption = f"Lines are layers, dark for the first; bands are {report.confidence} intervals."
        axes, words = plots.trajectory(report, *names), f"Trajectory over training: {_say(report, names)}"
        code = f"repana.plots.trajectory(report, {listed})"
        yield Picture(
            "Trajectory", svg(axes, words, "trajectory"), caption, code=code, data=_packed(plots.drawn_data(axes))
        )
        yield from _of_training(report)
    if len(report.profiles) > 1:
        caption = f"Each run at the input of its classifier, with its {report.confidence} interval."
        axes, code = plots.run_summary(report, *names), f"repana.plots.run_summary(report, {listed})"
        drawn = svg(axes, f"Runs: {_say(report, names)}", "runs")
        yield Picture("Runs", drawn, caption, code=code, data=_packed(plots.drawn_data(axes)))
    if len(report.runs) <= CURVES:
        axes = plots.depth_profile(report)
        keys = dict.fromkeys((r.run, r.split) for r in report.rows if r.layer)
        curves = tuple(split_name(s) if len(report.runs) == 1 else f"{run}, {split_name(s)}" for run, s in keys)
        yield Picture(
            "Layers", svg(axes, _say(report, names), "depth", adapts=True), _depth_caption(report),
            _layout(report, names, axes), curves, "report.plot()", _packed(plots.drawn_data(axes)),
        )  # fmt: skip


def _of_training(report: Report) -> Iterator[Picture]:
    """What a monitor adds to the trajectory: layers over steps, and when they settle."""
    for panel in plots.OF_TRAINING:
        try:
            drawn = panel.draw(report)
        except RepanaError:
            continue
        data = plots.drawn_data(drawn)
        words = f"{panel.caption.partition('. ')[0]}. {_ends(data)}".strip()
        code = f"repana.plots.{panel.draw.__name__}(report)"
        yield Picture(panel.heading, svg(drawn, words, _identifier(panel.heading)), panel.caption, code=code,
                      data=_packed(data), analyzer=panel.analyzer)  # fmt: skip


def _of_comparison(report: Report) -> Iterator[Picture]:
    """The figure of a comparison, on a page of its own."""
    panel = plots.comparison.panel_of(report)
    if panel is None:
        return
    run, split = report.runs[0], report.splits[0]
    drawn = panel.draw(report, run=run, split=split)
    data, caption = plots.drawn_data(drawn), panel.caption.format(run=run, split=split_name(split))
    words = f"{caption.partition('. ')[0]}. {_ends(data)}".strip()
    yield Picture(
        panel.heading, svg(drawn, words, _identifier(panel.heading)), caption, code="report.plot()", data=_packed(data),
        analyzer=panel.analyzer,
    )  # fmt: skip


def _depth_caption(report: Report) -> str:
    return (
        f"One panel per quantity, from input to output. Bands: {report.confidence} intervals. Grey: "
        f"{report.null_name()}, with the range that holds 95% of them. Hollow marks: not significant (p of 0.05 or "
        "more after "
        "Holm over the layers)."
    )


def singles_of(report: Report) -> Iterator[OneRun]:
    """Of many runs up to twelve, one by one."""
    found = find(report)
    for i, run in enumerate(report.profiles[:MOST_RUNS]):
        axes = plots.depth_profile(report, runs=[run])  # as the code beside it
        picture = Picture(
            run, svg(axes, f"Quantities by layer of {run}", f"run{i}"), _depth_caption(report),
            code=f"report.plot(runs=[{run!r}])", data=_packed(plots.drawn_data(axes)),
        )  # fmt: skip
        cautions = tuple(f"{f.text} {f.action}".strip() for f in found if f.run == run and f.kind == CAUTION)
        yield OneRun(run, summarise(report, run), cautions, picture)


def _packed(data: str) -> str:
    """What a figure draws as CSV, which the browser unpacks."""
    return base64.b64encode(gzip.compress(data.encode(), mtime=0)).decode()


def _ends(data: str) -> str:
    """The first and last point of up to three series of a figure, or its largest cell, in words."""
    rows = list(csv.DictReader(io.StringIO(data)))
    cells = [r for r in rows if r["value"]]
    if cells:
        top = max(cells, key=lambda r: float(r["value"]))
        return f"Largest: {top['value']} at {top['x']}, {top['y']}."
    series: dict[str, list[dict[str, str]]] = {}
    for r in rows:
        series.setdefault(r["series"], []).append(r)
    parts = [
        f"{name}: {found[0]['y']} at {found[0]['x']} to {found[-1]['y']} at {found[-1]['x']}"
        for name, found in series.items()
        if name and len(found) > 1
    ]
    return f"{'; '.join(parts[:3])}." if parts else ""


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
            inner = [r for r in rows[1:-1] if r.value > max(a.value, b.value) or r.value < min(a.value, b.value)]
            far = max(inner, key=lambda r: abs(r.value - (a.value + b.value) / 2), default=None)
            line = report.named(name)
            shown = [a, *([far] if far else []), b]
            parts.append(f"{line.label}: " + ", ".join(f"{_in_words(r, line.unit)} at {r.layer}" for r in shown))
    return "; ".join(parts) or "Quantities by layer"


def _in_words(r: Row, unit: str) -> str:
    return percent(r.value, 3) if unit == "share" else number(r.value, 2)


def _identifier(heading: str) -> str:
    """What keeps the identifiers inside a figure apart from those of others: two letters of every word."""
    return "".join(word[:2] for word in heading.split())


def sections_of(report: Report) -> Iterator[tuple[plots.Section, list[tuple[str, list[Picture]]]]]:
    """The figures of every family that has some, run by run."""
    shown = plots.comparison.panel_of(report)
    for section in plots.SECTIONS:
        if shown is not None and shown in section.panels:  # at the top of the page
            continue
        by_run = [(run, list(_pictures(report, section, i, run))) for i, run in enumerate(report.runs)]
        by_run = [(run, made) for run, made in by_run if made]
        if by_run:
            yield section, by_run


def families_of(report: Report) -> list[tuple[str, str]]:
    """What the buttons above the default figure show: families, and the analyzers of each that were measured."""
    here = {r.analyzer for r in report.rows if r.layer}
    groups = [(title, " ".join(a for a in analyzers if a in here)) for title, analyzers in BUTTONS]
    named = {a for _, analyzers in BUTTONS for a in analyzers}
    others = [(a.replace("_", " ").capitalize(), a) for a in sorted(here - named)]
    return [(title, names) for title, names in groups if names] + others


def _pictures(report: Report, section: plots.Section, i: int, run: str) -> Iterator[Picture]:
    rows = [r for r in report.of_run(run) if r.layer]
    if not rows:
        return
    split, layer = rows[0].split, penultimate(report, run)
    for panel in section.panels:
        try:
            drawn = panel.drawn(report, layer, run, split)
        except RepanaError:
            continue
        at = [repr(layer)] if panel.one_layer else []
        code = f"repana.plots.{panel.draw.__name__}({', '.join(['report', *at, f'run={run!r}', f'split={split!r}'])})"
        if isinstance(drawn, Axes) and drawn.images and not drawn.axison:  # nothing to draw, which the title says
            said = " ".join(drawn.get_title(loc="left").split())
            yield Picture(
                panel.heading, "", f"{said} ({run}, {split_name(split)}).", code=code, analyzer=panel.analyzer
            )
            continue
        caption, data = panel.caption.format(run=run, split=split_name(split)), plots.drawn_data(drawn)
        words = f"{caption.partition('. ')[0].removesuffix('.')}. {_ends(data)}".strip()
        name = _identifier(panel.heading) + (str(i) if i else "")
        yield Picture(
            panel.heading, svg(drawn, words, name), caption, code=code, data=_packed(data), analyzer=panel.analyzer
        )
