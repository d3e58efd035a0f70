"""Neural collapse of resampled data: bootstrap samples within classes, and shuffled labels."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

from repana.collapse._floor import ExactFrame
from repana.collapse._inputs import Inputs
from repana.collapse._measures import Setting, measure
from repana.collapse._nearest_mean import affordable_accuracies, permuted_accuracies
from repana.summaries._linalg import gram
from repana.summaries.discriminant import WIDEST
from repana.summaries.moments import Moments
from repana.summaries.resampling import (
    BLOCK_BYTES,
    FEWEST,
    affordable,
    affordable_permutations,
    bootstrapped,
    permuted,
    working,
)

T = TypeVar("T")


def replicates_of(
    given: Inputs, moments: Moments, setting: Setting, centres: Tensor | None, bootstrap: int, seed: int
) -> dict[str, list[float]]:
    """Every quantity of bootstrap samples drawn within classes, and what an exact simplex frame gives with the errors
    of their class means.
    """
    if not bootstrap:
        return {}
    count = affordable(bootstrap, len(given.x), moments.d, len(moments.classes))
    generator = torch.Generator().manual_seed(seed)
    drawn = bootstrapped(given.x, given.slot, moments, count, generator, centres)
    frame = ExactFrame.of(given.moments, moments) if centres is None and "nc2" in setting.families else None
    found: list[Mapping[str, Tensor]] = []
    for some in _batched(drawn, _block(moments)):
        found.append(measure(some, setting))
        if frame is not None:
            found.append(frame.values(torch.stack([sample.mean for sample in some]), setting))
    return _by_name(found)


def permuted_of(
    given: Inputs, moments: Moments, setting: Setting, centres: Tensor | None, permutations: int, seed: int
) -> dict[str, list[float]]:
    """Every quantity under shuffled labels. A hull for every class costs so much that few permutations have it."""
    if not permutations:
        return {}
    x, (n, d), c = given.x, given.x.shape, len(moments.classes)
    count = affordable_permutations(permutations, n, d, c)
    setting = replace(setting, unbiased=False)
    total = None
    if d <= WIDEST and centres is None:
        total = gram((x.double() - x.double().mean(0)).to(working(x)))
    found: list[dict[str, Tensor]] = []
    accuracies = affordable_accuracies(n, d, c)
    for some in permuted(x, given.slot, count, seed):
        for samples in _batched(some.samples(total, centres), _block(moments)):
            hulls = sum(map(_count_of, found)) < FEWEST - 1
            found.append(measure(samples[: FEWEST - 1] if hulls else samples, setting, hulls=hulls))
            if hulls and len(samples) > FEWEST - 1:
                found.append(measure(samples[FEWEST - 1 :], setting, hulls=False))
        searched = min(len(some.labels), accuracies)
        if centres is None and searched:
            found.append({"ncc_accuracy": torch.tensor(permuted_accuracies(some.first(searched)), dtype=torch.float64)})
            accuracies -= searched
    return _by_name(found)


def _count_of(values: Mapping[str, Tensor]) -> int:
    return max((len(v) for v in values.values()), default=0)


def _by_name(parts: Iterable[Mapping[str, Tensor]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for part in parts:
        for name, values in part.items():
            found.setdefault(name, []).extend(values.tolist())
    return found


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most so many, in order."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


def _block(moments: Moments) -> int:
    """How many samples are measured at a time."""
    c, d = len(moments.classes), moments.d
    return max(1, BLOCK_BYTES // (8 * c * (3 * d + 8 * c)))
