"""Refusals of the features family: what was found, where, and what to do."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from repana._check import _tensor, listed, matrix
from repana.errors import InputError, ModelError


def dictionary_of(value: Any, d: int) -> Tensor:
    """(t, d) finite numbers in float64 on the host."""
    atoms = _tensor(value, "dictionary")
    if atoms.ndim != 2 or not len(atoms):
        raise InputError("RA254", f"the dictionary has shape {tuple(atoms.shape)}; expected (features, {d}).")
    if atoms.shape[1] != d:
        raise dictionary_width(tuple(atoms.shape), d)
    return matrix(atoms, "dictionary", None, d, "one row per feature").double().cpu()


def dictionary_width(shape: tuple[int, ...], d: int) -> InputError:
    turned = " (it fits transposed)" if shape[0] == d else ""
    return InputError(
        "RA254",
        f"the dictionary has shape {shape} and the layer {d} units{turned}; expected (features, {d}), one row "
        "a feature.",
    )


def negative_features(lowest: float) -> InputError:
    return InputError(
        "RA254",
        f"the layer has negative values (down to {lowest:.3g}), which no sum of non-negative parts is; take 'pca', "
        "or a layer after a ReLU.",
    )


def at_most_components(count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise InputError("RA254", f"`count` is {count}; expected 1 to {most}, what these rows and units can have.")


def no_count(kind: str) -> InputError:
    return InputError("RA254", f"`count` is how many components or parts to make, and {kind} has its own number.")


def feature_names(names: Sequence[str] | None, count: int, layer: str = "") -> tuple[str, ...]:
    """A name for each feature: those given, or its number."""
    if names is None:
        return tuple(f"{layer or 'feature'} {k}" for k in range(count))
    if len(names) != count:
        raise InputError("RA255", f"`names` has {len(names)} names and there are {count} features.")
    return tuple(str(name) for name in names)


def feature_counts(first: int, second: int) -> InputError:
    return InputError(
        "RA255", f"complexity is of {first} features and importance of {second}; take the same dictionary for both."
    )


def alphas_of(alphas: Sequence[float]) -> None:
    wrong = [a for a in alphas if not a > 0]
    if wrong or not len(alphas):
        raise InputError("RA212", f"`alphas` has {listed(wrong)}; expected at least one, all positive.")


def rows_and_moments(layer: str) -> InputError:
    return InputError("RA255", f"layer {layer!r} is given by its features and others by fold moments; give one kind.")


def targets_twice() -> InputError:
    return InputError(
        "RA255", "fold moments hold the sums of their own targets; leave `targets` out, or give the layers' features."
    )


def rows_of_the_classifier(layer: str, read: str | None) -> InputError:
    where = f"it reads {read!r}: name that layer" if read else "none was found in this model"
    return InputError(
        "RA225",
        f"the features of {layer!r} are no input of a linear classifier ({where}, or give a matrix of directions).",
    )


def no_linear_head(layers: Sequence[str]) -> ModelError:
    return ModelError(
        "RA119",
        "this model has no linear classifier whose input was recorded, so that its last features are not known; name "
        f"`layer=`, one of {listed(layers, 9)}. `complexity`, `flow` and `variance_explained` of any layer need "
        "recorded features alone, `importance` and `conductance` of any layer the logits.",
    )


def nothing_to_merge(model: str) -> ModelError:
    return ModelError(
        "RA121",
        f"{model} has no group of channels between two weights that could be merged: inputs, outputs and layers of "
        "unknown kinds stay as they are.",
    )


def no_sigmas() -> InputError:
    return InputError("RA205", "`sigmas` is empty; expected at least one deviation of the noise.")


def noise_itself() -> InputError:
    return InputError("RA212", "`layer` is 'input', on which the noise itself is put; name a layer behind it.")


def no_paths() -> InputError:
    return InputError("RA205", "`paths` is empty; `residual_paths(model, data)` finds those of a model.")


def step_of(step: Any) -> float:
    """A step of training as a number."""
    try:
        return float(step)
    except (TypeError, ValueError):
        raise InputError(
            "RA255", f"step {step!r} is no number; expected epochs or updates, such as 1, 2, 10."
        ) from None


def steps_differ(steps: Sequence[Any]) -> InputError:
    return InputError(
        "RA255", f"step(s) {listed(steps)} are in one of the two mappings only; expected the same in both."
    )
