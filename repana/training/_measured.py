"""What a monitor measures of a record at once: a report of one step, from the features that were just recorded."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from repana._activations import Activations, with_tensors
from repana._estimate import NAN, Estimate, Flag
from repana._profile import profile
from repana._quantity import cited
from repana._results import Report, Row, row
from repana.analyzers import SOURCES
from repana.comparison._cka import on_atanh
from repana.comparison._inputs import groups_of
from repana.comparison._matrices import (
    Centred,
    LinearMatrix,
    cheaper_by_features,
    feature_products,
    products,
    without_groups,
)
from repana.comparison._resampled import interval_of
from repana.dynamics._table import RECORD
from repana.errors import RepanaError
from repana.statistics.intervals import mean_of, proportion
from repana.statistics.pairing import EXACT, Pairing
from repana.summaries.subsample import Subsample
from repana.summaries.tree import Tree
from repana.topology._persistence import statistics
from repana.training._scores import AT_ONCE, probe_split

PAIRS = 512  # samples of measures that take all pairs
TAU = 0.5
SIMILARITIES = ("cka_first", "cka_previous", "cka_best")
DEPENDENT = Flag.DEPENDENT.note("no null: rows of one sample depend on each other")
NO_INTERVAL = Flag.NO_INTERVAL.note("no interval yet: `finish()` measures it")


def run_name(step: int) -> str:
    return f"step {step}"


def measured(
    splits: Mapping[str, Activations],
    step: int,
    references: Mapping[str, Activations | None],
    metrics: Mapping[str, float],
    *,
    level: float,
    seed: int,
    convention: str,
) -> Report:
    """A report of one record. The last of the splits is the probe set; `references` are earlier records of it by the
    quantity that compares with them."""
    run = run_name(step)
    names, held = list(splits), {name: with_tensors(found) for name, found in splits.items()}
    probe = held[names[-1]]
    base = _of_families(held, run, step, level=level, seed=seed, convention=convention)
    rows: list[Row] = list(base.rows)
    for split, found in held.items():
        rows += [row(run, split, "", -1, "training", name, e) for name, e in _of_outputs(found, level)]
    for depth, layer in enumerate(probe.layers):
        for name, e in _of_layer(probe[layer], seed):
            rows.append(row(run, names[-1], layer, depth, "training", name, e))
    rows += _similarities(run, names[-1], probe, references, level)
    failures = [*base.failures, *(said for split, found in held.items() if (said := _unscored(split, found)))]
    numbers, refused = _numbers(metrics)
    failures += refused
    for name, value in numbers.items():
        rows.append(row(run, names[-1], "", -1, "logged", name, Estimate(value, note="as it was given")))
    kept = {r.quantity for r in rows if r.analyzer == "training"}
    described = {f"training.{q.name}": q.described() for q in RECORD if q.name in kept}
    about = base.provenance
    counts = {name: {"samples": a.seen, "kept": len(a.sample)} for name, a in held.items()}
    provenance = {
        **about,
        "failures": failures,
        "quantities": {**about.get("quantities", {}), **described},
        "sources": {**about.get("sources", {}), **cited(described, SOURCES)},
        "analyzers": [*about.get("analyzers", ()), "training"],
        "splits": {name: about.get("splits", {}).get(name, count) for name, count in counts.items()},
    }
    return Report(tuple(rows), base.arrays, provenance)


def _of_families(held: Mapping[str, Activations], run: str, step: int, **options: Any) -> Report:
    """Neural collapse and Fisher's family of every split, where there are labels."""
    first = next(iter(held.values()))
    names = [name for name, found in held.items() if found.labels is not None]
    if names:
        try:
            return profile(
                held[names[0]], analyzers=list(AT_ONCE), held_out=held[names[1]] if names[1:] else None, run=run,
                step=step, split=names[0], permutations=0, bootstrap=0, **options,
            )  # fmt: skip
        except RepanaError as error:
            failures = [f"{', '.join(AT_ONCE)}: {error}"]
    else:
        failures = []
    arguments = {"permutations": 0, "bootstrap": 0, **options}
    provenance = {**first.provenance, "run": run, "step": step, "failures": failures}
    return Report((), {}, {**provenance, "arguments": arguments})


def _numbers(metrics: Any) -> tuple[dict[str, float], list[str]]:
    """Metrics that are numbers, and what is said of the others."""
    if not isinstance(metrics, Mapping):
        return {}, [f"metrics: expected a mapping from names to numbers, got {type(metrics).__name__}"]
    found, refused = {}, []
    for name, value in metrics.items():
        try:
            found[str(name)] = float(value)
        except (TypeError, ValueError, RuntimeError):
            refused.append(f"metrics: {name!r} is no number, {str(value)[:60]!r}")
    return found, refused


def _unscored(split: str, found: Activations) -> str:
    """Why labels and logits give no accuracy, or only of some samples."""
    z, y, what = found.logits, found.labels, f"accuracy and loss of {split}"
    beyond_all = found.provenance.get("labels_beyond")
    if beyond_all and y is not None:
        return f"{what}: {beyond_all}"
    if z is None or y is None or z.ndim != 2:
        return ""
    if y.ndim != 1:
        return f"{what}: labels have shape {tuple(y.shape)}; expected one class for each sample"
    if y.is_floating_point():
        return "" if bool((y != y.round()).any()) else f"{what}: labels are {y.dtype}; expected whole numbers"
    beyond, below = int((y >= z.shape[1]).sum()), int((y < 0).sum())
    if beyond:
        return f"{what}: labels reach {int(y.max())} and there are {z.shape[1]} outputs, from 0"
    return f"{what}: {below} of {len(y)} samples have a label below 0 and are left out" if below else ""


def _of_outputs(found: Activations, level: float) -> Iterator[tuple[str, Estimate]]:
    """Accuracy and cross-entropy of the logits, where labels are their columns."""
    z, y = found.logits, found.labels
    if z is None or y is None or y.ndim != 1 or y.is_floating_point() or z.ndim != 2:
        return
    y = y.to(z.device).long()
    known = (y >= 0) & (y < z.shape[1])
    if not bool(known.any()) or bool((y >= z.shape[1]).any()):
        return
    z, y = z[known].double(), y[known]
    yield "accuracy", proportion(int((z.argmax(1) == y).sum()), len(y), level=level)
    mean, low, high = mean_of(torch.nn.functional.cross_entropy(z, y, reduction="none").cpu(), level)
    yield "loss", Estimate(float(mean), float(low), float(high), len(y))


def _of_layer(x: Tensor, seed: int) -> Iterator[tuple[str, Estimate]]:
    """What needs no labels."""
    n = len(x)
    if n < 3:
        return
    part = Subsample.of(x, max_samples=PAIRS, seed=seed)
    lengths = Tree.of(part.normalized("center+l2")[0]).lengths
    value = statistics(lengths, TAU)["h0_entropy"] if float(lengths[-1]) > 0 else NAN
    note = NO_INTERVAL if math.isfinite(value) else Flag.CONSTANT.note("all samples are equal")
    yield "h0_entropy", Estimate(value, n=part.n, note=note)
    moved = x.double() - x.double().mean(0)
    trace = float(moved.square().sum())
    gram = moved.T @ moved if moved.shape[1] <= n else moved @ moved.T
    size = float(gram.square().sum())
    note = NO_INTERVAL if size > 0 else Flag.CONSTANT.note("every feature is constant")
    yield "participation_ratio", Estimate(trace**2 / size if size > 0 else NAN, n=n, note=note)


def related(report: Report, probe: Activations, references: Mapping[str, Activations | None], level: float) -> Report:
    """The report of a record, with its similarities to other records measured anew."""
    kept = [r for r in report.rows if r.quantity not in SIMILARITIES]
    again = list(_similarities(report.runs[0], probe_split(report), with_tensors(probe), references, level))
    found = {r.quantity for r in again}
    described = {f"training.{q.name}": q.described() for q in RECORD if q.name in found}
    quantities = {**report.provenance["quantities"], **described}
    return Report((*kept, *again), report.arrays, {**report.provenance, "quantities": quantities})


def _similarities(
    run: str, split: str, probe: Activations, references: Mapping[str, Activations | None], level: float
) -> Iterator[Row]:
    """Debiased linear CKA of every layer with itself at earlier records, with its interval."""
    n = len(probe.sample)
    if n < 4:
        return
    group = groups_of(probe.sample, n)
    for depth, layer in enumerate(probe.layers):
        there = {name: a[layer] for name, a in references.items() if a is not None and layer in a}
        there = {name: x.to(probe[layer]) for name, x in there.items() if len(x) == n}
        if not there:
            continue
        one, *others = (LinearMatrix(Centred.of(x)) for x in (probe[layer], *there.values()))
        by_features = n > EXACT and cheaper_by_features(n, [one.width], [m.width for m in others])
        found = (feature_products if by_features else products)([one], others)
        deleted = without_groups([one], others, found, group)[:, 0] if group is not None else None
        null = Pairing(0.0, math.sqrt(2 / (n * (n - 3))))
        for j, name in enumerate(there):
            value = float(found.values[0, j])
            if math.isnan(value):
                nothing = Estimate(NAN, n=n, note=Flag.CONSTANT.note("every feature is constant"))
                yield row(run, split, layer, depth, "training", name, nothing)
                continue
            if deleted is None:
                low, high = on_atanh(value, float(found.error[0, j]), NormalDist().inv_cdf(0.5 + level / 2))
            else:
                low, high = interval_of(value, deleted[:, j], level)
            found_here = Estimate(value, low, high, n, DEPENDENT if deleted is not None else "")
            if deleted is None:
                ends = null.interval(level)
                found_here = replace(found_here, null=0.0, null_low=ends[0], null_high=ends[1])
            yield row(run, split, layer, depth, "training", name, found_here)
