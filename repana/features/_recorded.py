"""A dictionary of a layer, made from what the layer gives on the data."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from repana import _check
from repana.extraction._record import record
from repana.extraction._reinitialised import iter_once
from repana.features import _refusals
from repana.features._dictionary import Dictionary, dictionary


def made_of(model: nn.Module, data: Any, layer: str, kind: Any, seed: int, options: Mapping[str, Any]) -> Dictionary:
    """The dictionary that was given, or made of the recorded layer."""
    if isinstance(kind, Dictionary):
        return kind
    if iter_once(data):
        raise _check.walked_once(type(data).__name__, "making a dictionary from it needs")
    kept = record(model, data, [layer], seed=seed, **options)
    only, *others = kept.layers
    if others:
        raise _check.one_layer(layer, kept.layers)
    weight = None
    if isinstance(kind, str) and kind == "classes":
        if kept.head is None or kept.head.layer != only:
            whole = record(model, data, "auto", seed=seed, **options).head
            raise _refusals.rows_of_the_classifier(layer, whole.layer if whole else None)
        weight = kept.head.weight
    return dictionary(kept[only], kind, weight=weight, seed=seed)
