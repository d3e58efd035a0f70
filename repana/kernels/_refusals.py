"""Refusals of the kernels family: what was found, where, and what to do."""

from collections.abc import Sequence

from repana._check import in_bytes, listed
from repana.errors import InputError, ModelError


def outputs_choice(value: str, known: Sequence[str]) -> InputError:
    return InputError("RA297", f"`outputs` is {value!r}; expected one of {listed(known)}.")


def no_parameters(model: str) -> ModelError:
    return ModelError(
        "RA140", f"{model} has no parameter that is trained; `frozen=True` takes those that are not, too."
    )


def labels_for_outputs() -> InputError:
    return InputError("RA297", "outputs='label' needs a label of each sample, below the number of outputs.")


def beyond_memory(name: str, needed: float, room: float) -> ModelError:
    return ModelError(
        "RA140",
        f"the gradients of {name!r} take {in_bytes(int(needed))} and {in_bytes(int(room))} are free; take fewer "
        "samples (`most`) or fewer directions of the outputs (`sketch`).",
    )


def few_samples(n: int) -> InputError:
    return InputError("RA210", f"a kernel over {n} samples says nothing; expected at least 3.")


def other_samples(first: int, second: int) -> InputError:
    return InputError("RA297", f"the kernels are of {first} and {second} samples; expected those of the same samples.")
