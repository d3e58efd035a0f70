"""Refusals of reports, figures and exports: what was found, where, and what to do."""

from collections.abc import Iterable, Sequence
from typing import Any

from repana._check import listed, nearest
from repana.errors import FileError, InputError


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


def too_tall(panels: int, rows: int, tallest: float, inches: float) -> InputError:
    return InputError(
        "RA262",
        f"{panels} panels in {rows} rows do not fit into {tallest:.1f} inches (170 mm); name fewer quantities, or give "
        f"`height={inches:.0f}`.",
    )


def same_run(names: Sequence[str]) -> InputError:
    return InputError("RA217", f"both reports have a run named {listed(names)}; profile with another `run=` name.")


def similarity_without_data(path: str) -> InputError:
    return InputError(
        "RA283",
        f"{path} is no store of recordings and no data came; give two stores (`repana record`), or two models and "
        "`--data`.",
    )


def no_comparison(kind: str, run: str) -> InputError:
    return InputError(
        "RA283",
        f"the run {run!r} holds no {kind}; expected a report of `{kind}(...)`, as its `.report()` gives it.",
    )


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
        f"a {kind} takes no report; expected a TensorBoard SummaryWriter, a W&B run or the mlflow module with an "
        "active run.",
    )


def no_report(kind: str) -> InputError:
    return InputError("RA222", f"expected a Report, got {kind}; `repana.profile(...)` gives one.")


def no_embeddings(kind: str) -> InputError:
    return InputError("RA231", f"a {kind} takes no embeddings; expected a TensorBoard SummaryWriter.")


def no_reports() -> InputError:
    return InputError("RA223", "there are no reports; give at least one.")


def no_array(name: str, layer: str, run: str, split: str, names: Sequence[str], layers: Sequence[str]) -> InputError:
    where = f"layer {layer!r} of run {run!r}, split {split!r}"
    if layer not in layers:
        return InputError("RA224", f"this report has no layer {layer!r}; nearest: {listed(nearest(layer, layers))}.")
    return InputError("RA224", f"{where} has no array {name!r} in this report; it has {listed(names)}.")


def wrong_classes(found: Sequence[Any], names: Sequence[Any]) -> InputError:
    return InputError("RA226", f"`classes` is {list(found)}; expected three different ones of {listed(names, 12)}.")


def no_steps(runs: Sequence[str]) -> InputError:
    return InputError(
        "RA228",
        f"a trajectory needs runs with different steps and these have none: {listed(runs)}. Profile with `step=`, or "
        "put the step at the end of the run's name.",
    )


def no_example(model: str) -> FileError:
    return FileError(
        "RA304", f"{model!r} does not say what it takes; give --data, or the shape of one input: --input 3x32x32."
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


def nothing_to_draw(what: str) -> InputError:
    return InputError("RA205", f"there is no {what} result to draw; give at least one layer's.")


def two_classes(what: str, value: float) -> InputError:
    return InputError(
        "RA205", f"a grid of class pairs needs three classes; the {what} of the only pair is {value:.3g}."
    )


def not_shares(quantity: str, unit: str) -> InputError:
    return InputError(
        "RA222",
        f"{quantity!r} is in {unit or 'no unit'} and the axis a share from 0 to 1; `plots.depth_profile` gives every "
        "quantity a panel of its own.",
    )


def not_images(shape: tuple[int, ...]) -> InputError:
    return InputError(
        "RA206", f"`images` has shape {shape}; expected (n, h, w), or 1 or 3 channels: (n, c, h, w) or (n, h, w, c)."
    )


def samples_not_known() -> InputError:
    return InputError(
        "RA322",
        "the features were recorded from an iterable, whose samples have no place in the data; expected arrays, a "
        "Dataset, or a DataLoader with a sampler.",
    )


def latex_label(label: str) -> InputError:
    return InputError("RA263", f"`label` is {label!r}; expected letters, digits and : . _ - alone, as in 'tab:repana'.")
