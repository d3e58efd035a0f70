"""Refusals of the features family: what was found, where, and what to do."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, float64

from repana._check import _tensor, listed, matrix
from repana.errors import FileError, InputError, ModelError


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


def finite_array(value: Any, name: str, shape: Sequence[int | None], *, scalar: bool = False) -> Tensor:
    """A real tensor on the host, of these sizes; float64 stays, all else becomes float32. `scalar`: one number stands
    for all."""
    x = _tensor(value, name).detach().cpu()
    x = x if x.dtype == float64 else x.float()
    if scalar and x.numel() == 1:
        x = x.reshape(()).expand([int(size or 1) for size in shape]).clone()
    if x.ndim != len(shape) or any(size not in (None, at) for size, at in zip(shape, x.shape)):
        requested = ", ".join("any" if size is None else str(size) for size in shape)
        raise InputError("RA254", f"`{name}` of the autoencoder has shape {tuple(x.shape)}; expected ({requested}).")
    if not bool(x.isfinite().all()):
        raise InputError(
            "RA254", f"`{name}` of the autoencoder has {int((~x.isfinite()).sum())} values that are not finite."
        )
    return x


def codes_of(value: Any, n: int, t: int) -> Tensor:
    """(n, t) codes that a function gave."""
    if not isinstance(value, Tensor) or tuple(value.shape) != (n, t):
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise InputError("RA254", f"the encoder gave {got}; expected a tensor ({n}, {t}), one column a feature.")
    return value


def autoencoder_needs(name: str, what: str) -> InputError:
    return InputError("RA254", f"{what!r} needs `{name}`; give `{name}=`.")


def at_most_features(k: int, t: int) -> int:
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= t:
        raise InputError("RA254", f"`k` is {k!r}; expected 1 to {t}, the number of features.")
    return k


def decoded_alone(normalization: str) -> InputError:
    return InputError(
        "RA254",
        f"rows are normalised one by one ({normalization!r}), so codes alone do not say what they stand for; use "
        "`decode_beside(codes, rows)`.",
    )


def autoencoder_without(name: str, title: str, found: Sequence[str]) -> InputError:
    return InputError("RA254", f"{title} has no {name!r}; found {listed(list(found))}.")


def unknown_architecture(name: str, known: Sequence[str]) -> InputError:
    return InputError("RA254", f"the architecture is {name!r}; expected one of {', '.join(known)}.")


def no_architecture(title: str) -> InputError:
    return InputError(
        "RA254", f"{title} does not say its architecture; give `architecture=` ('standard', 'topk', ...)."
    )


def batch_wide(title: str) -> InputError:
    return InputError(
        "RA254",
        f"{title} takes the top features of a whole batch and holds no threshold, so that the codes of a row depend on "
        "its neighbours; give architecture='topk' and `k=` to take the same number of each row.",
    )


def transcoder(title: str) -> InputError:
    return InputError(
        "RA254", f"{title} is a transcoder: it writes the output of a module from its input, not a layer from itself."
    )


def which_way(title: str, shape: tuple[int, ...]) -> InputError:
    return InputError(
        "RA254",
        f"{title}: nothing says which axis of the encoder {shape} holds units and which features; expected a "
        "configuration with d_in and d_sae, or biases of different lengths.",
    )


def autoencoder_shape(name: str, shape: tuple[int, ...], expected: tuple[int, int], title: str) -> InputError:
    return InputError("RA254", f"{name!r} of {title} has shape {shape}; expected {expected}.")


def rows_for_quality(n: int) -> InputError:
    return InputError("RA211", f"{n} rows; the quality of a dictionary needs at least 2.")


def zero_feature(name: str, row: int) -> InputError:
    return InputError("RA254", f"feature {row} of {name!r} is a row of zeros, which has no direction.")


def loss_of(value: Any, n: int) -> Tensor:
    """(n,) losses that a function gave."""
    if not isinstance(value, Tensor) or tuple(value.shape) != (n,):
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise InputError("RA212", f"`loss` gave {got}; expected a tensor ({n},), one number for each sample.")
    return value.detach().double().cpu()


def no_array(name: str, reason: str) -> InputError:
    return InputError("RA254", f"{name!r} is no array of numbers: {reason}.")


def whitened_rows() -> InputError:
    return InputError(
        "RA254",
        "rows were whitened in training ('covariance_whitening') by a matrix in a file of its own; whiten the features "
        "with it, and load the arrays without a configuration.",
    )


def no_autoencoder_files(path: Any, names: Sequence[str]) -> FileError:
    return FileError("RA301", f"{str(path)!r} has none of {', '.join(names)}; expected a sparse autoencoder.")


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


def not_a_dictionary(layer: str, kind: str) -> InputError:
    return InputError(
        "RA254",
        f"`dictionaries` has a {kind} for {layer!r}; expected a Dictionary: `load_sae(path)`, "
        "`sparse_autoencoder(...)`, or `dictionary(features, kind)`.",
    )


def pooled_rows(layer: str, pooling: str) -> InputError:
    return InputError(
        "RA254",
        f"layer {layer!r} was recorded with pool={pooling!r}, and a dictionary reads single positions; record it with "
        "pool='tokens', or give the model and the data.",
    )


def no_direction() -> InputError:
    return InputError("RA254", "`direction` is zero or not finite; expected the weights of a probe.")


def no_such_features(chosen: Sequence[int], count: int) -> InputError:
    return InputError("RA254", f"`main` is {listed(chosen)}; expected at least one feature, from 0 to {count - 1}.")
