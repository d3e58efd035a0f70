"""The masks of a batch, each as (b, t) with True at real positions: found by name, or named by `mask=`."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from repana.errors import InputError
from repana.extraction import _data_refusals
from repana.extraction._tree import fields_of

MASK = "attention_mask"
SPECIAL = "special_tokens_mask"  # of a tokenizer: 1 at tokens that are no part of the text
CONTENT = "content"  # the attention mask without special tokens
FUNCTION = "a function"
NO_MASKS = (SPECIAL, "head_mask", "global_attention_mask", "bool_masked_pos", "pixel_mask", "labels_mask")
LARGE = 100.0  # an additive mask holds 0 and numbers below minus this

FOUND = "in the pass: "  # begins the keys of masks that every pass shows anew

Value = str | int | bool | Callable[[Any], Any] | None


def keys_of(choice: Any) -> list[Any]:
    """The values of a `mask=` argument: one, or one for each pattern of layers."""
    return list(choice.values()) if isinstance(choice, Mapping) else [choice]


def key_of(value: Value) -> str:
    """The name under which a batch keeps the mask that one value of `mask=` stands for."""
    if callable(value):
        return f"{FUNCTION} {getattr(value, '__name__', '')} {id(value)}"
    return str(value)


def masks_of_batch(raw: Any, inputs: Any, choice: Any) -> dict[str, Tensor]:
    """Every mask that the choice can mean in this batch, by its key. Without a choice those that are masks by name."""
    found: dict[str, Tensor] = {}
    if isinstance(choice, (str, Mapping)):
        with suppress(InputError):  # those that the user does not name are evidence alone
            found |= _by_name(inputs)
    for value in keys_of(choice):
        if value is False:
            continue
        if value is None or value is True:
            found |= _by_name(inputs)
        elif callable(value):
            given = value(raw)
            if given is not None:
                found[key_of(value)] = real_positions(torch.as_tensor(given), FUNCTION)
        elif value == CONTENT:
            found[CONTENT] = _content(inputs)
        elif isinstance(value, int):
            if not isinstance(raw, (tuple, list)) or not 0 <= value < len(raw):
                raise _data_refusals.no_mask_entry(value, raw)
            found[str(value)] = real_positions(torch.as_tensor(raw[value]), str(value))
        else:
            held = _fields(inputs)
            if held.get(value) is None:
                raise _data_refusals.no_mask_key(value, list(held))
            found[value] = real_positions(torch.as_tensor(held[value]), value)
    return found


def _fields(inputs: Any) -> Mapping[str, Any]:
    return inputs if isinstance(inputs, Mapping) else {} if isinstance(inputs, Tensor) else fields_of(inputs)


def _by_name(inputs: Any) -> dict[str, Tensor]:
    found = {}
    for key, value in _fields(inputs).items():
        if not is_mask_name(key) or value is None:
            continue
        if isinstance(value, Tensor) and not value.is_nested and value.ndim in (2, 4):
            if value.ndim == 4 and value.shape[1:3] != (1, 1):
                if str(key) == MASK:
                    raise _data_refusals.mask_of_pairs(str(key), tuple(value.shape))
                continue
            found[str(key)] = real_positions(value, str(key))
    return found


def is_mask_name(key: Any) -> bool:
    name = str(key)
    if name in NO_MASKS or "mask" not in name:
        return False
    return name.endswith(("attention_mask", "padding_mask", "pad_mask")) or name.startswith("pad") or name == "mask"


def routed_key(part: str, key: str | None) -> str:
    """Of the tokens of an expert among those that a mask calls real."""
    return f"{FOUND}{part}" + ("" if key is None else f" in {key}")


def means_padding(name: str) -> bool:
    """Whether a Boolean mask of that name is True at padding, as those of `nn.Transformer` are."""
    return name.endswith(("padding_mask", "pad_mask")) or name.startswith("pad")


def real_positions(mask: Tensor, name: str) -> Tensor:
    """True at real positions. Understood: Booleans, 0 and 1 (or other whole numbers of at least 0, as the numbers of
    packed texts), and additive masks, 0 at real positions and far below 0 elsewhere. All else is refused."""
    if mask.ndim == 4 and mask.shape[1:3] == (1, 1):
        mask = mask[:, 0, 0]
    if mask.ndim != 2:
        raise _data_refusals.mask_of_pairs(name, tuple(mask.shape))
    if mask.dtype != torch.bool:
        return _from_numbers(mask, name)
    return ~mask if means_padding(name) else mask


def check_rows(masks: Mapping[str, Tensor], used: Iterable[str], batch: int, *, empty: bool = False) -> None:
    """A sample without one real position has no mean, unless `empty` ones count for nothing; and a batch without its
    mask none that others' would match."""
    for key in used:
        if key.startswith(FOUND):
            continue
        if key not in masks:
            raise _data_refusals.mask_missing(key, batch)
        if key in masks and not empty and not bool(masks[key].any(1).all()):
            raise _data_refusals.nothing_real(key, int((~masks[key].any(1)).int().argmax()), batch)


def _from_numbers(mask: Tensor, name: str) -> Tensor:
    if mask.is_complex():
        raise _data_refusals.mask_values(name, mask)
    if bool((mask < 0).any()) or (mask.is_floating_point() and not bool(mask.any())):
        if bool(((mask == 0) | (mask < -LARGE)).all()):
            return mask == 0
        raise _data_refusals.mask_values(name, mask)
    if mask.is_floating_point() and not bool(((mask == 0) | (mask == 1)).all()):
        raise _data_refusals.mask_values(name, mask)
    return mask > 0


def _content(inputs: Any) -> Tensor:
    held = _fields(inputs)
    if held.get(SPECIAL) is None:
        raise _data_refusals.no_mask_key(SPECIAL, list(held))
    real = torch.as_tensor(held[SPECIAL]) == 0
    whole = held.get(MASK)
    return real if whole is None else real_positions(torch.as_tensor(whole), MASK) & real
