"""The score that a stopping rule reads, from the records of a training."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from repana._results import Report, Row, penultimate
from repana.analyzers import ANALYZERS
from repana.dynamics import StoppingRule
from repana.dynamics._stopping import ENTROPY
from repana.dynamics._table import RECORD
from repana.training import _refusals

AT_ONCE = ("neural_collapse", "fisher")  # families measured at every record
BRIEF = (
    "training.accuracy", "training.loss", "neural_collapse.nc1", "training.participation_ratio", "training.cka_first",
)  # fmt: skip
HEADS = ("self_duality", "classifier_equinorm")  # whose layer is the input of the classifier
PROBE = "held_out"  # what the probe set is called beside training samples
LOGGED = "logged."


def rule_of(given: StoppingRule | str | Sequence[Any] | None) -> StoppingRule | None:
    """A rule, as an object, the name of a score, or a tuple of its arguments; with the full name of its quantity and
    the side that is better. Refuses scores that no record will have, and those without a better side."""
    if given is None:
        return None
    if isinstance(given, str):
        given = StoppingRule(given)
    if not isinstance(given, StoppingRule):
        arguments = list(given) if isinstance(given, Sequence) else []
        if not 1 <= len(arguments) <= 7 or not isinstance(arguments[0], str):
            raise _refusals.stop_choice(given)
        given = StoppingRule(*arguments)
    known = {f"training.{q.name}": q for q in RECORD}
    known |= {f"{name}.{q.name}": q for name in AT_ONCE for q in ANALYZERS[name].quantities}
    name = given.quantity
    if not name.startswith(LOGGED):
        named = [full for full in known if name in (full, full.partition(".")[2])]
        if len(named) != 1:
            raise _refusals.unknown_score(name, named or sorted(known))
        name = named[0]
    better = given.better or (known[name].better if name in known else "")
    if not better:
        raise _refusals.no_better_side(name)
    return replace(given, quantity=name, better=better)


def probe_split(report: Report) -> str:
    """The split of the probe set."""
    return PROBE if PROBE in report.splits else report.splits[-1]


def score_row(report: Report, rule: StoppingRule | None) -> Row | None:
    """The row that a rule reads of a record, of the probe set; without a rule, that of H0 separability."""
    rule = rule or StoppingRule()
    analyzer, _, name = rule.quantity.rpartition(".")
    named = [r for r in report.rows if r.quantity == name and r.analyzer == analyzer]
    rows = [r for r in named if r.split == probe_split(report)] or named
    layer = rule.layer
    if layer is None:
        layer = penultimate(report) if any(r.layer for r in rows) else ""
    return next((r for r in rows if r.layer == layer), None)


def scores_of(records: Mapping[int, Report], rule: StoppingRule | None) -> list[float]:
    """The score at every record, by step; NaN where there is none."""
    rows = [score_row(records[step], rule) for step in sorted(records)]
    return [float("nan") if r is None else r.value for r in rows]


def in_brief(report: Report, rule: StoppingRule | None) -> Report:
    """What a monitor holds of a record while the training goes on: the rows that scores, the live page and advice
    read. All else is on disk."""
    named = {ENTROPY, *BRIEF, *([] if rule is None else [rule.quantity])}
    kept = tuple(r for r in report.rows if f"{r.analyzer}.{r.quantity}" in named or r.quantity in HEADS)
    described = {k: v for k, v in report.provenance.get("quantities", {}).items() if k in named}
    small = ("run", "step", "splits", "failures", "arguments", "later", "checkpoint", "model", "weights")
    about = {k: report.provenance[k] for k in small if k in report.provenance}
    return Report(kept, {}, {**about, "quantities": described})
