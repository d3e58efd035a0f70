"""Refusals of the dimension family: what was found, where, and what to do."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repana._check import in_bytes
from repana.errors import InputError


def neighbours_between(first: int, last: int, least: int, most: int) -> None:
    """Refuse numbers of neighbours outside what the formula and the samples allow."""
    if not least <= first <= last <= most:
        asked = f"{first}" if first == last else f"{first} to {last}"
        if most < least:
            raise InputError(
                "RA233",
                f"neighbours {asked} were asked for and there are {max(most + 1, 0)} samples that differ; expected at "
                f"least {least + 1}.",
            )
        raise InputError("RA233", f"neighbours {asked} were asked for; expected {least} to {most} with these samples.")


def tree_sizes(smallest: int, largest: int, steps: int, subsamples: int, n: int) -> InputError:
    return InputError(
        "RA238",
        f"trees of {smallest} to {largest} samples were asked for, {subsamples} of each of {steps} sizes; expected "
        f"3 <= smallest < largest <= {n} (the samples), at least 2 sizes and 1 subset of each.",
    )


def no_texts() -> InputError:
    return InputError(
        "RA239",
        "text_dimension needs several rows of every text, one a token, and there is one row a sample; record with "
        "`pool='tokens'` and `mask='content'`, or say with `sample=` which text each row belongs to.",
    )


def subspace_size(dimension: int, total: int) -> InputError:
    return InputError(
        "RA240",
        f"a subspace of {dimension} dimensions was asked for; the model trains {total} parameters, so expected "
        f"1 to {total}.",
    )


def dense_projection(total: int, dimension: int, needed: int) -> InputError:
    return InputError(
        "RA241",
        f"a dense projection of {total} x {dimension} takes {in_bytes(needed)}; take `projection='fastfood'`, whose "
        "memory does not grow with the dimension.",
    )


def other_experiment(store: Path, what: str, known: Any, asked: Any) -> InputError:
    return InputError(
        "RA242", f"{str(store)!r} holds trainings with {what} {known!r}, and here it is {asked!r}; name another folder."
    )


def bad_seeds(seeds: Any) -> InputError:
    return InputError(
        "RA212", f"`seeds` is {seeds!r}; expected a number of seeds, or different whole numbers, at least one."
    )


def metric_not_a_number(metric: Any) -> InputError:
    return InputError(
        "RA243", f"`evaluate` gave {metric!r} ({type(metric).__name__}); expected one number, the higher the better."
    )


def no_baseline(metrics: Mapping[int, float]) -> InputError:
    found = ", ".join(f"{metric:g} (seed {seed})" for seed, metric in metrics.items())
    return InputError(
        "RA243",
        f"training all parameters reached the metric {found}; a share of it is a target only where it is finite and "
        "above 0 for every seed. Take a metric such as the accuracy, and a training that converges.",
    )


def nothing_trained(dimension: int) -> InputError:
    what = "all parameters" if dimension == 0 else f"a subspace of {dimension} dimensions"
    return InputError(
        "RA244",
        f"`train` left {what} as they were; it must train `[p for p in model.parameters() if p.requires_grad]` of the "
        "model it is given, in place.",
    )


def no_rate_taken(rates: Sequence[float]) -> InputError:
    return InputError(
        "RA212", f"`rates` is {list(rates)} and `train` takes the model alone; expected train(model, rate)."
    )


def no_samples(what: str) -> InputError:
    return InputError(
        "RA237", f"{what} reads single samples, which a summary of moments does not hold; call it on the features."
    )
