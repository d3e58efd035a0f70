"""Refusals of the heads family."""

from repana.errors import InputError


def no_such_head(head: int, heads: int) -> InputError:
    return InputError("RA212", f"`head` is {head}; heads are numbered 0 to {heads - 1}.")
