"""Refusals of splits and groups: what was found, where, and what to do."""

from repana.errors import InputError


def shares_of(shares: tuple[float, ...]) -> tuple[float, ...]:
    """The shares of fit, select and test samples."""
    sound = len(shares) == 3 and all(isinstance(s, (int, float)) and s > 0 for s in shares)
    if not sound or abs(sum(shares) - 1) > 1e-6:
        raise InputError("RA212", f"`shares` is {shares}; expected three positive numbers with the sum 1.")
    return shares


def empty_part(part: str, n: int, groups: int | None) -> InputError:
    of = "" if groups is None else f" in {groups} groups"
    return InputError("RA247", f"the {part} part of {n} rows{of} is empty; give more rows, or other `shares=`.")


def split_of_others(split: int, n: int) -> InputError:
    return InputError(
        "RA248",
        f"`split` is of {split} rows and there are {n}; expected the split of these rows, without ignored ones.",
    )


def groups_straddle() -> InputError:
    return InputError(
        "RA247",
        "`split` has a group on two sides; `Split.of(labels, n, groups=groups)` keeps groups whole.",
    )
