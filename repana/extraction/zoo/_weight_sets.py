"""The weights of one model, wherever they are, tensor by tensor: a module, a state dict, or a file that stays closed
between reads."""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from repana import _check
from repana.extraction._checkpoints import USUAL, read_checkpoint, states_in
from repana.extraction._session import unwrap
from repana.extraction._sharded import whole
from repana.extraction.sources import _weights_refusals
from repana.extraction.zoo import _refusals

WRAPPERS = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile
SHARD = re.compile(r"\d+-of-\d+")


@dataclass(frozen=True)
class WeightSet:
    """`shapes` by tensor, in the order of the network where it is known; `read` gives one tensor."""

    name: str
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], Tensor]
    ordered: bool = True
    whole: tuple[str, ...] = ()  # tensors of whole numbers, as of quantised weights, which are not read

    @classmethod
    def of(cls, model: Any, name: str, allow_pickle: bool = False) -> "WeightSet":
        """Floating-point tensors alone; of tensors that share their memory the first."""
        if isinstance(model, (str, Path)):
            return _of_path(Path(model), allow_pickle)
        if isinstance(model, nn.Module):
            model = unwrap(model)[0].state_dict(keep_vars=True)
        if not isinstance(model, Mapping):
            raise _refusals.no_weights(name, f"a {type(model).__name__}")
        return _of_mapping(name, model)


def _of_mapping(name: str, loaded: Any) -> WeightSet:
    sets = states_in(loaded)
    if not sets:
        raise _refusals.no_weights(name, "no tensors")
    words = {word: [key for key in sets if key.rpartition(".")[2] == word] for word in USUAL}
    usual = next((keys for keys in words.values() if keys), [])
    if len(sets) > 1 and len(usual) != 1:
        raise _refusals.several_sets(name, list(sets))
    state = next(iter(sets.values())) if len(sets) == 1 else sets[usual[0]]
    tensors: dict[str, Tensor] = {}
    places, counted = set(), []
    for key, tensor in state.items():
        if tensor.device.type == "meta":
            raise _refusals.no_weights(name, f"{key!r} without values, on the meta device")
        tensor = tensor.to_dense() if tensor.layout != torch.strided else tensor
        place = (tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride()))
        if not tensor.is_floating_point():
            counted += [key] * (tensor.numel() > 1)
        elif tensor.numel() and place not in places:
            places.add(place)
            tensors[key] = tensor
    bare = _without_prefix(list(tensors))
    tensors = {bare[key]: tensor for key, tensor in tensors.items()}
    shapes = {key: tuple(t.shape) for key, t in tensors.items()}
    return WeightSet(name, shapes, lambda key: whole(tensors[key]).detach().cpu(), whole=tuple(counted))


def _without_prefix(keys: list[str]) -> dict[str, str]:
    """Names without what a wrapper puts before all of them."""
    for prefix in WRAPPERS:
        if keys and all(key.startswith(prefix) for key in keys):
            return {key: key.removeprefix(prefix) for key in keys}
    return {key: key for key in keys}


def _of_path(path: Path, allow_pickle: bool) -> WeightSet:
    if not path.exists():
        raise _weights_refusals.file_missing(path, "model")
    if path.is_dir():
        return _of_files(str(path), _files_of(path))
    if path.suffix == ".safetensors":
        return _of_files(str(path), [path])
    return _of_mapping(str(path), read_checkpoint(path, allow_pickle, mapped=True))


def _files_of(folder: Path) -> list[Path]:
    """The one file of a folder, or its shards, by their index where there is one."""
    for index in sorted(folder.glob("*.safetensors.index.json")):
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError) as error:
            raise _check.unreadable(index, f"it is no index of shards ({error})") from None
        missing = [name for name in sorted(names) if not (folder / name).is_file()]
        if missing:
            raise _weights_refusals.file_missing(folder / missing[0], "shard")
        return [folder / name for name in sorted(names)]
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise _refusals.no_files(folder)
    if len(files) > 1 and not all(SHARD.search(file.name) for file in files):
        raise _refusals.several_sets(str(folder), [file.name for file in files])
    return files


def _of_files(name: str, files: list[Path]) -> WeightSet:
    from safetensors import SafetensorError, safe_open

    where: dict[str, Path] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    counted: list[str] = []
    for file in files:
        try:
            with safe_open(file, framework="pt") as opened:
                for key in list(opened.keys()):
                    part = opened.get_slice(key)
                    if key in where:
                        raise _refusals.several_sets(name, [str(where[key]), str(file)])
                    shape = tuple(part.get_shape())
                    if "F" not in part.get_dtype():  # F64, F32, F16, BF16, F8_...
                        counted += [key] * (math.prod(shape) > 1)
                    elif math.prod(shape):
                        where[key], shapes[key] = file, shape
        except (SafetensorError, OSError) as error:
            raise _check.unreadable(file, str(error)) from None

    bare = _without_prefix(list(shapes))
    written = {short: key for key, short in bare.items()}

    def read(short: str) -> Tensor:
        with safe_open(where[written[short]], framework="pt") as opened:
            return opened.get_tensor(written[short])

    order = sorted(written, key=_by_number)  # a file keeps no order of its own
    return WeightSet(name, {short: shapes[written[short]] for short in order}, read, False, tuple(counted))


def _by_number(key: str) -> list[tuple[int, str]]:
    """Sorts "layers.2" before "layers.10"."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", key)]


def is_finite(tensor: Tensor) -> bool:
    """Of a sum that is not finite the numbers may still be."""
    return bool(torch.isfinite(tensor.sum()))
