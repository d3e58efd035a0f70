"""The loop: record, summarise once per layer, read every quantity, put the rows into a report."""

import hashlib
import inspect
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from repana import _check, _profile_refusals
from repana._activations import Activations, renumbered
from repana._ambient import settled
from repana._results import Report, Row, estimates, row
from repana._typing import IGNORED
from repana.analyzers import ACROSS_LAYERS, ANALYZERS, Analyzer
from repana.collapse._formulas import CONVENTIONS
from repana.errors import RepanaError
from repana.extraction._record import record
from repana.extraction._reinitialised import iter_once
from repana.features._read_features import across_features
from repana.probes._across_layers import across_probes, untrained
from repana.probes._suite import Probing
from repana.separation._fisher import separation_law
from repana.summaries.covariance import Covariance
from repana.summaries.discriminant import Discriminant
from repana.summaries.moments import Moments
from repana.summaries.neighbour_graph import Cloud
from repana.summaries.pairwise_distances import Pairs
from repana.summaries.subsample import Sketch

FEATURES = "complexity"  # measured of all layers together
LARGEST_ARRAY = 250_000  # entries; larger ones (a CDNV grid of 1000 classes) stay out of the report


@settled()
def profile(
    model: nn.Module | Activations | Mapping[str, Any],
    data: Any = None,
    layers: Any = "auto",
    analyzers: str | Iterable[str] = "all",
    *,
    held_out: Any = None,
    run: str = "model",
    step: int | float | None = None,
    split: str = "train",
    convention: str = "papyan",
    null: int = 20,
    replicates: int = 100,
    level: float = 0.95,
    seed: int = 0,
    baselines: int = 0,
    factory: Callable[[], nn.Module] | None = None,
    **recording: Any,
) -> Report:
    """Measure every layer of a model over a dataset: one forward pass, every family, one report.

    - `model`, `data`, `layers`: as `record` takes them; or `Activations` alone; or features that you have, as a mapping
      from layer to an array (n, d), with labels in the place of `data`: `profile({"layer1": x, "layer2": z}, labels)`.
      `held_out` is a second dataset (`Activations`, or a pair of such a mapping and its labels) measured beside the
      first; nearest-mean decisions on it use the class means of `data`.
    - `run` names the report's rows, `step` says where in training the model stands (epochs or updates).
    - `analyzers`: "all" or names of the ANALYZERS table, among which may be "all"; "dimension_estimators" is measured
      only where it is named. "complexity" reads the units of the classifier's input from all layers up to it.
      `convention`: see `neural_collapse`.
    - `null`: label permutations for the value without class structure; `replicates`: of the bootstrap; 0 for none.
    - `baselines`: so many copies of the model with new random weights, whose layers are probed beside its own (3 in
      `probe_layers`); `factory` makes one, by default the modules of a copy are reset (see `repana.reinitialised`).
    - `recording`: everything else that `record` takes (`pool`, `mask`, `max_samples`, `batch_size`, `device`, ...).

    A layer or quantity that cannot be measured does not stop the others: `report.failures` says which and why.

    Without labels, "all" takes the analyzers that need none.

    Raises InputError when an analyzer that was named needs labels and there are none, or when nothing could be
    measured, and all that `record` raises.
    """
    analyzers = analyzers if isinstance(analyzers, str) else list(analyzers)
    chosen = _chosen(analyzers)
    if isinstance(model, Activations) and data is not None:
        raise _profile_refusals.activations_and_data()
    if isinstance(model, Activations) and isinstance(held_out, Activations):
        both = all(a.provenance.get("class_names") for a in (model, held_out))
        held_out = renumbered(held_out, model) if both else held_out
    if isinstance(model, Mapping) and not isinstance(model, Activations):
        if recording:
            raise _profile_refusals.no_recording(list(recording))
        (model, held_out), data = _of_arrays(model, data, held_out, layers), None
    _check.choice(convention, "convention", CONVENTIONS)
    _check.level_of(level)
    for name, value in (("null", null), ("replicates", replicates), ("baselines", baselines)):
        if value < 0:
            raise _check.negative(name, value)
    if recording.get("max_samples") == 0:
        raise _profile_refusals.moments_alone()
    known = {*inspect.signature(record).parameters} - {"model", "data", "layers", "seed"}
    own = {*inspect.signature(profile).parameters} - {"model", "data", "layers", "recording"}
    for name in recording:
        _check.choice(name, "an option of profile", sorted(known | own))
    if baselines and iter_once(data):
        raise _check.walked_once(type(data).__name__)
    began = time.perf_counter()
    train = _recorded(model, data, layers, seed, recording)
    splits = {split: train}
    if held_out is not None:
        other = None if isinstance(held_out, Activations) else model
        if isinstance(other, Activations):
            raise _profile_refusals.held_out_needs_activations()
        splits["held_out"] = held_out if other is None else _recorded(other, held_out, layers, seed, recording)
    settings = {"convention": convention, "null": null, "replicates": replicates, "level": level, "seed": seed}
    rows: list[Row] = []
    arrays: dict[str, np.ndarray] = {}
    failures: list[str] = []
    details: dict[str, Any] = {}
    probings: dict[str, dict[str, Probing]] = {name: {} for name in splits}
    for name, activations in splits.items():
        if not len(activations.sample):
            raise _profile_refusals.moments_alone()
        if activations.labels is None:
            if any(ANALYZERS[a].labels for a in _named(analyzers)):
                raise _check.no_labels(name)
            chosen = [a for a in chosen if not a.labels]
        _check_kept(activations)
        for depth, layer in enumerate(activations.layers):
            reference = train.moments[layer] if activations is not train and layer in train else None
            measured = _measure(activations, layer, chosen, settings, reference)
            for analyzer, result in measured.items():
                if isinstance(result, RepanaError):
                    failures.append(f"{name}, {layer}, {analyzer}: {result}")
                    continue
                if isinstance(result, Probing):
                    probings[name][layer] = result
                found = {q: e for q, e in estimates(result).items() if e.note != "not applicable"}
                rows += [row(run, name, layer, depth, analyzer, q, e) for q, e in found.items()]
                arrays |= _arrays(result, f"{name}/{layer}/{analyzer}")
                details.setdefault("settings", {}).setdefault(analyzer, dict(getattr(result, "settings", {})))
                if hasattr(result, "counts"):
                    named = activations.provenance.get("class_names") or ()
                    shown = [str(named[k] if named else k) for k in result.classes]
                    details.setdefault("classes", {})[name] = dict(zip(shown, map(int, result.counts)))
    report = Report(tuple(rows), arrays)
    rows += _across(report, run, failures, level)
    for name, found in probings.items():
        depths = {layer: depth for depth, layer in enumerate(splits[name].layers)}
        rows += across_probes(found, run, name, depths, level, seed)
    for name, activations in splits.items() if {"all", FEATURES} & {*_names(analyzers)} else ():
        found, more, said = across_features(activations, run, name, level, seed, failures)
        rows += found
        arrays |= more
        details.setdefault("settings", {}).update(said)
    if not rows:
        raise _profile_refusals.nothing_measured(failures)
    if baselines and probings[split]:
        if isinstance(model, Activations):
            raise _profile_refusals.baselines_need_a_model()
        rows += untrained(
            model, data, train, probings[split], run, split, baselines, factory, recording, level, seed, failures
        )
    provenance = {
        **train.provenance,
        "run": run,
        **({} if step is None else {"step": step}),
        "splits": {
            name: {"samples": a.seen, "kept": len(a.sample), "draws": _draws(a, settings)} for name, a in splits.items()
        },
        "recordings": {name: dict(a.provenance) for name, a in splits.items() if a is not train},
        "analyzers": [a.name for a in chosen] + [FEATURES] * ("complexity" in details.get("settings", {})),
        "arguments": {**_arguments(layers, analyzers), **settings, **_shown(recording)},
        **details,
        "failures": failures,
        "seconds": round(time.perf_counter() - began, 3),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    return Report(tuple(rows), arrays, provenance)


def _of_arrays(
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

    Six probes a layer on one split (`probing`), their accuracy on permuted labels, the raw input, `baselines`
    re-initialised copies and random projections of the input (`probe_baselines`), the layer chosen on the select rows
    (`best_layer`) and every layer against it (`layer_differences`). Options are those of `profile` and `record`.

    Raises what `profile` raises.
    """
    return profile(model, data, layers, "probing", baselines=baselines, **options)


def _draws(activations: Activations, settings: Mapping[str, Any]) -> str:
    """A fingerprint of what decides the random draws: labels, their order, which samples, seed and numbers."""
    labels = torch.empty(0) if activations.labels is None else activations.labels
    text = hashlib.sha256(labels.cpu().long().contiguous().numpy().tobytes())
    text.update(activations.sample.cpu().contiguous().numpy().tobytes())
    text.update(repr([settings[name] for name in ("seed", "replicates", "null", "convention")]).encode())
    return text.hexdigest()[:16]


def _arguments(layers: Any, analyzers: str | Iterable[str]) -> dict[str, Any]:
    """What was asked for, as it would be typed; predicates and classes by their name."""
    named = [layers] if isinstance(layers, str) or callable(layers) else list(layers)
    texts = [x if isinstance(x, str) else getattr(x, "__name__", repr(x)) for x in named]
    wanted = analyzers if isinstance(analyzers, str) else list(analyzers)
    return {"layers": texts[0] if len(texts) == 1 else texts, "analyzers": wanted}


def _shown(recording: Mapping[str, Any]) -> dict[str, Any]:
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


def _names(analyzers: str | Iterable[str]) -> list[str]:
    return [analyzers] if isinstance(analyzers, str) else list(analyzers)


def _named(analyzers: str | Iterable[str]) -> list[str]:
    """The analyzers of the table that were asked for by name."""
    return [name for name in _names(analyzers) if name not in ("all", FEATURES)]


def _chosen(analyzers: str | Iterable[str]) -> list[Analyzer]:
    names = _named(analyzers)
    for name in names:
        _check.choice(name, "analyzers", ("all", *ANALYZERS, FEATURES))
    whole = "all" in _names(analyzers)
    return [a for a in ANALYZERS.values() if a.name in names or (whole and a.default)]


def _recorded(model: Any, data: Any, layers: Any, seed: int, recording: Mapping[str, Any]) -> Activations:
    if isinstance(model, Activations):
        return model
    options = dict(recording)
    if options.get("max_samples") is not None:
        options.setdefault("scatter", True)  # so that values are exact over all samples, not over the kept ones
    return record(model, data, layers, seed=seed, **options)


def _measure(
    activations: Activations,
    layer: str,
    chosen: list[Analyzer],
    settings: Mapping[str, Any],
    reference: Moments | None,
) -> dict[str, Any]:
    """The result of every analyzer on one layer, or the error that it raised."""
    try:
        x = _check.features_of(activations[layer])
    except RepanaError as error:
        return dict.fromkeys([a.name for a in chosen], error)
    results: dict[str, Any] = {}
    codes: Tensor | RepanaError | None = None
    try:
        codes = None if activations.labels is None else _check.labels_of(activations.labels, len(x), layer)[0]
    except RepanaError as error:
        codes = error
    keep = codes != IGNORED if isinstance(codes, Tensor) else torch.ones(len(x), dtype=torch.bool)
    if isinstance(codes, Tensor) and not bool(keep.all()):
        at = keep.nonzero()[:, 0]
        x, codes = x[at.to(x.device)], codes[at]
    shared = _Summaries(x, codes if isinstance(codes, Tensor) else None, activations.exact.get(layer), settings)
    for analyzer in chosen:
        try:
            if not analyzer.labels:
                results[analyzer.name] = analyzer.function(shared[analyzer.reads[0]], level=settings["level"])
                continue
            if isinstance(codes, RepanaError):
                raise codes
            assert codes is not None
            _check.two_classes(codes, (), analyzer.name)
            results[analyzer.name] = _call(analyzer, x, codes, shared, activations, keep, layer, settings, reference)
        except RepanaError as error:
            results[analyzer.name] = error
    return results


class _Summaries:
    """The summaries of one layer, each computed when first read and shared by all its readers."""

    def __init__(self, x: Tensor, codes: Tensor | None, exact: Moments | None, settings: Mapping[str, Any]) -> None:
        self._x, self._codes, self._exact, self._settings = x, codes, exact, settings
        self._made: dict[type, Any] = {}

    def __getitem__(self, summary: type) -> Any:
        if summary not in self._made:
            self._made[summary] = self._make(summary)
        return self._made[summary]

    def _make(self, summary: type) -> Any:
        subset = self._exact is not None and self._exact.n != len(self._x) and self._exact.scatter is not None
        if summary is Pairs:
            assert self._codes is not None
            return Pairs.of(self._x, self._codes, seed=self._settings["seed"])
        if summary is Sketch:
            return Sketch.of(self._x, seed=self._settings["seed"])
        if summary is Cloud:
            return Cloud.of(self._x, self._codes, seed=self._settings["seed"])
        if summary is Covariance:
            if self._exact is not None and subset:
                return Covariance.from_moments(self._exact)
            return Covariance.of(self._x, seed=self._settings["seed"])
        assert self._codes is not None
        if summary is Moments:
            return self._exact if self._exact is not None else Moments.of(self._x, self._codes)
        if self._exact is not None and subset:
            return Discriminant.from_moments(self._exact)
        groups = 20 if self._settings["replicates"] else 0
        return Discriminant.of(self._x, self._codes, groups=groups, seed=self._settings["seed"])


def _call(
    analyzer: Analyzer,
    x: Tensor,
    codes: Tensor,
    shared: _Summaries,
    activations: Activations,
    keep: Tensor,
    layer: str,
    settings: Mapping[str, Any],
    reference: Moments | None,
) -> Any:
    summaries = [shared[summary] for summary in analyzer.reads]
    if not analyzer.arrays:
        taken = inspect.signature(analyzer.function).parameters
        given = {name: settings[name] for name in ("level", "null", "seed") if name in taken}
        if analyzer.sample:
            given |= _samples(activations.sample, keep)
        return analyzer.function(*(summaries or (x, codes)), **given)
    named = {summary.__name__.lower(): value for summary, value in zip(analyzer.reads, summaries)}
    options: dict[str, Any] = {}
    if analyzer.head:
        head = activations.head
        here = head is not None and head.layer == layer
        z = activations.logits
        if z is not None:
            options["logits"] = z[keep.nonzero()[:, 0].to(z.device)]
        if head is not None and here:
            options |= {"weight": head.weight, "bias": head.bias}
        options["reference"] = reference
    return analyzer.function(x, codes, **named, **options, **settings)


def _samples(sample: Tensor, keep: Tensor) -> dict[str, Tensor]:
    """Which sample each row is of, where some have several rows: those of one must not stand on both sides."""
    rows = sample[keep.nonzero()[:, 0].to(sample.device)]
    return {"groups": rows} if int(rows.unique().numel()) < len(rows) else {}


def _arrays(result: Any, prefix: str) -> dict[str, np.ndarray]:
    """The tensors of a result, by name."""
    found: dict[str, Any] = {}
    for f in fields(result):
        value = getattr(result, f.name)
        inner = isinstance(value, Mapping) and all(isinstance(v, torch.Tensor) for v in value.values())
        found |= {f"{f.name}.{k}": v for k, v in value.items()} if inner else {f.name: value}
    return {
        f"{prefix}.{name}": value.detach().cpu().numpy()
        for name, value in found.items()
        if isinstance(value, torch.Tensor) and 0 < value.numel() <= LARGEST_ARRAY
    }


def _across(report: Report, run: str, failures: list[str], level: float) -> list[Row]:
    """Quantities of the whole network, read from the rows of its layers."""
    rows: list[Row] = []
    if "fuzziness" not in report.quantities or len(report.layers) < 3:  # no law is read from two layers
        return rows
    for split in report.splits:
        for name, analyzer in ACROSS_LAYERS.items():
            if analyzer.function is not separation_law:  # the others read probes
                continue
            try:
                result = analyzer.function(report, split=split, level=level)
            except RepanaError as error:
                failures.append(f"{split}, whole network, {name}: {error}")
                continue
            rows += [row(run, split, "", -1, name, q, e) for q, e in estimates(result).items()]
    return rows
