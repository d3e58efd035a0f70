"""Refusals of the kernels family: what was found, where, and what to do."""

from repana._check import in_bytes
from repana.errors import InputError, ModelError


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


def full_of_a_sketch(outputs: int, most: int) -> InputError:
    return InputError(
        "RA297",
        f"outputs='full' takes every pair of at most {most} outputs and no `sketch`; the network has {outputs}. Take "
        "'trace'.",
    )


def full_beyond_memory(outputs: int, samples: int, needed: float, room: float) -> ModelError:
    return ModelError(
        "RA140",
        f"the kernel of {outputs} x {outputs} outputs over {samples} samples takes {in_bytes(int(needed))} and "
        f"{in_bytes(int(room))} are free; take fewer samples (`most`), or outputs='trace'.",
    )


def few_samples(n: int) -> InputError:
    return InputError("RA210", f"a kernel over {n} samples says nothing; expected at least 3.")


def other_directions() -> InputError:
    return InputError("RA297", "the kernels are of other random directions; give both the same `sketch` and `seed`.")


def other_kernels(what: str, first: int, second: int) -> InputError:
    if first != second:
        return InputError("RA297", f"the kernels are of {first} and {second} samples; expected the same samples.")
    if what == "outputs":
        return InputError("RA297", "the kernels are of other `outputs`; expected the same kind of kernel.")
    return InputError("RA297", "the kernels are of other samples; expected the same samples in the same order.")


def few_labels(found: int, n: int) -> InputError:
    return InputError("RA297", f"`labels` has {found} values and the kernel {n} samples; expected one of each.")


def no_matrices() -> InputError:
    return InputError("RA297", "the kernels of single parameters were not kept; call `ntk` with keep='kernels'.")


def no_matrix() -> InputError:
    return InputError("RA297", "no kernel was kept; call `ntk` with keep='kernels', or 'scalars' for the sum alone.")


def sketch_of_one(outputs: str) -> InputError:
    return InputError(
        "RA297", f"outputs={outputs!r} is one combination of the outputs; `sketch` is for 'trace' and 'mean'."
    )


def complex_parameter(name: str) -> ModelError:
    return ModelError("RA140", f"parameter {name!r} is complex; a tangent kernel is of real parameters.")


def two_axes(found: int) -> InputError:
    return InputError("RA297", f"`ax` holds {found} Axes; expected 2, for shares and alignment.")


def no_untrained() -> InputError:
    return InputError("RA297", "there are no untrained copies to compare with; call `ntk` with untrained=3.")


def full_without_matrices() -> InputError:
    return InputError("RA297", "outputs='full' is a matrix over the samples; take keep='kernels' or 'scalars'.")


def loss_bound(value: object) -> InputError:
    return InputError("RA297", f"`eps` is {value!r}; expected a mean squared error above 0.")


def training_samples(shape: tuple[int, ...], n: int) -> InputError:
    return InputError(
        "RA297", f"`train` has shape {shape}; expected a count, or True or False for each of {n} samples."
    )


def no_training_samples(found: int, n: int) -> InputError:
    return InputError(
        "RA297", f"`train` takes {found} of {n} samples; expected at least one, and one left for the test."
    )


def no_targets() -> InputError:
    return InputError("RA297", "the kernel has no labels; give `targets`, a row for each sample.")


def targets_shape(shape: tuple[int, ...], n: int) -> InputError:
    return InputError("RA297", f"`targets` has shape {shape}; expected finite values ({n},) or ({n}, c).")
