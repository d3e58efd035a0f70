"""Findings: what a report says, in sentences. Each has a stable code, a severity, its evidence and an explanation.

The general ones are here; a family's stand in its table. The page, the notebook and the command line read FINDINGS.
"""

from collections.abc import Callable, Iterator

from repana._finding import SEVERITIES, Finding, View
from repana._results import Report
from repana.analyzers import FAMILIES
from repana.findings import _validity
from repana.findings._rates import rates_of

GENERAL: dict[str, tuple[str, Callable[[View], Finding]]] = {
    "RF101": ("Completeness", _validity.measured),
    "RF102": ("Values against their null", _validity.clear_of_null),
    "RF103": ("Samples per class", _validity.samples),
    "RF104": ("Class balance", _validity.balance),
    "RF105": ("Samples behind the intervals", _validity.subset),
    "RF106": ("Samples against features", _validity.width),
    "RF107": ("Classes of the splits", _validity.same_classes),
}
FINDINGS = dict(sorted((GENERAL | {code: f for family in FAMILIES for code, f in family.findings.items()}).items()))


def find(report: Report, run: str | None = None) -> tuple[Finding, ...]:
    """What the report says of one run, or of each of its runs: issues first, then tips, passed, not applicable."""
    found = [f for name in ((run,) if run else report.runs) for f in _of(View(report, name))]
    return tuple(sorted(found, key=lambda f: SEVERITIES.index(f.severity)))


def _of(view: View) -> Iterator[Finding]:
    for code, (title, function) in FINDINGS.items():
        yield function(view).filed(code, title, view.run)


def explanations() -> dict[str, tuple[str, str]]:
    """Title and explanation of every code, with the rates at which it was wrong and right where that was measured."""
    texts = {code: (title, " ".join((f.__doc__ or "").split())) for code, (title, f) in FINDINGS.items()}
    return {code: (title, f"{text} {rates_of(code)}".strip()) for code, (title, text) in texts.items()}


__all__ = ["FINDINGS", "SEVERITIES", "Finding", "explanations", "find"]
