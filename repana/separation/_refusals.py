"""Refusals of the separation family: what was found, where, and what to do."""

from collections.abc import Sequence

from repana._check import _bytes, listed
from repana.errors import InputError


def not_positive(what: str, layers: Sequence[str]) -> InputError:
    return InputError("RA219", f"{what} must be positive and finite; it is not at {listed(layers)}. Leave those out.")


def covariances_too_large(classes: int, width: int, needed: int) -> InputError:
    return InputError(
        "RA245",
        f"{classes} covariances of {width} features take {_bytes(needed)}; pool the layer, project it to fewer "
        "features, or give fewer classes.",
    )
