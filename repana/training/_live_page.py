"""The live page of a training: one file that reloads itself, drawn anew after every record, in milliseconds."""

import html
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repana._files import put
from repana._numbers import evenly, lasting, number, percent
from repana._results import Report
from repana.dynamics import StoppingRule, stopping_point
from repana.dynamics._stopping import ENTROPY
from repana.training._scores import BRIEF, probe_split, score_row, scores_of
from repana.training._whole import zero_error

PAGE, REFRESH = "live.html", 15  # seconds
WIDE, TALL, LEFT, RIGHT, TOP, LOW = 430, 210, 52, 10, 26, 26
SHOWN = (*BRIEF[:3], ENTROPY, *BRIEF[3:])
LOG = ("neural_collapse.nc1", "training.loss", "training.participation_ratio")
MOST, POINTS, BANDS = 12, 400, 8  # layers of a panel, records of a curve, layers that have bands
SPLITS = {"probe": "probe set", "held_out": "held-out probe set", "train": "training samples"}


@dataclass(frozen=True)
class Curve:
    name: str
    colour: str
    points: list[tuple[int, float, float, float]]
    dashed: bool = False


def live_page(records: Mapping[int, Report], about: Mapping[str, Any], rule: StoppingRule | None, folder: Path) -> Path:
    """Write `live.html` into the folder of a training."""
    content = page_of(records, about, rule, folder.name)
    put(folder / PAGE, content.encode())
    return folder / PAGE


def page_of(records: Mapping[int, Report], about: Mapping[str, Any], rule: StoppingRule | None, title: str) -> str:
    steps = sorted(records)
    zero = zero_error(records)
    last = records[steps[-1]]
    lines = "".join(f"<li>{html.escape(line)}</li>" for line in told(records, about, rule))
    panels = []
    for name in SHOWN:
        curves = _curves(records, name, steps)
        if curves:
            label = last.quantity(*name.split(".")).label
            panels.append(_panel(label, curves, name in LOG, None if zero is None else zero[0], (steps[0], steps[-1])))
    layers = [x for x in _layers(last) if x]
    key = "".join(
        f'<span><i style="background:{_colour(i, len(layers))}"></i>{html.escape(layer)}</span>'
        for i, layer in _picked(layers)
    )
    head = html.escape(title)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="{REFRESH}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{head}: training</title>'
        f"<style>{STYLE}</style></head><body><h1>{head}</h1><ul>{lines}</ul>"
        f'<p class="key">{key}</p><div class="panels">{"".join(panels)}</div>'
        f"<footer>Written {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime())}; reloads every {REFRESH} s."
        "</footer></body></html>"
    )


def told(records: Mapping[int, Report], about: Mapping[str, Any], rule: StoppingRule | None) -> list[str]:
    """The state of a training, in sentences."""
    steps = sorted(records)
    last = records[steps[-1]]
    several = "record" if len(steps) == 1 else "records"
    lines = [f"{len(steps)} {several}, the last at step {steps[-1]}."]
    known = [f"{SPLITS.get(s, s)}: {_at(last, s)}" for s in last.splits if _at(last, s)]
    lines += [f"Now, on the {line}." for line in known]
    zero = zero_error(records)
    if zero is not None:
        lines.append(
            f"Zero training error from step {zero[0]} on (of {zero[1].n} samples: below {percent(zero[1].high, 2)} in "
            "truth)."
        )
    lines.append(_advice(records, rule))
    clock = about.get("clock", {})
    whole = clock.get("training", 0.0) + clock.get("own", 0.0)
    if whole > 0:
        budget = clock.get("budget")
        limit = "no budget" if budget is None else f"budget {percent(budget, 3)}"
        share = percent(clock["own"] / whole, 3)
        lines.append(f"The monitor took {lasting(clock['own'])} of {lasting(whole)} ({share}; {limit}).")
    skipped, failed = about.get("skipped", ()), about.get("failures", ())
    if skipped:
        many, last_one = about.get("skips", len(skipped)), skipped[-1]
        lines.append(f"Skipped: {many}, the last at step {last_one['step']} ({last_one['reason']}).")
    if failed:
        lines.append(f"Failed: {len(failed)}, the last at step {failed[-1]['step']} ({failed[-1]['error']}).")
    for left in about.get("abandoned", ()):
        lines.append(f"A timeline was left: {left['records']} records from step {left['from']} on.")
    return [*lines, *(f"{note[0].upper()}{note[1:]}." for note in about.get("notes", ()))]


def _at(report: Report, split: str) -> str:
    found = {r.quantity: r.value for r in report.rows if r.analyzer == "training" and r.split == split and not r.layer}
    words = [f"accuracy {percent(found['accuracy'], 3)}"] if "accuracy" in found else []
    return ", ".join([*words, *([f"cross-entropy {number(found['loss'], 3)} nats"] if "loss" in found else [])])


def _advice(records: Mapping[int, Report], rule: StoppingRule | None) -> str:
    steps = sorted(records)
    point = stopping_point(scores_of(records, rule), rule)
    found = score_row(records[steps[-1]], rule)
    if point.best is None or found is None:
        return "No record has the score to stop on yet." if rule is not None else "No stopping rule was asked for."
    what = records[steps[-1]].quantity(found.analyzer, found.quantity).label
    where = f" at {found.layer}" if found.layer else ""
    best = f"{what}{where} is best at step {steps[point.best]}"
    if rule is None:
        return f"{best}; no stopping rule was asked for."
    if point.stop is None:
        return f"{best}; the rule (patience {rule.patience}) goes on."
    return f"{best}; the rule (patience {rule.patience}) stopped at step {steps[point.stop]}."


def _curves(records: Mapping[int, Report], name: str, steps: Sequence[int]) -> list[Curve]:
    analyzer, _, quantity = name.partition(".")
    last = records[steps[-1]]
    layers = _layers(last)
    shown = {layer for _, layer in _picked([x for x in layers if x])} | {""}
    found: dict[tuple[str, str], list[tuple[int, float, float, float]]] = {}
    every = max(1, -(-len(steps) // POINTS))
    for step in [*steps[::-1][::every]][::-1]:
        for r in records[step].rows:
            if (r.analyzer, r.quantity) == (analyzer, quantity) and r.layer in shown and math.isfinite(r.value):
                found.setdefault((r.split, r.layer), []).append((step, r.value, r.low, r.high))
    named = [x for x in layers if x]
    splits = list(dict.fromkeys(split for split, _ in found))
    if quantity not in ("accuracy", "loss"):
        splits = splits[:1]
    curves = []
    for (split, layer), points in found.items():
        if split in splits:
            colour = _colour(named.index(layer), len(named)) if layer else ("#0072B2", "#D55E00")[splits.index(split)]
            curves.append(Curve(layer or SPLITS.get(split, split), colour, points))
    return curves


def _panel(label: str, curves: Sequence[Curve], log: bool, zero: int | None, ends_of: tuple[int, int]) -> str:
    every = [p for c in curves for p in c.points]
    ends = [v for p in every for v in p[1:] if math.isfinite(v) and (v > 0 or not log)]
    if not ends:
        return ""
    first, last = ends_of
    low, high = (math.log10(min(ends)), math.log10(max(ends))) if log else (min(ends), max(ends))
    high, low = (high, low) if high > low else (high + 0.5, low - 0.5)

    def x(step: int | float) -> float:
        return LEFT + (WIDE - LEFT - RIGHT) * (0.5 if last == first else (step - first) / (last - first))

    def y(value: float) -> float:
        v = math.log10(max(value, 1e-300)) if log else value
        share = min(max((v - low) / (high - low), 0.0), 1.0)
        return TOP + (TALL - TOP - LOW) * (1 - share)

    parts = [f'<text x="{LEFT}" y="14" class="title">{html.escape(label)}</text>']
    for k in range(3):
        v = low + (high - low) * k / 2
        real = 10**v if log else v
        at = y(real)
        parts.append(f'<line x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" class="grid"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{at + 3:.1f}" class="end">{html.escape(number(real, 2))}</text>')
    parts.append(f'<text x="{x(first):.1f}" y="{TALL - 8}">{first}</text>')
    if last > first:
        parts.append(f'<text x="{WIDE - RIGHT}" y="{TALL - 8}" class="end">{last}</text>')
    if zero is not None and first <= zero <= last:
        at = x(zero)
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{TALL - LOW}" class="zero"/>')
        parts.append(f'<text x="{at + 3:.1f}" y="{TOP + 8}" class="mark">zero training error</text>')
    for c in curves:
        known = [p for p in c.points if math.isfinite(p[2]) and math.isfinite(p[3])]
        if len(known) > 1 and len(curves) <= BANDS:
            edge = [f"{x(p[0]):.1f},{y(p[3]):.1f}" for p in known]
            edge += [f"{x(p[0]):.1f},{y(p[2]):.1f}" for p in reversed(known)]
            parts.append(f'<polygon points="{" ".join(edge)}" fill="{c.colour}" opacity=".15"/>')
        line = " ".join(f"{x(p[0]):.1f},{y(p[1]):.1f}" for p in c.points)
        name = f"<title>{html.escape(c.name)}: {number(c.points[-1][1], 3)} at step {c.points[-1][0]}</title>"
        if len(c.points) == 1:
            p = c.points[0]
            parts.append(f'<circle cx="{x(p[0]):.1f}" cy="{y(p[1]):.1f}" r="2.5" fill="{c.colour}">{name}</circle>')
        else:
            parts.append(
                f'<polyline points="{line}" fill="none" stroke="{c.colour}" stroke-width="1.6">{name}</polyline>'
            )
    if all(c.name in SPLITS.values() for c in curves) and len(curves) > 1:
        for k, c in enumerate(curves):
            parts.append(
                f'<text x="{WIDE - RIGHT}" y="{TOP + 10 + 12 * k}" class="end" style="fill:{c.colour}">{c.name}</text>'
            )
    described = f"{label} over steps {first} to {last}"
    return f'<svg viewBox="0 0 {WIDE} {TALL}" role="img" aria-label="{html.escape(described)}">{"".join(parts)}</svg>'


def _layers(report: Report) -> list[str]:
    split = probe_split(report)
    return list(dict.fromkeys(r.layer for r in report.rows if r.split == split))


def _picked(layers: Sequence[str]) -> list[tuple[int, str]]:
    """At most so many layers, evenly over depth, with the last."""
    return [(i, layers[i]) for i in evenly(len(layers), MOST)]


def _colour(place: int, count: int) -> str:
    """From dark blue over green to yellow, the first layer darkest."""
    stops = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (216, 200, 40))
    at = 0.0 if count < 2 else place / (count - 1) * (len(stops) - 1)
    k = min(int(at), len(stops) - 2)
    r, g, b = (round(p + (q - p) * (at - k)) for p, q in zip(stops[k], stops[k + 1]))
    return f"#{r:02x}{g:02x}{b:02x}"


STYLE = (
    "body{font:15px/1.45 Arial,Helvetica,'Liberation Sans',sans-serif;max-width:1340px;margin:24px auto;padding:0 20px;"
    "color:#1c1c1c;background:#fff}h1{font-size:22px;margin:0 0 8px}ul{margin:0 0 10px;padding-left:20px}"
    ".panels{display:grid;grid-template-columns:repeat(auto-fill,minmax(340px,1fr));gap:14px}svg{width:100%;height:auto}"
    "text{font-size:10px;fill:#444}.title{font-size:12px;font-weight:bold;fill:#1c1c1c}.end{text-anchor:end}"
    ".grid{stroke:#ddd;stroke-width:.7}.zero{stroke:#1c1c1c;stroke-width:1;stroke-dasharray:4 3}.mark{font-size:9px}"
    ".key span{margin-right:14px;font-size:13px;white-space:nowrap}.key i{display:inline-block;width:12px;height:12px;"
    "margin-right:5px;vertical-align:-1px}footer{color:#666;font-size:12px;margin-top:16px}"
)
