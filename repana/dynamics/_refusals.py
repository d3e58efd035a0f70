"""Refusals of the dynamics family."""

from collections.abc import Sequence

from repana.errors import InputError


def unlike_series(steps: Sequence[int], values: Sequence[int]) -> InputError:
    return InputError(
        "RA284", f"Expected one value for each step; got steps {tuple(steps)} and values {tuple(values)}."
    )


def not_positive(count: int) -> InputError:
    return InputError("RA285", f"The logarithm needs positive values; {count} of them are 0 or less.")
