"""An estimate: a value with its interval, its null, and what to beware of."""

import html
import math
from dataclasses import dataclass, fields, replace
from enum import StrEnum, auto
from typing import Any, TypeVar

from repana._numbers import SIGNIFICANT, number, percent

NAN = float("nan")
T = TypeVar("T")


class Flag(StrEnum):
    """What qualifies a value; what reads estimates reads these, never the words of a note."""

    NOT_APPLICABLE = auto()  # asks for something that is not there by design, as duality away from the classifier
    MISSING_INPUT = auto()  # something that it needs was not given
    TRIVIAL = auto()  # has this value whatever the features
    UNDEFINED = auto()  # the formula has no value here
    COINCIDING_MEANS = auto()  # class means that are equal
    NO_SIMPLEX = auto()  # more classes than a simplex frame has room for
    CONSTANT = auto()  # features that do not vary
    REPEATED = auto()  # features that are copies of another
    DUPLICATES = auto()  # samples that are copies of another
    TIES = auto()  # distances that are equal
    FEW_SAMPLES = auto()  # fewer than it needs, or than it should have
    SUBSET = auto()  # of some of the samples
    MISSING_CLASSES = auto()  # classes without samples
    DEPENDENT = auto()  # rows that depend on each other
    NO_INTERVAL = auto()  # has no interval for a reason of its own
    AT_BOUND = auto()  # at the end of what can be told apart here
    NOT_CONVERGED = auto()  # an optimisation or a search that did not end
    APPROXIMATED = auto()  # read through a projection or another approximation
    OUT_OF_RANGE = auto()  # beyond what can be calibrated or searched
    INFLUENTIAL = auto()  # decided by one sample

    def note(self, text: str) -> "Note":
        """A note that spells this flag out."""
        return Note(text, self)


class Note(str):
    """The words of a note, with the flags that they spell out."""

    flags: tuple[Flag, ...]

    def __new__(cls, text: str = "", *flags: Flag) -> "Note":
        made = super().__new__(cls, text)
        made.flags = flags
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Note, (str(self), *self.flags)


def noted(*parts: str) -> Note:
    """Remarks as one note, without the empty ones, with the flags of all."""
    flags = dict.fromkeys(flag for part in parts for flag in getattr(part, "flags", ()))
    return Note("; ".join(part for part in parts if part), *flags)


def explained(estimate: "Estimate", reason: str) -> "Estimate":
    """The estimate with the reason for a value that is not finite, where it has no note yet."""
    if math.isfinite(estimate.value) or estimate.note:
        return estimate
    return replace(estimate, note=Flag.UNDEFINED.note(reason))


LEVEL = 0.95  # of intervals, where nothing else was asked for


@dataclass(frozen=True, repr=False)
class Estimate:
    """A value with its interval. NaN where there is none; `note` says why, or what to beware of.

    `flags` say the same as the note, for what reads estimates; a `Note` brings its own. `label` is a name that goes
    with the value, as that of the selected layer. `null` is what the same estimator gives without any relation between
    features and labels, with the range that holds such a value as often as the level says; `p` is the probability of a
    value at least as good there, one-sided, from so many `permutations` of labels. `calibrated` is the estimate less
    the bias of a sample of this size, where it was asked for. `floor` is what a quantity that is 0 in truth gives on as
    many samples, and `floor_high` the upper end of the range of such values: no value up to there tells the two apart.
    """

    value: float
    low: float = NAN
    high: float = NAN
    n: int = 0
    note: str = ""
    null: float = NAN
    null_low: float = NAN
    null_high: float = NAN
    p: float = NAN
    permutations: int = 0
    floor: float = NAN
    floor_high: float = NAN
    calibrated: "Estimate | None" = None
    flags: tuple[Flag, ...] = ()
    label: str = ""

    def __post_init__(self) -> None:
        of_note = getattr(self.note, "flags", ())
        if of_note:
            object.__setattr__(self, "flags", tuple(dict.fromkeys((*self.flags, *of_note))))

    def __float__(self) -> float:
        return self.value

    def __int__(self) -> int:
        return int(self.value)

    def __repr__(self) -> str:
        return f"Estimate({self})" if not self.n else f"Estimate({self}, n={self.n})"

    def _repr_html_(self) -> str:
        return f"<code>{html.escape(str(self))}</code>"

    def __str__(self) -> str:
        interval = "" if math.isnan(self.low) else f" [{self.low:.4g}, {self.high:.4g}]"
        interval += "" if self.calibrated is None else f", calibrated {self.calibrated}"
        return f"{self.value:.4g}{interval}" + (f" ({self.note})" if self.note else "")


def estimates(result: object) -> dict[str, Estimate]:
    """The scalar quantities of a result by name."""
    found = {f.name: getattr(result, f.name) for f in fields(result)}  # type: ignore[arg-type]
    return {name: value for name, value in found.items() if isinstance(value, Estimate)}


def _contents(result: object) -> tuple[dict[str, Estimate], str]:
    """The quantities of a result that apply, and its arrays as "name shape, name shape"."""
    known = {name: e for name, e in estimates(result).items() if Flag.NOT_APPLICABLE not in e.flags}
    named = {f.name: getattr(result, f.name) for f in fields(result)}  # type: ignore[arg-type]
    return known, ", ".join(f"{k} {tuple(v.shape)}" for k, v in named.items() if getattr(v, "shape", ()))


def as_table(result: object) -> str:
    """A result for a notebook: its quantities with interval and null, and the names of its arrays."""
    known, arrays = _contents(result)
    lines = [
        f"<tr><th>{name}</th><td>{number(e.value)}</td><td>{span(e.low, e.high)}</td><td>{number(e.null)}</td>"
        f"<td>{number(e.p)}</td><td>{html.escape(e.note)}</td></tr>"
        for name, e in known.items()
    ]
    level, null = (
        percent(getattr(result, "settings", {}).get("level", LEVEL)),
        getattr(result, "NULL", "shuffled labels"),
    )
    head = f"<tr><th></th><th>value</th><th>{level} interval</th><th>{null}</th><th>p</th><th>note</th></tr>"
    caption = f"<caption>{_title(result)}</caption>"
    return f"<table>{caption}{head}{''.join(lines)}</table>" + (f"<p>{arrays}</p>" if arrays else "")


def _title(result: object) -> str:
    """The name of its class, and of a comparison which way is more similar."""
    similar = getattr(result, "SIMILAR", "")
    return f"{type(result).__name__} ({similar})" if similar else type(result).__name__


def as_text(result: object) -> str:
    """A result in the terminal: a line a quantity, then the names of its arrays."""
    known, arrays = _contents(result)
    wide, word = max(map(len, known), default=0), "null" if hasattr(result, "NULL") else "shuffled"
    lines = [
        f"  {name:<{wide}}  {number(e.value)} {span(e.low, e.high)}"
        + (f"  {word} {number(e.null)}" if math.isfinite(e.null) else "")
        + (f"  ({e.note})" if e.note else "")
        for name, e in known.items()
    ]
    return "\n".join([_title(result), *lines, *([f"  arrays: {arrays}"] if arrays else [])])


def shown(result: type[T]) -> type[T]:
    """A class of results that shows itself as its quantities: in a notebook a table, elsewhere lines."""
    setattr(result, "_repr_html_", as_table)  # noqa: B010  (the type checker knows no such attribute)
    if hasattr(result.__repr__, "__wrapped__"):  # the one that dataclass made, which prints every array
        setattr(result, "__repr__", as_text)  # noqa: B010
    return result


def span(low: float, high: float, significant: int = SIGNIFICANT) -> str:
    """[low, high], or nothing."""
    return "" if math.isnan(low) else f"[{number(low, significant)}, {number(high, significant)}]"
