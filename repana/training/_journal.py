"""What a monitor says of a training beside its records: skipped steps, failures, timelines that were left, notes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

LAST = 1000  # of the skipped steps, that are kept by number


@dataclass
class Journal:
    """`skips` counts all skipped steps, `skipped` are the last of them."""

    settings: dict[str, Any] = field(default_factory=dict)
    skipped: list[dict[str, Any]] = field(default_factory=list)
    skips: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)
    abandoned: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def go_on(self, before: Mapping[str, Any]) -> None:
        """With what was written before."""
        for name in ("skipped", "failures", "abandoned", "notes"):
            setattr(self, name, list(before.get(name, ())))
        self.skips = before.get("skips", len(self.skipped))

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def skip(self, step: int, reason: str) -> None:
        self.skipped = [*self.skipped, {"step": step, "reason": reason}][-LAST:]
        self.skips += 1

    def fail(self, step: int, error: str) -> None:
        self.failures.append({"step": step, "error": error})

    def leave(self, first: int, records: int, folder: str) -> None:
        """So many records, from a step on, that are in a folder of `abandoned/` now."""
        self.abandoned.append({"from": first, "records": records, "folder": folder})
        self.skipped = [x for x in self.skipped if x["step"] < first]
        self.failures = [x for x in self.failures if x["step"] < first]

    def told(self) -> dict[str, Any]:
        return asdict(self)
