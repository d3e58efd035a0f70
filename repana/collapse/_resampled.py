"""Neural collapse of resampled data: bootstrap samples within classes, and shuffled labels."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

from repana._ambient import release_memory
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
MANY = 512  # classes


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
    found: dict[str, list[float]] = {}
    for some in _batched(drawn, _block(moments)):
        _add(found, measure(some, setting))
        if frame is not None:
            _add(found, frame.values(torch.stack([sample.mean for sample in some]), setting))
        _release(moments)
    return found


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
    found: dict[str, list[float]] = {}
    accuracies = affordable_accuracies(n, d, c)
    for some in permuted(x, given.slot, count, seed):
        for samples in _batched(some.samples(total, centres), _block(moments)):
            hulls = max(map(len, found.values()), default=0) < FEWEST - 1
            _add(found, measure(samples[: FEWEST - 1] if hulls else samples, setting, hulls=hulls))
            if hulls and len(samples) > FEWEST - 1:
                _add(found, measure(samples[FEWEST - 1 :], setting, hulls=False))
            _release(moments)
        searched = min(len(some.labels), accuracies)
        if centres is None and searched:
            found.setdefault("ncc_accuracy", []).extend(permuted_accuracies(some.first(searched)))
            accuracies -= searched
    return found


def _add(found: dict[str, list[float]], values: Mapping[str, Tensor]) -> None:
    """Values behind those of the same name, as plain numbers: small tensors kept between large ones pin the heap."""
    for name, some in values.items():
        found.setdefault(name, []).extend(some.tolist())


def _release(moments: Moments) -> None:
    """Between replicates of many classes, whose matrices are large."""
    if len(moments.classes) >= MANY:
        release_memory()


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most so many, in order."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


def _block(moments: Moments) -> int:
    """How many samples are measured at a time."""
    c, d = len(moments.classes), moments.d
    return max(1, BLOCK_BYTES // (8 * c * (3 * d + 8 * c)))
