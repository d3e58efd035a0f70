"""Comparisons as reports: rows by layer, matrices as arrays, and what says how each number was made."""

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from repana._estimate import NAN, Estimate
from repana._quantity import Quantity, cited
from repana._results import Report, Row, row
from repana._version import __version__
from repana.comparison._drift import QUANTITIES, Drift
from repana.comparison._similarity import Similarity
from repana.comparison._table import FLOORS, REPORTED, SOURCES
from repana.comparison._unlearning import Unlearning

SPLIT = "all"
OUTPUTS = ("disagreement", "jsd", "negative_flips", "positive_flips", "accuracy_difference")
NULL = "samples paired at random"


def of_similarity(found: Similarity, run: str | None) -> Report:
    """A row for each pair of layers of like place and each measure, and the whole matrices."""
    run = run or (f"{found.a}, its layers" if found.itself else f"{found.a} and {found.b}")
    rows, known = [], {q.name: q for q in REPORTED["similarity"]}
    described: list[Quantity] = [known[name] for name in found.matrices]
    for i, j in found.pairs:
        layer = found.pair_name(i, j)
        for name, matrix in found.matrices.items():
            estimate = matrix.estimate(i, j, found.n, found.level)
            if found.itself:
                estimate = replace(estimate, label=found.layers_b[j])
            rows.append(row(run, SPLIT, layer, i, "similarity", name, estimate))
            for title, matrices in found.floors.items():
                floor = matrices[name].estimate(*found.floor_place(title, i, j), found.n, found.level)
                rows.append(row(run, SPLIT, layer, i, "similarity", f"{name}_{title}", floor))
    for title in found.floors:
        described += [
            replace(known[n], name=f"{n}_{title}", title=f"{known[n].label}, {FLOORS[title]}", headline=False)
            for n in found.matrices
        ]
    arrays = {}
    for i, j in found.pairs:
        for name, matrix in found.matrices.items():
            if matrix.deleted is not None:
                arrays[f"{SPLIT}/{found.pair_name(i, j)}/similarity.jackknife.{name}"] = matrix.deleted[:, i, j].copy()
    for name, matrix in found.matrices.items():
        parts = {"": matrix.value, ".low": matrix.low, ".high": matrix.high, ".null": matrix.null}
        parts |= {".null_sd": matrix.null_sd, ".p": matrix.p}
        arrays |= {f"{SPLIT}//similarity.{name}{part}": array for part, array in parts.items()}
        for title, matrices in found.floors.items():
            for part in ("value", "low", "high"):
                end = "" if part == "value" else f".{part}"
                arrays[f"{SPLIT}//similarity.{name}_{title}{end}"] = getattr(matrices[name], part)
    settings = {
        **found.settings,
        "layers_a": list(found.layers_a),
        "layers_b": list(found.layers_b),
        "a": found.a,
        "b": found.b,
        "pairs": [list(p) for p in found.pairs],
        "floors": list(found.floors),
    }
    return _report(run, rows, arrays, "similarity", described, settings, found.n, int(found.settings["of"]),
                   found.recordings)  # fmt: skip


def of_drift(found: Drift, run: str | None) -> Report:
    """A row for each layer and quantity."""
    run = run or f"{found.before} to {found.after}"
    rows: list[Row] = []
    arrays: dict[str, np.ndarray] = {}
    for depth, (layer, one) in enumerate(found.layers.items()):
        shared = Estimate(one.share_of_total, n=found.n)
        for name in (*QUANTITIES, "share_of_total"):
            estimate = shared if name == "share_of_total" else getattr(one, name)
            rows.append(row(run, SPLIT, layer, depth, "drift", name, estimate))
        for name, deleted in one.jackknife.items():
            arrays[f"{SPLIT}/{layer}/drift.jackknife.{name}"] = deleted.cpu().numpy()
        if one.by_class:
            pairs = sorted(one.by_class.items())
            arrays[f"{SPLIT}/{layer}/drift.classes"] = np.array([c for c, _ in pairs])
            arrays[f"{SPLIT}/{layer}/drift.residual_by_class"] = np.array([v for _, v in pairs])
    if found.outputs is not None:
        for name in OUTPUTS:
            estimate = getattr(found.outputs, name)
            if math.isfinite(estimate.value):
                rows.append(row(run, SPLIT, "", 0, "drift", name, estimate))
    settings = {
        **found.settings, "before": found.before, "after": found.after, "first_changed": found.first_changed or "",
        "unchanged": list(found.unchanged),
    }  # fmt: skip
    of, kept = int(found.settings["of"]), {r.quantity for r in rows}
    described = [q for q in REPORTED["drift"] if q.name in kept]
    return _report(run, rows, arrays, "drift", described, settings, found.n, of, found.recordings)


def of_unlearning(found: Unlearning, run: str | None) -> Report:
    """Rows for each layer, and for the whole network those of the outputs and the attack."""
    run = run or "unlearning"
    rows: list[Row] = []

    def add(layer: str, depth: int, name: str, estimate: Estimate) -> None:
        rows.append(row(run, SPLIT, layer, depth, "unlearning", name, estimate))

    for depth, (layer, one) in enumerate(found.layers.items()):
        add(layer, depth, "cka_original", one.cka_original)
        for name in ("cka_original_forget", "cka_retrained_forget"):
            add(layer, depth, name, getattr(one, name))
        for name in ("recovery", "closeness_forget", "utility", "knn_utility", "closeness_retain"):
            add(layer, depth, name, replace(getattr(one, name), null=NAN))  # 0 is no difference, not a null
        for model, estimate in one.recall.items():
            add(layer, depth, f"recall_{model}", estimate)
        for model in one.retained:
            add(layer, depth, f"retained_{model}", one.retained[model])
            add(layer, depth, f"knn_{model}", one.knn[model])
    for model, by_set in found.accuracy.items():
        for name, estimate in by_set.items():
            add("", 0, f"accuracy_{model}_{name}", estimate)
    for name in found.jsd:
        add("", 0, f"jsd_{name}", found.jsd[name])
        add("", 0, f"disagreement_{name}", found.disagreement[name])
    for model, estimate in found.attack.items():
        add("", 0, f"attack_{model}", estimate)
    add("", 0, "attack_difference", found.attack_difference)
    arrays = {f"{SPLIT}//unlearning.relearning_{m}": curve for m, curve in found.relearning.items()}
    settings = {
        **found.settings, "verdicts": list(found.verdicts), "head_only": found.head_only, "depth": found.depth or "",
        "samples": dict(found.n), "shots_to_original": dict(found.shots_to_original),
    }  # fmt: skip
    kept = {r.quantity for r in rows}
    described = [q for q in REPORTED["unlearning"] if q.name in kept]
    n = sum(found.n.values())
    return _report(run, rows, arrays, "unlearning", described, settings, n, n, found.recordings)


def _report(
    run: str,
    rows: Iterable[Row],
    arrays: Mapping[str, np.ndarray],
    analyzer: str,
    described: Iterable[Quantity],
    settings: Mapping[str, Any],
    kept: int,
    samples: int,
    recordings: Mapping[str, Mapping[str, Any]],
) -> Report:
    quantities = {f"{analyzer}.{q.name}": q.described() for q in described}
    provenance = {
        "run": run,
        "compared": analyzer,
        "null": NULL,
        "analyzers": [analyzer],
        "arguments": {"level": settings["level"], "seed": settings["seed"]},
        "settings": {analyzer: {k: v for k, v in settings.items() if k != "draws"}},
        "splits": {SPLIT: {"samples": samples, "kept": kept, "draws": settings.get("draws")}},
        "quantities": quantities,
        "sources": cited(quantities, SOURCES),
        "failures": [],
        "recordings": {name: dict(known) for name, known in recordings.items()},
        "versions": {"repana": __version__},
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    return Report(tuple(rows), dict(arrays), provenance)
