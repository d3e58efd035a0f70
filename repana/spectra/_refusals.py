"""Refusals of the spectra family: what was found, where, and what to do."""

from repana.errors import InputError


def narrow_window(window: tuple[int, int]) -> InputError:
    return InputError(
        "RA232", f"`window` is {tuple(window)}; expected (first, last) ranks from 1 on that hold at least three."
    )
