"""What a monitor puts off: intervals, nulls and the slower families, from the features that were kept."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from repana._activations import Activations
from repana._estimate import Estimate
from repana._profile import profile
from repana._results import Report, Row
from repana._selection import selected
from repana.errors import RepanaError
from repana.topology import h0_separability
from repana.training._measured import PAIRS, run_name
from repana.training._run_folder import RunFolder
from repana.training._scores import PROBE

UNLABELED = ("dimension", "spectrum", "topology")
LABELED = ("neural_collapse", "fisher", *UNLABELED, "probing", "separability")


def finished(
    folder: RunFolder, reports: Mapping[int, Report], later: Literal[True] | str | Sequence[str] = True, **options: Any
) -> dict[int, Report]:
    """The reports of all records, those with features measured in full; each is put in the place of the first one when
    it is whole, so that a call that was interrupted goes on where it was, and what was measured is not measured again.
    What fails is said in the report's failures. `later`: the names of some, or of one; True: all.

    Raises InputError for unknown analyzers.
    """
    analyzers = None if later is True else [later] if isinstance(later, str) else list(later)
    if analyzers is not None:
        selected(analyzers)
    found = dict(reports)
    for step, report in sorted(reports.items()):
        splits = {split: folder.activations(step, split) for split in report.provenance["splits"]}
        held = {split: a for split, a in splits.items() if a is not None}
        if len(held) < len(splits):
            continue
        done = report.provenance.get("later", [])
        labelled = any(a.labels is not None for a in held.values())
        chosen = [a for a in analyzers or (LABELED if labelled else UNLABELED) if a not in done]
        if chosen:
            found[step] = _completed(report, held, step, chosen, **options)
            folder.replace(step, found[step])
    return found


def _completed(
    report: Report, held: Mapping[str, Activations], step: int, analyzers: list[str], **options: Any
) -> Report:
    """With labels in one of two splits alone, what needs them is measured of that one."""
    same = len({a.labels is None for a in held.values()}) == 1
    groups = [list(held)] if same else [[split] for split in held]
    rows, provenance, arrays, failures = (
        list[Row](),
        dict(report.provenance),
        dict(report.arrays),
        list(report.failures),
    )
    for splits in groups:
        first, others = held[splits[0]], [held[split] for split in splits[1:]]
        free = [a for a in analyzers if a in UNLABELED]
        mine = analyzers if first.labels is not None else free
        if not mine:
            continue
        try:
            full = profile(
                first, analyzers=mine, held_out=others[0] if others else None, run=run_name(step), step=step,
                split=splits[0], **options,
            )  # fmt: skip
        except RepanaError as error:
            failures.append(f"later, {', '.join(splits)}: {error}")
            continue
        rows += full.rows
        arrays |= full.arrays
        failures += full.failures
        for name in ("quantities", "sources", "settings", "classes"):
            provenance[name] = {**provenance.get(name, {}), **full.provenance[name]}
        provenance["analyzers"] = list(dict.fromkeys([*full.provenance["analyzers"], *provenance["analyzers"]]))
        provenance["arguments"] = full.provenance["arguments"]
        known = {split: {**provenance["splits"].get(split, {}), **v} for split, v in full.provenance["splits"].items()}
        provenance["splits"] = {**provenance["splits"], **known}
    if not rows:
        return replace(report, provenance={**provenance, "failures": failures})
    again = {r.analyzer for r in rows}
    kept = [_with_interval(r, rows) for r in report.rows if r.analyzer not in again]
    if "topology" in analyzers:
        kept = [_entropy_interval(r, held, **options) for r in kept]
    later = [*provenance.get("later", []), *(a for a in analyzers if a in again)]
    return Report((*rows, *kept), arrays, {**provenance, "later": later, "failures": failures})


def _with_interval(r: Row, rows: Sequence[Row]) -> Row:
    """The participation ratio, which was measured without an interval, with that of its family."""
    if (r.analyzer, r.quantity) != ("training", "participation_ratio"):
        return r
    same = (r.split, r.layer, "spectrum", r.quantity)
    other = next((x for x in rows if (x.split, x.layer, x.analyzer, x.quantity) == same), None)
    return r if other is None else replace(r, low=other.low, high=other.high, note=other.note, flags=other.flags)


def _entropy_interval(r: Row, held: Mapping[str, Activations], **options: Any) -> Row:
    """H0 separability with its interval, of the samples that it was read on: it grows with their number."""
    if (r.analyzer, r.quantity) != ("training", "h0_entropy") or r.value != r.value:
        return r
    probe = held[PROBE] if PROBE in held else list(held.values())[-1]
    x = probe[r.layer].float()
    found: Estimate = h0_separability(x, max_samples=PAIRS, seed=options["seed"], level=options["level"]).h0_entropy
    return replace(r, low=found.low, high=found.high, note=str(found.note), flags=tuple(map(str, found.flags)))
