"""Refusals that several families and packages share; each keeps its own in a `_refusals` module. A text says what was
found, where, and what to do.

A function here either returns a checked value or returns the error for its caller to raise. The codes are stable; each
has a paragraph in docs/errors.md.
"""

import difflib
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repana.errors import FileError, InputError, ModelError

SHOWN = 5  # names listed in a message
EXACT = 2**24  # the integers that float32 holds exactly


def listed(names: Iterable[Any], most: int = SHOWN) -> str:
    """'a', 'b', 'c' and 7 more."""
    names = [repr(n) if isinstance(n, str) else str(n) for n in names]
    if not names:
        return "none"
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """The names most like a mistyped one."""
    names = list(dict.fromkeys(names))
    close = set(difflib.get_close_matches(name, names, SHOWN, 0.4))
    return [n for n in names if n in close] or [n for n in names if name.lower() in n.lower()][:SHOWN] or names[:SHOWN]


# --- arrays ---------------------------------------------------------------------------------------------------------


def features_of(features: Any, *, finite: bool = True, name: str = "features") -> Tensor:
    """A finite (n, d) floating-point tensor on its own device; `finite=False` leaves that to whoever sums it first."""
    x = _tensor(features, name)
    if x.ndim != 2:
        raise InputError("RA206", f"`{name}` has shape {tuple(x.shape)}; expected (n, d). Pool or flatten each sample.")
    if x.is_complex() or x.layout != torch.strided:
        kind = "complex numbers" if x.is_complex() else "a sparse tensor"
        how = "take its real and imaginary part as features" if x.is_complex() else "call `.to_dense()`"
        raise InputError("RA206", f"`{name}` is {kind}; expected a dense array of real numbers: {how}.")
    if not x.is_floating_point():
        x = x.double() if x.numel() and _beyond_float32(x) else x.float()
    if not x.shape[0] or not x.shape[1]:
        raise InputError("RA205", f"`{name}` is empty, shape {tuple(x.shape)}; expected at least one sample.")
    x = x.detach().clone() if x.is_inference() else x.detach()  # an inference tensor takes part in no gradient
    if finite and not bool(torch.isfinite(x.sum())):
        bad = ~torch.isfinite(x)
        if bool(bad.any()):
            rows = int(bad.any(1).sum())
            first = int(bad.any(1).int().argmax())
            raise InputError(
                "RA204",
                f"`{name}` has {int(bad.sum())} NaN or infinite value(s) in {rows} of {len(x)} samples, the first in "
                f"row {first}. Drop those rows, or find the layer that overflows.",
            )
    return x


def _beyond_float32(x: Tensor) -> bool:
    """Whether integers are larger than those that float32 holds exactly."""
    wide = x.long()
    return int(wide.max()) > EXACT or int(wide.min()) < -EXACT


def layer_of(value: Any, layer: str) -> Tensor:
    """The features of a layer that was given by hand: (n, d), dense and real; whether they are finite is seen later."""
    x = tensor_of(value, layer)
    if x.ndim != 2 or not x.shape[0] or not x.shape[1]:
        raise InputError(
            "RA206", f"layer {layer!r} has shape {tuple(x.shape)}; expected (n, d), a row for each sample."
        )
    return features_of(x, finite=False)


def layer_lengths(sizes: Mapping[str, int]) -> InputError:
    shown = listed([f"{layer} ({n})" for layer, n in sizes.items()])
    return InputError(
        "RA201", f"the layers have different numbers of rows, {shown}; expected the same samples in each."
    )


def row_labels(labels: Any, n: int) -> tuple[Tensor, tuple[str, ...]]:
    """Codes and names as `labels_of` gives them; targets that are no classes stay as they are, one row a sample."""
    values = labels if isinstance(labels, Tensor) else np.asarray(labels)
    if values.ndim in (1, 2) and len(values) == n and not isinstance(labels, np.ma.MaskedArray):
        numbers = tensor_of(values, "labels") if isinstance(values, Tensor) or values.dtype.kind in "biuf" else None
        if numbers is not None and (numbers.is_floating_point() or (numbers.ndim == 2 and numbers.shape[1] > 1)):
            return numbers, ()
    return labels_of(labels, n)


def are_values(labels: Any) -> bool:
    """Whether labels are the values themselves, and not where the data have them."""
    return isinstance(labels, (Tensor, np.ndarray, list, tuple)) or hasattr(labels, "to_numpy")


def finite_rows(features: Any, nan_policy: str) -> Tensor | None:
    """The rows without NaN or infinite values, to be kept under the policy "omit"; None where all are kept."""
    choice(nan_policy, "nan_policy", ("raise", "omit"))
    if nan_policy == "raise":
        return None
    x = features_of(features, finite=False)
    if bool(torch.isfinite(x.sum())):
        return None
    keep = torch.isfinite(x).all(1)
    if not bool(keep.any()):
        raise InputError(
            "RA204", f"`features` has NaN or infinite values in all of its {len(x)} samples; none is left."
        )
    return None if bool(keep.all()) else keep.nonzero()[:, 0]


def names_without_numbers(names: Sequence[str], what: str) -> InputError:
    return InputError(
        "RA203",
        f"`labels` are names ({listed(names)}) and `{what}` numbers its classes; give each label as its row or column "
        "there, from 0.",
    )


def labels_of(labels: Any, n: int, what: str = "features") -> tuple[Tensor, tuple[str, ...]]:
    """Codes (n,) on the host, and the name of each code; no names for integers, which stand for themselves."""
    if labels is None:
        raise InputError("RA213", "this quantity compares classes and needs `labels`; none came.")
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu()
        labels = labels.float() if labels.dtype == torch.bfloat16 else labels
    refuse_masked(labels, "labels", "RA203")
    values = np.asarray(labels)
    if values.dtype.kind == "O" and any(v is None for v in values.flat):
        raise InputError("RA203", "`labels` has None; leave those samples out, or label them -100 beside numbers.")
    if values.ndim == 2 and 1 in values.shape:
        values = values.reshape(-1)
    if values.ndim == 2 and values.shape[0] == n and set(np.unique(values)) <= {0, 1}:
        raise InputError(
            "RA201",
            f"`labels` has shape {tuple(values.shape)} and looks one-hot (or multi-label); expected one class per row: "
            "`labels.argmax(1)` for one-hot rows; for several labels a row use `repana.probes.multilabel_probe`.",
        )
    if values.ndim > 2 and values.shape[0] == n:
        raise InputError(
            "RA201",
            f"`labels` has shape {tuple(values.shape)}, one class per position (a segmentation map?), and `{what}` has "
            f"{n} rows; expected one label per row: keep every position as a row, or give one label per sample.",
        )
    if values.ndim != 1 or len(values) != n:
        raise InputError(
            "RA201", f"`labels` has shape {tuple(values.shape)} and `{what}` has {n} rows; expected one label per row."
        )
    if values.dtype.kind == "f":
        if not np.array_equal(values, np.round(values)):
            raise InputError(
                "RA203",
                f"`labels` has non-integer values such as {values[values != np.round(values)][0]:g}; "
                "expected classes (integers or strings); for real-valued targets use `repana.probes.regression_probe`.",
            )
        values = values.astype(np.int64)
    if values.dtype.kind in "iub":
        return torch.from_numpy(values.astype(np.int64)), ()
    names, codes = np.unique(values.astype(str), return_inverse=True)
    return torch.from_numpy(codes.astype(np.int64)), tuple(str(name) for name in names)


def two_classes(codes: Tensor, names: Sequence[str], quantity: str) -> None:
    if not len(codes) or int(codes.min()) == int(codes.max()):
        code = int(codes[0]) if len(codes) else None
        one = "none left" if code is None else names[code] if names else code
        raise InputError(
            "RA202",
            f"`labels` has one class ({one}) in {len(codes)} samples; "
            f"{quantity} compares classes and needs at least 2.",
        )


def class_columns(codes: Tensor, columns: int, what: str) -> None:
    """Labels must name a column of the logits or a row of the classifier."""
    low, high = int(codes.min()), int(codes.max())
    if low < 0 or high >= columns:
        bad = low if low < 0 else high
        raise InputError(
            "RA203",
            f"`labels` has the value {bad} but `{what}` has {columns} classes (0 to {columns - 1}). "
            "Remap the labels, or pass `ignore_index=` for samples to leave out.",
        )


def matrix(value: Any, name: str, rows: int | None, columns: int | None, why: str) -> Tensor:
    """A float64-able matrix of a stated shape."""
    x = _tensor(value, name)
    requested = f"({'any' if rows is None else rows}, {'any' if columns is None else columns})"
    if x.ndim != 2 or (rows is not None and x.shape[0] != rows) or (columns is not None and x.shape[1] != columns):
        raise InputError("RA211", f"`{name}` has shape {tuple(x.shape)}; expected {requested}: {why}.")
    if not bool(torch.isfinite(x).all()):
        raise InputError("RA204", f"`{name}` has {int((~torch.isfinite(x)).sum())} NaN or infinite value(s).")
    return x.detach()


def column(value: Any, name: str, n: int | None) -> np.ndarray:
    """One number per sample, NaN among them or not."""
    x = _tensor(value, name)
    if x.ndim != 1 or (n is not None and len(x) != n):
        raise InputError(
            "RA211", f"`{name}` has shape {tuple(x.shape)}; expected ({n or 'any'},): one number a sample."
        )
    return x.detach().double().cpu().numpy()


def choice(value: Any, name: str, allowed: Iterable[str]) -> None:
    allowed = list(allowed)
    if value not in allowed:
        raise InputError("RA212", f"`{name}` is {value!r}; expected one of {', '.join(map(repr, allowed))}.")


def in_range(value: float, name: str, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InputError("RA212", f"`{name}` is {value!r}; expected a number from {low:g} to {high:g}.")


def level_of(level: Any) -> None:
    """The confidence level of intervals."""
    if not isinstance(level, (int, float)) or not 0 < level < 1:
        raise InputError("RA212", f"`level` is {level!r}; expected a number between 0 and 1, such as 0.95.")


def whole(value: Any, name: str) -> int:
    """A count as an int, whatever integer type it came in."""
    try:
        return operator.index(value)
    except TypeError:
        raise InputError("RA212", f"`{name}` is {value!r}; expected a whole number.") from None


def shrinkage_of(value: Any) -> str | float:
    """ "ledoit_wolf", or a share."""
    if isinstance(value, str):
        choice(value, "shrinkage", ("ledoit_wolf",))
        return value
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise InputError("RA212", f"`shrinkage` is {value!r}; expected 'ledoit_wolf' or a number from 0 to 1.")
    return float(value)


def at_least(value: Any, name: str, least: int) -> int:
    if whole(value, name) < least:
        raise InputError("RA212", f"`{name}` is {value!r}; expected a whole number of at least {least}.")
    return whole(value, name)


def unknown_options(function: str, names: Iterable[str], allowed: Iterable[str]) -> InputError:
    return InputError("RA212", f"{function} has no option {listed(names)}; it has {listed(allowed, 12)}.")


def too_few_layers(quantity: str, found: int, requested: int) -> InputError:
    return InputError(
        "RA218", f"{quantity} fits a line through the layers and needs at least {requested}; {found} came."
    )


def layers_of(layers: Any, quantity: str, least: int = 1) -> list[Any]:
    """The names of a mapping of layers (or checkpoints), in their order."""
    if not isinstance(layers, Mapping):
        raise InputError(
            "RA210",
            f"{quantity} got a {type(layers).__name__}; expected a mapping from names to features, or Activations.",
        )
    if len(layers) < least:
        raise InputError("RA205", f"{quantity} needs at least {least} layer(s) or checkpoint(s); {len(layers)} came.")
    return list(layers)


def too_many_neighbours(k: int, most: int) -> InputError:
    requested = f"so expected 1 to {most}" if most >= 1 else "and one is needed"
    return InputError("RA233", f"`k` is {k}; there are {most} other samples, {requested}.")


def tensor_of(value: Any, name: str) -> Tensor:
    """A tensor of what NumPy reads; memory is shared where it may be written to."""
    if isinstance(value, Tensor):  # arithmetic with numbers of 8 bits is not defined everywhere
        return value.float() if value.is_floating_point() and value.dtype.itemsize == 1 else value
    read: Any = getattr(value, "to_tensor", None)
    if callable(read):  # features on disk
        return read()  # type: ignore[return-value]
    refuse_masked(value, name, "RA206")
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        raise InputError(
            "RA206", f"`{name}` is a sparse {type(value).__name__}; expected a dense array: `{name}.toarray()`."
        )
    try:
        array = np.ascontiguousarray(np.asarray(value))
        if array.dtype.kind == "f" and array.dtype.itemsize > 8:  # a long double, which torch does not have
            array = array.astype(np.float64)
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        return torch.from_numpy(array if array.flags.writeable else array.copy())
    except (TypeError, ValueError) as error:
        kind = type(value).__name__
        if hasattr(value, "to_numpy"):
            raise InputError(
                "RA206",
                f"`{name}` is a {kind} with columns that are no numbers; expected numbers alone: "
                f"`{name}[columns].to_numpy()`.",
            ) from None
        raise InputError("RA206", f"`{name}` is a {kind} that is not an array of numbers ({error}).") from None


_tensor = tensor_of


def refuse_masked(value: Any, name: str, code: str) -> None:
    """A masked array has no value where it is masked, and NumPy would give the one that lies below."""
    if isinstance(value, np.ma.MaskedArray) and bool(np.ma.getmaskarray(value).any()):
        raise InputError(
            code,
            f"`{name}` is a masked array with {int(np.ma.getmaskarray(value).sum())} masked value(s) of {value.size}; "
            f"expected values everywhere: drop those rows, or choose a value with `{name}.filled(...)`.",
        )


# --- reports ---------------------------------------------------------------------------------------------------------


def no_classifier(layer: str) -> InputError:
    return InputError(
        "RA225",
        f"these activations have no classifier that reads {layer!r}; record its input (layers='auto'), or give "
        "`weight=`.",
    )


def too_few_samples(what: str, found: int, requested: int) -> InputError:
    return InputError("RA227", f"{what} needs at least {requested} samples; {found} came.")


# --- models, layers, data ---------------------------------------------------------------------------------------------


def lengths_differ(sizes: Sequence[int]) -> InputError:
    return InputError(
        "RA201", f"the tensors of `data` have different lengths {listed(sizes)}; expected one per sample."
    )


def in_bytes(size: int) -> str:
    unit, power = ("GB", 30) if size >= 2**30 else ("MB", 20) if size >= 2**20 else ("kB", 10)
    return f"{size / 2**power:.1f} {unit}"


# --- files -----------------------------------------------------------------------------------------------------------


def unreadable(path: Any, reason: str) -> FileError:
    return FileError("RA301", f"{str(path)!r} cannot be read: {reason}.")


def column_missing(path: Any, requested: str, columns: Sequence[str]) -> FileError:
    return FileError("RA306", f"{str(path)!r} has no column {requested!r}; it has {listed(columns, 9)}.")


class NotRecorded(ModelError, KeyError):
    """So that a mapping's `get` and `in` behave as they should."""

    __str__ = Exception.__str__


def not_recorded(layer: str, names: Sequence[str]) -> ModelError:
    return NotRecorded("RA101", f"layer {layer!r} was not recorded; nearest: {listed(nearest(layer, names))}.")


def negative(name: str, value: int | float) -> InputError:
    return InputError("RA212", f"`{name}` is {value}; expected 0 or more.")


def no_labels(split: str) -> InputError:
    return InputError(
        "RA213",
        f"the {split} data gave no labels; these quantities compare classes. Yield (x, y), or a mapping with 'labels'.",
    )


def held_out_class(name: str, names: Sequence[str]) -> InputError:
    return InputError("RA203", f"`held_out` has the class {name!r}; expected those of `data`: {listed(names, 9)}.")


def held_out_kinds(first: str, second: str) -> InputError:
    return InputError("RA203", f"the labels of `data` are {first} and those of `held_out` {second}; expected one kind.")


def text_numbers(sample: Any) -> tuple[Tensor, tuple[str, ...]]:
    """Which text every row belongs to, as codes, and the names of texts that are no numbers."""
    values = sample.detach().cpu().numpy() if isinstance(sample, Tensor) else np.asarray(sample)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or values.dtype.kind not in "iubUSO":
        raise InputError(
            "RA239",
            f"`sample` has shape {tuple(values.shape)} and type {values.dtype}; expected (n,), the number or name of "
            "each row's text.",
        )
    if values.dtype.kind in "iub":
        return torch.from_numpy(values.astype(np.int64)), ()
    names, codes = np.unique(values.astype(str), return_inverse=True)
    return torch.from_numpy(codes.astype(np.int64)), tuple(str(name) for name in names)


def unlike_samples(a: int, b: int) -> InputError:
    return InputError("RA201", f"the two layers have {a} and {b} samples; expected the same samples in the same order.")


def other_shift() -> InputError:
    return InputError(
        "RA272",
        "the two sums run around different shifts; give `shift_x=` and `shift_y=` of the first batch to the others.",
    )


def groups_of(groups: Any, n: int, name: str = "groups") -> np.ndarray:
    """The number of each row's group, from 0."""
    values = groups.detach().cpu().numpy() if isinstance(groups, Tensor) else np.asarray(groups)
    if values.ndim != 1 or len(values) != n:
        raise InputError(
            "RA247", f"`{name}` has shape {tuple(values.shape)} and there are {n} rows; expected one value per row."
        )
    return np.unique(values.astype(str) if values.dtype.kind == "O" else values, return_inverse=True)[1]


def too_few_groups(found: int, requested: int) -> InputError:
    return InputError(
        "RA247",
        f"`groups` has {found} group(s) and rows are split into {requested} parts; a group stays whole, so expected "
        f"at least {requested}.",
    )


def positive(value: Any, name: str) -> None:
    if not isinstance(value, (int, float)) or not value > 0:
        raise InputError("RA212", f"`{name}` is {value!r}; expected a number above 0.")


def values_of(value: Any, name: str, n: int) -> Tensor:
    """(n, t) finite numbers; (n,) is one column."""
    x = _tensor(value, name)
    x = x[:, None] if x.ndim == 1 else x
    return matrix(x, name, n, None, "one row of values per sample")


def constant_targets(columns: Sequence[int]) -> InputError:
    return InputError(
        "RA251", f"`targets` has column(s) {listed(columns)} that are constant in the training split; leave them out."
    )


def other_width_of(name: str, found: int, requested: int) -> InputError:
    return InputError(
        "RA234",
        f"{name!r} has {found} features and the rows fitted on have {requested}; expected the same layer in both.",
    )


def walked_once(kind: str, who: str = "baselines need") -> InputError:
    return InputError(
        "RA253",
        f"`data` is a {kind}, which is a one-shot iterator, and {who} it again; give a DataLoader, "
        "a Dataset or tensors.",
    )


def output_of(target: Any, columns: int) -> None:
    if not columns:
        raise ModelError("RA115", "the model's output is no tensor (n, classes), whose columns have a derivative.")
    if isinstance(target, bool) or not 0 <= target < columns:
        raise InputError("RA212", f"`target` is {target}; the model has {columns} outputs, from 0.")


# --- features of a layer --------------------------------------------------------------------------------------------


def one_layer(layer: str, found: Sequence[str]) -> ModelError:
    return ModelError("RA118", f"{layer!r} stands for {len(found)} layers ({listed(found)}); name one of them.")


def no_classes(shape: Any) -> ModelError:
    return ModelError(
        "RA119",
        f"the model's output is {shape}; importance needs logits (n, classes), or (n, t, classes) of tokens. Give "
        "`forward=` that returns them. What needs no head (complexity, flow, variance explained) can be computed from "
        "recorded features.",
    )


def renamed_argument(function: str, old: str, new: str) -> InputError:
    return InputError("RA212", f"`{old}` of `{function}` is now `{new}`.")


def extra_missing(package: str, extra: str, reason: str) -> FileError:
    return FileError(
        "RA305", f"{package} cannot be imported ({reason}); install it with `pip install 'repana[{extra}]'`."
    )
