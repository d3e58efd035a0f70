"""What makes findings of one code, and the kinds and outcomes that they have."""

from collections.abc import Callable
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

    The function's docstring is the explanation, with the threshold.
    """

    title: str
    function: "Callable[[View], Finding]"
    kind: str = CHECK
    weight: int = 0
    figure: str = ""

    def finding(self, code: str, view: "View") -> "Finding":
        found = self.function(view)
        kind = CAUTION if self.kind == CHECK and found.severity in (ISSUE, TIP) else self.kind
        return replace(
            found, code=code, title=self.title, run=view.run, kind=kind, weight=self.weight, figure=self.figure
        )
