"""Refusals of the topology family: what was found, where, and what to do."""

from collections.abc import Sequence
from typing import Any

from repana._check import in_bytes, listed
from repana.errors import InputError


def homology_too_large(n: int, needed: int, budget: int, seconds: float) -> InputError:
    return InputError(
        "RA246",
        f"persistent homology of {n} samples needs about {in_bytes(needed)} and {seconds:.0f} s, and `memory` is "
        f"{in_bytes(budget)}; take `max_samples=` fewer samples, or raise `memory=`.",
    )


def at_least_one(name: str, value: Any) -> InputError:
    return InputError("RA212", f"`{name}` is {value!r}; expected a number of at least 1.")


def bad_rows(n: int) -> InputError:
    return InputError("RA212", f"`rows` must hold batches of at least 4 places from 0 to {n - 1}, at least one batch.")


def no_diagram(dimension: int, known: Sequence[int]) -> InputError:
    return InputError("RA212", f"`dimension` is {dimension}; this persistence has {listed(known)}.")


def neighbours_of_density(k: int, n: int) -> InputError:
    return InputError("RA212", f"`k` is {k}; expected 1 to {n - 1}, below the number of samples ({n}).")


def not_ascending(name: str, found: Sequence[object]) -> InputError:
    where = "above 0 and up to 1" if name == "levels" else "of at least 0"
    return InputError("RA212", f"`{name}` is {listed(found, 12)}; expected ascending numbers {where}.")


def other_surface(first: int, second: int) -> InputError:
    return InputError(
        "RA212",
        f"surfaces of {first} and {second} samples, or on other levels and scales; expected the same of both layers.",
    )
