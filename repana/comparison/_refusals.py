"""Refusals of the comparison family: what was found, where, and what to do."""

from typing import Any

import torch
from torch import Tensor, nn

from repana import _check, _numbers
from repana._typing import IGNORED
from repana.errors import InputError, ModelError


def kernel_matrix(value: Any, n: int) -> Tensor:
    """What a kernel of the user's gave: a symmetric, finite (n, n) matrix."""
    k = _check.matrix(value, "kernel", n, n, "one row and one column per sample")
    if not torch.allclose(k, k.T, rtol=1e-5, atol=1e-8 * float(k.abs().max())):
        raise InputError("RA270", "`kernel` gave a matrix that is not symmetric; expected K[i, j] = K[j, i].")
    return k


def matrices_fit(n: int, matrices: int, memory: int) -> None:
    """Refuses (n, n) matrices in float64 beyond the memory."""
    needed = matrices * 8 * n * n
    if needed > memory:
        most = int((memory / (8 * matrices)) ** 0.5)
        raise InputError(
            "RA271",
            f"{n} samples make matrices of {_numbers.readable(needed)}, more than `memory`, "
            f"{_numbers.readable(memory)}; take {most} samples or fewer, or raise `memory`.",
        )


def kernel_name(kernel: Any, known: tuple[str, ...]) -> None:
    if not callable(kernel) and kernel not in known:
        names = ", ".join(map(repr, known))
        raise InputError("RA212", f"`kernel` is {kernel!r}; expected one of {names}, or a function that gives (n, n).")


def whitened_permutation(alpha: float) -> InputError:
    return InputError(
        "RA212", f"`alpha` is {alpha!r} with `group='permutation'`, which compares features as they are; expected 1."
    )


def at_most_units(width: int, most: int) -> None:
    if width > most:
        raise InputError(
            "RA273",
            f"a layer has {width} units, and one-to-one matching takes time that grows as their cube; "
            f"expected at most {most}: choose units with `most=` or by hand.",
        )


def enough_features(width: int) -> None:
    if width < 3:
        raise InputError(
            "RA274",
            f"a layer has {width} features, of which correlations are +1 or -1 only; expected 3 or more, or "
            "`distance='euclidean'` or 'cosine'.",
        )


def rows_of_length(lengths: Tensor, distance: str) -> None:
    """Refuses samples without a direction."""
    zero = int((lengths == 0).sum())
    if zero:
        what = "are constant over their features" if distance == "correlation" else "are zero in every feature"
        raise InputError(
            "RA274",
            f"{zero} of {len(lengths)} samples {what} and have no {distance} distance; expected none: "
            "leave them out, or take `distance='euclidean'`.",
        )


def one_fold() -> InputError:
    return InputError("RA212", "`folds` puts every row in one fold; expected two or more.")


def groups_of_units(requested: int, units: int) -> None:
    if requested > units:
        raise InputError(
            "RA212", f"`groups` is {requested} and a layer has {units} units that vary; expected 2 to {units}."
        )


def no_logits(place: int) -> InputError:
    return InputError(
        "RA275",
        f"the {('first', 'second')[place]} Activations have no logits; record with `logits=True`, or give the outputs.",
    )


def class_counts(one: int, other: int) -> InputError:
    return InputError(
        "RA275", f"the outputs have {one} and {other} columns; expected the same classes, 2 or more, in the same order."
    )


def other_classes(one: tuple[str, ...], other: tuple[str, ...]) -> InputError:
    extra = [name for name in (*one, *other) if (name in one) != (name in other)]
    what = f"{_check.listed(extra)} in one of the two only" if extra else "the same names in another order"
    return InputError("RA275", f"the outputs are of different classes: {what}; expected the same, in the same order.")


def paired_option(paired: Any) -> None:
    if paired not in ("check", True):
        raise InputError(
            "RA212",
            f"`paired` is {paired!r}; expected 'check', or True where the rows are the same samples in the same order; "
            "every measure here compares the same samples.",
        )


def other_rows(one: int, other: int) -> InputError:
    return InputError(
        "RA276", f"the two recordings have {one} and {other} rows; expected the same samples in the same order."
    )


def other_inputs(one: Any, other: Any) -> InputError:
    if one["content"] == other["content"]:
        return InputError(
            "RA276",
            f"the two recordings are of the same samples in another order (fingerprints {one['ordered']} and "
            f"{other['ordered']}): a loader that shuffles gives every pass an order of its own. Record both without "
            "shuffling, or give both models and the data to `similarity`, which runs them on the same batches.",
        )
    return InputError(
        "RA276",
        f"the two networks were given different inputs (fingerprints {one['ordered']} and {other['ordered']}). If "
        "they are "
        "the same samples in the same order, prepared for each network in its own way, say `paired=True`.",
    )


def other_samples(row: int) -> InputError:
    return InputError(
        "RA276",
        f"row {row} is of another sample in the second recording: a loader that shuffles gives every pass an order "
        "of its "
        "own, and a subset its own samples. Record both with the same order, `max_samples` and `seed`; where the "
        "rows are "
        "the same samples all the same, say `paired=True`.",
    )


def other_labels(row: int) -> InputError:
    return InputError(
        "RA276",
        f"the labels differ, first in row {row}; expected the same samples in the same order. Where they are, and only "
        "their labels differ, say `paired=True`.",
    )


def models_and_recordings() -> InputError:
    return InputError(
        "RA277",
        "one of the two is a model and the other a recording; give two Activations, or two models and the data that "
        "both run on.",
    )


def data_for_models(given: bool) -> InputError:
    if given:
        return InputError("RA277", "`data` came with Activations, which are recorded already; leave it out.")
    return InputError("RA277", "models came without `data`; expected the data that they run on.")


def no_such_measure(name: str, known: Any) -> InputError:
    close = _check.listed(_check.nearest(name, known))
    return InputError("RA278", f"no measure is called {name!r}; the nearest are {close}.")


def measured_not(name: str, there: Any) -> InputError:
    return InputError("RA278", f"{name!r} was not measured here; expected one of {_check.listed(there, 9)}.")


def activations_here(name: str) -> InputError:
    return InputError(
        "RA277",
        f"`{name}` is Activations, which have many layers; take one, as in `activations['layer4']`, or compare all "
        "with "
        "`similarity`.",
    )


def no_identification(one: int, other: int, itself: bool) -> InputError:
    if itself:
        return InputError("RA279", "layers of one network were compared; identification needs two networks.")
    return InputError(
        "RA279",
        f"the networks have {one} and {other} layers; identification asks for layers of the same index, and expected "
        "as "
        "many in both. `best()` and `alignment()` take any.",
    )


def not_a_floor(name: str, kind: str) -> InputError:
    allowed = "Activations, a model, or True" if name == "untrained" else "Activations or a model"
    return InputError("RA277", f"`{name}` is a {kind}; expected {allowed} where models are compared, else Activations.")


def floor_layers(name: str, second: Any, other: Any) -> InputError:
    return InputError(
        "RA277",
        f"`{name}` has the layers {_check.listed(other)} and the second network {_check.listed(second)}; expected the "
        "same layers in the same order.",
    )


def nothing_shared(one: Any, other: Any) -> InputError:
    return InputError(
        "RA277",
        f"the two networks share no layer but the input, if that: {_check.listed(one)} before, "
        f"{_check.listed(other)} after. Expected layers of the same "
        "names; `similarity` compares layers of any two networks.",
    )


def other_positions(one: str, first: int, other: str, second: int) -> ModelError:
    return ModelError(
        "RA280",
        f"{one!r} has {first} position(s) a sample and {other!r} {second}; expected as many: the map is the same at "
        "all "
        "positions. Take layers of one resolution, or layers that are vectors.",
    )


def sets_missing(names: Any) -> InputError:
    return InputError(
        "RA281",
        f"no samples came for {_check.listed(names)}; expected labelled data `forget` and `retain` beside models, or "
        "for each "
        'network a mapping {"forget": Activations, "retain": Activations}.',
    )


def unlabelled(name: str, count: int, n: int) -> InputError:
    return InputError(
        "RA281", f"`{name}` has {count} of {n} samples without a label ({IGNORED}); expected none: leave them out."
    )


def models_or_sets(kinds: Any) -> InputError:
    return InputError(
        "RA281",
        f"the networks are given as {_check.listed(kinds)}; expected models, or for each a mapping from 'forget' and "
        "'retain' to Activations.",
    )


def no_severities(changed: Any) -> InputError:
    return InputError(
        "RA281",
        f"`changed` is {type(changed).__name__ if not isinstance(changed, dict) else 'empty'}; expected a mapping "
        "from each "
        "severity to Activations, or with `model` to data.",
    )


def no_severity(name: str, known: Any) -> InputError:
    return InputError("RA281", f"no severity {name!r}; expected one of {_check.listed(known, 9)}.")


def not_recorded_here(kind: str) -> InputError:
    return InputError("RA281", f"a {kind} came in the place of Activations; give `model=` where these are data.")


def no_head(place: int, head: bool) -> InputError:
    what = "no input of a linear classifier (record with `layers='auto'`, or name it)" if head else "no labels"
    return InputError("RA281", f"the {('first', 'second')[place]} recording has {what}, which this needs.")


def no_group(names: Any) -> InputError:
    return InputError("RA282", f"`groups` has none for {_check.listed(names)}; expected one for every network.")


def no_group_pairs() -> InputError:
    return InputError(
        "RA282", "no two networks are of one group, or all are; expected two groups, of which one has two networks."
    )


def own_layers(layers: int, itself: bool) -> InputError:
    what = f"{layers} layers" if itself else "the similarity of two networks"
    return InputError(
        "RA282", f"{what} came; expected that of one network's own layers, `similarity(activations)`, three or more."
    )


def pair_of_layers(given: Any) -> InputError:
    return InputError(
        "RA282", f"{given!r} is no pair of layers; expected (layer of the first network, layer of the second)."
    )


def two_names(names: Any) -> InputError:
    return InputError("RA212", f"`names` is {names!r}; expected two, of the first and of the second network.")


def no_layers() -> InputError:
    return InputError("RA277", "a recording has no layers; expected one or more.")


def models_of(*given: Any) -> None:
    for x in given:
        if not isinstance(x, nn.Module):
            raise InputError(
                "RA277",
                f"a {type(x).__name__} came in the place of a network; expected two Activations (`Activations({{name: "
                "array})`, or `Activations.load(store)`), or two models with `data`.",
            )


def unlabelled_data(what: str, found: str) -> InputError:
    return InputError(
        "RA213", f"`data` gave {found}, and {what} needs class numbers; yield (x, y), or a mapping with 'labels'."
    )


def without(given: dict[str, bool], what: str) -> None:
    """Refuses arguments that have no meaning beside another."""
    named = [f"`{name}`" for name, asked in given.items() if asked]
    if named:
        raise InputError("RA212", f"{', '.join(named)} came with {what}; expected none of these.")
