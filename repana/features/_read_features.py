"""Rows of the feature-level family: how complex the classifier's inputs are, and how important."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from repana._activations import Activations
from repana._ambient import settled
from repana._results import Row, estimates, row
from repana.errors import RepanaError
from repana.extraction._record import record
from repana.features import _refusals
from repana.features._complexity import Complexity, complexity, layer_readings
from repana.features._complexity_importance import FEWEST, ComplexityImportance, complexity_vs_importance
from repana.features._dictionary import Dictionary, dictionary
from repana.features._head_importance import head_importance
from repana.features._importance import Importance, importance

FEW_ROWS = 20
WIDEST = 1024  # units that a profile reads features from; wider layers through random projections


@dataclass(frozen=True)
class FeatureReading:
    """Features of one layer: what they are, how complex, how important, and how the two go together."""

    complexity: Complexity
    importance: Importance
    plane: ComplexityImportance
    dictionary: Dictionary
    activations: Activations


@settled()
def read_features(
    model: nn.Module,
    data: Any,
    layer: str | None = None,
    features: Any = "units",
    *,
    layers: Any = "auto",
    count: int | None = None,
    method: str = "gradient_x_input",
    target: str | int = "predicted",
    threshold: float = 0.8,
    folds: int = 5,
    groups: Any = None,
    level: float = 0.95,
    seed: int = 0,
    **recording: Any,
) -> FeatureReading:
    """The complexity-importance plane of a model in one call.

    Records `layers`, makes the `features` of `layer` (by default what the classifier reads) by `dictionary` ("units",
    "classes", "pca", "nmf", or a matrix), reads every feature from every layer up to that one (`complexity`), asks how
    much the decision owes to it (`importance`), and relates the two (`complexity_vs_importance`).

    The parts are in the result by those names. Options are those of the four functions, and of `record`.

    Raises what they raise; ModelError where the model has no linear classifier and no `layer` is named.
    """
    activations = record(model, data, layers, seed=seed, **recording)
    if layer is None:
        if activations.head is None:
            raise _refusals.no_linear_head(activations.layers)
        layer = activations.head.layer
    if layer not in activations:
        activations = record(model, data, [*activations.layers, layer], seed=seed, **recording)
    head = activations.head
    weight = head.weight if head is not None and head.layer == layer else None
    words = dictionary(activations[layer], features, count=count, weight=weight, seed=seed)
    found = complexity(
        upto(activations, layer), words.codes(activations[layer]), names=words.names, threshold=threshold, folds=folds,
        groups=groups, level=level, seed=seed,
    )  # fmt: skip
    options = {k: v for k, v in recording.items() if k in ("pool", "device", "forward", "mask", "batch_size")}
    used = importance(model, data, layer, words, method=method, target=target, level=level, seed=seed, **options)
    plane = complexity_vs_importance(found, used, level=level, seed=seed)
    return FeatureReading(found, used, plane, words, activations)


def upto(activations: Activations, layer: str) -> Activations:
    """The layers before this one and itself: what comes after is made of it."""
    names = list(activations.layers)
    return activations.select(*names[: names.index(layer) + 1])


def across_features(
    activations: Activations, run: str, split: str, level: float, seed: int, failures: list[str]
) -> tuple[list[Row], dict[str, np.ndarray], dict[str, Any]]:
    """Rows, arrays and settings of the units that the classifier reads, or of the last layer where there is no
    classifier; nothing of one layer alone, of few rows, or where that layer has values that are not finite.
    """
    head = activations.head
    layer = head.layer if head is not None and head.layer in activations else activations.layers[-1]
    some = upto(activations, layer)
    some = some.select(*(name for name in some.layers if bool(torch.isfinite(some[name]).all())))
    n = len(some.sample)
    if layer not in some or len(some.layers) < 2 or n < FEW_ROWS:
        return [], {}, {}
    depths = {name: depth for depth, name in enumerate(activations.layers)}
    groups = some.sample if int(some.sample.unique().numel()) < n else None
    try:
        found = complexity(some, widest=WIDEST, groups=groups, level=level, seed=seed)
    except RepanaError as error:
        failures.append(f"{split}, {layer}, complexity: {error}")
        return [], {}, {}
    rows = [row(run, split, "", -1, "complexity", q, e) for q, e in estimates(found).items()]
    for name, reading in layer_readings(found).items():
        rows += [row(run, split, name, depths[name], "layer_readings", q, e) for q, e in estimates(reading).items()]
    prefix = f"{split}/{layer}/complexity"
    arrays = {
        f"{prefix}.{name}": getattr(found, name).numpy() for name in ("curve", "low", "high", "complexity", "onset")
    }
    settings = {"complexity": {**found.settings, "layers": list(found.layers), "features": layer}}
    settings["complexity"] |= {"constant": len(found.constant), "twins": [list(g) for g in found.twins]}
    known = torch.isfinite(found.complexity)
    if head is not None and head.layer == layer and int(known.sum()) >= FEWEST:
        values = head_importance(some[layer], head.weight, activations.logits)
        signed, absolute = values.mean(0).cpu(), values.abs().mean(0).cpu()
        plane = complexity_vs_importance(found, absolute, level=level, seed=seed)
        rows += [row(run, split, "", -1, "complexity_vs_importance", q, e) for q, e in estimates(plane).items()]
        arrays |= {f"{prefix}.signed": signed.numpy(), f"{prefix}.absolute": absolute.numpy()}
        settings["complexity_vs_importance"] = dict(plane.settings)
    return rows, arrays, settings
