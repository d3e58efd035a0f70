"""The weights of one model, wherever they are, tensor by tensor: a module, a state dict, or a file that stays closed
between reads."""

import json
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


@dataclass(frozen=True)
class WeightSet:
    """`shapes` by tensor, in the order of the network where it is known; `read` gives one tensor."""

    name: str
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], Tensor]
    ordered: bool = True

    @classmethod
    def of(cls, model: Any, number: int) -> "WeightSet":
        """Floating-point tensors alone; of tensors that share their memory the first."""
        if isinstance(model, (str, Path)):
            return _of_path(Path(model))
        name = f"model {number}"
        if isinstance(model, nn.Module):
            model = unwrap(model)[0].state_dict(keep_vars=True)
        if not isinstance(model, Mapping):
            raise _refusals.no_weights(name, f"a {type(model).__name__}")
        return _of_mapping(name, model)


def _of_mapping(name: str, loaded: Any) -> WeightSet:
    sets = states_in(loaded)
    usual = [key for word in USUAL for key in sets if key.rpartition(".")[2] == word]
    if not sets:
        raise _refusals.no_weights(name, "no tensors")
    if len(sets) > 1 and not usual:
        raise _refusals.several_sets(name, list(sets))
    tensors: dict[str, Tensor] = {}
    places = set()
    for key, tensor in next(iter(sets.values()) if len(sets) == 1 else iter([sets[usual[0]]])).items():
        place = (tensor.data_ptr(), tuple(tensor.shape)) if tensor.device.type != "meta" and tensor.numel() else key
        if tensor.is_floating_point() and place not in places:
            places.add(place)
            tensors[key] = tensor
    shapes = {key: tuple(t.shape) for key, t in tensors.items()}
    return WeightSet(name, shapes, lambda key: whole(tensors[key]).detach().cpu())


def _of_path(path: Path) -> WeightSet:
    if not path.exists():
        raise _weights_refusals.file_missing(path, "model")
    if path.is_dir():
        return _of_files(str(path), _files_of(path))
    if path.suffix == ".safetensors":
        return _of_files(str(path), [path])
    return _of_mapping(str(path), read_checkpoint(path, False, mapped=True))


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
    return files


def _of_files(name: str, files: list[Path]) -> WeightSet:
    from safetensors import SafetensorError, safe_open

    where: dict[str, Path] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as opened:
                for key in list(opened.keys()):
                    part = opened.get_slice(key)
                    if "F" in part.get_dtype():  # F64, F32, F16, BF16, F8_...
                        where[key], shapes[key] = file, tuple(part.get_shape())
        except (SafetensorError, OSError) as error:
            raise _check.unreadable(file, str(error)) from None

    def read(key: str) -> Tensor:
        with safe_open(where[key], framework="pt") as opened:
            return opened.get_tensor(key)

    order = sorted(shapes, key=_by_number)  # a file keeps no order of its own
    return WeightSet(name, {key: shapes[key] for key in order}, read, ordered=False)


def _by_number(key: str) -> list[tuple[int, str]]:
    """Sorts "layers.2" before "layers.10"."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", key)]


def is_finite(tensor: Tensor) -> bool:
    """Of a sum that is not finite the numbers may still be."""
    return bool(torch.isfinite(tensor.sum()))
