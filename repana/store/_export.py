"""Activations in the formats of others: an npz archive, a zarr group. Written by batches, whole or not at all."""

import io
import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repana import _file_refusals
from repana._files import PREFIX, put
from repana.store._rows import AT_ONCE, StoredFeatures

NPZ, ZARR = ".npz", ".zarr"
ROWS = 4_096  # of a chunk of a zarr array


@dataclass(frozen=True)
class _Array:
    """One array of the export, read some rows at a time. bfloat16, which NumPy lacks, is widened to float32."""

    name: str
    rows: Tensor | StoredFeatures

    @property
    def dtype(self) -> np.dtype:
        kind = torch.float32 if self.rows.dtype == torch.bfloat16 else self.rows.dtype
        return torch.empty(0, dtype=kind).numpy().dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.rows.shape)

    def batches(self) -> Iterator[np.ndarray]:
        wide = max(1, int(np.prod(self.shape[1:])) * self.dtype.itemsize)
        step = max(1, AT_ONCE // wide)
        for start in range(0, len(self.rows), step):
            part = self.rows[start : start + step].cpu()
            part = part.float() if part.dtype == torch.bfloat16 else part
            yield np.ascontiguousarray(part.numpy())


def export(arrays: dict[str, Any], path: str | os.PathLike[str]) -> Path:
    """Write arrays by name; the ending of the path says as what. Raises FileError for another ending, where something
    is in the way of a zarr group, or where there is no room."""
    target = Path(path)
    named = [_Array(name, rows) for name, rows in arrays.items()]
    if target.suffix == NPZ:
        put(target, _archive(named), sum(int(np.prod(a.shape)) * a.dtype.itemsize for a in named))
    elif target.suffix == ZARR:
        _group(named, target)
    else:
        raise _file_refusals.unknown_export(target, (NPZ, ZARR))
    return target


class _Sink(io.RawIOBase):
    """What a zip archive writes, to be taken away piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        return len(self._pieces[-1])

    def taken(self) -> list[bytes]:
        pieces, self._pieces = self._pieces, []
        return pieces


def _archive(arrays: Iterable[_Array]) -> Iterator[bytes]:
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for array in arrays:
            about = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
            with archive.open(zipfile.ZipInfo(f"{array.name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array_header_2_0(member, about)
                for batch in array.batches():
                    member.write(batch.data)
                    yield from sink.taken()
    yield from sink.taken()


def _group(arrays: Iterable[_Array], target: Path) -> None:
    try:
        import zarr
    except ImportError:
        raise _file_refusals.zarr_missing() from None
    if os.path.lexists(target):
        raise _file_refusals.in_the_way(target)
    beside = target.with_name(f"{PREFIX}{os.getpid()}-{token_hex(8)}")
    try:
        group = zarr.open_group(str(beside), mode="w-")
        for array in arrays:
            chunks = (max(1, min(ROWS, array.shape[0])), *array.shape[1:])
            made = group.create_array(
                array.name.replace("/", "%2F"), shape=array.shape, dtype=array.dtype, chunks=chunks
            )
            start = 0
            for batch in array.batches():
                made[start : start + len(batch)] = batch
                start += len(batch)
        os.rename(beside, target)
    except OSError as error:
        raise _file_refusals.not_written(target, error, 0, None, False) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
