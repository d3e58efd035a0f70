"""What a monitor puts off: intervals, nulls and the slower families, from the features that were kept."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from repana._activations import Activations
from repana._profile import profile
from repana._results import Report, Row
from repana.errors import RepanaError
from repana.training._measured import run_name
from repana.training._run_folder import RunFolder

TIER = "later"
SAME = {"h0_entropy": "topology", "participation_ratio": "spectrum"}  # whose analyzer gives the interval
UNLABELED = ("dimension", "spectrum", "topology")
DEFAULT = ("neural_collapse", "fisher", "dimension", "spectrum", "topology", "probing", "separability")


def finished(
    folder: RunFolder, reports: Mapping[int, Report], analyzers: Sequence[str] | None = None, **options: Any
) -> dict[int, Report]:
    """The reports of all records, those with features measured in full; each is put in the place of the first one when
    it is whole, so that a call that was interrupted goes on where it was. What fails is said in the report's
    failures."""
    found = dict(reports)
    for step in sorted(reports):
        if reports[step].provenance.get("tier") == TIER:
            continue
        splits = {split: folder.activations(step, split) for split in reports[step].splits}
        held = {split: a for split, a in splits.items() if a is not None}
        if len(held) < len(splits):
            continue
        chosen = _measurable(next(iter(held.values()))) if analyzers is None else list(analyzers)
        found[step] = _completed(reports[step], held, step, chosen, **options)
        folder.replace(step, found[step])
    return found


def _completed(
    report: Report, held: Mapping[str, Activations], step: int, analyzers: list[str], **options: Any
) -> Report:
    names = list(held)
    first, others = held[names[0]], [held[name] for name in names[1:]]
    try:
        full = profile(
            first, analyzers=analyzers, held_out=others[0] if others else None, run=run_name(step), step=step,
            split=names[0], **options,
        )  # fmt: skip
    except RepanaError as error:
        failures = [*report.failures, f"later: {error}"]
        return Report(report.rows, report.arrays, {**report.provenance, "tier": TIER, "failures": failures})
    again = {r.analyzer for r in full.rows}
    own = [_with_interval(r, full) for r in report.rows if r.analyzer not in again]
    quantities = {**report.provenance.get("quantities", {}), **full.provenance["quantities"]}
    analyzers = list(dict.fromkeys([*full.provenance["analyzers"], *report.provenance.get("analyzers", ())]))
    sources = {**report.provenance.get("sources", {}), **full.provenance["sources"]}
    provenance = {
        **full.provenance, "tier": TIER, "quantities": quantities, "analyzers": analyzers, "sources": sources,
        "failures": [*report.failures, *full.failures],
    }  # fmt: skip
    return Report((*full.rows, *own), {**report.arrays, **full.arrays}, provenance)


def _measurable(found: Activations) -> list[str]:
    return list(DEFAULT) if found.labels is not None else list(UNLABELED)


def _with_interval(r: Row, full: Report) -> Row:
    """A row that was measured without an interval, with the one that its family gives around the same value."""
    analyzer = SAME.get(r.quantity)
    if r.analyzer != "training" or analyzer is None:
        return r
    same = (r.split, r.layer, analyzer, r.quantity)
    other = next((x for x in full.rows if (x.split, x.layer, x.analyzer, x.quantity) == same), None)
    if other is None:
        return r
    if r.n != other.n:  # H0 separability grows with the samples that it is read on
        return replace(r, note=f"no interval: of {r.n} samples; topology.h0_entropy has one of {other.n}")
    return replace(r, low=other.low, high=other.high, note=other.note, flags=other.flags)
