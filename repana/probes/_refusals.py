"""Refusals of the probes family: what was found, where, and what to do."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from repana._check import _tensor, groups_of, listed, matrix
from repana.errors import InputError, ModelError


def attribute_of(values: Any, n: int) -> tuple[list[str], np.ndarray]:
    """The values that an attribute of rows takes, and which of them each row has."""
    numbers = groups_of(values, n, "attributes")
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    first = [int(np.flatnonzero(numbers == k)[0]) for k in range(int(numbers.max()) + 1)]
    return [str(array[i]) for i in first], numbers


def other_splits(count: int) -> InputError:
    return InputError(
        "RA248",
        f"the probes were split in {count} ways; fit them with one `split=`, so that they report the same rows.",
    )


def bad_types(types: int, n: int) -> InputError:
    if types == n:
        return InputError(
            "RA249",
            f"`types` has {types} types in {n} rows, one a row; a control task is then a permutation of labels, which "
            "every probe has as `accuracy.null` and `memorization`.",
        )
    return InputError("RA249", f"`types` has {types} types in {n} rows; expected at least 6, each with several rows.")


def probabilities(value: Any, name: str, n: int) -> Tensor:
    """(n, z) shares that sum to one in every row."""
    x = matrix(value, name, n, None, "one row of probabilities per sample")
    total = x.double().sum(1)
    if bool((x < 0).any()) or float((total - 1).abs().max()) > 1e-3:
        raise InputError(
            "RA250",
            f"`{name}` has rows that sum to {float(total.min()):.4g} to {float(total.max()):.4g}, the least value "
            f"{float(x.min()):.4g}; expected probabilities: `logits.softmax(1)`.",
        )
    return x


def shrinkage_number(value: str) -> InputError:
    return InputError("RA212", f"`shrinkage` is {value!r}; expected a number from 0 to 1 here.")


def indicators(value: Any, name: str, n: int) -> Tensor:
    """(n, t) zeros and ones as int64."""
    x = _tensor(value, name)
    if x.ndim != 2 or len(x) != n or x.shape[1] == 0:
        raise InputError("RA211", f"`{name}` has shape {tuple(x.shape)}; expected ({n}, labels): one column a label.")
    if not bool(((x == 0) | (x == 1)).all()):
        odd = x[(x != 0) & (x != 1)].flatten()[0].item()
        raise InputError("RA203", f"`{name}` has the value {odd!r}; expected zeros and ones, one column a label.")
    return x.long()


def no_others() -> InputError:
    return InputError("RA205", "`others` is empty; expected names with (features, labels) of a distribution.")


def unknown_distribution(name: str, names: Sequence[str]) -> InputError:
    return InputError("RA212", f"`attributes` names {name!r}; expected {listed(names, 9)}.")


def bad_sizes(sizes: Sequence[int], classes: int, most: int) -> InputError:
    return InputError(
        "RA212",
        f"`sizes` is {list(sizes)}; expected numbers from {classes} (the classes) to {most} (the rows).",
    )


def widths_differ(how: str, widths: Mapping[str, int]) -> InputError:
    shown = listed([f"{name} ({width})" for name, width in widths.items()])
    return InputError("RA234", f"`how` is {how!r} and the layers have different widths: {shown}; take 'concatenate'.")


def labels_of_samples(shape: tuple[int, ...], tokens: int, samples: int) -> InputError:
    return InputError(
        "RA201",
        f"`labels` has shape {tuple(shape)}; expected one label per token ({tokens}) or per sample ({samples}).",
    )


def labels_differ_inside(sample: int) -> InputError:
    return InputError(
        "RA203", f"`labels` differ inside sample {sample} (counted from 0); the moments of its tokens have one label."
    )


def no_weights(probe: str) -> InputError:
    return InputError(
        "RA252", f"a {probe} probe of these features has no direction; take a linear, ridge, LDA or nearest-mean probe."
    )


def class_of(concept: str | int, classes: Sequence[str]) -> int:
    """The column of a class, by name or number."""
    if isinstance(concept, str):
        if concept not in classes:
            raise InputError("RA252", f"no class {concept!r} in this probe; it has {listed(classes, 12)}.")
        return list(classes).index(concept)
    if not 0 <= concept < len(classes):
        raise InputError("RA252", f"no class {concept} in this probe; it has {len(classes)}, from 0.")
    return concept


def probe_width(layer: str, shape: tuple[int, ...], d: int) -> InputError:
    return InputError(
        "RA252", f"layer {layer!r} gives {shape} and the probe was fitted on {d} features; probe this layer's features."
    )


def left_out_of_groups() -> InputError:
    return InputError(
        "RA212", "`select` is 'leave_one_out' and rows come in groups, which depend on each other; take 'log_loss'."
    )


def groups_to_leave_out() -> InputError:
    return InputError("RA212", "`cross` is 'leave-group-out'; it needs `groups=`, a value of each row.")


def few_groups_to_leave_out(found: int, least: int) -> InputError:
    return InputError(
        "RA247",
        f"`groups` has {found} group(s); expected at least {least} to leave one out. `cross='leave-one-out'` leaves "
        "out rows.",
    )


def none_answered_right(n: int) -> InputError:
    return InputError(
        "RA299",
        f"the model answers none of {n} samples with its label; give labels that are columns of the logits (token ids "
        "of a language model), or answered='all'.",
    )


def few_samples_of_relation(n: int, fitted: int) -> InputError:
    return InputError(
        "RA299",
        f"a relation of {n} samples, of which {fitted} are fitted; expected at least 2 that are and 2 that are not.",
    )


def rank_above(rank: int, numerical: int, largest: float) -> InputError:
    return InputError(
        "RA299",
        f"`rank` is {rank} and the map has numerical rank {numerical}: later singular values are below 1e-6 of the "
        f"largest, {largest:.3g}, and have no inverse. Take at most {numerical}.",
    )


def no_directions() -> InputError:
    return InputError("RA299", "a relation without labels of two classes or more has no directions.")


def not_a_zoo(kind: str) -> InputError:
    return InputError("RA212", f"`zoo` is a {kind}; expected the `Activations` that `read_weights(models)` gives.")


def not_finite_values(bad: int, count: int) -> InputError:
    return InputError("RA204", f"`labels` have {bad} NaN or infinite value(s) of {count}.")


def crossed_probes() -> InputError:
    return InputError(
        "RA249",
        "these probes report every row by left-out predictions and have no validation split to select a layer on; fit "
        "them without `cross=`.",
    )


def fitted_samples(found: object, n: int) -> InputError:
    return InputError("RA299", f"`fit` is {found!r}; expected a count, or numbers of samples from 0 to {n - 1}.")


def position(name: str, value: object, n: int) -> InputError:
    return InputError(
        "RA212",
        f"`{name}` is {value!r}; expected 'last', 'first', 'mean', a whole number, or whole numbers for each of {n} "
        "samples.",
    )


def same_layer(layer: str) -> InputError:
    return InputError("RA299", f"`subject` and `object` are both {layer!r}; expected two layers, the object behind.")


def points_not_finite(layer: str, samples: int) -> InputError:
    return InputError("RA204", f"layer {layer!r} has NaN or infinite values in {samples} sample(s).")


def constant_values() -> InputError:
    return InputError("RA211", "`labels` are real values that are all equal; there is nothing to predict.")


def cross_and_split() -> InputError:
    return InputError("RA212", "`cross` reports every row and `split` some; expected one of them.")


def not_finite_differences(bad: int, count: int) -> InputError:
    return InputError("RA204", f"`differences` has {bad} NaN or infinite value(s) of {count}.")


def reserved_name(name: str) -> InputError:
    return InputError("RA212", f"`others` has a distribution called {name!r}, which is the one fitted on; rename it.")


def labels_of_two_kinds(name: str) -> InputError:
    return InputError(
        "RA203", f"the labels fitted on and those of {name!r} are not both names or both numbers; give one kind."
    )


def nothing_labelled(name: str) -> InputError:
    return InputError("RA205", f"{name!r} has no sample with a label (all are -100).")


def named_samples() -> InputError:
    return InputError(
        "RA201", "`sample` has names, whose order is open, and `labels` one value a sample; give one label per token."
    )


def no_blocks(layers: Sequence[str]) -> ModelError:
    return ModelError(
        "RA133",
        f"no two blocks of one class were found among {listed(layers)}; name the blocks in forward order as `layers`, "
        "or take lens='probe'.",
    )


def stream_changes(first: str, shape: Sequence[int], last: str, of_last: Sequence[int]) -> ModelError:
    return ModelError(
        "RA133",
        f"{first!r} has shape {tuple(shape)} and the last block {last!r} {tuple(of_last)}: what stands behind the last "
        "block cannot read it; name blocks of one shape as `layers`, or take lens='probe'.",
    )


def tail_differs(last: str) -> ModelError:
    return ModelError(
        "RA133",
        f"with its own output put in place of {last!r} the model gives other logits, so that something beside the last "
        "block reaches them; name the last block as the last of `layers`, or take lens='probe'.",
    )


def no_logits_recorded() -> ModelError:
    return ModelError(
        "RA133", "the model's output is no tensor (n, classes), whose answers a probe could be held against."
    )


def alphas_above_zero(alphas: Any) -> InputError:
    return InputError("RA212", f"`alphas` is {alphas!r}; expected at least one number above 0.")


def fit_of_a_probe() -> InputError:
    return InputError("RA212", "`fit` is for the tuned lens; a probe splits the samples of `data` itself.")


def no_samples_left() -> InputError:
    return InputError("RA205", "no answer is left to report: give more samples, or `skip_first=False`.")


def too_few_to_fit(folds: int) -> InputError:
    return InputError("RA227", f"a tuned lens needs at least {folds} samples to fit on; give more, or `fit`.")
