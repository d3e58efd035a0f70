"""Arrays from npz, npy and safetensors files; nothing is unpickled."""

import math
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from repana import _check
from repana._ambient import host_memory
from repana.errors import RepanaError
from repana.extraction.sources import _weights_refusals

EXPANDED = 200  # times its size on disk that an archive may hold


def read_arrays(path: str | Path, max_bytes: int | None = None) -> dict[str, np.ndarray]:
    """The arrays of an npz, npy or safetensors file, by name; nothing is unpickled.

    An npz that says to be larger than the free memory, or than 200 times its size on disk, is refused before a member
    is read; `max_bytes` takes the place of both limits.
    """
    file = Path(path)
    if not file.is_file():
        raise _weights_refusals.file_missing(path, "data file")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return {name: _numpy(x) for name, x in load_file(file).items()}
        if zipfile.is_zipfile(file):
            _check_declared(file, max_bytes)
        loaded = np.load(file, allow_pickle=False)
        return {"features": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except RepanaError:
        raise
    except ValueError as error:
        if "allow_pickle" in str(error) and file.read_bytes()[:2] in (b"PK", b"\x93N"):
            raise _weights_refusals.unsafe(file, ["pickled objects"]) from error
        raise _check.unreadable(file, str(error)) from error
    except Exception as error:
        raise _check.unreadable(file, str(error)) from error


def _check_declared(file: Path, max_bytes: int | None) -> None:
    """The larger of what the archive and what the headers of its arrays declare, against the limits."""
    declared = 0
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            inside = 0
            with archive.open(member) as stream:
                try:
                    version = np.lib.format.read_magic(stream)
                    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else None
                    shape, _, dtype = (read or np.lib.format.read_array_header_2_0)(stream)
                    inside = math.prod(shape) * dtype.itemsize
                except ValueError:  # not an array: what reads it says so
                    inside = 0
            declared += max(member.file_size, inside)
    most = max_bytes if max_bytes is not None else min(host_memory(), EXPANDED * file.stat().st_size)
    if declared > most:
        raise _weights_refusals.expands(file, declared, most)


def labels_in(arrays: dict[str, np.ndarray], path: str | Path) -> np.ndarray:
    """The labels of a file: its only array, or the one that is called so."""
    named = next((arrays[name] for name in ("labels", "label", "y", "target", "targets") if name in arrays), None)
    if named is None and len(arrays) == 1:
        return next(iter(arrays.values()))
    if named is None:
        raise _check.column_missing(path, "labels", list(arrays))
    return named


def _numpy(x: Tensor) -> np.ndarray:
    unknown_to_numpy = x.dtype == torch.bfloat16 or (x.is_floating_point() and x.dtype.itemsize == 1)
    return x.float().numpy() if unknown_to_numpy else x.numpy()


def array_pair(arrays: dict[str, np.ndarray], path: str) -> tuple[Tensor, np.ndarray | None]:
    """Inputs in float32, and labels where there are any, by the usual names."""
    x = next((arrays[k] for k in ("x", "X", "inputs", "features", "data", "images") if k in arrays), None)
    y = next((arrays[k] for k in ("y", "labels", "label", "target", "targets") if k in arrays), None)
    if x is None:
        raise _check.column_missing(path, "x", list(arrays))
    return _check.tensor_of(x, "x").float(), y
