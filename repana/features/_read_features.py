"""Rows of the feature-level family: how complex the classifier's inputs are, and how important."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from repana._activations import Activations
from repana._ambient import settled
from repana._typing import LabelArray
from repana.extraction._addresses import Site, parse
from repana.extraction._patterns import matches
from repana.extraction._record import record
from repana.extraction._session import unwrap
from repana.features import _refusals
from repana.features._complexity import Complexity, complexity
from repana.features._complexity_importance import ComplexityImportance, complexity_vs_importance
from repana.features._dictionary import Dictionary, dictionary
from repana.features._importance import Importance, importance

# Of the options of `record`, those that `importance` takes too.
READING = ("pool", "device", "forward", "labels", "mask", "layout", "batch_size")


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
    position: int | str = "last",
    threshold: float = 0.8,
    folds: int = 5,
    groups: LabelArray | None = None,
    level: float = 0.95,
    seed: int = 0,
    **recording: Any,
) -> FeatureReading:
    """The complexity-importance plane of a model in one call.

    Records `layers`, makes the `features` of `layer` (by default what the classifier reads) by `dictionary` ("units",
    "classes", "pca", "nmf", or a matrix), reads every feature from every layer up to that one (`complexity`), asks how
    much the decision depends on it (`importance`), and relates the two (`complexity_vs_importance`).

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
        up_to_layer(activations, layer), words.codes(activations[layer]), names=words.names, threshold=threshold,
        folds=folds, groups=groups, level=level, seed=seed,
    )  # fmt: skip
    modules = dict(unwrap(model)[0].named_modules())  # whose names layers have
    sites = [site for name in (layer, "input") if (site := parse(name, modules)) is not None]
    options = {k: _of_layers(v, sites) for k, v in recording.items() if k in READING}
    options = {k: v for k, v in options.items() if v != {}}
    used = importance(
        model, data, layer, words, method=method, target=target, position=position, level=level, seed=seed, **options
    )
    plane = complexity_vs_importance(found, used, level=level, seed=seed)
    return FeatureReading(found, used, plane, words, activations)


def _of_layers(option: Any, sites: Sequence[Site]) -> Any:
    """What an option by layer says of these."""
    if not isinstance(option, Mapping):
        return option
    return {key: value for key, value in option.items() if any(matches(key, site) for site in sites)}


def up_to_layer(activations: Activations, layer: str) -> Activations:
    """The layers before this one and itself: what comes after is made of it."""
    names = list(activations.layers)
    return activations.select(*names[: names.index(layer) + 1])
