"""Findings: what a report says, in sentences. Each has a stable code, a kind and an explanation.

The general ones are here; a family's stand in its table. The page, the notebook and the command line read FINDINGS.
"""

from collections.abc import Iterator

from repana._check import listed
from repana._finding import ABSENT, CHECK, KINDS, SEVERITIES, Finding, Rule, View
from repana._results import Report
from repana.analyzers import FAMILIES
from repana.findings import _validity
from repana.findings._rates import rates_of
from repana.findings._summary import of_run, of_runs

GENERAL: dict[str, Rule] = {
    "RF101": Rule("Completeness", _validity.measured, CHECK, 100),
    "RF102": Rule("Headline values and their null", _validity.clear_of_null, CHECK, 90),
    "RF103": Rule("Samples per class", _validity.samples, CHECK, 80),
    "RF104": Rule("Class balance", _validity.balance, CHECK, 42),
    "RF105": Rule("Samples behind the intervals", _validity.subset, CHECK, 30),
    "RF106": Rule("Samples against features", _validity.width, CHECK, 58),
    "RF107": Rule("Classes of the splits", _validity.same_classes, CHECK, 70),
}
FINDINGS = dict(sorted((GENERAL | {code: f for family in FAMILIES for code, f in family.findings.items()}).items()))


def find(report: Report, run: str | None = None) -> tuple[Finding, ...]:
    """What the report says of one run, or of each of its runs: results, cautions, checks, then what is not applicable;
    of each the heaviest first."""
    found = [f for name in ((run,) if run else report.runs) for f in _of(View(report, name))]
    return tuple(sorted(found, key=lambda f: (f.severity == ABSENT, KINDS.index(f.kind), -f.weight)))


def summarise(report: Report, run: str | None = None) -> tuple[str, ...]:
    """One to three sentences on one run, or on all runs of a report of several; and which runs are missing from it."""
    if run is None and len(report.runs) != 1:
        return (*of_runs(report, find(report)), *_missing(report)) if report.runs else _missing(report)
    view = View(report, run or report.runs[0])
    return (*of_run(view, find(report, view.run)), *(_missing(report) if run is None else ()))


def _missing(report: Report) -> tuple[str, ...]:
    names = report.provenance.get("missing_runs", ())
    if not names:
        return ()
    return (f"{len(names)} run{'s' * (len(names) > 1)} could not be measured or read: {listed(list(names), 4)}.",)


def _of(view: View) -> Iterator[Finding]:
    here = {r.analyzer for r in view.report.of_run(view.run)}
    compared = bool(view.report.about(view.run).get("compared"))
    for code, rule in FINDINGS.items():
        if rule.applies(here, compared):
            yield rule.finding(code, view)


def explanations() -> dict[str, tuple[str, str]]:
    """Title and explanation of every code, with the rates at which it was wrong and right where that was measured."""
    texts = {code: (r.title, " ".join((r.function.__doc__ or "").split())) for code, r in FINDINGS.items()}
    return {code: (title, f"{text} {rates_of(code)}".strip()) for code, (title, text) in texts.items()}


__all__ = ["FINDINGS", "KINDS", "SEVERITIES", "Finding", "explanations", "find", "summarise"]
