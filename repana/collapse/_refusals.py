"""Refusals of the collapse family: what was found, where, and what to do."""

from collections.abc import Sequence
from typing import Any

from repana._check import listed
from repana.errors import InputError


def reference_missing() -> InputError:
    return InputError(
        "RA212", "`around` is 'reference' and no `reference` came; give the Moments of the training split."
    )


def reference_classes(missing: Sequence[Any]) -> InputError:
    return InputError(
        "RA203", f"`labels` has class(es) {listed(missing)} that `reference` has no mean of; leave their samples out."
    )


def not_positive(what: str, layers: Sequence[str]) -> InputError:
    return InputError("RA219", f"{what} must be positive and finite; it is not at {listed(layers)}. Leave those out.")
