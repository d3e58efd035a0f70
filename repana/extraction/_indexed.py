"""Data of which any samples can be had again: batches by their places, and a fingerprint."""

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler

from repana.extraction import _store_refusals
from repana.extraction._data import arrays_of, by_index, sliced
from repana.extraction._tree import tensors_of

LOOKED_AT = 64  # samples of a fingerprint
TAKEN = ("collate_fn", "num_workers", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context")


@dataclass(frozen=True)
class Indexed:
    """Samples by their places. `loader` are options of a DataLoader; `arrays` a tree of tensors."""

    n: int
    batch_size: int
    kind: str
    dataset: Any = None
    arrays: Any = None
    loader: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, data: Any, batch_size: int) -> "Indexed | None":
        """Of a DataLoader its data set, collation, workers and batch size, not its sampler; None for what can be walked
        once alone. A sampler that shuffles or deals samples out is refused."""
        kind = type(getattr(data, "dataset", data)).__name__
        arrays = arrays_of(data)
        if arrays is not None:
            return cls(int(tensors_of(arrays)[0].size(0)), batch_size, kind, arrays=arrays)
        if isinstance(data, DataLoader):
            if isinstance(data.dataset, IterableDataset):
                return None
            sampler = data.batch_sampler
            if not isinstance(sampler, BatchSampler) or type(sampler) is not BatchSampler or data.batch_size is None:
                raise _store_refusals.sampler(type(sampler or data.sampler).__name__)
            if not isinstance(data.sampler, SequentialSampler):
                raise _store_refusals.sampler(type(data.sampler).__name__)
            taken = {name: getattr(data, name) for name in TAKEN}
            return cls(len(data.dataset), data.batch_size, kind, data.dataset, loader=taken)  # type: ignore[arg-type]
        if not by_index(data):
            return None
        return cls(len(data), batch_size, kind, data, loader={})

    def batches(self, cuts: Sequence[range]) -> Iterator[Any]:
        """The samples of every range, collated."""
        if self.arrays is not None:
            return (sliced(self.arrays, cut.start, cut.stop) for cut in cuts)
        with torch.random.fork_rng(devices=[]):  # a loader draws a seed when it is walked
            return iter(DataLoader(self.dataset, batch_sampler=[list(cut) for cut in cuts], **(self.loader or {})))

    def fingerprint(self) -> str:
        """SHA-256 of the number of samples, the class of the data, and a few samples at fixed places, drawn with fixed
        random numbers."""
        digest = hashlib.sha256(f"{self.kind} {self.n}".encode())
        states = random.getstate(), np.random.get_state()  # noqa: NPY002
        with torch.random.fork_rng(devices=[]):
            for place in np.unique(np.linspace(0, self.n - 1, LOOKED_AT).astype(int)).tolist():
                torch.manual_seed(place)
                np.random.seed(place)  # noqa: NPY002
                random.seed(place)
                whole = self.arrays is not None
                absorb(digest, sliced(self.arrays, place, place + 1) if whole else self.dataset[place])
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        return digest.hexdigest()


def absorb(digest: Any, value: Any) -> None:
    """Add a sample to a digest: numbers, words, arrays and what holds some; of other objects their class."""
    digest.update(type(value).__name__.encode())
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        if value.is_nested or value.layout != torch.strided:
            return
        digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype} {value.shape}".encode())
        digest.update(value.tobytes() if value.dtype.kind != "O" else str(value.tolist()).encode())
    elif isinstance(value, (str, int, float, complex, bool, np.generic, type(None))):
        digest.update(repr(value).encode())
    elif isinstance(value, (bytes, bytearray)):
        digest.update(value)
    elif isinstance(value, Mapping):
        for key in value:
            digest.update(repr(key).encode())
            absorb(digest, value[key])
    elif isinstance(value, (tuple, list)):
        for entry in value:
            absorb(digest, entry)
    elif callable(getattr(value, "tobytes", None)):  # an image of Pillow
        digest.update(f"{getattr(value, 'size', '')} {getattr(value, 'mode', '')}".encode())
        digest.update(value.tobytes())
