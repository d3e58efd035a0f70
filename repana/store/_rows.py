"""Features of one layer in several files, read when rows are asked for."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repana import _file_refusals
from repana._ambient import host_memory

AT_ONCE = 2**28  # bytes of a step through all rows


@dataclass(frozen=True, repr=False)
class StoredFeatures:
    """Features (n, d) of a layer, in parts on disk. An index, a slice, or indices give a tensor of those rows;
    `batches` walks over all; `to_tensor` and `numpy` read them into memory, if it has the room.

    `parts` open the tensors of the files, which are mapped into memory, and `sizes` are their rows. `chosen`: rows in
    their order, where these are not all.
    """

    layer: str
    parts: Sequence[Callable[[], Tensor]]
    sizes: Sequence[int]
    width: int
    dtype: torch.dtype
    chosen: Tensor | None = None

    device = torch.device("cpu")
    ndim = 2

    def __len__(self) -> int:
        return sum(self.sizes) if self.chosen is None else len(self.chosen)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self), self.width))

    @property
    def nbytes(self) -> int:
        return self.numel() * self.dtype.itemsize

    def numel(self) -> int:
        return len(self) * self.width

    def __repr__(self) -> str:
        return f"StoredFeatures({self.layer!r}, {tuple(self.shape)}, {str(self.dtype).removeprefix('torch.')})"

    def __getitem__(self, rows: Any) -> Tensor:
        """Rows by a number, a slice, a sequence of numbers or a mask; a second index is one of features."""
        rows, rest = (rows[0], rows[1:]) if isinstance(rows, tuple) else (rows, ())
        if isinstance(rows, (int, np.integer)):
            n = len(self)
            if not -n <= rows < n:
                raise IndexError(f"row {rows} of {n}")
            found = self._at(torch.tensor([int(rows) % n]))[0]
            return found[rest] if rest else found
        if isinstance(rows, slice):
            index = torch.from_numpy(np.arange(len(self))[rows].copy())
        else:
            index = torch.as_tensor(rows).cpu()
        if index.dtype == torch.bool:
            if len(index) != len(self):
                raise IndexError(f"a mask of {len(index)} for {len(self)} rows")
            index = index.nonzero()[:, 0]
        found = self._at(torch.where(index < 0, index + len(self), index))
        return found[(slice(None), *rest)] if rest else found

    def _at(self, index: Tensor) -> Tensor:
        """Rows by their places among those of the layer."""
        where = index if self.chosen is None else self.chosen[index]
        bounds = torch.tensor([0, *np.cumsum(self.sizes).tolist()])
        if len(where) and not (int(where.min()) >= 0 and int(where.max()) < int(bounds[-1])):
            raise IndexError(f"rows {int(where.min())} to {int(where.max())} of {int(bounds[-1])}")
        found = torch.empty(len(where), self.width, dtype=self.dtype)
        part = torch.bucketize(where, bounds, right=True) - 1
        for number in part.unique().tolist():
            here = (part == number).nonzero()[:, 0]
            local, tensor = where[here] - bounds[number], self.parts[number]()
            run = len(local) and bool((local.diff() == 1).all())
            found[here] = tensor[int(local[0]) : int(local[-1]) + 1] if run else tensor[local]
        return found

    def batches(self, rows: int | None = None) -> Iterator[Tensor]:
        """All rows, so many at a time."""
        step = rows or max(1, AT_ONCE // (self.width * self.dtype.itemsize))
        for start in range(0, len(self), step):
            yield self._at(torch.arange(start, min(start + step, len(self))))

    def to_tensor(self) -> Tensor:
        """All of it in memory. Raises FileError where there is no room for it."""
        room = host_memory()
        if self.nbytes > room:
            raise _file_refusals.too_large_to_read(self.layer, self.nbytes, room)
        found = torch.empty(len(self), self.width, dtype=self.dtype)
        if self.chosen is not None:
            for start, batch in zip(range(0, len(self), 4096), self.batches(4096)):
                found[start : start + len(batch)] = batch
            return found
        start = 0
        for part, size in zip(self.parts, self.sizes):
            found[start : start + size] = part()
            start += size
        return found

    def numpy(self) -> np.ndarray:
        return self.to_tensor().numpy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        found = self.to_tensor()
        array = (found.float() if found.dtype == torch.bfloat16 else found).numpy()
        return array if dtype is None else array.astype(dtype)

    def __dlpack__(self, **options: Any) -> Any:
        return self.to_tensor().__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return torch.empty(0).__dlpack_device__()
