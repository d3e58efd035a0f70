"""Two layers as they come in: the same samples, finite, on one device; and which of them depend on each other."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._activations import Activations
from repana._estimate import Flag, noted
from repana.comparison import _refusals

FEWEST_GROUPS = 3
JACKKNIFE = 20  # groups that are left out in turn


def pair(a: Any, b: Any, measure: str, least: int = 3) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n e"]]:
    """Features of the same samples, where the first lives."""
    for name, given in (("a", a), ("b", b)):
        if isinstance(given, Activations):
            raise _refusals.activations_here(name)
    x, y = _check.features_of(a), _check.features_of(b)
    if len(x) != len(y):
        raise _check.unlike_samples(len(x), len(y))
    if len(x) < least:
        raise _check.too_few_samples(measure, len(x), least)
    return x, y.to(x.device)


def groups_of(groups: Any, n: int) -> Int[Tensor, " n"] | None:
    """The number of each row's group, where some rows share one."""
    if groups is None:
        return None
    codes = torch.from_numpy(_check.groups_of(groups, n))
    return codes if int(codes.max()) + 1 < n else None


def dealt_out(n: int, count: int, group: Int[Tensor, " n"] | None, seed: int) -> Int[Tensor, " n"] | None:
    """The part of each row for a delete-a-group jackknife: `count` parts of like size drawn by the seed, of whole
    groups where there are some; None where there are fewer than three."""
    units = n if group is None else int(group.max()) + 1
    parts = min(count, units)
    if parts < FEWEST_GROUPS:
        return None
    order = torch.randperm(units, generator=torch.Generator().manual_seed(seed))
    of_unit = torch.empty(units, dtype=torch.int64)
    of_unit[order] = torch.arange(units) % parts
    return of_unit if group is None else of_unit[group]


def constant_note(a: int, b: int, width_a: int, width_b: int) -> str:
    """What is said of features that do not vary."""
    if a == width_a or b == width_b:
        return Flag.CONSTANT.note("every feature is constant")
    parts = [f"{k} of {w} in the {name}" for name, k, w in (("first", a, width_a), ("second", b, width_b)) if k]
    return Flag.CONSTANT.note(f"constant features: {', '.join(parts)}") if parts else noted()
