"""Refusals: the only place where their texts are built. Each says what was found, where, and what to do.

A function here either returns a checked value or returns the error for its caller to raise. The codes are stable; each
has a paragraph in docs/errors.md.
"""

import difflib
import operator
from collections.abc import Iterable, Mapping, Sequence
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
    close = set(difflib.get_close_matches(name, names, SHOWN, 0.4))
    return [n for n in names if n in close] or [n for n in names if name.lower() in n.lower()][:SHOWN] or names[:SHOWN]


# --- arrays ---------------------------------------------------------------------------------------------------------


def features_of(features: Any, *, finite: bool = True) -> Tensor:
    """A finite (n, d) floating-point tensor on its own device; `finite=False` leaves that to whoever sums it first."""
    x = _tensor(features, "features")
    if x.ndim != 2:
        raise InputError("RA206", f"`features` has shape {tuple(x.shape)}; wanted (n, d). Pool or flatten each sample.")
    if x.is_complex() or x.layout != torch.strided:
        kind = "complex numbers" if x.is_complex() else "a sparse tensor"
        how = "take its real and imaginary part as features" if x.is_complex() else "call `.to_dense()`"
        raise InputError("RA206", f"`features` is {kind}; wanted a dense array of real numbers: {how}.")
    if not x.is_floating_point():
        x = x.float()
    if not x.shape[0] or not x.shape[1]:
        raise InputError("RA205", f"`features` is empty, shape {tuple(x.shape)}; wanted at least one sample.")
    x = x.detach().clone() if x.is_inference() else x.detach()  # an inference tensor takes part in no gradient
    if finite and not bool(torch.isfinite(x.sum())):
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


def reference_missing() -> InputError:
    return InputError(
        "RA212", "`around` is 'reference' and no `reference` came; give the Moments of the training split."
    )


def reference_classes(missing: Sequence[Any]) -> InputError:
    return InputError(
        "RA203", f"`labels` has class(es) {listed(missing)} that `reference` has no mean of; leave their samples out."
    )


def labels_of(labels: Any, n: int, what: str = "features") -> tuple[Tensor, tuple[str, ...]]:
    """Codes (n,) on the host, and the name of each code; no names for integers, which stand for themselves."""
    if labels is None:
        raise InputError("RA213", "this quantity compares classes and needs `labels`; none came.")
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu()
        labels = labels.float() if labels.dtype == torch.bfloat16 else labels
    _unmasked(labels, "labels", "RA203")
    values = np.asarray(labels)
    if values.dtype.kind == "O" and any(v is None for v in values.flat):
        raise InputError("RA203", "`labels` has None; leave those samples out, or label them -100 beside numbers.")
    if values.ndim == 2 and 1 in values.shape:
        values = values.reshape(-1)
    if values.ndim == 2 and values.shape[0] == n and set(np.unique(values)) <= {0, 1}:
        raise InputError(
            "RA201",
            f"`labels` has shape {tuple(values.shape)} and looks one-hot (or multi-label); wanted one class per row: "
            "`labels.argmax(1)` for one-hot rows.",
        )
    if values.ndim > 2 and values.shape[0] == n:
        raise InputError(
            "RA201",
            f"`labels` has shape {tuple(values.shape)}, one class per position (a segmentation map?), and `{what}` has "
            f"{n} rows; wanted one label per row: keep every position as a row, or give one label per sample.",
        )
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
    wanted = f"({'any' if rows is None else rows}, {'any' if columns is None else columns})"
    if x.ndim != 2 or (rows is not None and x.shape[0] != rows) or (columns is not None and x.shape[1] != columns):
        raise InputError("RA211", f"`{name}` has shape {tuple(x.shape)}; wanted {wanted}: {why}.")
    if not bool(torch.isfinite(x).all()):
        raise InputError("RA204", f"`{name}` has {int((~torch.isfinite(x)).sum())} NaN or infinite value(s).")
    return x.detach()


def column(value: Any, name: str, n: int | None) -> np.ndarray:
    """One number per sample, NaN among them or not."""
    x = _tensor(value, name)
    if x.ndim != 1 or (n is not None and len(x) != n):
        raise InputError("RA211", f"`{name}` has shape {tuple(x.shape)}; wanted ({n or 'any'},): one number a sample.")
    return x.detach().double().cpu().numpy()


def choice(value: Any, name: str, allowed: Iterable[str]) -> None:
    allowed = list(allowed)
    if value not in allowed:
        raise InputError("RA212", f"`{name}` is {value!r}; wanted one of {', '.join(map(repr, allowed))}.")


def in_range(value: float, name: str, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InputError("RA212", f"`{name}` is {value!r}; wanted a number from {low:g} to {high:g}.")


def level_of(level: Any) -> None:
    """The confidence level of intervals."""
    if not isinstance(level, (int, float)) or not 0 < level < 1:
        raise InputError("RA212", f"`level` is {level!r}; wanted a number between 0 and 1, such as 0.95.")


def whole(value: Any, name: str) -> int:
    """A count as an int, whatever integer type it came in."""
    try:
        return operator.index(value)
    except TypeError:
        raise InputError("RA212", f"`{name}` is {value!r}; wanted a whole number.") from None


def shrinkage_of(value: Any) -> str | float:
    """ "ledoit_wolf", or a share."""
    if isinstance(value, str):
        choice(value, "shrinkage", ("ledoit_wolf",))
        return value
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise InputError("RA212", f"`shrinkage` is {value!r}; wanted 'ledoit_wolf' or a number from 0 to 1.")
    return float(value)


def at_least(value: Any, name: str, least: int) -> int:
    if whole(value, name) < least:
        raise InputError("RA212", f"`{name}` is {value!r}; wanted a whole number of at least {least}.")
    return whole(value, name)


def unknown_options(function: str, names: Iterable[str], allowed: Iterable[str]) -> InputError:
    return InputError("RA212", f"{function} has no option {listed(names)}; it has {listed(allowed, 12)}.")


def too_few_layers(quantity: str, found: int, wanted: int) -> InputError:
    return InputError("RA218", f"{quantity} fits a line through the layers and needs at least {wanted}; {found} came.")


def layers_of(layers: Any, quantity: str, least: int = 1) -> list[Any]:
    """The names of a mapping of layers (or checkpoints), in their order."""
    if not isinstance(layers, Mapping):
        raise InputError(
            "RA210",
            f"{quantity} got a {type(layers).__name__}; wanted a mapping from names to features, or Activations.",
        )
    if len(layers) < least:
        raise InputError("RA205", f"{quantity} needs at least {least} layer(s) or checkpoint(s); {len(layers)} came.")
    return list(layers)


def not_positive(what: str, layers: Sequence[str]) -> InputError:
    return InputError("RA219", f"{what} must be positive and finite; it is not at {listed(layers)}. Leave those out.")


def narrow_window(window: tuple[int, int]) -> InputError:
    return InputError(
        "RA232", f"`window` is {tuple(window)}; wanted (first, last) ranks from 1 on that hold at least three."
    )


def too_many_neighbours(k: int, most: int) -> InputError:
    wanted = f"so wanted 1 to {most}" if most >= 1 else "and one is needed"
    return InputError("RA233", f"`k` is {k}; there are {most} other samples, {wanted}.")


def neighbours_between(first: int, last: int, least: int, most: int) -> None:
    """Refuse numbers of neighbours outside what the formula and the samples allow."""
    if not least <= first <= last <= most:
        asked = f"{first}" if first == last else f"{first} to {last}"
        if most < least:
            raise InputError(
                "RA233",
                f"neighbours {asked} were asked for and there are {max(most + 1, 0)} samples that differ; wanted at "
                f"least {least + 1}.",
            )
        raise InputError("RA233", f"neighbours {asked} were asked for; wanted {least} to {most} with these samples.")


def duplicated(count: int, n: int) -> InputError:
    return InputError(
        "RA236",
        f"{count} of {n} samples repeat another exactly; take `duplicates='drop'`, or 'keep'.",
    )


def other_width(d: int, bank: int) -> InputError:
    return InputError("RA234", f"`features` has {d} columns and `bank` has {bank}; wanted the same layer in both.")


def zero_rows(name: str, count: int, first: int) -> InputError:
    return InputError(
        "RA235",
        f"`{name}` has {count} sample(s) whose features are all zero, the first in row {first}, and so no direction. "
        "Leave them out, or take the Euclidean metric.",
    )


def tensor_of(value: Any, name: str) -> Tensor:
    """A tensor of what NumPy reads; memory is shared where it may be written to."""
    if isinstance(value, Tensor):  # arithmetic with numbers of 8 bits is not defined everywhere
        return value.float() if value.is_floating_point() and value.dtype.itemsize == 1 else value
    _unmasked(value, name, "RA206")
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


def _unmasked(value: Any, name: str, code: str) -> None:
    """A masked array has no value where it is masked, and NumPy would give the one that lies below."""
    if isinstance(value, np.ma.MaskedArray) and bool(np.ma.getmaskarray(value).any()):
        raise InputError(
            code,
            f"`{name}` is a masked array with {int(np.ma.getmaskarray(value).sum())} masked value(s) of {value.size}; "
            f"expected values everywhere: drop those rows, or choose a value with `{name}.filled(...)`.",
        )


# --- reports ---------------------------------------------------------------------------------------------------------


def unknown_quantity(name: str, names: Iterable[str]) -> InputError:
    return InputError("RA214", f"no quantity {name!r} in this report; nearest: {listed(nearest(name, names))}.")


def unknown_metric(name: str, names: Sequence[str]) -> InputError:
    return InputError(
        "RA212",
        f"`metrics` is {name!r}; expected analyzers or quantities, nearest: {listed(nearest(name, names))}. `repana "
        "metrics` lists all.",
    )


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


def nothing_shared(a: str, b: str) -> InputError:
    return InputError(
        "RA229",
        f"runs {a!r} and {b!r} share no quantity at an aligned layer and split; align='depth' matches by depth.",
    )


def one_run(runs: Sequence[str]) -> InputError:
    return InputError("RA230", f"there is one run, {listed(runs)}, and a comparison needs two; name another folder.")


def no_sink(kind: str) -> InputError:
    return InputError(
        "RA231",
        f"a {kind} takes no report; wanted a TensorBoard SummaryWriter, a W&B run or the mlflow module with an "
        "active run.",
    )


def no_reports() -> InputError:
    return InputError("RA223", "there are no reports; give at least one.")


def no_array(name: str, layer: str, run: str, split: str, names: Sequence[str], layers: Sequence[str]) -> InputError:
    where = f"layer {layer!r} of run {run!r}, split {split!r}"
    if layer not in layers:
        return InputError("RA224", f"this report has no layer {layer!r}; nearest: {listed(nearest(layer, layers))}.")
    return InputError("RA224", f"{where} has no array {name!r} in this report; it has {listed(names)}.")


def no_classifier(layer: str) -> InputError:
    return InputError(
        "RA225",
        f"these activations have no classifier that reads {layer!r}; record its input (layers='auto'), or give "
        "`weight=`.",
    )


def wrong_classes(found: Sequence[Any], names: Sequence[Any]) -> InputError:
    return InputError("RA226", f"`classes` is {list(found)}; wanted three different ones of {listed(names, 12)}.")


def too_few_samples(what: str, found: int, wanted: int) -> InputError:
    return InputError("RA227", f"{what} needs at least {wanted} samples; {found} came.")


def no_steps(runs: Sequence[str]) -> InputError:
    return InputError(
        "RA228",
        f"a trajectory needs runs with different steps and these have none: {listed(runs)}. Profile with `step=`, or "
        "put the step at the end of the run's name.",
    )


def damaged(folder: Path, name: str, reason: str) -> FileError:
    return FileError(
        "RA309", f"{str(folder)!r}: {name} was cut or changed after it was saved: {reason}. Save the report again."
    )


def not_writable(path: Any) -> FileError:
    return FileError("RA310", f"{str(path)!r} cannot be written; choose a folder that you may write to.")


def not_a_report(folder: Path, missing: Sequence[str]) -> FileError:
    return FileError("RA307", f"{str(folder)!r} is not a saved report: {listed(missing)} not found in it.")


def other_format(folder: Path, found: Any, wanted: int) -> FileError:
    return FileError(
        "RA308",
        f"{str(folder)!r} has format {found!r} and this version of repana reads {wanted}; "
        "read it with the version that wrote it (see its provenance.json).",
    )


# --- models, layers, data ---------------------------------------------------------------------------------------------


def not_a_module(model: Any) -> ModelError:
    return ModelError("RA100", f"`model` is a {type(model).__name__}; wanted a torch.nn.Module.")


def no_layer(wanted: str, names: Sequence[str]) -> ModelError:
    return ModelError(
        "RA101",
        f"no layer matches {wanted!r}; nearest: {listed(nearest(wanted.partition(':')[0], names))}. "
        "`repana layers MODEL` lists all.",
    )


def never_ran(wanted: str, names: Sequence[str], ran: Sequence[str]) -> ModelError:
    which = f"{wanted!r} is" if list(names) == [wanted] else f"{wanted!r} matches {listed(names)}, which are"
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


def no_such_call(address: str, module: str, calls: int) -> ModelError:
    return ModelError("RA109", f"{address!r}: {module!r} ran {calls} time(s) per forward; wanted @1 to @{calls}.")


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
    return ModelError("RA111", f"{address!r} asks for the pooling {pool!r}; wanted one of {listed(allowed, 12)}.")


def bad_pattern(pattern: str, reason: str) -> ModelError:
    return ModelError("RA112", f"{pattern!r} is not a regular expression: {reason}.")


def layer_not_understood(wanted: Any) -> ModelError:
    return ModelError(
        "RA112",
        f"`layers` holds a {type(wanted).__name__}; wanted names, patterns ('layer*.conv2', 're:...'), module "
        "classes or "
        "predicates (name, module) -> bool.",
    )


def no_layers_given() -> ModelError:
    return ModelError("RA112", "`layers` is empty; wanted 'auto' or at least one name or pattern.")


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


def not_finite(address: str, batch: int, bad: int, size: int) -> InputError:
    return InputError(
        "RA204",
        f"layer {address!r} gave {bad} NaN or infinite value(s) of {size} in batch {batch} (counted from 0). "
        "Check that "
        "batch and the weights before this layer; in half precision, try dtype=None.",
    )


def empty_data(data: Any) -> InputError:
    return InputError("RA205", f"`data` ({type(data).__name__}) gave no batch; wanted at least one sample.")


def no_data() -> InputError:
    return InputError("RA205", "`data` is None; wanted a DataLoader, a Dataset, tensors or batches.")


def data_not_understood(data: Any) -> InputError:
    return InputError(
        "RA210",
        f"`data` is a {type(data).__name__}; wanted a DataLoader, a Dataset, tensors or an iterable of batches.",
    )


def batch_not_understood(raw: Any) -> InputError:
    inside = [type(v).__name__ for v in raw] if isinstance(raw, (tuple, list)) else []
    what = f"a {type(raw).__name__}" + (f" of {listed(inside, 8)}" if inside else "")
    return InputError(
        "RA210",
        f"the batch is {what}; wanted x, (x, y), a mapping, or (mapping, y) with tensors. For anything else give "
        "`forward=lambda model, batch: ...`.",
    )


def lengths_differ(sizes: Sequence[int]) -> InputError:
    return InputError("RA201", f"the tensors of `data` have different lengths {listed(sizes)}; wanted one per sample.")


def label_count(labels: int, shape: tuple[int, ...]) -> InputError:
    return InputError(
        "RA201", f"a batch has {labels} labels and an input of shape {shape}; wanted one label per sample."
    )


def no_argument_taken(model: str, keys: Sequence[str], named: Sequence[str]) -> InputError:
    return InputError(
        "RA210",
        f"{model}.forward takes {listed(named, 8)} and the batch has {listed(keys, 8)}; rename the keys or give "
        "`forward=lambda model, batch: ...`.",
    )


def no_mask_key(key: str, keys: Sequence[str]) -> InputError:
    return InputError("RA210", f"`mask` names {key!r} and the batch has {listed(keys, 8)}.")


def _bytes(size: int) -> str:
    unit, power = ("GB", 30) if size >= 2**30 else ("MB", 20) if size >= 2**20 else ("kB", 10)
    return f"{size / 2**power:.1f} {unit}"


def too_large(needed: int, budget: int, layers: Sequence[tuple[str, int]]) -> InputError:
    largest = listed([f"{name} ({_bytes(size)})" for name, size in layers], 3)
    return InputError(
        "RA208",
        f"the features need {_bytes(needed)} and the host has {_bytes(budget)} free. Pool the largest "
        f"({largest}), choose fewer layers, or set `max_samples=`.",
    )


def out_of_memory(batch: int, layers: Sequence[tuple[str, int]], reason: str) -> ModelError:
    largest = listed([f"{name} ({_bytes(size)} so far)" for name, size in layers], 3)
    return ModelError(
        "RA209",
        f"out of memory in batch {batch} (counted from 0): {reason.rstrip('.')}. Use smaller batches, lower `memory=` "
        f"so that features go to the host sooner, set `max_samples=`, or pool the largest layers: {largest}.",
    )


# --- files -----------------------------------------------------------------------------------------------------------


def file_missing(path: Any, what: str) -> FileError:
    return FileError("RA304", f"{what} {str(path)!r} does not exist.")


def spec_not_understood(spec: str, what: str, forms: Sequence[str]) -> FileError:
    return FileError("RA304", f"{what} {spec!r} is not understood; wanted one of {listed(forms, 9)}.")


def unreadable(path: Any, reason: str) -> FileError:
    return FileError("RA301", f"{str(path)!r} cannot be read: {reason}.")


def unsafe(path: Any, names: Sequence[str]) -> FileError:
    return FileError(
        "RA302",
        f"{str(path)!r} would run code when loaded: it names {listed(names, 8)}. Convert it to safetensors "
        "where it was "
        "made, or pass --allow-pickle (allow_pickle=True) if you trust whoever made it.",
    )


def keys_do_not_match(path: Any, total: int, missing: Sequence[str], extra: Sequence[str], hint: str) -> FileError:
    return FileError(
        "RA303",
        f"{str(path)!r} does not fit the model: {len(missing)} of {total} keys missing ({listed(missing, 3)}), "
        f"{len(extra)} not expected ({listed(extra, 3)}). The model would be analysed with random weights.{hint}",
    )


def shapes_do_not_match(path: Any, wrong: Sequence[str]) -> FileError:
    return FileError("RA303", f"{str(path)!r} does not fit the model: shapes differ at {listed(wrong, 3)}.")


def extra_missing(package: str, extra: str, reason: str) -> FileError:
    return FileError(
        "RA305", f"{package} cannot be imported ({reason}); install it with `pip install 'repana[{extra}]'`."
    )


def column_missing(path: Any, wanted: str, columns: Sequence[str]) -> FileError:
    return FileError("RA306", f"{str(path)!r} has no column {wanted!r}; it has {listed(columns, 9)}.")


def not_activations(folder: Path, missing: Sequence[str]) -> FileError:
    return FileError("RA307", f"{str(folder)!r} does not hold saved activations: {listed(missing)} not found in it.")


class NotRecorded(ModelError, KeyError):
    """So that a mapping's `get` and `in` behave as they should."""

    __str__ = Exception.__str__


def not_recorded(layer: str, names: Sequence[str]) -> ModelError:
    return NotRecorded("RA101", f"layer {layer!r} was not recorded; nearest: {listed(nearest(layer, names))}.")


def negative(name: str, value: int) -> InputError:
    return InputError("RA212", f"`{name}` is {value}; wanted 0 or more.")


def no_labels(split: str) -> InputError:
    return InputError(
        "RA213",
        f"the {split} data gave no labels; these quantities compare classes. Yield (x, y), or a mapping with 'labels'.",
    )


def no_features() -> InputError:
    return InputError("RA205", "`model` is an empty mapping; expected features by layer, such as {'layer1': x}.")


def activations_and_data() -> InputError:
    return InputError(
        "RA212", "got Activations and data; expected Activations with their labels: `Activations(features, labels)`."
    )


def no_recording(options: Sequence[str]) -> InputError:
    return InputError("RA212", f"got {listed(options)}, which say how to record, and features that are recorded.")


def held_out_pair(found: Any) -> InputError:
    return InputError(
        "RA210", f"`held_out` is a {type(found).__name__}; expected Activations, or a pair ({{'layer1': x}}, labels)."
    )


def held_out_class(name: str, names: Sequence[str]) -> InputError:
    return InputError("RA203", f"`held_out` has the class {name!r}; expected those of `data`: {listed(names, 9)}.")


def held_out_kinds(first: str, second: str) -> InputError:
    return InputError("RA203", f"the labels of `data` are {first} and those of `held_out` {second}; expected one kind.")


def held_out_needs_activations() -> InputError:
    return InputError("RA213", "`held_out` is data but there is no model to run it through; give recorded Activations.")


def nothing_measured(failures: Sequence[str]) -> InputError:
    first = list({failure.rpartition(": RA")[2]: failure.rstrip(".") for failure in reversed(failures)}.values())[::-1]
    return InputError("RA220", f"no quantity could be measured: {'; '.join(first[:2]) or 'there are no layers'}.")


def no_factory(spec: str, name: str, names: Sequence[str]) -> FileError:
    return FileError("RA304", f"{spec!r}: there is no {name!r}; nearest: {listed(nearest(name, names))}.")


def module_missing(spec: str, reason: str) -> FileError:
    return FileError("RA304", f"{spec!r}: {reason}. Run where it can be imported, or name the file: file.py:factory.")


def needs_tokenizer(spec: str, model: str) -> FileError:
    return FileError(
        "RA304", f"{spec!r} holds text, which needs the tokenizer of a model 'hf:PATH'; the model is {model!r}."
    )


def package_missing(package: str) -> FileError:
    return FileError("RA304", f"'docstrings:' names the package {package!r}, which is not installed.")


def no_example(model: str) -> FileError:
    return FileError(
        "RA304", f"{model!r} does not say what it takes; give --data, or the shape of one input: --input 3x32x32."
    )


def not_a_folder(path: Path) -> FileError:
    return FileError("RA307", f"{str(path)!r} is a file; a report is saved as a folder.")


def pool_without_layer(keys: Sequence[str], layers: Sequence[str]) -> ModelError:
    return ModelError("RA111", f"`pool` names {listed(keys)}, which matches none of the layers {listed(layers, 9)}.")


def no_device(device: str, reason: str) -> InputError:
    return InputError("RA212", f"`device` {device!r} cannot be used here: {reason}.")


def not_numeric(dtype: str) -> InputError:
    return InputError(
        "RA203",
        f"the data hold labels or inputs of type {dtype}; wanted numbers. Number the classes from 0 first, or give "
        "`class_names=` in the order of the model's outputs.",
    )


def unnamed_class(value: Any, names: Sequence[str]) -> InputError:
    return InputError(
        "RA203", f"the data have the label {value!r} and `class_names` has {len(names)} names: {listed(names)}."
    )


def moments_alone() -> InputError:
    return InputError(
        "RA205",
        "there are no features: max_samples=0 keeps moments alone, for `record`. Give `profile` at least a few samples "
        "of every class.",
    )


def subset_too_small(kept: int, classes: int, short: Sequence[Any]) -> InputError:
    return InputError(
        "RA221",
        f"`max_samples` kept {kept} samples of {classes} classes, and fewer than 2 of class(es) {listed(short)}; such "
        f"a subset looks collapsed whatever the network does. Keep at least {10 * classes}, ten of every class.",
    )


def tree_sizes(smallest: int, largest: int, steps: int, subsamples: int, n: int) -> InputError:
    return InputError(
        "RA238",
        f"trees of {smallest} to {largest} samples were asked for, {subsamples} of each of {steps} sizes; wanted 3 <= "
        f"smallest < largest <= {n} (the samples), at least 2 sizes and 1 subset of each.",
    )


def text_numbers(sample: Any) -> tuple[Tensor, tuple[str, ...]]:
    """Which text every row belongs to, as codes, and the names of texts that are no numbers."""
    values = sample.detach().cpu().numpy() if isinstance(sample, Tensor) else np.asarray(sample)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or values.dtype.kind not in "iubUSO":
        raise InputError(
            "RA239",
            f"`sample` has shape {tuple(values.shape)} and type {values.dtype}; wanted (n,), the number or name of "
            "each row's text.",
        )
    if values.dtype.kind in "iub":
        return torch.from_numpy(values.astype(np.int64)), ()
    names, codes = np.unique(values.astype(str), return_inverse=True)
    return torch.from_numpy(codes.astype(np.int64)), tuple(str(name) for name in names)


def no_texts() -> InputError:
    return InputError(
        "RA239",
        "text_dimension needs several rows of every text, one a token, and there is one row a sample; record with "
        "`pool='tokens'` and `mask='content'`, or say with `sample=` which text each row belongs to.",
    )


def subspace_size(dimension: int, total: int) -> InputError:
    return InputError(
        "RA240",
        f"a subspace of {dimension} dimensions was asked for; the model trains {total} parameters, so wanted "
        f"1 to {total}.",
    )


def dense_projection(total: int, dimension: int, needed: int) -> InputError:
    return InputError(
        "RA241",
        f"a dense projection of {total} x {dimension} takes {_bytes(needed)}; take `projection='fastfood'`, whose "
        "memory does not grow with the dimension.",
    )


def covariances_too_large(classes: int, width: int, needed: int) -> InputError:
    return InputError(
        "RA245",
        f"{classes} covariances of {width} features take {_bytes(needed)}; pool the layer, project it to fewer "
        "features, or give fewer classes.",
    )


def homology_too_large(n: int, needed: int, budget: int, seconds: float) -> InputError:
    return InputError(
        "RA246",
        f"persistent homology of {n} samples needs about {_bytes(needed)} and {seconds:.0f} s, and `memory` is "
        f"{_bytes(budget)}; take `most=` fewer samples, or raise `memory=`.",
    )


def unlike_samples(a: int, b: int) -> InputError:
    return InputError("RA201", f"the two layers have {a} and {b} samples; wanted the same samples in the same order.")


def at_least_one(name: str, value: Any) -> InputError:
    return InputError("RA212", f"`{name}` is {value!r}; wanted a number of at least 1.")


def bad_rows(n: int) -> InputError:
    return InputError("RA212", f"`rows` must hold batches of at least 4 places from 0 to {n - 1}, at least one batch.")


def no_diagram(dimension: int, known: Sequence[int]) -> InputError:
    return InputError("RA212", f"`dimension` is {dimension}; this persistence has {listed(known)}.")


def other_experiment(store: Path, what: str, known: Any, asked: Any) -> InputError:
    return InputError(
        "RA242", f"{str(store)!r} holds trainings with {what} {known!r}, and here it is {asked!r}; name another folder."
    )


def bad_seeds(seeds: Any) -> InputError:
    return InputError(
        "RA212", f"`seeds` is {seeds!r}; wanted a number of seeds, or different whole numbers, at least one."
    )


def metric_not_a_number(metric: Any) -> InputError:
    return InputError(
        "RA243", f"`evaluate` gave {metric!r} ({type(metric).__name__}); wanted one number, the higher the better."
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
        "RA212", f"`rates` is {list(rates)} and `train` takes the model alone; wanted train(model, rate)."
    )


def no_samples(what: str) -> InputError:
    return InputError(
        "RA237", f"{what} reads single samples, which a summary of moments does not hold; call it on the features."
    )


def not_dimensions(quantity: str, unit: str) -> InputError:
    return InputError(
        "RA222",
        f"{quantity!r} is in {unit or 'no unit'} and the axis in dimensions; `plots.depth_profile` gives every "
        "quantity a panel of its own.",
    )


def no_depth(quantity: str) -> InputError:
    return InputError(
        "RA222", f"{quantity!r} is one number for the whole network and has no depth profile; see `report.select`."
    )


def shares_of(shares: tuple[float, ...]) -> tuple[float, ...]:
    """The shares of fit, select and report rows."""
    sound = len(shares) == 3 and all(isinstance(s, (int, float)) and s > 0 for s in shares)
    if not sound or abs(sum(shares) - 1) > 1e-6:
        raise InputError("RA212", f"`shares` is {shares}; wanted three positive numbers with the sum 1.")
    return shares


def groups_of(groups: Any, n: int, name: str = "groups") -> np.ndarray:
    """The number of each row's group, from 0."""
    values = groups.detach().cpu().numpy() if isinstance(groups, Tensor) else np.asarray(groups)
    if values.ndim != 1 or len(values) != n:
        raise InputError(
            "RA247", f"`{name}` has shape {tuple(values.shape)} and there are {n} rows; wanted one value per row."
        )
    return np.unique(values.astype(str) if values.dtype.kind == "O" else values, return_inverse=True)[1]


def attribute_of(values: Any, n: int) -> tuple[list[str], np.ndarray]:
    """The values that an attribute of rows takes, and which of them each row has."""
    numbers = groups_of(values, n, "attributes")
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    first = [int(np.flatnonzero(numbers == k)[0]) for k in range(int(numbers.max()) + 1)]
    return [str(array[i]) for i in first], numbers


def too_few_groups(found: int, wanted: int) -> InputError:
    return InputError(
        "RA247",
        f"`groups` has {found} group(s) and rows are split into {wanted} parts; a group stays whole, so wanted "
        f"at least {wanted}.",
    )


def empty_part(part: str, n: int, groups: int | None) -> InputError:
    of = "" if groups is None else f" in {groups} groups"
    return InputError("RA247", f"the {part} part of {n} rows{of} is empty; give more rows, or other `shares=`.")


def positive(value: Any, name: str) -> None:
    if not isinstance(value, (int, float)) or not value > 0:
        raise InputError("RA212", f"`{name}` is {value!r}; wanted a number above 0.")


def other_splits(count: int) -> InputError:
    return InputError(
        "RA248",
        f"the probes were split in {count} ways; fit them with one `split=`, so that they report the same rows.",
    )


def split_of_others(split: int, n: int) -> InputError:
    return InputError(
        "RA248", f"`split` is of {split} rows and there are {n}; wanted the split of these rows, without ignored ones."
    )


def bad_types(types: int, n: int) -> InputError:
    if types == n:
        return InputError(
            "RA249",
            f"`types` has {types} types in {n} rows, one a row; a control task is then a permutation of labels, which "
            "every probe has as `accuracy.null` and `capacity`.",
        )
    return InputError("RA249", f"`types` has {types} types in {n} rows; wanted at least 6, each with several rows.")


def probabilities(value: Any, name: str, n: int) -> Tensor:
    """(n, z) shares that sum to one in every row."""
    x = matrix(value, name, n, None, "one row of probabilities per sample")
    total = x.double().sum(1)
    if bool((x < 0).any()) or float((total - 1).abs().max()) > 1e-3:
        raise InputError(
            "RA250",
            f"`{name}` has rows that sum to {float(total.min()):.4g} to {float(total.max()):.4g}, the least value "
            f"{float(x.min()):.4g}; wanted probabilities: `logits.softmax(1)`.",
        )
    return x


def shrinkage_number(value: str) -> InputError:
    return InputError("RA212", f"`shrinkage` is {value!r}; wanted a number from 0 to 1 here.")


def indicators(value: Any, name: str, n: int) -> Tensor:
    """(n, t) zeros and ones as int64."""
    x = _tensor(value, name)
    if x.ndim != 2 or len(x) != n or x.shape[1] == 0:
        raise InputError("RA211", f"`{name}` has shape {tuple(x.shape)}; wanted ({n}, labels): one column a label.")
    if not bool(((x == 0) | (x == 1)).all()):
        odd = x[(x != 0) & (x != 1)].flatten()[0].item()
        raise InputError("RA203", f"`{name}` has the value {odd!r}; wanted zeros and ones, one column a label.")
    return x.long()


def values_of(value: Any, name: str, n: int) -> Tensor:
    """(n, t) finite numbers; (n,) is one column."""
    x = _tensor(value, name)
    x = x[:, None] if x.ndim == 1 else x
    return matrix(x, name, n, None, "one row of values per sample")


def constant_targets(columns: Sequence[int]) -> InputError:
    return InputError(
        "RA251", f"`targets` has column(s) {listed(columns)} that are constant in the fit rows; leave them out."
    )


def no_others() -> InputError:
    return InputError("RA205", "`others` is empty; wanted names with (features, labels) of a distribution.")


def other_width_of(name: str, found: int, wanted: int) -> InputError:
    return InputError(
        "RA234", f"{name!r} has {found} features and the rows fitted on have {wanted}; wanted the same layer in both."
    )


def unknown_distribution(name: str, names: Sequence[str]) -> InputError:
    return InputError("RA212", f"`attributes` names {name!r}; wanted {listed(names, 9)}.")


def bad_sizes(sizes: Sequence[int], classes: int, most: int) -> InputError:
    return InputError(
        "RA212",
        f"`sizes` is {list(sizes)}; wanted numbers from {classes} (the classes) to {most} (the rows).",
    )


def widths_differ(how: str, widths: Mapping[str, int]) -> InputError:
    shown = listed([f"{name} ({width})" for name, width in widths.items()])
    return InputError("RA234", f"`how` is {how!r} and the layers have different widths: {shown}; take 'concatenate'.")


def labels_of_samples(shape: tuple[int, ...], tokens: int, samples: int) -> InputError:
    return InputError(
        "RA201", f"`labels` has shape {tuple(shape)}; wanted one label per token ({tokens}) or per sample ({samples})."
    )


def labels_differ_inside(sample: int) -> InputError:
    return InputError(
        "RA203", f"`labels` differ inside sample {sample} (counted from 0); the moments of its tokens have one label."
    )


def no_module(layer: str, names: Sequence[str]) -> ModelError:
    return ModelError("RA101", f"{layer!r} is no module of this model; nearest: {listed(nearest(layer, names))}.")


def no_weights(probe: str) -> InputError:
    return InputError(
        "RA252", f"a {probe} probe of these features has no direction; take a linear, ridge, LDA or nearest-mean probe."
    )


def class_of(concept: str | int, classes: Sequence[str]) -> int:
    """The column of a class, by name or number."""
    if isinstance(concept, str):
        if concept not in classes:
            raise InputError("RA252", f"no class {concept!r} in this probe; it has {listed(classes, 12)}.")
        return list(classes).index(concept)
    if not 0 <= concept < len(classes):
        raise InputError("RA252", f"no class {concept} in this probe; it has {len(classes)}, from 0.")
    return concept


def probe_width(layer: str, shape: tuple[int, ...], d: int) -> InputError:
    return InputError(
        "RA252", f"layer {layer!r} gives {shape} and the probe was fitted on {d} features; probe this layer's features."
    )


def no_copy(model: str, reason: str) -> ModelError:
    return ModelError(
        "RA117",
        f"{model} cannot be copied to be re-initialised ({reason.rstrip('.')}); give `factory=`.",
    )


def walked_once(kind: str, who: str = "baselines need") -> InputError:
    return InputError(
        "RA253",
        f"`data` is a {kind}, which can be walked only once, and {who} it again; give a DataLoader, "
        "a Dataset or tensors.",
    )


def baselines_need_a_model() -> InputError:
    return InputError(
        "RA213", "`baselines` re-initialises a model, and recorded Activations came; give the model and its data."
    )


def nothing_to_draw(what: str) -> InputError:
    return InputError("RA205", f"there is no {what} result to draw; give at least one layer's.")


def not_shares(quantity: str, unit: str) -> InputError:
    return InputError(
        "RA222",
        f"{quantity!r} is in {unit or 'no unit'} and the axis a share from 0 to 1; `plots.depth_profile` gives every "
        "quantity a panel of its own.",
    )


def left_out_of_groups() -> InputError:
    return InputError(
        "RA212", "`select` is 'leave_one_out' and rows come in groups, which know each other; take 'log_loss'."
    )


def groups_straddle() -> InputError:
    return InputError(
        "RA247",
        "`split` has a group on two sides; `Split.of(labels, n, groups=groups)` keeps groups whole.",
    )


def not_finite_differences(bad: int, count: int) -> InputError:
    return InputError("RA204", f"`differences` has {bad} NaN or infinite value(s) of {count}.")


def reserved_name(name: str) -> InputError:
    return InputError("RA212", f"`others` has a distribution called {name!r}, which is the one fitted on; rename it.")


def labels_of_two_kinds(name: str) -> InputError:
    return InputError(
        "RA203", f"the labels fitted on and those of {name!r} are not both names or both numbers; give one kind."
    )


def nothing_labelled(name: str) -> InputError:
    return InputError("RA205", f"{name!r} has no sample with a label (all are -100).")


def named_samples() -> InputError:
    return InputError(
        "RA201", "`sample` has names, whose order is open, and `labels` one value a sample; give one label per token."
    )


def inputs_not_understood(kind: str) -> InputError:
    return InputError("RA210", f"`inputs` is a {kind}; wanted a tensor or array with at least one sample.")


def output_of(target: Any, columns: int) -> None:
    if not columns:
        raise ModelError("RA115", "the model's output is no tensor (n, classes), whose columns have a derivative.")
    if isinstance(target, bool) or not 0 <= target < columns:
        raise InputError("RA212", f"`target` is {target}; the model has {columns} outputs, from 0.")


# --- features of a layer --------------------------------------------------------------------------------------------


def dictionary_of(value: Any, d: int) -> Tensor:
    """(t, d) finite numbers in float64 on the host."""
    atoms = _tensor(value, "dictionary")
    if atoms.ndim != 2 or not len(atoms):
        raise InputError("RA254", f"the dictionary has shape {tuple(atoms.shape)}; wanted (features, {d}).")
    if atoms.shape[1] != d:
        raise dictionary_width(tuple(atoms.shape), d)
    return matrix(atoms, "dictionary", None, d, "one row per feature").double().cpu()


def dictionary_width(shape: tuple[int, ...], d: int) -> InputError:
    turned = " (it fits transposed)" if shape[0] == d else ""
    return InputError(
        "RA254",
        f"the dictionary has shape {shape} and the layer {d} units{turned}; wanted (features, {d}), one row a feature.",
    )


def negative_features(lowest: float) -> InputError:
    return InputError(
        "RA254",
        f"the layer has negative values (down to {lowest:.3g}), which no sum of non-negative parts is; take 'pca', "
        "or a layer after a ReLU.",
    )


def at_most_components(count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise InputError("RA254", f"`count` is {count}; wanted 1 to {most}, what these rows and units can have.")


def no_count(kind: str) -> InputError:
    return InputError("RA254", f"`count` is how many components or parts to make, and {kind} has its own number.")


def feature_names(names: Sequence[str] | None, count: int, layer: str = "") -> tuple[str, ...]:
    """A name for each feature: those given, or its number."""
    if names is None:
        return tuple(f"{layer or 'feature'} {k}" for k in range(count))
    if len(names) != count:
        raise InputError("RA255", f"`names` has {len(names)} names and there are {count} features.")
    return tuple(str(name) for name in names)


def feature_counts(first: int, second: int) -> InputError:
    return InputError(
        "RA255", f"complexity is of {first} features and importance of {second}; take the same dictionary for both."
    )


def strengths_of(strengths: Sequence[float]) -> None:
    wrong = [s for s in strengths if not s > 0]
    if wrong or not len(strengths):
        raise InputError("RA212", f"`strengths` has {listed(wrong)}; wanted at least one, all positive.")


def rows_and_moments(layer: str) -> InputError:
    return InputError("RA255", f"layer {layer!r} is given by its features and others by fold moments; give one kind.")


def targets_twice() -> InputError:
    return InputError(
        "RA255", "fold moments hold the sums of their own targets; leave `targets` out, or give the layers' features."
    )


def target_rows(found: int, wanted: int, name: str = "targets") -> InputError:
    return InputError(
        "RA255", f"`{name}` has {found} rows and the data gave {wanted} samples; wanted one row a sample, in order."
    )


def one_layer(layer: str, found: Sequence[str]) -> ModelError:
    return ModelError("RA118", f"{layer!r} stands for {len(found)} layers ({listed(found)}); name one of them.")


def labels_to_explain(least: int, most: int, columns: int) -> InputError:
    return InputError(
        "RA203",
        f"labels run from {least} to {most} and the model has {columns} outputs, from 0; leave out rows without "
        "a label, or explain the predicted class.",
    )


def labels_beyond(note: str) -> InputError:
    return InputError("RA203", f"{note}; give labels from 0, or data without them.")


def rows_of_the_classifier(layer: str, read: str | None) -> InputError:
    where = f"it reads {read!r}: name that layer" if read else "none was found in this model"
    return InputError(
        "RA225",
        f"the features of {layer!r} are no input of a linear classifier ({where}, or give a matrix of directions).",
    )


def used_again(layer: str, calls: int) -> ModelError:
    return ModelError(
        "RA118",
        f"{layer!r} is called {calls} times in one forward pass, so there is no one value to attribute to; name a "
        "layer that is called once (a wrapper of each use).",
    )


def no_path(layer: str, reason: str) -> ModelError:
    return ModelError("RA118", f"no derivative reaches {layer!r}: {reason}.")


def no_classes(shape: Any) -> ModelError:
    return ModelError(
        "RA119",
        f"the model's output is {shape}; importance needs logits (n, classes). Give `forward=` that returns them. What "
        "needs no head (complexity, flow, variance explained) can be computed from recorded features.",
    )


def no_linear_head(layers: Sequence[str]) -> ModelError:
    return ModelError(
        "RA119",
        "this model has no linear classifier whose input was recorded, so that its last features are not known; name "
        f"`layer=`, one of {listed(layers, 9)}. `complexity`, `flow` and `variance_explained` of any layer need "
        "recorded features alone, `importance` and `conductance` of any layer the logits.",
    )


def not_traced(model: str, where: str, reason: str) -> ModelError:
    return ModelError(
        "RA120",
        f"{model} cannot be traced by torch.fx ({where}: {reason.rstrip('.')}); give the part of it that can be, or "
        "write that layer without control flow.",
    )


def nothing_to_merge(model: str) -> ModelError:
    return ModelError(
        "RA121",
        f"{model} has no group of channels between two weights that could be merged: inputs, outputs and layers of "
        "unknown kinds stay as they are.",
    )


def no_sigmas() -> InputError:
    return InputError("RA205", "`sigmas` is empty; wanted at least one deviation of the noise.")


def noise_itself() -> InputError:
    return InputError("RA212", "`layer` is 'input', on which the noise itself is put; name a layer behind it.")


def no_paths() -> InputError:
    return InputError("RA205", "`paths` is empty; `residual_paths(model, data)` finds those of a model.")


def no_residual(model: str) -> ModelError:
    return ModelError(
        "RA122",
        f"no sum of a skip path and a branch was seen in a forward pass of {model}; `flow(paths=...)` takes the two "
        "addresses of each block.",
    )


def not_images(shape: tuple[int, ...]) -> InputError:
    return InputError(
        "RA206", f"`images` has shape {shape}; wanted (n, h, w), or 1 or 3 channels: (n, c, h, w) or (n, h, w, c)."
    )


def step_of(step: Any) -> float:
    """A step of training as a number."""
    try:
        return float(step)
    except (TypeError, ValueError):
        raise InputError("RA255", f"step {step!r} is no number; wanted epochs or updates, such as 1, 2, 10.") from None


def steps_differ(steps: Sequence[Any]) -> InputError:
    return InputError("RA255", f"step(s) {listed(steps)} are in one of the two mappings only; wanted the same in both.")
