"""A fixed set of samples that is shown to a network again and again: the same rows in one order, held in memory."""

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    default_collate,
)

from repana.extraction._batches import Intake
from repana.extraction._data import arrays_of, by_index, stream
from repana.extraction._indexed import TAKEN, absorb
from repana.extraction._session import randomness, restore_randomness
from repana.extraction._tree import inputs_in, mapped, tensors_of

CANDIDATES = 8  # times as many samples of a data set as are kept, among which classes are balanced


@dataclass(frozen=True)
class ProbeSet:
    """`batches` as the model takes them, of `samples` samples; `digest` is the SHA-256 of all that they hold."""

    batches: tuple[Any, ...]
    samples: int
    digest: str
    note: str

    @classmethod
    def of(cls, data: Any, intake: Intake, *, max_samples: int, batch_size: int, seed: int) -> "ProbeSet":
        """At most so many samples of the data, as many of each class as equal shares allow, drawn by the seed and kept
        in the order of the data. Of an iterable, which has no places, the first ones.

        Random augmentation is drawn once, by the seed. Raises what reading the data raises.
        """
        note = ""
        with _seeded(seed):
            source = _Source.of(data, batch_size)
            if source is None:
                batches, note = _first(data, intake, max_samples, batch_size)
            elif source.n <= max_samples:
                batches = list(source.batches(source.places))
            else:
                batches = list(source.batches(_balanced(source, intake, max_samples, seed)))
        held = tuple(mapped(raw, lambda t: t.detach().clone()) for raw in batches)
        digest = hashlib.sha256()
        for raw in held:
            absorb(digest, raw)
            for way, t in inputs_in(raw):  # also of what is no tuple, list or mapping
                absorb(digest, [".".join(map(str, way)), t])
        return cls(held, sum(intake.unpack(raw).size for raw in held), digest.hexdigest(), note)

    def halved(self, intake: Intake) -> "ProbeSet | None":
        """The same rows in batches of half the size; None where batches cannot be cut."""
        parts: list[Any] = []
        for raw in self.batches:
            size = intake.unpack(raw).size
            if size < 2 or any(not t.ndim or t.size(0) != size for t in tensors_of(raw)):
                return None
            half = (size + 1) // 2
            cut = [mapped(raw, lambda t: t[:half]), mapped(raw, lambda t: t[half:])]  # noqa: B023
            if [intake.unpack(part).size for part in cut] != [half, size - half]:
                return None
            parts += cut
        return replace(self, batches=tuple(parts))


@dataclass(frozen=True)
class _Source:
    """Data of which samples can be had by their places. `places` are those that a loader's sampler gives, ascending:
    all of them, unless it draws from some alone."""

    places: list[int]
    size: int
    arrays: Any
    dataset: Any
    loader: dict[str, Any]

    @property
    def n(self) -> int:
        return len(self.places)

    @classmethod
    def of(cls, data: Any, batch_size: int) -> "_Source | None":
        places, loader, plain = None, {}, True
        if isinstance(data, DataLoader):
            if isinstance(data.dataset, IterableDataset) or data.batch_sampler is None:
                return None
            loader = {name: getattr(data, name) for name in TAKEN}
            loader |= {"num_workers": 0, "timeout": 0, "multiprocessing_context": None}
            plain, batch_size = data.collate_fn is default_collate, data.batch_size or batch_size
            if not isinstance(data.sampler, (SequentialSampler, RandomSampler)) or data.batch_size is None:
                places = sorted({int(k) for batch in data.batch_sampler for k in batch})
            data = data.dataset
        arrays = arrays_of(data.tensors if plain and type(data) is TensorDataset else data)
        if arrays is not None:
            n = int(tensors_of(arrays)[0].size(0))
            return cls(list(range(n)) if places is None else places, batch_size, arrays, None, {})
        if not by_index(data):
            return None
        return cls(list(range(len(data))) if places is None else places, batch_size, None, data, loader)

    def batches(self, places: Sequence[int]) -> Iterator[Any]:
        cuts = [list(places[k : k + self.size]) for k in range(0, len(places), self.size)]
        if self.arrays is not None:
            return (mapped(self.arrays, partial(_rows, cut)) for cut in cuts)
        return iter(DataLoader(self.dataset, batch_sampler=cuts, **self.loader))


def _rows(places: list[int], t: Tensor) -> Tensor:
    return t[torch.tensor(places, device=t.device)]


def _balanced(source: _Source, intake: Intake, count: int, seed: int) -> list[int]:
    """Places of samples, as many of each class as equal shares allow; without classes at random."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.tensor(source.places)[torch.randperm(source.n, generator=generator)]
    drawn = drawn if source.arrays is not None else drawn[: CANDIDATES * count]
    labels = [intake.unpack(raw).labels for raw in source.batches(drawn.tolist())]
    if any(y is None or y.ndim != 1 or y.is_floating_point() for y in labels):
        return drawn[:count].sort().values.tolist()
    return drawn[equal_shares(torch.cat([y for y in labels if y is not None]), count)].sort().values.tolist()


def equal_shares(labels: Tensor, count: int) -> Tensor:
    """Rows in their order, class by class in turn, until there are so many."""
    turn = torch.empty(len(labels), dtype=torch.int64)
    for value in labels.unique():
        rows = (labels == value).nonzero()[:, 0]
        turn[rows] = torch.arange(len(rows))
    return turn.argsort(stable=True)[:count]


def _first(data: Any, intake: Intake, count: int, batch_size: int) -> tuple[list[Any], str]:
    """Whole batches from the start, until there are as many samples."""
    _, raws, _ = stream(data, batch_size)
    kept, samples = [], 0
    for raw in raws:
        kept.append(raw)
        samples += intake.unpack(raw).size
        if samples >= count:
            break
    more = next(raws, None) is not None
    return kept, f"the first {samples} samples of a stream, whatever their classes" if more else ""


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random numbers of a seed for what a data set draws; those of the caller are put back."""
    state = randomness(torch.device("cpu"))
    torch.default_generator.manual_seed(seed)  # that of the host alone
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        restore_randomness(state)
