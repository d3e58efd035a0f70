"""Refusals of specs, factories and checkpoints: what was found, where, and what to do."""

from collections.abc import Mapping, Sequence
from typing import Any

from repana._check import listed, nearest
from repana.errors import FileError


def file_missing(path: Any, what: str) -> FileError:
    return FileError("RA304", f"{what} {str(path)!r} does not exist.")


def unsafe(path: Any, names: Sequence[str]) -> FileError:
    return FileError(
        "RA302",
        f"{str(path)!r} would run code when loaded: it names {listed(names, 8)}. Convert it to safetensors "
        "where it was "
        "made, or pass --allow-pickle (allow_pickle=True) if you trust whoever made it.",
    )


def positional_arguments(spec: str) -> FileError:
    return FileError("RA311", f"{spec!r} gives arguments by their place; expected names: factory(key=value).")


def factory_arguments(
    name: str, given: Mapping[str, Any], needed: Sequence[str], unknown: Sequence[str], takes: Sequence[str]
) -> FileError:
    if unknown:
        return FileError("RA311", f"{name!r} takes no {listed(unknown)}; expected some of {listed(takes, 12)}.")
    call = ", ".join([f"{key}={value!r}" for key, value in given.items()] + [f"{key}=..." for key in needed])
    return FileError("RA311", f'{name!r} needs {listed(needed)}; write "{name}({call})".')


def model_arguments(spec: str, reason: str) -> FileError:
    return FileError("RA311", f"{spec!r} cannot be made with these arguments ({reason}).")


def no_timm_model(name: str, names: Sequence[str]) -> FileError:
    return FileError("RA304", f"timm has no model {name!r}; nearest: {listed(nearest(name, names))}.")


def no_timm_weights(name: str, trained: Sequence[str]) -> FileError:
    have = f"it has {listed(trained, 9)}" if trained else "it has none for this architecture; give --checkpoint"
    return FileError("RA312", f"timm has no trained weights {name!r}; {have}.")


def weights_not_loaded(spec: str, reason: str) -> FileError:
    return FileError(
        "RA312", f"the weights of {spec!r} could not be loaded ({reason}); give a file of them with --checkpoint."
    )


def remote_code(spec: str) -> FileError:
    return FileError(
        "RA302",
        f"{spec!r} brings code of its own, which is not run; build the model in a file of yours and give "
        "file.py:factory.",
    )


def checkpoint_is_folder(path: Any) -> FileError:
    return FileError("RA301", f"checkpoint {str(path)!r} is a folder; expected one file of weights in it.")


def random_weights(spec: str) -> str:
    return f"RA313: the weights of {spec!r} are random; --pretrained (pretrained=True) takes trained ones."


def newly_initialised(spec: str, kind: str, missing: Sequence[str], total: int) -> str:
    return (
        f"RA313: {len(missing)} of {total} weights of {kind} are not in {spec!r} and are random: {listed(missing)}. "
        "What depends on them says nothing about training."
    )


def class_missing(spec: str, names: Sequence[str]) -> str:
    which = f"names {listed(names)}, which this version of transformers lacks" if names else "names no class"
    return f"RA314: the configuration of {spec!r} {which}; AutoModel was taken, without the head of a task."


def weights_unused(spec: str, kind: str, unexpected: Sequence[str]) -> str:
    return f"RA314: {kind} has no place for {len(unexpected)} weight(s) in {spec!r}: {listed(unexpected)}."


def weights_chosen(path: Any, taken: str, names: Sequence[str]) -> str:
    others = [name for name in names if name != taken]
    return f"RA314: {str(path)!r} holds {listed(names)}; {taken!r} was taken. --weights {others[0]!r} takes the other."


def prefix_chosen(path: Any, prefix: str, outside: Sequence[str]) -> str:
    return (
        f"RA314: of {str(path)!r} the weights under {prefix!r} were taken; {len(outside)} other key(s) are no part of "
        f"the model: {listed(outside, 3)}."
    )


def buffers_differ(path: Any, absent: Sequence[str], unused: Sequence[str]) -> str:
    parts = [f"{listed(absent, 3)} not in the file, left as built"] * bool(absent)
    parts += [f"{listed(unused, 3)} not in the model, left out"] * bool(unused)
    return f"RA314: buffers of {str(path)!r}: {'; '.join(parts)}. All weights were found."


def weights_without_place(path: Any, extra: Sequence[str]) -> FileError:
    first = extra[0].rpartition(".")[0]
    pattern = f"{first}.*" if first else extra[0]
    return FileError(
        "RA303",
        f"{str(path)!r} has {len(extra)} weight(s) that the model has no place for ({listed(extra, 3)}); expected "
        f"those of this architecture. A part is left out by --ignore {pattern!r} (ignore={pattern!r}).",
    )


def no_such_weights(path: Any, requested: str, names: Sequence[str]) -> FileError:
    return FileError("RA315", f"{str(path)!r} has no set of weights {requested!r}; expected one of {listed(names, 9)}.")


def choose_weights(path: Any, names: Sequence[str]) -> FileError:
    return FileError(
        "RA315", f"{str(path)!r} holds {listed(names, 9)}, each a set of weights; choose one: --weights (weights=)."
    )


def no_such_prefix(path: Any, prefix: str, heads: Sequence[str]) -> FileError:
    return FileError("RA315", f"no key of {str(path)!r} starts with {prefix!r}; expected one of {listed(heads, 9)}.")


def choose_prefix(path: Any, found: Sequence[str]) -> FileError:
    return FileError(
        "RA315",
        f"the model fits under {len(found)} prefixes of {str(path)!r}, {listed(found, 9)}; choose one: --prefix "
        "(prefix=).",
    )


def spec_not_understood(spec: str, what: str, forms: Sequence[str]) -> FileError:
    return FileError("RA304", f"{what} {spec!r} is not understood; expected one of {listed(forms, 9)}.")


def keys_do_not_match(path: Any, total: int, missing: Sequence[str], extra: Sequence[str], hint: str) -> FileError:
    return FileError(
        "RA303",
        f"{str(path)!r} does not fit the model: {len(missing)} of {total} keys missing ({listed(missing, 3)}), "
        f"{len(extra)} not expected ({listed(extra, 3)}). The model would be analysed with random weights.{hint}",
    )


def shapes_do_not_match(path: Any, wrong: Sequence[str]) -> FileError:
    return FileError("RA303", f"{str(path)!r} does not fit the model: shapes differ at {listed(wrong, 3)}.")


def no_factory(spec: str, name: str, names: Sequence[str]) -> FileError:
    return FileError("RA304", f"{spec!r}: there is no {name!r}; nearest: {listed(nearest(name, names))}.")


def module_missing(spec: str, reason: str) -> FileError:
    return FileError("RA304", f"{spec!r}: {reason}. Run where it can be imported, or name the file: file.py:factory.")


def expands(path: Any, declared: int, most: int) -> FileError:
    return FileError(
        "RA330",
        f"{str(path)!r} says to hold {declared:,} bytes, more than the {most:,} that are read of a file of its size "
        "here. Give max_bytes= (--max-bytes) if you trust whoever made it.",
    )


def old_torch(path: Any, version: str) -> FileError:
    return FileError(
        "RA302",
        f"{str(path)!r} is a pickle, and the safe reader of torch {version} was breached (CVE-2025-32434, "
        "CVE-2026-24747); use torch 2.10 or later, or safetensors, or pass --allow-pickle (allow_pickle=True) if you "
        "trust whoever made it.",
    )
