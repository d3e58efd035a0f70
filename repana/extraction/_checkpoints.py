"""Weights from a file into a model: all of them and nothing else, without running code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from repana import _check

PREFIXES = ("module.", "_orig_mod.", "_checkpoint_wrapped_module.", "_fsdp_wrapped_module.", "model.", "ema.")


def load_checkpoint(model: nn.Module, path: str | Path, *, allow_pickle: bool = False) -> None:
    """Put the weights of a file into the model: all of them, and nothing else, or an error."""
    file = Path(path)
    if not file.is_file():
        raise _check.file_missing(path, "checkpoint")
    found = _state_of(_read_checkpoint(file, allow_pickle), file)
    wanted = model.state_dict()
    state = _stripped(found, wanted)
    missing, extra = [k for k in wanted if k not in state], [k for k in state if k not in wanted]
    if missing or extra:
        raise _check.keys_do_not_match(file, len(wanted), missing, extra, _hint(missing, extra))
    wrong = [
        f"{k} {tuple(state[k].shape)} for {tuple(wanted[k].shape)}" for k in wanted if state[k].shape != wanted[k].shape
    ]
    if wrong:
        raise _check.shapes_do_not_match(file, wrong)
    model.load_state_dict(state)


def _read_checkpoint(file: Path, allow_pickle: bool) -> Any:
    if file.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(file)
        except SafetensorError as error:
            raise _check.unreadable(file, str(error)) from error
    if allow_pickle:
        return torch.load(file, map_location="cpu", weights_only=False)
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        names = _unsafe_names(file)
        if names:
            raise _check.unsafe(file, names) from error
        raise _check.unreadable(file, str(error).splitlines()[0] if str(error) else type(error).__name__) from error


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


def _state_of(loaded: Any, file: Path) -> dict[str, Tensor]:
    """The state dict in the file, or under the usual keys of a training checkpoint."""
    for key in ("state_dict", "model_state_dict", "model", "net", "weights"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if isinstance(loaded, nn.Module):
        loaded = loaded.state_dict()
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise _check.unreadable(file, "it holds no mapping of names to tensors")
    return dict(loaded)


def _stripped(state: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefixes that wrappers put before every key, where that makes keys fit."""
    changed = True
    while changed and not set(state) & set(wanted):
        changed = False
        for prefix in PREFIXES:
            if all(key.startswith(prefix) for key in state):
                state, changed = {key.removeprefix(prefix): value for key, value in state.items()}, True
    return state


def _hint(missing: list[str], extra: list[str]) -> str:
    for key in extra:
        for name in missing:
            if key.endswith("." + name):
                return f" The prefix {key.removesuffix(name)!r} was found on its keys."
    return ""
