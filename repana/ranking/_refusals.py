"""Refusals of the ranking family."""

from collections.abc import Sequence
from typing import Any

from repana.errors import InputError


def relevance_shape(shape: Sequence[int], queries: int, bank: int) -> InputError:
    return InputError(
        "RA292", f"`relevant` has shape {tuple(shape)}; expected ({queries}, {bank}), a grade for each query and item."
    )


def relevance_form(kind: str) -> InputError:
    return InputError(
        "RA292",
        f"`relevant` is a {kind}; expected grades (queries, items), dense or sparse, a list with the relevant items of "
        "each query, or a pair (labels of queries, labels of items).",
    )


def relevance_labels(side: str, got: int, expected: int) -> InputError:
    return InputError("RA292", f"`relevant` has {got} labels of {side}; expected {expected}.")


def relevance_length(got: int, expected: int) -> InputError:
    return InputError("RA292", f"`relevant` lists items for {got} queries; expected {expected}.")


def no_such_item(query: int, item: object, bank: int) -> InputError:
    return InputError("RA292", f"`relevant` names item {item!r} for query {query}; items are numbered 0 to {bank - 1}.")


def item_twice(query: int) -> InputError:
    return InputError("RA292", f"`relevant` names an item twice for query {query}; expected each item once.")


def bad_grades(count: int) -> InputError:
    return InputError("RA292", f"`relevant` has {count} grades that are negative or not finite; expected 0 or more.")


def nothing_relevant() -> InputError:
    return InputError("RA292", "No query has a relevant item; nothing can be found.")


def self_needs_rows(queries: int, bank: int) -> InputError:
    return InputError(
        "RA292",
        f"`exclude_self` leaves out item i of query i and needs as many items as queries; got {queries} queries and "
        f"{bank} items.",
    )


def no_bank() -> InputError:
    return InputError("RA292", "`bank` is None: give it, or `score='precomputed'` with a matrix (queries, items).")


def bank_beside_scores() -> InputError:
    return InputError(
        "RA293", "`score='precomputed'` reads the scores as the first argument, with None as the second; got both."
    )


def not_a_number(count: int, name: str) -> InputError:
    return InputError("RA293", f"`{name}` has {count} scores that are NaN, which have no place in a ranking.")


def zero_rows(count: int, name: str, first: int) -> InputError:
    return InputError(
        "RA293",
        f"{count} rows of `{name}` are zero vectors, the first row {first}, which have no cosine; leave them out, or "
        "choose score='dot' or score='euclidean'.",
    )


def widths_differ(first: str, a: int, second: str, b: int) -> InputError:
    return InputError("RA293", f"`{first}` has {a} features and `{second}` {b}; expected the same space.")


def whitening_rank(rank: int, components: int) -> InputError:
    return InputError(
        "RA294",
        f"Whitening to {components} components needs more than the {rank} dimensions that the fitted rows span: give "
        f"`n_components` below {rank}, or `eps` above 0.",
    )


def whitened_itself(rows: int) -> InputError:
    return InputError(
        "RA294",
        f"The whitening was fitted on all {rows} rows that it is applied to, where the fit sets the mean inner product "
        "whatever the data; fit it on other rows.",
    )


def whitening_layer(layer: str) -> InputError:
    return InputError("RA294", f"`whiten` has nothing for {layer!r}; give one for each layer, or leave the layer out.")


def targets_of_pairs(got: str, n: int) -> InputError:
    return InputError("RA295", f"`targets` is {got}; expected {n} finite numbers, one for each pair.")


def two_other_values(low: float, high: float) -> InputError:
    return InputError(
        "RA295",
        f"`targets` takes the two values {low:g} and {high:g}: give `kind='binary'` (the larger is a match) or "
        "`kind='graded'`.",
    )


def not_binary(count: int) -> InputError:
    return InputError("RA295", f"`kind='binary'` needs targets of two values; got {count}.")


def constant_targets() -> InputError:
    return InputError("RA295", "`targets` are constant: neither a correlation nor a threshold has a value.")


def pairs_differ(a: Any, b: Any) -> InputError:
    return InputError("RA295", f"The two sides have {a} and {b} rows; expected one row of each for a pair.")


def items_form(n: int) -> InputError:
    return InputError("RA295", f"`items` is a pair of arrays ({n},): the first and the second item of each pair.")


def far_range(far: object) -> InputError:
    return InputError("RA295", f"A false accept rate is above 0 and below 1; got {far!r}.")


def train_mask(n: int) -> InputError:
    return InputError("RA295", f"`train` is a boolean mask of {n} pairs with both kinds of pairs on either side.")


def owners(got: int, captions: int) -> InputError:
    return InputError("RA292", f"`owner` has {got} entries; expected the image of each of {captions} texts.")


def owner_range(images: int) -> InputError:
    return InputError("RA292", f"`owner` numbers images from 0 to {images - 1}; got others.")


def owner_needed(images: int, texts: int) -> InputError:
    return InputError(
        "RA292", f"{images} images and {texts} texts: give `owner`, the number of the image that each text describes."
    )


def without_texts(count: int, first: int) -> InputError:
    return InputError("RA292", f"{count} images have no text, the first image {first}; leave them out.")


def prompts_shape(shape: Sequence[int]) -> InputError:
    return InputError(
        "RA293", f"`prompts` has shape {tuple(shape)}; expected (classes, prompts, features), or (classes, features)."
    )


def class_of_prompts(code: int, classes: int) -> InputError:
    return InputError("RA203", f"Label {code} has no prompts; classes are numbered 0 to {classes - 1}.")


def keys_differ(missing: str) -> InputError:
    return InputError("RA296", f"Layer {missing!r} is in one of the mappings alone; expected the same layers in both.")


def not_layers(kind: str) -> InputError:
    return InputError(
        "RA296",
        f"`by_layer` reads mappings from layers to features, such as Activations, or mappings of those by pooling; got "
        f"a {kind}. Call the function itself with arrays.",
    )


def unlike_results(first: str, second: str) -> InputError:
    return InputError("RA296", f"{first!r} and {second!r} were read from different rows; no paired difference exists.")


def unknown_quantity(name: str, names: Sequence[str]) -> InputError:
    return InputError("RA296", f"No quantity {name!r}; there are {', '.join(names)}.")
