"""Refusals: the only place where their texts are built. Each says what was found, where, and what to do.

A function here either returns a checked value or returns the error for its caller to raise. The codes are stable; each
has a paragraph in docs/errors.md.
"""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repana.errors import FileError, InputError, ModelError

SHOWN = 5  # names listed in a message


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
    close = difflib.get_close_matches(name, names, SHOWN, 0.4)
    return close or [n for n in names if name.lower() in n.lower()][:SHOWN] or names[:SHOWN]


# --- arrays ---------------------------------------------------------------------------------------------------------


def features_of(features: Any) -> Tensor:
    """A finite (n, d) floating-point tensor on its own device."""
    x = _tensor(features, "features")
    if x.ndim != 2:
        raise InputError("RA206", f"`features` has shape {tuple(x.shape)}; wanted (n, d). Pool or flatten each sample.")
    if not x.is_floating_point():
        x = x.float()
    if not x.shape[0] or not x.shape[1]:
        raise InputError("RA205", f"`features` is empty, shape {tuple(x.shape)}; wanted at least one sample.")
    x = x.detach()
    if not bool(torch.isfinite(x.sum(dtype=torch.float64))):
        bad = ~torch.isfinite(x)
        if bool(bad.any()):
            rows = int(bad.any(1).sum())
            first = int(bad.any(1).int().argmax())
            raise InputError(
                "RA204",
                f"`features` has {int(bad.sum())} NaN or infinite value(s) in {rows} of {len(x)} samples, the first in "
                f"row {first}. Drop those rows, or find the layer that overflows.",
            )
    return x


def labels_of(labels: Any, n: int, what: str = "features") -> tuple[Tensor, tuple[Any, ...]]:
    """Codes (n,) on the host and the class each code stands for. Integers stand for themselves."""
    if labels is None:
        raise InputError("RA213", "this quantity compares classes and needs `labels`; none came.")
    values = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if values.ndim == 2 and 1 in values.shape:
        values = values.reshape(-1)
    if values.ndim != 1 or len(values) != n:
        raise InputError(
            "RA201", f"`labels` has shape {tuple(values.shape)} and `{what}` has {n} rows; wanted one label per row."
        )
    if values.dtype.kind == "f":
        if not np.array_equal(values, np.round(values)):
            raise InputError(
                "RA203",
                f"`labels` has non-integer values such as {values[values != np.round(values)][0]:g}; "
                "wanted classes (integers or strings).",
            )
        values = values.astype(np.int64)
    if values.dtype.kind in "iub":
        codes = torch.from_numpy(values.astype(np.int64))
        return codes, tuple(int(v) for v in np.unique(values))
    names, codes = np.unique(values.astype(str), return_inverse=True)
    return torch.from_numpy(codes.astype(np.int64)), tuple(str(name) for name in names)


def two_classes(codes: Tensor, classes: Sequence[Any], quantity: str) -> None:
    present = torch.unique(codes)
    if len(present) < 2:
        one = classes[0] if len(classes) == 1 else (int(present[0]) if len(present) else "none left")
        raise InputError(
            "RA202",
            f"`labels` has one class ({one}) in {len(codes)} samples; {quantity} compares classes and needs at least 2.",
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
    wanted = f"({'any' if rows is None else rows}, {'any' if columns is None else columns})"
    if x.ndim != 2 or (rows is not None and x.shape[0] != rows) or (columns is not None and x.shape[1] != columns):
        raise InputError("RA211", f"`{name}` has shape {tuple(x.shape)}; wanted {wanted}: {why}.")
    if not bool(torch.isfinite(x).all()):
        raise InputError("RA204", f"`{name}` has {int((~torch.isfinite(x)).sum())} NaN or infinite value(s).")
    return x.detach()


def choice(value: Any, name: str, allowed: Iterable[str]) -> None:
    allowed = list(allowed)
    if value not in allowed:
        raise InputError("RA212", f"`{name}` is {value!r}; wanted one of {', '.join(map(repr, allowed))}.")


def in_range(value: float, name: str, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InputError("RA212", f"`{name}` is {value!r}; wanted a number from {low:g} to {high:g}.")


def too_few_layers(quantity: str, found: int, wanted: int) -> InputError:
    return InputError("RA218", f"{quantity} fits a line through the layers and needs at least {wanted}; {found} came.")


def not_positive(what: str, layers: Sequence[str]) -> InputError:
    return InputError("RA219", f"{what} must be positive and finite; it is not at {listed(layers)}. Leave those out.")


def _tensor(value: Any, name: str) -> Tensor:
    if isinstance(value, Tensor):
        return value
    try:
        array = np.asarray(value)
        return torch.from_numpy(np.ascontiguousarray(array))
    except (TypeError, ValueError) as error:
        kind = type(value).__name__
        raise InputError("RA206", f"`{name}` is a {kind} that is not an array of numbers ({error}).") from None


# --- reports ---------------------------------------------------------------------------------------------------------


def unknown_quantity(name: str, names: Iterable[str]) -> InputError:
    return InputError("RA214", f"no quantity {name!r} in this report; nearest: {listed(nearest(name, names))}.")


def ambiguous_quantity(name: str, owners: Sequence[str]) -> InputError:
    options = listed([f"{owner}.{name}" for owner in owners])
    return InputError("RA215", f"{len(owners)} analyzers have a quantity {name!r}; choose one of {options}.")


def nothing_selected(quantity: str, run: str, split: str, runs: Sequence[str], splits: Sequence[str]) -> InputError:
    return InputError(
        "RA216",
        f"{quantity!r} has no rows for run {run!r}, split {split!r}; this report has runs {listed(runs)} and "
        f"splits {listed(splits)}.",
    )


def same_run(names: Sequence[str]) -> InputError:
    return InputError("RA217", f"both reports have a run named {listed(names)}; profile with another `run=` name.")


def not_a_report(folder: Path, missing: Sequence[str]) -> FileError:
    return FileError("RA307", f"{str(folder)!r} is not a saved report: {listed(missing)} not found in it.")


def other_format(folder: Path, found: Any, wanted: int) -> FileError:
    return FileError(
        "RA308",
        f"{str(folder)!r} has format {found!r} and this version of repana reads {wanted}; "
        "read it with the version that wrote it (see its provenance.json).",
    )
