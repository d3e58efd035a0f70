"""The score that a stopping rule reads, from the records of a training."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from repana._results import Report, Row, penultimate
from repana.dynamics import StoppingRule
from repana.training import _refusals


def rule_of(given: StoppingRule | str | Sequence[Any] | None) -> StoppingRule | None:
    """A rule, as an object, the name of a score, or a tuple of its arguments."""
    if given is None or isinstance(given, StoppingRule):
        return given
    if isinstance(given, str):
        return StoppingRule(given)
    arguments = list(given)
    if not 1 <= len(arguments) <= 6 or not isinstance(arguments[0], str):
        raise _refusals.stop_choice(given)
    return StoppingRule(*arguments)


def score_row(report: Report, rule: StoppingRule | None) -> Row | None:
    """The row that a rule reads of a record; without a rule, of H0 separability. Of the probe set, the last split."""
    rule = rule or StoppingRule()
    analyzer, _, name = rule.quantity.rpartition(".")
    named = [r for r in report.rows if r.quantity == name and analyzer in ("", r.analyzer)]
    rows = [r for r in named if r.split == report.splits[-1]] or named
    layer = rule.layer
    if layer is None:
        layer = penultimate(report) if any(r.layer for r in rows) else ""
    return next((r for r in rows if r.layer == layer), None)


def scores_of(records: Mapping[int, Report], rule: StoppingRule | None) -> list[float]:
    """The score at every record, by step; NaN where there is none. Refuses a score that no record has."""
    rows = {step: score_row(records[step], rule) for step in sorted(records)}
    if rule is not None and records and all(r is None for r in rows.values()):
        known = sorted({f"{r.analyzer}.{r.quantity}" for report in records.values() for r in report.rows})
        raise _refusals.unknown_score(
            rule.quantity if rule.layer is None else f"{rule.quantity} at {rule.layer!r}", known
        )
    return [float("nan") if r is None else r.value for r in rows.values()]


def directed(rule: StoppingRule | None, records: Mapping[int, Report]) -> StoppingRule:
    """A rule that says which way is better: as it was given, or as the quantity of the records is."""
    rule = rule or StoppingRule()
    if rule.better is not None or not records:
        return rule
    report = records[max(records)]
    found = score_row(report, rule)
    better = "" if found is None else report.quantity(found.analyzer, found.quantity).better
    return replace(rule, better=better or "higher")
