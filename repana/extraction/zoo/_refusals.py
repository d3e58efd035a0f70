"""Refusals of zoos of models: what was found, where, and what to do."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from repana._check import in_bytes, listed, nearest
from repana.errors import FileError, InputError


def few_models(found: int, kind: str) -> InputError:
    what = f"has {found} model" if found else f"is a {kind}"
    return InputError(
        "RA298",
        f"`models` {what}; expected a sequence of at least 2 files, modules or state dicts, or a mapping from names to "
        "these.",
    )


def layer_names(value: object) -> InputError:
    return InputError("RA298", f"`layers` is {value!r}; expected names or patterns of tensors, or None for all.")


def too_large(model: str, tensor: str, largest: float) -> InputError:
    return InputError("RA298", f"{model}: {tensor!r} reaches {largest:.3g}, whose square overflows; rescale it.")


def other_names(first: str, other: str, only_first: Sequence[str], only_other: Sequence[str]) -> InputError:
    parts = [
        f"{listed(names, 3)} only in {name}" for name, names in ((first, only_first), (other, only_other)) if names
    ]
    return InputError(
        "RA298",
        f"{first} and {other} hold other tensors: {'; '.join(parts)}. A zoo compares models of one architecture; name "
        "the tensors that all have as `layers`.",
    )


def other_shape(tensor: str, first: str, shape: Sequence[int], other: str, found: Sequence[int]) -> InputError:
    return InputError(
        "RA298",
        f"{tensor!r} is {tuple(shape)} in {first} and {tuple(found)} in {other}; a zoo compares models of one "
        "architecture. Leave it out by naming others as `layers`.",
    )


def same_weights(pairs: Sequence[tuple[str, str]]) -> InputError:
    first, second = pairs[0]
    more = f" (and {len(pairs) - 1} more)" if len(pairs) > 1 else ""
    return InputError(
        "RA298",
        f"{first} and {second} have equal weights{more} in all that was read; a model that counts twice stands on both "
        "sides of every split. Leave one out.",
    )


def no_such_tensor(name: str, known: Sequence[str]) -> InputError:
    return InputError("RA298", f"no tensor matches {name!r}; near it are {listed(nearest(name, known), 5)}.")


def nothing_to_read(kind: str, found: int) -> InputError:
    if not found:
        return InputError("RA298", "the models hold no floating-point tensor.")
    return InputError(
        "RA298", f"kind={kind!r} reads matrices and the models have none; take kind='statistics' or 'flat'."
    )


def too_narrow(name: str, outputs: int, width: int) -> InputError:
    return InputError(
        "RA298",
        f"{name!r} has {outputs} outputs, of which each gives at least one response, and `width` is {width}; expected "
        f"at least {outputs}.",
    )


def beyond_memory(name: str, needed: float, room: float) -> InputError:
    return InputError(
        "RA298",
        f"{name!r} of all models takes {in_bytes(int(needed))} and {in_bytes(int(room))} are free; leave it out by "
        "naming others as `layers`, or take kind='statistics' with groups=None, which reads one model at a time.",
    )


def not_finite(model: str, tensor: str, bad: int, count: int) -> InputError:
    return InputError("RA298", f"{model}: {tensor!r} has {bad} NaN or infinite value(s) of {count}.")


def no_weights(model: str, found: str) -> FileError:
    return FileError(
        "RA301", f"{model} holds {found}; expected one set of weights: a module, a state dict, or a file of one."
    )


def several_sets(model: str, names: Sequence[str]) -> FileError:
    return FileError("RA301", f"{model} holds several sets of weights: {listed(names)}; save the one to be read alone.")


def no_files(folder: Path) -> FileError:
    return FileError(
        "RA301",
        f"{str(folder)!r} holds no .safetensors file; expected a model file, or a folder with one or its shards.",
    )


def no_trees(kinds: Mapping[str, str]) -> InputError:
    return InputError(
        "RA298",
        f"these activations are {kinds.get('kind', 'no weights')!r}; trees are found by distances of weights: give the "
        "models, or `read_weights(models, kind='flat')`.",
    )
