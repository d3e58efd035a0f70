"""Methods and provenance of a page: formulas, settings, notes, and a paragraph for a paper."""

import re
import shlex
from collections.abc import Mapping
from typing import Any

from repana._finding import listed, split_name
from repana._quantity import Quantity
from repana._results import Report
from repana._version import __version__

EXAMPLES = 3  # runs named beside provenance that differs
HASH = re.compile(r"[0-9a-f]{16,}")
LISTED = 6  # values of a setting that are written out
HEADLINE_SOURCES = 6  # works named in the paragraph for a paper


def methods(report: Report) -> dict[str, list[Quantity]]:
    """The quantities of every analyzer that the report has rows of."""
    found: dict[str, list[Quantity]] = {}
    for analyzer, name in dict.fromkeys((r.analyzer, r.quantity) for r in report.rows):
        found.setdefault(analyzer, []).append(report.quantity(analyzer, name))
    return found


def settings(report: Report, analyzer: str) -> list[tuple[str, str]]:
    """The settings of an analyzer, rounded; where runs differ in one, those of each."""
    by_run = {run: _of_run(report.about(run), analyzer) for run in report.runs}
    names = dict.fromkeys(name for found in by_run.values() for name in found)
    return [(name, _by_run({run: found.get(name, "") for run, found in by_run.items()})) for name in names]


def _of_run(about: Mapping[str, Any], analyzer: str) -> dict[str, str]:
    given = about.get("settings", {}).get(analyzer, {})
    return {name.replace("_", " "): _shown(value) for name, value in given.items() if not HASH.fullmatch(str(value))}


def _shown(value: Any) -> str:
    """A setting to four digits, a list up to six entries, a yes or no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        parts = [_shown(part) for part in value]
        return ", ".join(parts) if len(parts) <= LISTED else f"{parts[0]}, {parts[1]}, \u2026, {parts[-1]}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_shown(part)}" for name, part in value.items()) or "none"
    return str(value)


def describe(report: Report) -> str:
    """How to describe the measurement in a paper: what was recorded, of what, with which intervals and nulls."""
    p = report.about()
    parts = [f"Representations were measured with repana {p.get('versions', {}).get('repana', __version__)}."]
    names = dict.fromkeys(report.named(name).label for name in report.headline)
    if not names:
        return parts[0]
    if "model" in p and p.get("splits"):
        splits = " and ".join(f"{found['samples']:,} {split_name(name)}" for name, found in p["splits"].items())
        pools = sorted({_pooling(method) for method in p.get("pooling", {}).values()} - {""})
        pooled = f"; layers with positions were {' or '.join(pools)}" if pools else ""
        layers = f"{len(report.layers)} layer{'s' * (len(report.layers) != 1)}"
        model = f"a {p['model']} with {p['parameters']:,} parameters"
        parts.append(f"Activations of {layers} of {model} were recorded on {splits} samples{pooled}.")
    works = dict.fromkeys(report.named(name).source for name in report.headline if report.named(name).source)
    parts.append(f"We report {listed(list(names))} ({'; '.join(list(works)[:HEADLINE_SOURCES])}).")
    how = "by a bootstrap within classes, a jackknife, or Wilson's formula for shares"
    if p.get("compared"):
        how = (
            "by the jackknife over samples, or Wilson's formula for shares; nulls are over all pairings of the samples"
        )
    parts.append(f"Intervals are at {report.confidence} confidence, {how}.")
    permutations = p.get("arguments", {}).get("permutations")
    if permutations:
        parts.append(
            f"Supervised quantities are compared with their values under {permutations} permutations of the labels; "
            "p-values are adjusted over layers by Holm's method."
        )
    return " ".join(parts)


def _pooling(method: str) -> str:
    return {
        "avg": "averaged over positions", "mean": "averaged over positions", "max": "reduced to their maximum",
        "flatten": "", "none": "", "cls": "read at the first position", "last": "read at the last position",
    }.get(method, "")  # fmt: skip


def provenance(report: Report) -> list[tuple[str, str]]:
    by_run = [dict(recorded(report.about(run))) for run in report.runs]
    names = list(dict.fromkeys(name for facts in by_run for name in facts))
    facts = [(name, _by_run({run: found.get(name, "") for run, found in zip(report.runs, by_run)})) for name in names]
    if len(report.runs) > 1:
        facts.insert(0, ("Runs", str(len(report.runs))))
    return facts


def recorded(p: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is known of one run, by heading."""
    facts = [
        ("Model", f"{p['model']}, {p['parameters']:,} parameters" if "model" in p else ""),
        ("Weights", f"sha256 {p['weights_sha256'][:16]}\u2026" if "weights_sha256" in p else ""),
        (
            "Networks",
            "; ".join(_network(name, known) for name, known in p.get("recordings", {}).items())
            if p.get("compared")
            else "",
        ),
        ("Data", ", ".join(_samples(name, found) for name, found in p.get("splits", {}).items())),
        ("Classes", "; ".join(f"{split_name(k)}: {len(v)}" for k, v in p.get("classes", {}).items())),
        ("Device", ", ".join(str(p[k]) for k in ("device", "autocast") if p.get(k))),
        ("Seed", str(p.get("seed", ""))),
        ("Versions", ", ".join(f"{k} {v}" for k, v in p.get("versions", {}).items())),
        ("Time", f"{p['seconds']} s, {p['created']}" if "seconds" in p else ""),
    ]
    return [(name, text) for name, text in facts if text]


def _network(name: str, p: Mapping[str, Any]) -> str:
    """One of the networks of a comparison: what it is and whose weights it has."""
    parts = [f"{p['model']}, {p['parameters']:,} parameters"] if "model" in p else ["arrays"]
    parts += [f"weights {p['weights_sha256'][:16]}\u2026"] if p.get("weights_sha256") else []
    return f"{name} ({', '.join(parts)})"


def _samples(split: str, found: Mapping[str, Any]) -> str:
    """1,347 training samples, and how many of them were kept."""
    kept = f", {found['kept']:,} kept" if found["kept"] != found["samples"] else ""
    return f"{found['samples']:,} {split_name(split)} samples{kept}"


def varied(report: Report) -> str:
    """What differs between several runs, of what was recorded."""
    if len(report.profiles) < 2:
        return ""
    found: dict[str, list[str]] = {}
    for run in report.profiles:
        p = report.about(run)
        series = run.rpartition("/")[0]
        facts = [*([("Series", series)] if series else []), *recorded(p), ("Step", str(p.get("step", "")))]
        for analyzer, given in p.get("settings", {}).items():
            chosen = {name: value for name, value in given.items() if isinstance(value, (str, bool))}
            shown = _of_run({"settings": {analyzer: chosen}}, analyzer)
            facts += [(f"{name} of {analyzer.replace('_', ' ')}", value) for name, value in shown.items()]
        for name, text in facts:
            found.setdefault(name, []).append(text)
    told = []
    for name, texts in found.items():
        values = list(dict.fromkeys(texts)) + ([""] if len(texts) < len(report.profiles) else [])
        if len(values) > 1 and name not in ("Weights", "Time"):
            told.append(f"{name.lower()} ({listed([value or 'not recorded' for value in values])})")
    return f"Varied between runs: {'; '.join(told)}." if told else "All recorded settings are the same for all runs."


def command(report: Report) -> str:
    """What makes this page again."""
    if len(report.runs) > 1:
        return "repana.concat(reports).to_html(path), or repana report RUNS -o PATH"
    p = report.about()
    if "command" in p:
        return shlex.join(p["command"])
    options = {k: v for k, v in p.get("arguments", {}).items() if v is not None}
    given = "".join(f", {name}={value!r}" for name, value in options.items())
    if p.get("compared"):
        return f"repana.{p['compared']}(...{given}).report().to_html(path)"
    return f"repana.profile(model, data{given})"


def notes(report: Report) -> list[tuple[str, list[str]]]:
    """Notes on values, each with where it applies."""
    found: dict[str, list[str]] = {}
    for r in report.rows:
        if r.note:
            found.setdefault(r.note, []).append(f"{r.split} {r.layer or 'network'} {r.quantity}")
    recorded = [(note, []) for note in report.about().get("notes", ())]
    return [*recorded, *found.items()]


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
