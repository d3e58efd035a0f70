"""Arrays from npz, npy and safetensors files; nothing is unpickled."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from repana import _check
from repana.extraction.sources import _weights_refusals


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an npz, npy or safetensors file, by name; nothing is unpickled."""
    file = Path(path)
    if not file.is_file():
        raise _weights_refusals.file_missing(path, "data file")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return {name: _numpy(x) for name, x in load_file(file).items()}
        loaded = np.load(file, allow_pickle=False)
        return {"features": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except ValueError as error:
        if "allow_pickle" in str(error) and file.read_bytes()[:2] in (b"PK", b"\x93N"):
            raise _weights_refusals.unsafe(file, ["pickled objects"]) from error
        raise _check.unreadable(file, str(error)) from error
    except Exception as error:
        raise _check.unreadable(file, str(error)) from error


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
