"""The works that a report names as sources, as BibTeX."""

from repana._quantity import works
from repana._results import Report


def bibtex(report: Report) -> str:
    """The entries of all works that the quantities of a report name, each once, in the order of their first mention.

    A work without an entry is a comment with its name.
    """
    pairs = dict.fromkeys((r.analyzer, r.quantity) for r in report.rows)
    named = dict.fromkeys(work for a, q in pairs for work in works(report.quantity(a, q).source))
    entries = report.sources()
    return "\n\n".join(entries.get(work, f"% {work}") for work in named)
