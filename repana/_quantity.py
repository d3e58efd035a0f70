"""A quantity: what a number is called, its unit, formula and source, and which way is better."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

ACRONYMS = (
    "cdnv", "nc4", "etf", "of", "gof", "tle", "abid", "ess", "mom", "mada", "ph", "gdv", "dsi", "cka", "f1v", "lsc",
    "h0", "lda", "knn",
)  # fmt: skip


@dataclass(frozen=True)
class Quantity:
    """One number of an analyzer. `better` is "lower", "higher" or ""; `invariant` lists what must not change it."""

    name: str
    formula: str = ""
    better: str = ""
    unit: str = ""
    title: str = ""
    source: str = ""
    invariant: tuple[str, ...] = ("rotation", "scale", "translation")
    headline: bool = False
    drawn: bool = False  # of subsets drawn by place, so that the order of samples moves it within its interval
    counts: bool = False  # reads n itself, so that taking every sample twice changes it

    @property
    def label(self) -> str:
        """What figures and tables call it."""
        words = self.name.split("_")
        written = " ".join(word.upper() if word in ACRONYMS else word for word in words)
        return self.title or written[0].upper() + written[1:]

    def described(self) -> dict[str, Any]:
        """What a report keeps of it."""
        kept = asdict(self)
        return {name: kept[name] for name in ("formula", "better", "unit", "title", "source", "headline")}

    @classmethod
    def of(cls, name: str, described: Mapping[str, Any]) -> "Quantity":
        """From what a report kept; what a later version added is left out."""
        known = {f.name for f in fields(cls)}
        return cls(name, **{k: v for k, v in described.items() if k in known and k != "name"})


def works(source: str) -> list[str]:
    """The works that a source names: "Lawley 1938; Hotelling 1951" are two, "by definition" none."""
    parts = [part.partition(" (")[0].strip() for part in source.split(";")]
    return [part for part in parts if part and part != "by definition"]


def cited(described: Mapping[str, Mapping[str, Any]], entries: Mapping[str, str]) -> dict[str, str]:
    """Those of the entries whose works the sources of quantities, as `Quantity.described` gives them, name."""
    named = {work for facts in described.values() for work in works(facts["source"])}
    return {work: entry for work, entry in entries.items() if work in named}
