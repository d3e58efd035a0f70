"""Weights from a file into a model: all of them and nothing else, without running code."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from repana import _check
from repana.extraction.sources import _weights_refusals
from repana.extraction.sources._factories import reason_of
from repana.extraction.sources._fitting import State, Weights

SAFE_TORCH = (2, 10)  # whose reader of pickles runs nothing of them, as far as is known

# The plain set of weights of a training checkpoint, before averaged ones, in order of use.
USUAL = ("state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "weights", "params")
OTHER = ("optim", "sched", "scaler", "hyper", "callback", "loops", "rng")  # parts that hold no weights of the model
DEPTH = 3  # of sets of weights inside mappings


def load_checkpoint(
    model: nn.Module,
    path: str | Path,
    *,
    weights: str | None = None,
    prefix: str | None = None,
    ignore: str | Iterable[str] = (),
    allow_pickle: bool = False,
    say: Callable[[str], None] = lambda note: None,
) -> None:
    """Put the weights of a file into the model: all of them, and nothing else, or an error.

    `weights` names a set of weights in the file, `prefix` what stands before the model's names, `ignore` patterns of
    keys to leave out. What was chosen among several, and buffers that only one side has, are said.
    """
    file = Path(path)
    if file.is_dir():
        raise _weights_refusals.checkpoint_is_folder(path)
    if not file.is_file():
        raise _weights_refusals.file_missing(path, "checkpoint")
    found = states_in(read_checkpoint(file, allow_pickle))
    if not found:
        raise _check.unreadable(file, "it holds no mapping of names to tensors")
    goal = Weights.of(model)
    state = _chosen(found, goal, weights, prefix, file, say)
    goal.fill(state, file, prefix, [ignore] if isinstance(ignore, str) else list(ignore), say)


def read_checkpoint(file: Path, allow_pickle: bool, *, mapped: bool = False) -> Any:
    """What a file holds. `mapped`: tensors stay in the file until they are read, where its format lets them."""
    if file.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(file)
        except SafetensorError as error:
            raise _check.unreadable(file, str(error)) from error
    if allow_pickle:
        try:
            return _loaded(file, mapped, safe=False)
        except Exception as error:  # a class that is not importable here, a cut file
            raise _check.unreadable(file, reason_of(error)) from error
    if tuple(map(int, re.findall(r"\d+", torch.__version__)[:2])) < SAFE_TORCH:
        raise _weights_refusals.old_torch(file, torch.__version__)
    try:
        return _loaded(file, mapped)
    except Exception as error:
        names = _unsafe_names(file)
        if names:
            raise _weights_refusals.unsafe(file, names) from error
        raise _check.unreadable(file, str(error).splitlines()[0] if str(error) else type(error).__name__) from error


def _loaded(file: Path, mapped: bool, *, safe: bool = True) -> Any:
    if mapped:
        try:
            return torch.load(file, map_location="cpu", weights_only=safe, mmap=True)
        except RuntimeError:  # a format of before 1.6, which cannot be mapped
            pass
    return torch.load(file, map_location="cpu", weights_only=safe)


def _unsafe_names(file: Path) -> list[str]:
    """What a pickle would import, read without running it."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file))
    except Exception:
        import pickletools

        try:
            operations = list(pickletools.genops(file.read_bytes()))
        except Exception:
            return []
        return sorted({str(arg).replace(" ", ".") for op, arg, _ in operations if op.name in ("GLOBAL", "INST")})


def states_in(loaded: Any, name: str = "", depth: int = 0) -> dict[str, State]:
    """The sets of weights in what a file holds, by the keys that lead to them."""
    if isinstance(loaded, nn.Module):
        loaded = loaded.state_dict()
    if not isinstance(loaded, Mapping) or depth > DEPTH or not all(isinstance(key, str) for key in loaded):
        return {}
    inner = [value for value in loaded.values() if isinstance(value, (Mapping, nn.Module))]
    tensors = {key: value for key, value in loaded.items() if isinstance(value, Tensor)}
    if tensors and not inner:
        return {name: tensors}
    found: dict[str, State] = {}
    for key, value in loaded.items():
        if not any(word in key.lower() for word in OTHER):
            found |= states_in(value, f"{name}.{key}" if name else key, depth + 1)
    return found


def _chosen(
    found: dict[str, State],
    goal: Weights,
    weights: str | None,
    prefix: str | None,
    file: Path,
    say: Callable[[str], None],
) -> State:
    """The set of weights that was named, or the only one that fits, or the plain one of several that do."""
    if weights is not None:
        named = [name for name in found if weights in (name, name.rpartition(".")[2])]
        if len(named) != 1:
            raise _weights_refusals.no_such_weights(file, weights, list(found))
        return found[named[0]]
    if len(found) == 1:
        return next(iter(found.values()))
    fitting = [name for name, state in found.items() if goal.prefixes(state, prefix)]
    plain = [name for usual in USUAL for name in (fitting or found) if name.rpartition(".")[2] == usual]
    if len(fitting) == 1 or plain:
        taken = fitting[0] if len(fitting) == 1 else plain[0]
        say(_weights_refusals.weights_chosen(file, taken, list(found)))
        return found[taken]
    raise _weights_refusals.choose_weights(file, fitting or list(found))
