"""Refusals of data, batches and labels: what was found, where, and what to do."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from repana._check import listed, nearest
from repana.errors import FileError, InputError, ModelError
from repana.extraction._refusals import dtype_name


def mask_values(name: str, mask: Tensor) -> InputError:
    held = list(dict.fromkeys(mask.flatten().tolist()))[:4]
    values = ", ".join(f"{v:g}" for v in (held if mask.is_complex() else sorted(held)))
    return InputError(
        "RA125",
        f"the mask {name!r} holds {values}; expected Booleans, 0 and 1, whole numbers of at least 0, or an additive "
        "mask (0 at real positions, below -100 at padding). Give a function: mask=lambda batch: ... (True at real "
        "positions).",
    )


def mask_of_pairs(name: str, shape: Sequence[int]) -> InputError:
    return InputError(
        "RA125",
        f"the mask {name!r} has shape {tuple(shape)}; expected (batch, positions). Give a function: "
        "mask=lambda batch: ... (True at real positions).",
    )


def nothing_real(name: str, row: int, batch: int) -> InputError:
    return InputError(
        "RA125",
        f"the mask {name!r} has no real position in sample {row} of batch {batch} (counted from 0); nothing can be "
        "averaged there. Leave the sample out, or correct the mask.",
    )


def mask_missing(name: str, batch: int) -> InputError:
    return InputError(
        "RA125",
        f"batch {batch} (counted from 0) has no mask {name!r}, which the first batch has; means over padding and means "
        "over real positions cannot be compared. Give it in every batch, or say mask=False where nothing is padded.",
    )


def labels_in_some(batch: int, first: bool) -> InputError:
    found = "has no labels and the first has" if first else "has labels and the first has none"
    return InputError(
        "RA203",
        f"batch {batch} (counted from 0) {found}; expected labels in every batch or in none. Give labels=False to "
        "leave them out.",
    )


def sparse_data(kind: str) -> InputError:
    return InputError(
        "RA210",
        f"the data hold a {kind}; samples of a sparse array cannot be cut into batches here. Give a dense array "
        "(`.to_dense()`, `.toarray()`).",
    )


def no_mask_entry(place: int, raw: Any) -> InputError:
    what = f"a {type(raw).__name__}" + (f" of {len(raw)}" if isinstance(raw, (tuple, list)) else "")
    return InputError("RA210", f"`mask` is entry {place} of the batch, which is {what}.")


def several_entries(raw: Sequence[Any]) -> InputError:
    inside = listed([type(v).__name__ for v in raw], 8)
    return InputError(
        "RA210",
        f"the batch is a {type(raw).__name__} of {inside}; expected x, (x, y), a mapping, or (mapping, y). Say which "
        "entry holds the labels, labels=1, or drop the others: ((x, y) for x, y, *_ in loader). For anything else give "
        "`forward=lambda model, batch: ...`.",
    )


def list_of_inputs(inputs: Sequence[Tensor]) -> InputError:
    shapes = listed([tuple(t.shape) for t in inputs], 3)
    return InputError(
        "RA210",
        f"the batch holds a list of {len(inputs)} tensors of shapes {shapes}, one for each sample; expected one "
        "tensor with a row for each. Stack them, or give `forward=lambda model, batch: ...` and say with `layout=` "
        "where a layer has its samples.",
    )


def lengths_differ(sizes: Sequence[int]) -> InputError:
    return InputError(
        "RA201",
        f"the tensors of `data` have different lengths {listed(sizes)}; expected one row per sample, since they are "
        "cut into batches. Give a list of batches, [batch], where some tensors hold no samples, as token ids beside "
        "`offsets` do.",
    )


def no_batch_axis(shape: Sequence[int] | None) -> InputError:
    what = "" if shape is None else f" for an input of shape {tuple(shape)}"
    return InputError(
        "RA210",
        f"the batch has one label without an axis of samples{what}, as from DataLoader(batch_size=None); expected a "
        "label per sample. Give the DataLoader a `batch_size`, or the data set itself.",
    )


def list_for_tuple(data: Sequence[Any]) -> InputError:
    shapes = " and ".join(str(tuple(t.shape)) for t in data)
    return InputError(
        "RA210",
        f"`data` is a list of two arrays of shapes {shapes}; a list holds batches. Give the tuple (x, y) for inputs "
        "and labels, or [(x, y)] for one batch of both.",
    )


def table_as_data(kind: str) -> InputError:
    return InputError(
        "RA210",
        f"`data` is a pandas {kind}; expected arrays. Give `(table[columns].to_numpy(), table[label].to_numpy())`.",
    )


def mask_or_labels(shape: Sequence[int]) -> InputError:
    return InputError(
        "RA210",
        f"the second tensor of the batch has the shape {tuple(shape)} of the token ids and holds 0 and 1: a mask, or a "
        "label for each token? Say mask=1, or labels=1.",
    )


def dtypes_differ(inputs: torch.dtype, weights: torch.dtype) -> InputError:
    given, held = dtype_name(inputs), dtype_name(weights)
    return InputError(
        "RA260",
        f"the inputs are {given} and the model's weights {held}. Convert the one or the other (`x.to(torch.{held})`, "
        f"`model.to(torch.{given})`), or give dtype={held!r} to record under autocast.",
    )


def no_labels_entry(place: int, raw: Any) -> InputError:
    what = f"a {type(raw).__name__}" + (f" of {len(raw)}" if isinstance(raw, (tuple, list)) else "")
    return InputError("RA210", f"`labels` is entry {place} of the batch, which is {what}.")


def no_labels_key(key: str, keys: Sequence[Any]) -> InputError:
    return InputError("RA210", f"`labels` names {key!r} and the batch has {listed(list(map(str, keys)), 8)}.")


def no_axis(name: str, axis: int, shape: Sequence[int]) -> InputError:
    return InputError(
        "RA212", f"`{name}` is {axis}; expected an axis of the first input, which has shape {tuple(shape)}."
    )


def no_method(name: str, model: str, names: Sequence[str]) -> ModelError:
    return ModelError(
        "RA127", f"`forward` is {name!r} and {model} has no such method; nearest: {listed(nearest(name, names))}."
    )


def empty_data(data: Any) -> InputError:
    return InputError("RA205", f"`data` ({type(data).__name__}) gave no batch; expected at least one sample.")


def no_data() -> InputError:
    return InputError("RA205", "`data` is None; expected a DataLoader, a Dataset, tensors or batches.")


def data_not_understood(data: Any) -> InputError:
    return InputError(
        "RA210",
        f"`data` is a {type(data).__name__}; expected a DataLoader, a Dataset, tensors or an iterable of batches.",
    )


def batch_not_understood(raw: Any) -> InputError:
    inside = [type(v).__name__ for v in raw] if isinstance(raw, (tuple, list)) else []
    what = f"a {type(raw).__name__}" + (f" of {listed(inside, 8)}" if inside else "")
    return InputError(
        "RA210",
        f"the batch is {what}; expected x, (x, y), a mapping, or (mapping, y) with tensors. For anything else give "
        "`forward=lambda model, batch: ...`.",
    )


def label_count(labels: int, shape: tuple[int, ...]) -> InputError:
    return InputError(
        "RA201", f"a batch has {labels} labels and an input of shape {shape}; expected one label per sample."
    )


def no_argument_taken(model: str, keys: Sequence[str], named: Sequence[str]) -> InputError:
    return InputError(
        "RA210",
        f"{model}.forward takes {listed(named, 8)} and the batch has {listed(keys, 8)}; rename the keys or give "
        "`forward=lambda model, batch: ...`.",
    )


def no_mask_key(key: str, keys: Sequence[str]) -> InputError:
    return InputError("RA210", f"`mask` names {key!r} and the batch has {listed(keys, 8)}.")


def package_missing(package: str) -> FileError:
    return FileError("RA304", f"'docstrings:' names the package {package!r}, which is not installed.")


def not_numeric(dtype: str) -> InputError:
    return InputError(
        "RA203",
        f"the data hold labels or inputs of type {dtype}; expected numbers. Number the classes from 0 first, or give "
        "`class_names=` in the order of the model's outputs.",
    )


def unnamed_class(value: Any, names: Sequence[str]) -> InputError:
    return InputError(
        "RA203", f"the data have the label {value!r} and `class_names` has {len(names)} names: {listed(names)}."
    )


def padded(extra: int, processes: int) -> InputError:
    return InputError(
        "RA324",
        f"the loader has a DistributedSampler for {processes} processes, which repeats {extra} sample(s) so that all "
        "have as many. Record to a `store=`, which shares the data out without duplicates, or set drop_last=True.",
    )
