"""Findings: what a report says, in sentences. Each has a stable code, a severity, its evidence and an explanation.

A family adds a file with its functions and a line for each in FINDINGS; the page, the notebook and the command line
read the table.
"""

from collections.abc import Callable, Iterator

from repana._finding import SEVERITIES, Finding, View
from repana._results import Report
from repana.collapse import _findings as _collapse
from repana.dimension import _findings as _dimension
from repana.features import _findings as _features
from repana.findings import _validity
from repana.probes import _findings as _probes
from repana.separation import _findings as _separation

FINDINGS: dict[str, tuple[str, Callable[[View], Finding]]] = {
    "RF101": ("Completeness", _validity.measured),
    "RF102": ("Values against their null", _validity.clear_of_null),
    "RF103": ("Samples per class", _validity.samples),
    "RF104": ("Class balance", _validity.balance),
    "RF105": ("Samples behind the intervals", _validity.subset),
    "RF106": ("Samples against features", _validity.width),
    "RF107": ("Classes of the splits", _validity.same_classes),
    "RF201": ("Variability collapse (NC1)", _collapse.variability),
    "RF202": ("Simplex geometry (NC2)", _collapse.simplex),
    "RF203": ("Self-duality (NC3)", _collapse.duality),
    "RF204": ("Nearest-mean decisions (NC4)", _collapse.nearest_mean),
    "RF205": ("Closest classes", _collapse.closest),
    "RF206": ("Collapse on held-out data", _collapse.held_out),
    "RF301": ("Earliest separating layer", _separation.earliest),
    "RF302": ("Law of data separation", _separation.law),
    "RF303": ("Held-out accuracy", _separation.gap),
    "RF304": ("Layers that lose separation", _separation.losses),
    "RF305": ("Fisher's quotient against its null", _separation.quotient),
    "RF306": ("Neighbours and clusters", _separation.neighbours),
    "RF401": ("Peak of the dimension", _dimension.peak),
    "RF402": ("Dimension and scale", _dimension.scales),
    "RF403": ("Samples for the dimension", _dimension.shortfall),
    "RF404": ("Samples of the splits, for the dimension", _dimension.sizes),
    "RF501": ("Earliest layer that reads as well", _probes.earliest),
    "RF502": ("Memory of the probes", _probes.memory),
    "RF503": ("Probes of untrained networks", _probes.untrained),
    "RF504": ("Probe of the raw input", _probes.raw),
    "RF505": ("Neighbours against a linear map", _probes.readers),
    "RF506": ("Rows fitted on against rows reported", _probes.gap),
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
