"""Which analyzers were asked for: names from the registry, `Analyzer`s, and functions of a user's own."""

import inspect
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from repana import _check, _profile_refusals
from repana._measure import is_summary, reads_of
from repana._quantity import works
from repana._table import Across, Analyzer
from repana.analyzers import ACROSS_LAYERS, ANALYZERS, SOURCES

ALL = "all"


@dataclass(frozen=True)
class Selection:
    """Analyzers of layers, and what is read across layers; `named` are those that were asked for by name, and `by_name`
    all names that were given."""

    analyzers: tuple[Analyzer, ...]
    across: tuple[Across, ...]
    named: tuple[Analyzer, ...] = ()
    by_name: frozenset[str] = frozenset()

    @property
    def names(self) -> list[str]:
        return [a.name for a in self.analyzers] + [a.name for a in self.across if not a.needs]

    def without_labels(self, where: str) -> "Selection":
        """The analyzers that need no labels, and what is read from them. Raises InputError where one that was named
        needs those that `where` lacks."""
        if any(a.labels for a in self.named):
            raise _check.no_labels(where)
        kept = tuple(a for a in self.analyzers if not a.labels)
        return replace(self, analyzers=kept)

    def of(self, measured: Collection[str]) -> list[Analyzer | Across]:
        """Those of which something was measured."""
        return [a for a in (*self.analyzers, *self.across) if a.name in measured]

    def sources(self, found: Iterable[Analyzer | Across]) -> dict[str, str]:
        """BibTeX of the works that their quantities name, where there is an entry."""
        named = dict.fromkeys(work for a in found for q in a.quantities for work in works(q.source))
        return {work: SOURCES[work] for work in named if work in SOURCES}


def as_listed(analyzers: Any) -> list[Any]:
    """One analyzer, or several, as a list."""
    return [analyzers] if isinstance(analyzers, str | Analyzer) or callable(analyzers) else list(analyzers)


def selected(analyzers: Any) -> Selection:
    """What was asked for. Raises InputError for an unknown name, and for a function that cannot be measured."""
    asked = as_listed(analyzers)
    names = [a for a in asked if isinstance(a, str)]
    alone = [a.name for a in ACROSS_LAYERS.values() if not a.needs]
    for name in names:
        _check.choice(name, "analyzers", (ALL, *ANALYZERS, *alone))
    listed = [a for a in ANALYZERS.values() if a.name in names or (ALL in names and a.default)]
    own = [_of_function(a) for a in asked if not isinstance(a, str)]
    chosen = (*listed, *own)
    known = {a.name for a in chosen}
    across = []
    for a in ACROSS_LAYERS.values():
        asked_for = a.name in names or (ALL in names and (a.default or a.of_texts))
        if known.issuperset(a.needs) if a.needs else asked_for:
            across.append(a)
            known.add(a.name)
    named = tuple(a for a in chosen if a.name in names or a in own)
    return Selection(chosen, tuple(across), named, frozenset(names))


def _of_function(given: Any) -> Analyzer:
    """An analyzer of a user's own."""
    if not isinstance(given, Analyzer):
        if not callable(given):
            raise _profile_refusals.not_an_analyzer(given)
        name = getattr(given, "__name__", "")
        if not name.isidentifier():
            raise _profile_refusals.function_without_name(given)
        given = Analyzer(given)
    if given.name in ANALYZERS or given.name in ACROSS_LAYERS:
        raise _profile_refusals.name_taken(given.name)
    reads_of(given.measure)  # refuses what cannot be read
    return given


def summary_line(function: Any) -> str:
    """The first line of a function's docstring: what stands for the formula of a user's own quantity."""
    return (inspect.getdoc(function) or "").strip().split("\n")[0]


def read_later(selection: Selection) -> list[set[Any]]:
    """For each analyzer the summaries that those behind it read; one summary may be made of another."""
    later: set[Any] = set()
    found = []
    for analyzer in reversed(selection.analyzers):
        found.append(set(later))
        later |= {kind for kind in reads_of(analyzer.measure).values() if is_summary(kind)}
    return found[::-1]
