"""`profile`: record a model over data, measure every layer with every family, and put it all into a report."""

import hashlib
import inspect
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from repana import _check, _profile_refusals
from repana._activations import Activations, renumbered, with_tensors
from repana._ambient import settled
from repana._loop import Measurements
from repana._renamed import renamed
from repana._results import Report
from repana._selection import Selection, as_listed, selected
from repana._table import described
from repana._typing import INPUT
from repana.collapse._formulas import CONVENTIONS
from repana.errors import RepanaError
from repana.extraction._guards import steps
from repana.extraction._record import record
from repana.extraction._reinitialised import iter_once, reinitialised

OF_DICTIONARIES = ("dictionary_quality", "splice")  # measured where dictionaries are given
PERMUTATIONS = 199  # of which 5 to either side lie outside the 95% range


@renamed(replicates="bootstrap", null="permutations")
@settled()
def profile(
    model: nn.Module | Activations | Mapping[str, Any],
    data: Any = None,
    layers: Any = "auto",
    analyzers: Any = "all",
    *,
    held_out: Any = None,
    run: str = "model",
    step: int | float | None = None,
    split: str = "train",
    convention: str = "papyan",
    permutations: int = PERMUTATIONS,
    bootstrap: int = 100,
    level: float = 0.95,
    seed: int = 0,
    baselines: int = 0,
    factory: Callable[[], nn.Module] | None = None,
    analysis_memory: int | None = None,
    dictionaries: Mapping[str, Any] | None = None,
    ntk: bool | Mapping[str, Any] = False,
    relation: str | Mapping[str, Any] | None = None,
    **recording: Any,
) -> Report:
    """Measure every layer of a model over a dataset: one forward pass, every family, one report.

    - `model`, `data`, `layers`: as `record` takes them; or `Activations` alone; or features that you have, as a mapping
      from layer to an array (n, d), with labels in the place of `data`: `profile({"layer1": x, "layer2": z}, labels)`.
      `held_out` is a second dataset (`Activations`, or a pair of such a mapping and its labels) measured beside the
      first; nearest-mean decisions on it use the class means of `data`.
    - `run` names the report's rows, `step` says where in training the model stands (epochs or updates).
    - `analyzers`: "all", or names from the registry (`repana metrics` lists them), among which may be "all";
      "dimension_estimators" is measured only where it is named. "complexity" reads the units of the classifier's input
      from all layers up to it. Functions of your own stand beside names, as in `["all", my_function]`: a function of
      (features, labels), or of summaries such as `Moments` by annotation, that returns a number, an `Estimate` or a
      dataclass of them; or an `Analyzer`, which also says labels and units.
      `convention`: see `neural_collapse`.
    - `permutations`: label permutations, for p and the shuffled-label null; `bootstrap`: of the bootstrap; 0
      for none.
    - `baselines`: so many copies of the model with new random weights, whose layers are probed beside its own (3 in
      `probe_layers`); `factory` makes one, by default the modules of a copy are reset (see `repana.reinitialised`).
    - `analysis_memory`: bytes that an analyzer may take beside the features, by its plan (see `plan_profile`); by
      default what is free when it begins. What would take more is a failure that says so.
    - `dictionaries`: by layer a `Dictionary`, such as a sparse autoencoder from `load_sae`: how well it writes the
      layer's rows (`dictionary_quality`; of token models every real token is a row, whatever the pooling) and what the
      network loses by it (`splice`).
    - `ntk`: the tangent kernel of the network, summed over the parameters of each recorded layer (see
      `repana.kernels.ntk`); a mapping gives its options, as `{"most": 256, "outputs": "mean"}`, among which may be
      `earlier`: the `LayerKernels` of an earlier checkpoint, from which its velocity is read.
    - `relation`: a later layer, to which one linear map is fitted from each recorded layer before it (see
      `repana.probes.relation`); a mapping gives its options, as `{"object": "block4", "fit": 40}`.
    - `recording`: everything else that `record` takes (`pool`, `mask`, `max_samples`, `batch_size`, `device`, ...).

    A layer or quantity that cannot be measured does not stop the others: `report.failures` says which and why.

    Without labels, "all" takes the analyzers that need none.

    Raises InputError when an analyzer that was named needs labels and there are none, or when nothing could be
    measured, and all that `record` raises.
    """
    alive = _of_live_models(ntk, relation)
    named = [*(OF_DICTIONARIES if dictionaries else ()), *alive]
    selection = selected([*as_listed(analyzers), *named] if named else analyzers)
    if isinstance(model, Activations) and data is not None:
        raise _profile_refusals.activations_and_data()
    if isinstance(model, Activations) and isinstance(held_out, Activations):
        both = all(a.provenance.get("class_names") for a in (model, held_out))
        held_out = renumbered(held_out, model) if both else held_out
    if isinstance(model, Mapping) and not isinstance(model, Activations):
        if recording:
            raise _profile_refusals.no_recording(list(recording))
        (model, held_out), data = of_arrays(model, data, held_out, layers), None
    settings = {
        "convention": convention, "permutations": permutations, "bootstrap": bootstrap, "level": level, "seed": seed,
    }  # fmt: skip
    _check_options(settings, baselines, recording)
    if baselines and iter_once(data):
        raise _check.walked_once(type(data).__name__)
    if baselines and isinstance(model, Activations):
        raise _profile_refusals.baselines_need_a_model()
    began = time.perf_counter()
    train = _recorded(model, data, layers, seed, recording)
    splits = {split: train}
    if held_out is not None:
        other = None if isinstance(held_out, Activations) else model
        if isinstance(other, Activations):
            raise _profile_refusals.held_out_needs_activations()
        given = held_out if other is None else other
        splits["held_out"] = _recorded(given, held_out, layers, seed, recording)
    if analysis_memory is not None:
        _check.at_least(analysis_memory, "analysis_memory", 0)
    measured = Measurements(run, settings, analysis_memory)
    chosen: dict[str, Selection] = {}
    for name, activations in splits.items():
        chosen[name] = selection = _measurable(activations, name, selection)
    count = sum(len(chosen[name].analyzers) * len(a.layers) for name, a in splits.items())
    with steps(count, recording.get("progress")) as begin:
        for name, activations in splits.items():
            measured.add_layers(activations, name, chosen[name], None if activations is train else train, begin)
    for name, activations in splits.items():
        copies = baselines if name == split else 0
        measured.add_across(
            activations,
            name,
            selection,
            lambda: _untrained(model, data, train, copies, factory, recording, seed, split, measured.fail),  # noqa: B023
            lambda: _inputs(model, data, train, recording, seed),
            dictionaries,
            _live(model, data if name == split else held_out, recording),
            alive,
        )
    failures = measured.failures()
    if not measured.rows:
        raise _profile_refusals.nothing_measured(failures)
    asked = {**_arguments(layers, analyzers), **settings, **_recording_settings(recording)}
    asked |= {name: _plain(options) or True for name, options in alive.items()}
    provenance = {
        **train.provenance,
        "run": run,
        **({} if step is None else {"step": step}),
        **_of_splits(splits, train, settings),
        **_of_measurements(measured, selection),
        "arguments": asked,
        "failures": failures,
        "seconds": round(time.perf_counter() - began, 3),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    return Report(tuple(measured.rows), measured.arrays, provenance)


def _of_live_models(ntk: bool | Mapping[str, Any], relation: str | Mapping[str, Any] | None) -> dict[str, Any]:
    """What reads the live model, by name, with its options."""
    asked: dict[str, Any] = {"ntk": dict(ntk) if isinstance(ntk, Mapping) else {}} if ntk else {}
    if relation is None:
        return asked
    return asked | {"relation": dict(relation) if isinstance(relation, Mapping) else {"object": relation}}


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a file can hold."""
    return {name: v for name, v in options.items() if isinstance(v, (str, int, float, bool)) or v is None}


def _check_options(settings: Mapping[str, Any], baselines: int, recording: Mapping[str, Any]) -> None:
    _check.choice(settings["convention"], "convention", CONVENTIONS)
    _check.level_of(settings["level"])
    counts = {name: settings[name] for name in ("permutations", "bootstrap")} | {"baselines": baselines}
    for name, value in counts.items():
        if value < 0:
            raise _check.negative(name, value)
    check_recording(recording)


def check_recording(recording: Mapping[str, Any], also: Iterable[str] | None = None) -> None:
    """Refuse options that no recording has, and one without features. `also`: what else may be said to be an option."""
    if recording.get("max_samples") == 0:
        raise _profile_refusals.moments_alone()
    known = {*inspect.signature(record).parameters} - {"model", "data", "layers", "seed"}
    own = {*inspect.signature(profile).parameters} - {"model", "data", "layers", "recording"}
    own = own if also is None else {*also}
    for name in recording:
        _check.choice(name, "an option of profile", sorted(known | own))


def _of_splits(
    splits: Mapping[str, Activations], train: Activations, settings: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """What the provenance says of every split: its samples, and where it came from."""
    counts = {
        name: {"samples": a.seen, "kept": len(a.sample), "draws": _draws(a, settings)} for name, a in splits.items()
    }
    return {"splits": counts, "recordings": {n: dict(a.provenance) for n, a in splits.items() if a is not train}}


def _of_measurements(measured: Measurements, selection: Selection) -> dict[str, Any]:
    """What the provenance says of the quantities: which analyzers, their settings, what they mean, their sources."""
    found = selection.of(measured.settings)
    return {
        "analyzers": selection.names,
        "settings": measured.settings,
        "classes": measured.classes,
        "quantities": {**measured.quantities, **described(found)},
        "sources": selection.sources(found),
    }


def of_arrays(
    features: Mapping[str, Any], labels: Any, held_out: Any, layers: Any
) -> tuple[Activations, Activations | None]:
    """Features that came as arrays, and held-out ones, as Activations; named classes are numbered alike in both."""
    if not features:
        raise _profile_refusals.no_features()
    names = list(features) if layers == "auto" else [layers] if isinstance(layers, str) else list(layers)
    train = Activations(features, labels).select(*names)
    if isinstance(held_out, Mapping) and not isinstance(held_out, Activations):
        held_out = (held_out, None)
    if isinstance(held_out, tuple) and len(held_out) == 2 and isinstance(held_out[0], Mapping):
        held_out = Activations(*held_out).select(*names)
    if held_out is None:
        return train, None
    if not isinstance(held_out, Activations):
        raise _profile_refusals.held_out_pair(held_out)
    return train, renumbered(held_out, train)


def probe_layers(model: nn.Module, data: Any, layers: Any = "auto", *, baselines: int = 3, **options: Any) -> Report:
    """How well the labels can be read from every layer, with all controls: `profile` with the probes alone.

    Six probes a layer on one split (`probing`), their accuracy on shuffled labels, the raw input, `baselines`
    re-initialised copies and random projections of the input (`probe_baselines`), the layer selected on the validation
    rows (`best_layer`) and every layer against it (`layer_differences`). Options are those of `profile` and `record`.

    Raises what `profile` raises.
    """
    return profile(model, data, layers, "probing", baselines=baselines, **options)


def _draws(activations: Activations, settings: Mapping[str, Any]) -> str:
    """A fingerprint of what decides the random draws: labels, their order, which samples, seed and numbers."""
    labels = torch.empty(0) if activations.labels is None else activations.labels
    text = hashlib.sha256(labels.cpu().long().contiguous().numpy().tobytes())
    text.update(activations.sample.cpu().contiguous().numpy().tobytes())
    text.update(repr([settings[name] for name in ("seed", "bootstrap", "permutations", "convention")]).encode())
    return text.hexdigest()[:16]


def _arguments(layers: Any, analyzers: Any) -> dict[str, Any]:
    """What was asked for, as it would be typed; predicates and classes by their name."""
    named = [layers] if isinstance(layers, str) or callable(layers) else list(layers)
    texts = [x if isinstance(x, str) else getattr(x, "__name__", repr(x)) for x in named]
    chosen = [analyzers] if isinstance(analyzers, str) or callable(analyzers) else list(analyzers)
    asked = [a if isinstance(a, str) else getattr(a, "name", getattr(a, "__name__", repr(a))) for a in chosen]
    return {
        "layers": texts[0] if len(texts) == 1 else texts,
        "analyzers": asked[0] if isinstance(analyzers, str) else asked,
    }


def _recording_settings(recording: Mapping[str, Any]) -> dict[str, Any]:
    kept = (str, int, float, bool)
    return {k: v if isinstance(v, kept) or v is None else str(v) for k, v in recording.items() if k != "progress"}


def _check_kept(activations: Activations) -> None:
    """A subset needs two samples of every class that the data have, or it shows collapse where there is none."""
    if not activations.exact or activations.labels is None:
        return
    classes = next(iter(activations.exact.values())).classes.tolist()
    kept = [int((activations.labels == value).sum()) for value in classes]
    counts = next(iter(activations.exact.values())).count.tolist()
    short = [value for value, k, n in zip(classes, kept, counts) if k < min(2, n)]
    if short:
        raise _profile_refusals.subset_too_small(len(activations.sample), len(classes), short)


def _measurable(activations: Activations, split: str, selection: Selection) -> Selection:
    """What can be measured of a split: without labels, what needs none."""
    if not len(activations.sample):
        raise _profile_refusals.moments_alone()
    _check_kept(activations)
    if activations.labels is not None:
        return selection
    return selection.without_labels(split)


def _recorded(model: Any, data: Any, layers: Any, seed: int, recording: Mapping[str, Any]) -> Activations:
    if isinstance(model, Activations):
        return with_tensors(model)
    options = dict(recording)
    if options.get("max_samples") is not None:
        options.setdefault("scatter", True)  # so that values are exact over all samples, not over the kept ones
    return record(model, data, layers, seed=seed, **options)


def _untrained(
    model: Any,
    data: Any,
    trained: Activations,
    copies: int,
    factory: Callable[[], nn.Module] | None,
    recording: Mapping[str, Any],
    seed: int,
    split: str,
    fail: Callable[[str, str, str, Exception], None],
) -> list[Activations]:
    """The same data through copies of the network with new random weights, as many as could be made."""
    options = {k: v for k, v in recording.items() if k in ("forward", "batch_size")}
    found: list[Activations] = []
    for k in range(copies):
        try:
            fresh = reinitialised(model, data, seed=seed + k, factory=factory, **options)
            found.append(record(fresh, data, list(trained.layers), seed=seed, **recording))
        except RepanaError as error:
            fail(split, "", f"re-initialised copy {k}", error)
            break
    return found


def _live(model: Any, data: Any, recording: Mapping[str, Any]) -> Callable[[], Any]:
    """The model with the data of a split, where there is one and the data can be walked again."""
    if isinstance(model, Activations) or data is None or iter_once(data) or isinstance(data, Activations):
        return lambda: None
    return lambda: (model, data, recording)


def _inputs(model: Any, data: Any, trained: Activations, recording: Mapping[str, Any], seed: int) -> Any:
    """The raw input (n, d) of the network; None where there is none: token numbers are no features."""
    if INPUT in trained:
        return trained[INPUT]
    if isinstance(model, Activations):
        return None
    try:
        return record(model, data, [INPUT], seed=seed, **recording)[INPUT]
    except RepanaError:
        return None
