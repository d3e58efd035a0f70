"""Refusals of the summaries: what was found, where, and what to do."""

from repana.errors import InputError


def duplicated(count: int, n: int) -> InputError:
    return InputError(
        "RA236",
        f"{count} of {n} samples repeat another exactly; take `duplicates='drop'`, or 'keep'.",
    )


def other_width(d: int, bank: int) -> InputError:
    return InputError("RA234", f"`features` has {d} columns and `bank` has {bank}; expected the same layer in both.")


def other_layers(mine: list[str], theirs: list[str]) -> InputError:
    names = sorted({*mine} ^ {*theirs}) or theirs
    return InputError("RA234", f"sums of two sets of layers do not add; expected the same layers in both: {names[:8]}.")


def zero_rows(name: str, count: int, first: int) -> InputError:
    return InputError(
        "RA235",
        f"`{name}` has {count} sample(s) whose features are all zero, the first in row {first}, and so no direction. "
        "Leave them out, or take the Euclidean metric.",
    )
