"""The works that quantities name as sources, as BibTeX."""

from collections.abc import Iterable, Mapping

from repana._quantity import works
from repana._results import Report
from repana.analyzers import SOURCES


def bibtex(sources: Iterable[str], entries: Mapping[str, str] = SOURCES) -> str:
    """The entries of all works that the sources name, each once, in the order of their first mention.

    A work without an entry is a comment with its name.
    """
    named = dict.fromkeys(work for source in sources for work in works(source))
    return "\n\n".join(entries.get(work, f"% {work}") for work in named)


def bibliography(report: Report) -> str:
    """The works behind the quantities of a report, from the entries that it carries."""
    measured = dict.fromkeys((r.analyzer, r.quantity) for r in report.rows)
    return bibtex((report.quantity(a, q).source for a, q in measured), report.sources())
