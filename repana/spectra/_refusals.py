"""Refusals of the spectra family: what was found, where, and what to do."""

from repana.errors import InputError


def share_of_variance(share: float) -> InputError:
    return InputError("RA232", f"`share` is {share:g}; expected a share of the variance above 0 and below 1.")


def narrow_window(window: tuple[int, int]) -> InputError:
    return InputError(
        "RA232", f"`window` is {tuple(window)}; expected (first, last) ranks from 1 on that hold at least three."
    )
