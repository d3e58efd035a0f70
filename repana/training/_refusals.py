"""Refusals of monitors."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repana._check import listed
from repana.errors import FileError, InputError


def locked(folder: Path, owner: str) -> FileError:
    who = f"process {owner}" if owner else "another monitor"
    return FileError("RA332", f"{str(folder)!r} is written by {who}. Two trainings need two folders: `store=`.")


def unreadable(path: Path, reason: str) -> FileError:
    return FileError("RA333", f"{str(path)!r} does not say how a training was watched: {reason}.")


def not_a_training(path: Path) -> FileError:
    return FileError(
        "RA333", f"{str(path)!r} holds no records of a training; expected the `store=` of a monitor (monitor.json)."
    )


DIGESTS = {
    "probe": "the probe set has other samples, labels or batches, or another order",
    "model": "the network has other parameters",
}


def other_settings(folder: Path, changed: Mapping[str, tuple[Any, Any]]) -> InputError:
    lines = ", ".join(DIGESTS.get(name, f"{name} was {old!r} and is {new!r}") for name, (old, new) in changed.items())
    return InputError(
        "RA286",
        f"{str(folder)!r} holds records that do not go with this monitor: {lines}. "
        "Records of one training are comparable only with the same settings and the same probe set; "
        "take them back, or another `store=`.",
    )


def every_choice(every: Any) -> InputError:
    return InputError("RA287", f"`every` is a number of steps, at least 1, or 'log'; got {every!r}.")


def no_share(budget: Any) -> InputError:
    return InputError("RA287", f"`budget` is a share of the time from 0 to 1, or None; got {budget!r}.")


def no_sinks(sinks: Any) -> InputError:
    return InputError(
        "RA287", f"`sinks` is a list of writers, W&B runs or mlflow, as `Report.log` takes them; got {sinks!r}."
    )


def no_store(store: Any) -> InputError:
    return InputError("RA287", f"`store` is the path of a folder; got {store!r}.")


def not_of_a_monitor(name: str) -> InputError:
    return InputError("RA287", f"`{name}` is no option of a monitor, which stores records in its own way.")


def stop_without_rule() -> InputError:
    return InputError("RA287", "mode='stop' needs a rule; give `stop_on=`, such as stop_on='h0_separability'.")


def too_few_samples(split: str, samples: int) -> InputError:
    return InputError("RA287", f"the probe set {split!r} has {samples} samples; expected at least 4.")


def unknown_layer(layer: str, layers: Sequence[str]) -> InputError:
    return InputError("RA287", f"`stop_on` reads layer {layer!r}; recorded are {listed(list(layers), 12)}.")


def stop_choice(stop_on: Any) -> InputError:
    return InputError(
        "RA287",
        "`stop_on` is a StoppingRule, a name of a score, or a tuple (quantity, layer, patience, min_delta, burn_in, "
        f"smooth); got {stop_on!r}.",
    )


def unknown_score(quantity: str, known: Sequence[str]) -> InputError:
    return InputError(
        "RA287",
        f"{quantity!r} names no score of a record; expected one of {', '.join(known)}, or 'logged.NAME' of metrics.",
    )


def no_better_side(quantity: str) -> InputError:
    return InputError(
        "RA287", f"{quantity!r} has no better side of its own; say which: StoppingRule({quantity!r}, better='lower')."
    )


def no_step(step: Any) -> InputError:
    return InputError("RA287", f"A step is a whole number, 0 or more; got {step!r}.")


def package_missing(name: str, package: str) -> InputError:
    return InputError("RA289", f"{name} needs {package}: pip install {package}.")


def step_needed(folder: Path, last: int) -> InputError:
    return InputError(
        "RA287", f"{str(folder)!r} holds records up to step {last}; say at which step this training goes on (`step=`)."
    )


def nothing_recorded(folder: Path) -> InputError:
    return InputError("RA288", f"{str(folder)!r} holds no record yet; `step` or `begin` makes the first.")


def no_features(layer: str, kept: int, fewest: int) -> InputError:
    return InputError(
        "RA288",
        f"{kept} records kept their features of {layer!r}; at least {fewest} needed. `keep=` says how many bytes of "
        "features a monitor keeps.",
    )


def unknown_split(split: str, known: Sequence[str]) -> InputError:
    return InputError("RA288", f"{split!r} is no split of this training; expected one of {', '.join(known)}.")


def no_best() -> InputError:
    return InputError(
        "RA288", "No record has a score to choose by: the rule's burn-in leaves none, or its quantity was not measured."
    )


def checkpoints_without_step(names: Sequence[str]) -> InputError:
    what = f"no step in the names of {listed(list(names), 4)}" if names else "no checkpoint was found"
    return InputError(
        "RA290",
        f"Checkpoints need a step: {what}. Expected names such as 'epoch10.pt', or a mapping from steps to files.",
    )


def same_step(step: int, names: Sequence[str]) -> InputError:
    shown = listed(list(names), 4)
    return InputError("RA290", f"Step {step} has {len(names)} checkpoints: {shown}; expected one a step.")


def no_checkpoint_measured(failures: Sequence[str]) -> InputError:
    return InputError("RA290", f"No checkpoint could be measured: {listed(list(failures), 4)}.")
