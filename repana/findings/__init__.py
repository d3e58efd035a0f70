"""Findings: what a report says, in sentences. Each has a stable code, a severity, its evidence and an explanation.

A family adds a file with its functions and a line for each in FINDINGS; the page, the notebook and the command line
read the table.
"""

from collections.abc import Callable, Iterator

from repana._results import Report
from repana.findings import _collapse, _dimension, _features, _probing, _reading, _separability
from repana.findings._finding import SEVERITIES, Finding, View

FINDINGS: dict[str, tuple[str, Callable[[View], Finding]]] = {
    "RF101": ("Completeness", _reading.measured),
    "RF102": ("Values against their null", _reading.clear_of_null),
    "RF103": ("Samples per class", _reading.samples),
    "RF104": ("Class balance", _reading.balance),
    "RF105": ("Samples behind the intervals", _reading.subset),
    "RF106": ("Samples against features", _reading.width),
    "RF107": ("Classes of the splits", _reading.same_classes),
    "RF201": ("Variability collapse (NC1)", _collapse.variability),
    "RF202": ("Simplex geometry (NC2)", _collapse.simplex),
    "RF203": ("Self-duality (NC3)", _collapse.duality),
    "RF204": ("Nearest-mean decisions (NC4)", _collapse.nearest_mean),
    "RF205": ("Closest classes", _collapse.closest),
    "RF206": ("Collapse on held-out data", _collapse.held_out),
    "RF301": ("Earliest separating layer", _separability.earliest),
    "RF302": ("Law of data separation", _separability.law),
    "RF303": ("Held-out accuracy", _separability.gap),
    "RF304": ("Layers that lose separation", _separability.losses),
    "RF305": ("Fisher's quotient against its null", _separability.quotient),
    "RF306": ("Neighbours and clusters", _separability.neighbours),
    "RF401": ("Peak of the dimension", _dimension.peak),
    "RF402": ("Dimension and scale", _dimension.scales),
    "RF403": ("Samples for the dimension", _dimension.shortfall),
    "RF404": ("Samples of the splits, for the dimension", _dimension.sizes),
    "RF501": ("Earliest layer that reads as well", _probing.earliest),
    "RF502": ("Memory of the probes", _probing.memory),
    "RF503": ("Probes of untrained networks", _probing.untrained),
    "RF504": ("Probe of the raw input", _probing.raw),
    "RF505": ("Neighbours against a linear map", _probing.readers),
    "RF506": ("Rows fitted on against rows reported", _probing.gap),
    "RF601": ("Where features become readable", _features.early),
    "RF602": ("Complexity and importance", _features.relation),
    "RF603": ("Dead and repeated features", _features.duplicates),
    "RF604": ("Samples for the complexity of features", _features.rows),
}


def find(report: Report, run: str | None = None) -> tuple[Finding, ...]:
    """What the report says of one run, or of each of its runs: issues first, then tips, passed, not applicable."""
    found = [f for name in ((run,) if run else report.runs) for f in _of(View(report, name))]
    return tuple(sorted(found, key=lambda f: SEVERITIES.index(f.severity)))


def _of(view: View) -> Iterator[Finding]:
    for code, (title, function) in FINDINGS.items():
        yield function(view).filed(code, title, view.run)


def explanations() -> dict[str, tuple[str, str]]:
    """Title and explanation of every code."""
    return {code: (title, " ".join((f.__doc__ or "").split())) for code, (title, f) in FINDINGS.items()}


__all__ = ["FINDINGS", "SEVERITIES", "Finding", "explanations", "find"]
