"""What makes findings of one code, and the kinds and outcomes that they have."""

from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from repana._finding import Finding, View

SEVERITIES = ("issue", "tip", "passed", "not applicable")
ISSUE, TIP, PASSED, ABSENT = SEVERITIES
KINDS = ("result", "caution", "check")
RESULT, CAUTION, CHECK = KINDS


@dataclass(frozen=True)
class Rule:
    """What makes findings of one code: its title, a function of a `View`, and what kind of finding it makes.

    The function's docstring is the explanation, with the threshold. `reads`: it is made of runs alone that have rows of
    these analyzers, which not every report does; without any, of every profile.
    """

    title: str
    function: "Callable[[View], Finding]"
    kind: str = CHECK
    weight: int = 0
    figure: str = ""
    reads: tuple[str, ...] = ()

    def applies(self, analyzers: Container[str], compared: bool) -> bool:
        """Whether it is made of a run that has rows of these analyzers; `compared`: the run is a comparison."""
        return any(name in analyzers for name in self.reads) if self.reads else not compared

    def finding(self, code: str, view: "View") -> "Finding":
        found = self.function(view)
        kind = CAUTION if self.kind == CHECK and found.severity in (ISSUE, TIP) else self.kind
        return replace(
            found, code=code, title=self.title, run=view.run, kind=kind, weight=self.weight, figure=self.figure
        )
