"""Refusals of the separation family: what was found, where, and what to do."""

from repana._check import in_bytes
from repana.errors import InputError


def covariances_too_large(classes: int, width: int, needed: int) -> InputError:
    return InputError(
        "RA245",
        f"{classes} covariances of {width} features take {in_bytes(needed)}; pool the layer, project it to fewer "
        "features, or give fewer classes.",
    )
