"""Two layers as they come in: the same samples, finite, on one device; and which of them depend on each other."""

from collections.abc import Callable
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
PAIRINGS = 19  # of whole groups at random
ALIKE = 8  # groups of like size that are paired with one another, at the least


def pair(a: Any, b: Any, measure: str, least: int = 3) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n e"]]:
    """Features of the same samples, where the first lives."""
    for name, given in (("a", a), ("b", b)):
        if isinstance(given, Activations):
            raise _refusals.activations_here(name)
    x, y = _check.features_of(a, name="a"), _check.features_of(b, name="b")
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


def paired_groups(
    group: Int[Tensor, " n"], count: int, seed: int = 0
) -> list[tuple[Int[Tensor, " m"], Int[Tensor, " m"]]]:
    """Random pairings of whole groups (the tokens of a text): the rows of the first layer and those of the second that
    they are paired with, in their order within the group. Groups are paired with others of like size, and the rows that
    the smaller of the two has not are left out; none where there are fewer than four groups.
    """
    sizes = torch.bincount(group)
    if len(sizes) < 4:
        return []
    rows = list(group.argsort(stable=True).split(sizes.tolist()))
    blocks: list[list[int]] = [[]]
    ordered = sizes.argsort(stable=True).tolist()
    for place, g in enumerate(ordered):
        full = len(blocks[-1]) >= ALIKE and len(ordered) - place >= ALIKE
        if full and sizes[g] != sizes[blocks[-1][-1]]:
            blocks.append([])
        blocks[-1].append(g)
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        first, second = [], []
        for block in blocks:
            for g, k in zip(block, torch.randperm(len(block), generator=generator).tolist()):
                size = int(min(sizes[g], sizes[block[k]]))
                first.append(rows[g][:size])
                second.append(rows[block[k]][:size])
        found.append((torch.cat(first), torch.cat(second)))
    return found


def paired_values(
    statistic: Callable[[Tensor, Tensor], Any], value: Any, group: Int[Tensor, " n"], count: int, seed: int = 0
) -> list[Any]:
    """A statistic of rows of both layers under random pairings of whole groups. Where rows are left out, what that
    alone changes in the value as it is (the same rows of both) is subtracted."""
    found = []
    for first, second in paired_groups(group, count, seed):
        drawn = statistic(first, second)
        found.append(drawn if len(first) == len(group) else drawn + value - statistic(first, first))
    return found


def group_orders(group: Int[Tensor, " n"], count: int, seed: int) -> list[Int[Tensor, " n"]]:
    """Random pairings of whole groups as a row of the second layer for each of the first: where a group has fewer rows
    than the one it is paired with they are taken again from its start."""
    found = []
    for first, second in paired_groups(group, count, seed):
        partner = torch.empty(int(group.max()) + 1, dtype=torch.int64)
        partner[group[first]] = group[second]
        rows = group.argsort(stable=True).split(torch.bincount(group).tolist())
        order = torch.empty(len(group), dtype=torch.int64)
        for own, other in zip(rows, partner.tolist()):
            order[own] = rows[other][torch.arange(len(own)) % len(rows[other])]
        found.append(order)
    return found


def constant_note(a: int, b: int, width_a: int, width_b: int) -> str:
    """What is said of features that do not vary."""
    if a == width_a or b == width_b:
        return Flag.CONSTANT.note("every feature is constant")
    parts = [f"{k} of {w} in the {name}" for name, k, w in (("first", a, width_a), ("second", b, width_b)) if k]
    return Flag.CONSTANT.note(f"constant features: {', '.join(parts)}") if parts else noted()
