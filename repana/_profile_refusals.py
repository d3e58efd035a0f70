"""Refusals of `profile`: what was found, where, and what to do."""

from collections.abc import Sequence
from typing import Any

from repana._check import listed
from repana.errors import InputError


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


def held_out_needs_activations() -> InputError:
    return InputError("RA213", "`held_out` is data but there is no model to run it through; give recorded Activations.")


def nothing_measured(failures: Sequence[str]) -> InputError:
    first = list({failure.rpartition(": RA")[2]: failure.rstrip(".") for failure in reversed(failures)}.values())[::-1]
    return InputError("RA220", f"no quantity could be measured: {'; '.join(first[:2]) or 'there are no layers'}.")


def moments_alone() -> InputError:
    return InputError(
        "RA205",
        "there are no features: max_samples=0 keeps moments alone, for `record`. Give `profile` at least a few samples "
        "of every class.",
    )


def beyond_memory(needed: str, room: str, asked: bool) -> InputError:
    why = "that `analysis_memory` allows" if asked else "that are free"
    return InputError(
        "RA264",
        f"needs up to {needed} beside the features by its plan, above the {room} {why}. Keep fewer samples "
        "(`max_samples=`), measure narrower layers, or raise `analysis_memory=` if you know that it fits.",
    )


def samples_not_known() -> InputError:
    return InputError("RA265", "the data do not tell how many samples they have; give `samples=`.")


def subset_too_small(kept: int, classes: int, short: Sequence[Any]) -> InputError:
    return InputError(
        "RA221",
        f"`max_samples` kept {kept} samples of {classes} classes, and fewer than 2 of class(es) {listed(short)}; such "
        f"a subset looks collapsed whatever the network does. Keep at least {10 * classes}, ten of every class.",
    )


def baselines_need_a_model() -> InputError:
    return InputError(
        "RA213", "`baselines` re-initialises a model, and recorded Activations came; give the model and its data."
    )


def parameter_not_read(function: str, name: str) -> InputError:
    return InputError(
        "RA212",
        f"`{function}` takes `{name}`, which names nothing that is read of a layer; expected `features`, `labels`, "
        "`groups`, a parameter annotated with a summary such as `Moments`, or one with a default.",
    )


def function_without_name(function: Any) -> InputError:
    return InputError(
        "RA212", f"`analyzers` has {function!r}, which has no name to file its numbers under; define it with `def`."
    )


def name_taken(name: str) -> InputError:
    return InputError("RA212", f"`analyzers` has a function called {name!r}, and repana has one too; rename yours.")


def not_measurements(name: str, kind: str) -> InputError:
    return InputError(
        "RA212", f"`{name}` returned {kind}; expected a number, an `Estimate`, or a dataclass with such fields."
    )


def not_an_analyzer(value: Any) -> InputError:
    return InputError(
        "RA212", f"`analyzers` has {value!r}; expected names, functions of features and labels, or `Analyzer`s."
    )
