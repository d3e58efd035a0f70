"""The report of a whole training: its records as runs, and what is read of all of them together."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from repana._activations import Activations
from repana._estimate import NAN, Estimate, Flag
from repana._quantity import cited
from repana._results import Report, Row, concat, row
from repana._version import __version__
from repana.analyzers import SOURCES
from repana.comparison._inputs import groups_of
from repana.comparison._layer_matrix import Options
from repana.comparison._layer_measures import MEASURES
from repana.dynamics import StoppingRule, log_slope, stopping_point
from repana.dynamics._stopping import rank_correlation, regret
from repana.dynamics._table import WHOLE
from repana.statistics.intervals import proportion
from repana.training._run_folder import RunFolder
from repana.training._scores import probe_split, score_row, scores_of

RUN, SETTLED = "training", 0.95
FEWEST = 3  # records of which it is said when a layer settled


def whole_report(
    records: Mapping[int, Report],
    folder: RunFolder,
    about: Mapping[str, Any],
    rule: StoppingRule | None,
    level: float,
    seed: int,
) -> Report:
    """The records, and behind them the run "training"."""
    steps = sorted(records)
    last = records[steps[-1]]
    probe = probe_split(last)
    layers = list(dict.fromkeys(r.layer for r in last.rows if r.split == probe and r.layer))
    rows: list[Row] = []
    arrays: dict[str, np.ndarray] = {}
    kept = [s for s in steps if (folder.at(s) / "features" / probe).is_dir()]

    def add(layer: str, name: str, estimate: Estimate) -> None:
        rows.append(row(RUN, "all", layer, layers.index(layer) if layer else -1, "dynamics", name, estimate))

    zero = zero_error(records)
    if zero is not None:
        step, bound = zero
        add("", "zero_error_step", Estimate(float(step), n=int(bound.n), note=_resolution(steps, step)))
        add("", "zero_error_bound", Estimate(bound.high, n=bound.n))
    for layer in layers:
        for name, estimate in _slopes(records, layer, None if zero is None else zero[0], level):
            add(layer, name, estimate)
        add(layer, "score_correlation", rank_correlation(*_score_and_accuracy(records, layer, rule)))
    if rule is not None and all(r is None or not r.layer for r in (score_row(records[s], rule) for s in steps)):
        add("", "score_correlation", rank_correlation(*_score_and_accuracy(records, "", rule)))
    for layer, (at, curve) in _settled(folder, kept, probe, level, seed).items():
        add(layer, "settled_step", Estimate(at, n=len(kept), note=_resolution(kept, at)))
        arrays[f"all/{layer}/dynamics.cka_last"] = curve
    if rule is not None:
        for name, estimate in _stopping(records, rule):
            add("", name, estimate)
    clock = about.get("clock", {})
    whole = clock.get("training", 0.0) + clock.get("own", 0.0)
    if whole > 0:
        add("", "overhead", Estimate(clock["own"] / whole, n=len(steps)))
    arrays["all//dynamics.steps"] = np.array(steps)
    arrays["all//dynamics.kept_steps"] = np.array(kept)
    settings = {
        "records": len(steps), "kept": len(kept), "skipped": about.get("skips", len(about.get("skipped", ()))),
        "failed": list(about.get("failures", ())), "abandoned": list(about.get("abandoned", ())),
        "notes": list(about.get("notes", ())), "budget": clock.get("budget"), "off": bool(about.get("off")),
        "rule": None if rule is None else dict(vars(rule)), "layers": layers,
        "train_probe": "train" in last.splits, "labels": _accuracies(records) is not None, "level": level, "seed": seed,
    }  # fmt: skip
    present = {r.quantity for r in rows}
    quantities = {f"dynamics.{q.name}": q.described() for q in WHOLE if q.name in present}
    provenance = {
        "run": RUN,
        "compared": "dynamics",
        "null": "no null",
        "analyzers": ["dynamics"],
        "arguments": {"level": level, "seed": seed},
        "settings": {"dynamics": settings},
        "splits": {"all": {"samples": last.about()["splits"][probe]["samples"], "kept": len(steps)}},
        "quantities": quantities,
        "sources": cited(quantities, SOURCES),
        "failures": folder.unreadable(records),
        "versions": {"repana": __version__},
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    return concat([*(records[s] for s in steps), Report(tuple(rows), arrays, provenance)])


def zero_error(records: Mapping[int, Report]) -> tuple[int, Estimate] | None:
    """The first record at which every training sample of the probe is right, and the share of errors that this leaves
    possible; None without a `train_probe`, or where none is right throughout."""
    for step in sorted(records):
        for r in records[step].rows:
            if (r.split, r.analyzer, r.quantity) == ("train", "training", "accuracy") and r.value == 1.0:
                return step, proportion(0, r.n, level=records[step].level())
    return None


def _resolution(steps: Sequence[int], at: int | float) -> str:
    before = [s for s in steps if s < at]
    return f"between the records of steps {before[-1]} and {at:.0f}" if before and math.isfinite(at) else ""


def _slopes(
    records: Mapping[int, Report], layer: str, zero: int | None, level: float
) -> Iterator[tuple[str, Estimate]]:
    """Of ln NC1 of the training samples, before and from zero training error on."""
    found = {}
    for step in sorted(records):
        split = "train" if "train" in records[step].splits else records[step].splits[0]
        for r in records[step].rows:
            if (r.split, r.layer, r.analyzer, r.quantity) == (split, layer, "neural_collapse", "nc1") and r.value > 0:
                found[step] = r.value
    if zero is None or not found:
        return
    for name, chosen in (
        ("nc1_slope_before", {s: v for s, v in found.items() if s < zero}),
        ("nc1_slope_after", {s: v for s, v in found.items() if s >= zero}),
    ):
        if len(chosen) >= 2:
            yield name, log_slope([float(s) for s in chosen], list(chosen.values()), level=level)


def _accuracies(records: Mapping[int, Report]) -> list[float] | None:
    """Of the probe set by record; None where no record has one."""
    found = []
    for step in sorted(records):
        split = probe_split(records[step])
        rows = [r for r in records[step].rows if (r.split, r.analyzer, r.quantity) == (split, "training", "accuracy")]
        found.append(rows[0].value if rows else NAN)
    return found if any(map(math.isfinite, found)) else None


def _score_and_accuracy(
    records: Mapping[int, Report], layer: str, rule: StoppingRule | None
) -> tuple[list[float], list[float]]:
    """Of the rule's quantity, by default H0 separability, at a layer; higher is better."""
    rule = rule or StoppingRule(better="higher")
    rows = [score_row(records[s], replace(rule, layer=layer)) for s in sorted(records)]
    sign = -1.0 if rule.better == "lower" else 1.0
    scores = [NAN if r is None else sign * r.value for r in rows]
    return scores, _accuracies(records) or [NAN] * len(scores)


def _settled(
    folder: RunFolder, kept: Sequence[int], probe: str, level: float, seed: int
) -> dict[str, tuple[float, np.ndarray]]:
    """By layer, the first step from which on it is similar to its last record, and CKA with that at every kept step."""
    if len(kept) < FEWEST:
        return {}
    held = {s: folder.activations(s, probe) for s in kept}
    last = held[kept[-1]]
    if last is None:
        return {}
    n, found = len(last.sample), {}
    options = Options(level, seed, groups_of(last.sample, n), None, 10, "cosine")
    for layer in last.layers:
        others = [_features(held[s], layer) for s in kept[:-1]]
        if any(x is None or len(x) != n for x in others):
            continue
        matrix = MEASURES["cka"]([_features(last, layer)], others, options)
        curve = np.stack([matrix.value[0], matrix.low[0], matrix.high[0]], 1)
        near = [bool(v >= SETTLED) for v in curve[:, 0]]
        first = next((i for i in range(len(near)) if all(near[i:])), len(near))
        constant = bool(np.isnan(curve[:, 0]).any())
        found[layer] = (NAN if constant else float(kept[first]), curve)
    return found


def _features(found: Activations | None, layer: str) -> Any:
    return None if found is None or layer not in found else torch.as_tensor(found[layer]).float()


def _stopping(records: Mapping[int, Report], rule: StoppingRule) -> Iterator[tuple[str, Estimate]]:
    steps = sorted(records)
    point = stopping_point(scores_of(records, rule), rule)
    label = next((r.layer for s in steps if (r := score_row(records[s], rule)) is not None), "")
    if point.best is not None:
        yield "best_step", Estimate(float(steps[point.best]), n=len(steps), label=label)
    if point.stop is not None:
        yield "stop_step", Estimate(float(steps[point.stop]), n=len(steps), label=label)
    else:
        note = Flag.UNDEFINED.note("the rule did not stop")
        yield "stop_step", Estimate(NAN, n=len(steps), label=label, note=note)
    accuracy = _accuracies(records)
    if accuracy is not None:
        yield "regret", Estimate(regret(point, accuracy), n=len(steps), label=label)
