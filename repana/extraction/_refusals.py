"""Refusals of recording: which argument, what came, what is expected, what to do."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from repana._check import listed, nearest
from repana.errors import InputError, ModelError


def quoted(text: str) -> str:
    """In double quotes, as code to copy stands beside names in single ones."""
    return json.dumps(text)


# --- axes -------------------------------------------------------------------------------------------------------------


def minor_samples(address: str, shape: Sequence[int], size: int, reason: str) -> ModelError:
    return ModelError(
        "RA106",
        f"{address!r} has shape {tuple(shape)} for {size} samples: {reason}. Say how they are merged, as in "
        f"layout={{{quoted(address)}: {quoted('(t b) c')}}}.",
    )


def no_samples(address: str, shape: Sequence[int], size: int, reason: str, letters: str) -> ModelError:
    return ModelError(
        "RA106",
        f"{address!r} has shape {tuple(shape)} for {size} samples: {reason}. Record a layer that keeps samples apart, "
        f"or say which axis is which: layout={{{quoted(address)}: {quoted(letters)}}}.",
    )


def independent(address: str, shape: Sequence[int], size: int) -> ModelError:
    return ModelError(
        "RA106",
        f"{address!r} has shape {tuple(shape)} for {size} samples and does not depend on the samples "
        "(a table of weights, or something computed from sizes alone); leave it out.",
    )


def other_order(address: str, shape: Sequence[int], size: int) -> ModelError:
    return ModelError(
        "RA106",
        f"{address!r} has shape {tuple(shape)} for {size} samples, and its rows are not in their order: the network "
        "sorts, shifts or shuffles them. Record a layer before that, or behind where the order is restored.",
    )


def contradicted(address: str, shape: Sequence[int], reason: str, letters: str) -> ModelError:
    return ModelError(
        "RA106",
        f"{address!r} {tuple(shape)}: {reason}. Say which is right: layout={{{quoted(address)}: {quoted(letters)}}}.",
    )


def undecided(address: str, shape: Sequence[int], reason: str, letters: Sequence[str]) -> ModelError:
    first = f"layout={{{quoted(address)}: {quoted(letters[0])}}}"
    others = "".join(f" or {quoted(text)}" for text in letters[1:])
    return ModelError("RA108", f"{address!r} {tuple(shape)}: {reason}. Say which is which: {first}{others}.")


def layout_not_understood(text: Any, where: str, expected: str) -> ModelError:
    return ModelError(
        "RA123",
        f"`layout` of {where!r} is {text!r}; expected {expected}, such as 'b c h w', 'b t c', 't b c' or '(b w) t c' "
        "(b samples, c features, n rows of `groups=`, 1 an axis of size one, any other letter a position).",
    )


def layout_does_not_fit(text: str, where: str, shape: Sequence[int], expected: str) -> ModelError:
    return ModelError(
        "RA123", f"`layout` of {where!r} is {text!r}, which expects {expected}; got shape {tuple(shape)}."
    )


def layout_contradicted(text: str, where: str, shape: Sequence[int], axis: int, sizes: str) -> ModelError:
    return ModelError(
        "RA106",
        f"{where!r} {tuple(shape)}: `layout` {text!r} puts the samples on axis {axis}, but with fewer samples the size "
        f"of {sizes} changed. Correct the layout.",
    )


def layout_without_layer(keys: Sequence[str], layers: Sequence[str]) -> ModelError:
    return ModelError("RA123", f"`layout` names {listed(keys)}, but the layers to record are {listed(layers)}.")


def no_groups(address: str, shape: Sequence[int], size: int, names: Sequence[str]) -> ModelError:
    return ModelError(
        "RA124",
        f"{address!r} has {shape[0]} rows for {size} samples, and no operation showed which row belongs to which "
        f"sample. Name the input that does with groups= ({listed(names)}), or record a layer behind the pooling.",
    )


def groups_not_understood(name: Any, rows: int, shape: Sequence[int] | None, names: Sequence[str]) -> InputError:
    got = "no such tensor" if shape is None else f"shape {tuple(shape)}"
    return InputError(
        "RA124",
        f"`groups` is {name!r}; expected an input of the batch with one whole number for each of the {rows} rows, "
        f"got {got}. The batch has {listed(names, 8)}.",
    )


# --- masks ------------------------------------------------------------------------------------------------------------


def masks_unfit(address: str, masks: Sequence[str], axis: int, length: int, found: Mapping[str, int]) -> ModelError:
    held = ", ".join(f"{name!r} of length {found[name]}" for name in masks)
    how = "none of that length" if len(masks) == 1 else "not exactly one of that length"
    if len(masks) == 1 and found[masks[0]] == length:
        how = "none in their order: the network moved them"
    return ModelError(
        "RA113",
        f"{address!r} has {length} positions on axis {axis}, and of the masks of its inputs ({held}) there is {how}. "
        f"Name its mask with mask={{{address!r}: ...}} (a key or a function of the batch, or False), or choose "
        f"'{address}|flatten'.",
    )


def masks_unknown(address: str, axis: int, length: int, mask: str) -> ModelError:
    return ModelError(
        "RA113",
        f"{address!r} has {length} positions on axis {axis}, and no operation shows whether the mask {mask!r} is over "
        f"them. Say so with mask={{{address!r}: {mask!r}}}, or False where nothing is padded.",
    )


def mask_values(name: str, mask: Tensor) -> InputError:
    values = ", ".join(f"{v:g}" for v in mask.unique()[:4].tolist())
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


def mask_leaks(name: str, address: str, moved: float) -> ModelError:
    return ModelError(
        "RA126",
        f"inputs at the positions that the mask {name!r} calls padding move the output of {address!r} at real "
        f"positions (by {moved:.2g} of its size). Either its zeros are the real positions, mask=lambda batch: "
        f"batch[{name!r}] == 0, or the network mixes padding into them: confirm the mask with mask=lambda batch: "
        f"batch[{name!r}] != 0.",
    )


def no_mask_entry(place: int, raw: Any) -> InputError:
    what = f"a {type(raw).__name__}" + (f" of {len(raw)}" if isinstance(raw, (tuple, list)) else "")
    return InputError("RA210", f"`mask` is entry {place} of the batch, which is {what}.")


def mask_key_type(value: Any) -> InputError:
    return InputError(
        "RA212",
        f"`mask` is a {type(value).__name__}; expected a key of the batch, a function of the batch, 'content', False, "
        "or a mapping of these by pattern of layers.",
    )


# --- batches and labels -----------------------------------------------------------------------------------------------


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


def labels_choice(value: Any) -> InputError:
    return InputError(
        "RA212",
        f"`labels` is a {type(value).__name__}; expected a key of the batch, a place in it, a function of it, or "
        f"False.",
    )


def option_type(name: str, value: Any, expected: str) -> InputError:
    return InputError("RA212", f"`{name}` is {value!r}; expected {expected}.")


def no_axis(name: str, axis: int, shape: Sequence[int]) -> InputError:
    return InputError(
        "RA212", f"`{name}` is {axis}; expected an axis of the first input, which has shape {tuple(shape)}."
    )


def model_failed(error: Exception, called: str) -> ModelError:
    first = str(error).splitlines()[0] if str(error) else "no reason given"
    return ModelError(
        "RA261",
        f"the model failed with {type(error).__name__}: {first.rstrip('.')}. {called} Check the shape of the data.",
    )


def not_readable(address: str, kind: str) -> ModelError:
    return ModelError("RA115", f"{address!r} is {kind}, whose values cannot be read; record a layer before it.")


def mask_without_layer(keys: Sequence[str], layers: Sequence[str]) -> ModelError:
    return ModelError("RA113", f"`mask` names {listed(keys)}, but the layers to record are {listed(layers)}.")


def no_method(name: str, model: str, names: Sequence[str]) -> ModelError:
    return ModelError(
        "RA127", f"`forward` is {name!r} and {model} has no such method; nearest: {listed(nearest(name, names))}."
    )


def forward_choice(value: Any) -> ModelError:
    return ModelError(
        "RA127",
        f"`forward` is a {type(value).__name__}; expected a function (model, batch) or the name of a method of the "
        f"model.",
    )


def rows_of_positions(address: str, shape: Sequence[int], labels: Sequence[int]) -> ModelError:
    return ModelError(
        "RA116",
        f"{address!r} has one row for each of {tuple(shape)} positions and the labels are for {tuple(labels)}; record "
        "the layers of one shape, or without pool='tokens'.",
    )


def tokens_differ(layers: Sequence[str], rows: int, others: int) -> ModelError:
    return ModelError(
        "RA116",
        f"{listed(layers)} do not have the same tokens ({rows} and {others} positions a sample, or other masks); "
        "record them apart, so that rows mean the same in every layer.",
    )


def probe_choice(value: Any) -> InputError:
    return InputError("RA212", f"`probe` is {value!r}; expected a whole number of samples of at least 2, or 'batch'.")


# --- models and layers ------------------------------------------------------------------------------------------------


def no_hooks(kind: str) -> ModelError:
    return ModelError(
        "RA128",
        f"`model` is a {kind}: a compiled program whose layers cannot be hooked. Give the eager nn.Module that it was "
        "made from.",
    )


def placed(device: str, how: str) -> ModelError:
    return ModelError(
        "RA129",
        f"`device` is {device!r}, but the model's weights were placed by {how}, and moving them would break that. "
        "Leave `device` out: the model is recorded where it is.",
    )


def lazy_weights(names: Sequence[str]) -> ModelError:
    return ModelError(
        "RA129",
        f"{listed(names)} are lazy: their shapes are not known until the model has run, and running it would draw its "
        "weights. Run it once on a batch, or load its weights.",
    )


def several_devices(devices: Sequence[str]) -> ModelError:
    return ModelError(
        "RA129",
        f"the model's weights lie on {listed(devices)} without hooks that move data between them. Put it on one "
        "device, or dispatch it with accelerate.",
    )


def weights_missing(names: Sequence[str]) -> ModelError:
    return ModelError(
        "RA129", f"{listed(names)} are on the meta device: the model holds no weights. Load them before recording."
    )


def called_as_forward(name: str, children: Sequence[str]) -> ModelError:
    inside = f" Record what ran inside: {listed(children)}." if children else ""
    return ModelError(
        "RA102",
        f"{name!r} is in the model but was called as `{name}.forward(...)`, past its hooks, so its output cannot be "
        f"taken.{inside}",
    )


def root_not_called(address: str) -> ModelError:
    return ModelError(
        "RA102",
        f"{address!r} is what the model is called with, and `forward` does not call the model itself; name a module "
        f"inside.",
    )


def layer_is_object(wanted: Any, name: str | None) -> ModelError:
    how = "it is not a module of this model" if name is None else f"give its name, {name!r}"
    return ModelError("RA112", f"`layers` holds a {type(wanted).__name__} object; expected a name: {how}.")


def layers_none() -> ModelError:
    return ModelError("RA112", "`layers` is None; expected 'auto', or at least one name or pattern.")


def complex_pooling(address: str, method: str) -> ModelError:
    return ModelError(
        "RA111", f"{address!r} holds complex numbers, of which there is no maximum; {method!r} does not apply."
    )


def changed_rank(address: str, expected: int, shape: Sequence[int], batch: int) -> ModelError:
    return ModelError(
        "RA114",
        f"{address!r} has {expected} axes on the first batch and shape {tuple(shape)} on batch {batch} (counted from "
        "0). A `squeeze()` that drops the samples of a batch of one does that; leave the last batch out "
        "(drop_last=True).",
    )


def other_samples(address: str, shape: Sequence[int], axis: int, rows: int, size: int) -> ModelError:
    return ModelError(
        "RA106",
        f"{address!r} has shape {tuple(shape)}: {rows} rows on axis {axis} for {size} samples in this batch, which the "
        "first batch did not show.",
    )


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
