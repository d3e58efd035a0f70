"""The loop: for layer, for analyzer; then what is read across layers. One failure never costs the others."""

import numbers
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch

from repana import _profile_refusals
from repana._activations import Activations
from repana._ambient import WORTH_THREADS, free_memory, release_memory, threads
from repana._cost import Size
from repana._costs import across_peak, cost_of, held_bytes
from repana._estimate import Estimate, Flag
from repana._measure import Layer
from repana._numbers import readable
from repana._quantity import Quantity
from repana._results import Row, row
from repana._selection import Selection, read_later, summary_line
from repana._table import Across, Analyzer, Context
from repana._typing import IGNORED
from repana.errors import RepanaError

LARGEST_ARRAY = 250_000  # entries; larger ones (a CDNV grid of 1000 classes) stay out of the report


class Measurements:
    """Rows and arrays of one run as they are measured, with the settings of each analyzer and what failed."""

    def __init__(self, run: str, settings: Mapping[str, Any], memory: int | None = None) -> None:
        self._run, self._shared, self._memory = run, settings, memory
        self.rows: list[Row] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.settings: dict[str, dict[str, Any]] = {}
        self.classes: dict[str, dict[str, int]] = {}
        self.quantities: dict[str, dict[str, Any]] = {}  # of analyzers that declare none: a user's own functions
        self._results: dict[str, dict[str, dict[str, Any]]] = {}
        self._failed: dict[tuple[str, str, str], list[str]] = {}

    def fail(self, split: str, layer: str, analyzer: str, error: Exception) -> None:
        text = str(error) if isinstance(error, RepanaError) else f"{type(error).__name__}: {error}"
        self._failed.setdefault((split, analyzer, text), []).append(layer)

    def failures(self) -> list[str]:
        """One line for each failure; one that several layers share is said once, with the layers."""
        lines = []
        for (split, analyzer, text), layers in self._failed.items():
            where = layers[0] or "whole network" if len(layers) == 1 else f"{len(layers)} layers ({', '.join(layers)})"
            lines.append(f"{split}, {where}, {analyzer}: {text}")
        return lines

    def add_layers(
        self,
        activations: Activations,
        split: str,
        selection: Selection,
        reference: Activations | None,
        begin: Callable[[str], None] = lambda name: None,
    ) -> None:
        """Measure every layer of a split. `reference` are the activations of the training split; `begin` is called with
        the layer and the analyzer before each step."""
        results = self._results.setdefault(split, {})
        kept = read_later(selection)
        classes = _classes(activations)
        if classes:
            self.classes[split] = classes
        for depth, name in enumerate(activations.layers):
            known = reference.moments[name] if reference is not None and name in reference else None
            layer = Layer(activations, name, self._shared, known)
            features = activations[name]
            size = features.numel()
            shape = self._size(features, len(classes))
            with threads(size):
                for analyzer, later in zip(selection.analyzers, kept):
                    begin(f"{name}, {analyzer.name}")
                    try:
                        self._check_memory(analyzer, shape, layer.held, features.device)
                        result = layer.measure(analyzer.measure, analyzer.name)
                        self._file(analyzer, split, name, depth, result)
                    except Exception as error:  # of any kind: a user's own function may raise what it likes
                        self.fail(split, name, analyzer.name, error)
                        continue
                    finally:
                        layer.forget(later)
                        if size >= WORTH_THREADS:
                            release_memory()
                    results.setdefault(name, {})[analyzer.name] = result

    def _size(self, features: torch.Tensor, classes: int) -> Size:
        draws = {name: int(self._shared.get(name, 0)) for name in ("permutations", "bootstrap")}
        return Size(len(features), max(1, features.shape[1]), classes, **draws)

    def _check_memory(self, analyzer: Analyzer, size: Size, held: Collection[Any], device: torch.device) -> None:
        """Refuse what would take more memory than there is, before it takes everything else with it."""
        cost = cost_of(analyzer, size, held)
        if cost is not None:
            self._check_peak(cost.peak, held_bytes(held, size), device)

    def _check_across(self, across: Across, activations: Activations) -> None:
        widths = [int(activations[name].shape[1]) for name in activations.layers]
        peak = across_peak(across, Size(len(activations.sample), max(1, *widths)), widths)
        if peak:
            self._check_peak(peak, 0, activations[activations.layers[0]].device)

    def _check_peak(self, peak: int | float, held: int | float, device: torch.device) -> None:
        """`held` bytes of the peak are taken already."""
        room = free_memory(device) + held if self._memory is None else self._memory
        if peak > room:
            raise _profile_refusals.beyond_memory(readable(peak), readable(room), self._memory is not None)

    def add_across(
        self,
        activations: Activations,
        split: str,
        selection: Selection,
        untrained: Callable[[], list[Activations]],
        inputs: Callable[[], Any],
        dictionaries: Mapping[str, Any] | None = None,
        live: Callable[[], Any] = lambda: None,
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Measure what is read from all layers of a split together."""
        context = Context(
            self._run, split, activations, self._results[split], self._shared, self.fail,
            untrained=untrained, inputs=inputs, dictionaries=dictionaries or {}, live=live,
            options=options or {},
        )  # fmt: skip
        depths = {layer: depth for depth, layer in enumerate(activations.layers)}
        for across in selection.across:
            if not all(name in context.found or context.of(name) for name in across.needs):
                continue
            if across.of_texts and across.name not in selection.by_name and not activations.has_tokens:
                continue
            try:
                self._check_across(across, activations)
                outcome = across.read(context)
            except Exception as error:
                self.fail(split, "", across.name, error)
                continue
            if outcome is None:
                continue
            context.found[across.name] = outcome
            for layer, result in outcome.results.items():
                found = measurements(across.name, result, across.quantities)
                self.rows += [
                    row(self._run, split, layer, depths.get(layer, -1), across.name, q, e) for q, e in found.items()
                ]
                self.settings.setdefault(across.name, dict(outcome.settings or getattr(result, "settings", {})))
            for (layer, name), array in outcome.arrays.items():
                key = name if "." in name else f"{across.name}.{name}"
                self.arrays[f"{split}/{layer}/{key}"] = array.detach().cpu().numpy()

    def _file(self, analyzer: Analyzer, split: str, layer: str, depth: int, result: Any) -> None:
        found = measurements(analyzer.name, result, analyzer.quantities)
        arrays = _arrays(result, f"{split}/{layer}/{analyzer.name}") if is_dataclass(result) else {}
        self.rows += [row(self._run, split, layer, depth, analyzer.name, q, e) for q, e in found.items()]
        self.arrays |= arrays
        self.settings.setdefault(analyzer.name, dict(getattr(result, "settings", {})))
        if not analyzer.quantities:
            formula = summary_line(analyzer.function)
            own = {f"{analyzer.name}.{q}": Quantity(q, formula, headline=True).described() for q in found}
            self.quantities |= own


def measurements(name: str, result: Any, declared: tuple[Quantity, ...]) -> dict[str, Estimate]:
    """The numbers of a result by name: an `Estimate` or a number alone has the analyzer's name.

    Of a dataclass its `Estimate`s, and fields that are numbers where the analyzer declares them, or declares nothing.
    """
    one = _estimate(result)
    if one is not None:
        return {name: one}
    if not is_dataclass(result):
        raise _profile_refusals.not_measurements(name, type(result).__name__)
    requested = {q.name for q in declared}
    found: dict[str, Estimate] = {}
    for f in fields(result):
        value = getattr(result, f.name)
        e = value if isinstance(value, Estimate) else _estimate(value) if not requested or f.name in requested else None
        if e is not None and Flag.NOT_APPLICABLE not in e.flags:
            found[f.name] = e
    if not found and not requested:
        raise _profile_refusals.not_measurements(name, f"{type(result).__name__} without numbers")
    return found


def _estimate(value: Any) -> Estimate | None:
    if isinstance(value, Estimate):
        return value
    single = isinstance(value, torch.Tensor) and value.numel() == 1 or isinstance(value, np.ndarray) and value.size == 1
    return Estimate(float(value)) if single or isinstance(value, numbers.Real) else None


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


def _classes(activations: Activations) -> dict[str, int]:
    """How many samples every class has, by its name; empty where labels are no classes."""
    exact = next(iter(activations.exact.values()), None)
    if exact is not None:
        values, counts = exact.classes.tolist(), exact.count.tolist()
    else:
        labels = activations.labels
        if labels is None or labels.ndim != 1 or labels.is_floating_point():
            return {}
        kept = labels[labels != IGNORED]
        values, counts = (t.tolist() for t in torch.unique(kept, return_counts=True))
    names = activations.provenance.get("class_names") or ()
    return {str(names[k] if names else k): int(count) for k, count in zip(values, counts)}
