"""Refusals of recording: which argument, what came, what is expected, what to do."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from repana._check import in_bytes, listed, nearest
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


def mask_leaks(name: str, address: str, moved: float) -> ModelError:
    return ModelError(
        "RA126",
        f"inputs at the positions that the mask {name!r} calls padding move the output of {address!r} at real "
        f"positions (by {moved:.2g} of its size). Either its zeros are the real positions, mask=lambda batch: "
        f"batch[{name!r}] == 0, or the network mixes padding into them: confirm the mask with mask=lambda batch: "
        f"batch[{name!r}] != 0.",
    )


def mask_key_type(value: Any) -> InputError:
    return InputError(
        "RA212",
        f"`mask` is a {type(value).__name__}; expected a key of the batch, a function of the batch, 'content', False, "
        "or a mapping of these by pattern of layers.",
    )


# --- batches and labels -----------------------------------------------------------------------------------------------


def labels_choice(value: Any) -> InputError:
    return InputError(
        "RA212",
        f"`labels` is a {type(value).__name__}; expected a key of the batch, a place in it, a function of it, or "
        f"False.",
    )


def option_type(name: str, value: Any, expected: str) -> InputError:
    return InputError("RA212", f"`{name}` is {value!r}; expected {expected}.")


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


def layer_is_object(requested: Any, name: str | None) -> ModelError:
    how = "it is not a module of this model" if name is None else f"give its name, {name!r}"
    return ModelError("RA112", f"`layers` holds a {type(requested).__name__} object; expected a name: {how}.")


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


def no_layer(requested: str, names: Sequence[str]) -> ModelError:
    return ModelError(
        "RA101",
        f"no layer matches {requested!r}; nearest: {listed(nearest(requested.partition(':')[0], names))}. "
        "`repana layers MODEL` lists all.",
    )


def never_ran(requested: str, names: Sequence[str], ran: Sequence[str]) -> ModelError:
    which = f"{requested!r} is" if list(names) == [requested] else f"{requested!r} matches {listed(names)}, which are"
    return ModelError(
        "RA102",
        f"{which} in the model but never ran on the first batch (a branch not taken, or a fused kernel that skips it). "
        f"Ran nearby: {listed(ran)}.",
    )


def several_parts(address: str, parts: Sequence[str]) -> ModelError:
    return ModelError("RA103", f"{address!r} holds {len(parts)} tensors; choose one of {listed(parts, 8)}.")


def no_mask(address: str, shape: tuple[int, ...], method: str) -> ModelError:
    return ModelError(
        "RA107",
        f"{address!r} is a sequence of shape {shape} and no attention mask came with it, so {method!r} would mix in "
        f"padding. Give `mask=` (a key of the batch or a function), choose '{address}|cls', or say `mask=False` if "
        "nothing is padded.",
    )


def no_part(address: str, parts: Sequence[str]) -> ModelError:
    return ModelError("RA108", f"{address!r} has no such part; it has {listed(parts, 8)}.")


def called_several_times(address: str, calls: int) -> ModelError:
    return ModelError(
        "RA109",
        f"{address!r}: `forward=` calls the model {calls} times for a batch, so this place has {calls} values. Name a "
        "module inside with the call, such as 'layer@1', or call the model once.",
    )


def no_such_call(address: str, module: str, calls: int) -> ModelError:
    return ModelError("RA109", f"{address!r}: {module!r} ran {calls} time(s) per forward; expected @1 to @{calls}.")


def missed(address: str, batch: int, expected: int, found: int) -> ModelError:
    return ModelError(
        "RA110",
        f"{address!r}: its module ran {expected} time(s) on the first batch but {found} on batch {batch} "
        "(counted from 0). "
        "Layers that run on some inputs only cannot be recorded for all; leave it out.",
    )


def pooling_does_not_fit(
    address: str, method: str, kind: str, shape: tuple[int, ...], allowed: Sequence[str]
) -> ModelError:
    return ModelError(
        "RA111",
        f"{address!r} is a {kind} of shape {shape}; {method!r} does not apply. Choose one of {listed(allowed, 9)}.",
    )


def unknown_pooling(address: str, pool: str, allowed: Sequence[str]) -> ModelError:
    return ModelError("RA111", f"{address!r} asks for the pooling {pool!r}; expected one of {listed(allowed, 12)}.")


def bad_pattern(pattern: str, reason: str) -> ModelError:
    return ModelError("RA112", f"{pattern!r} is not a regular expression: {reason}.")


def layer_not_understood(requested: Any) -> ModelError:
    return ModelError(
        "RA112",
        f"`layers` holds a {type(requested).__name__}; expected names, patterns ('layer*.conv2', 're:...'), module "
        "classes or "
        "predicates (name, module) -> bool.",
    )


def no_layers_given() -> ModelError:
    return ModelError("RA112", "`layers` is empty; expected 'auto' or at least one name or pattern.")


def width_changed(address: str, width: int, found: int, batch: int) -> ModelError:
    return ModelError(
        "RA114",
        f"{address!r} gave {width} features per sample on the first batch and {found} on batch {batch} (counted "
        "from 0). "
        "Choose a pooling that does not depend on the input's size (avg, max, mean, cls, last, grid).",
    )


def not_numbers(address: str, dtype: str) -> ModelError:
    return ModelError(
        "RA115", f"{address!r} holds {dtype} values (token ids?), not features; record the layer after it."
    )


def no_tensor(address: str) -> ModelError:
    return ModelError("RA115", f"{address!r} holds no tensor.")


def mixed_rows(rows: dict[str, int]) -> ModelError:
    tokens = [name for name, count in rows.items() if count > 1]
    others = [name for name, count in rows.items() if count == 1]
    return ModelError(
        "RA116",
        f"{listed(tokens)} give one row per token and {listed(others)} one per sample; record them apart, so that rows "
        "mean the same in every layer.",
    )


def too_large(needed: int, budget: int, layers: Sequence[tuple[str, int]]) -> InputError:
    largest = listed([f"{name} ({in_bytes(size)})" for name, size in layers], 3)
    return InputError(
        "RA208",
        f"the features need {in_bytes(needed)} and the host has {in_bytes(budget)} free. Pool the largest "
        f"({largest}), choose fewer layers, or set `max_samples=`.",
    )


def pool_without_layer(keys: Sequence[str], layers: Sequence[str]) -> ModelError:
    return ModelError("RA111", f"`pool` names {listed(keys)}, which matches none of the layers {listed(layers, 9)}.")
