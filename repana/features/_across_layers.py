"""What a profile says of features: how complex the units of the classifier's input are, and how important."""

import torch

from repana._table import Context, Outcome
from repana.features._complexity import Complexity
from repana.features._complexity import complexity as complexity_of
from repana.features._complexity import layer_readings as readings
from repana.features._complexity_importance import FEWEST
from repana.features._complexity_importance import complexity_vs_importance as plane
from repana.features._head_importance import head_importance
from repana.features._read_features import upto

FEW_ROWS = 20
MAX_FEATURES = 1024  # units that a profile reads features from; wider layers through random projections
CURVES = ("curve", "low", "high", "complexity", "onset")


def complexity(context: Context) -> Outcome | None:
    """Of the units that the classifier reads, or of the last layer where there is no classifier.

    None for one layer alone, for few rows, or where that layer has values that are not finite.
    """
    activations = context.activations
    layer = _layer(context)
    some = upto(activations, layer)
    some = some.select(*(name for name in some.layers if bool(torch.isfinite(some[name]).all())))
    n = len(some.sample)
    if layer not in some or len(some.layers) < 2 or n < FEW_ROWS:
        return None
    groups = some.sample if int(some.sample.unique().numel()) < n else None
    level, seed = context.settings["level"], context.settings["seed"]
    found = complexity_of(some, max_features=MAX_FEATURES, groups=groups, level=level, seed=seed)
    arrays = {(layer, name): getattr(found, name) for name in CURVES}
    settings = {**found.settings, "layers": list(found.layers), "features": layer}
    settings |= {"constant": len(found.constant), "twins": [list(group) for group in found.twins]}
    return Outcome({"": found}, arrays, settings)


def layer_readings(context: Context) -> Outcome | None:
    """How much of the features each layer decodes."""
    return Outcome(readings(_complexity(context)).layers)


def complexity_vs_importance(context: Context) -> Outcome | None:
    """Complexity against what the predicted class's logit owes to each unit; None without a classifier there."""
    found, layer, head = _complexity(context), _layer(context), context.activations.head
    if head is None or head.layer != layer or int(torch.isfinite(found.complexity).sum()) < FEWEST:
        return None
    values = head_importance(context.activations[layer], head.weight, context.activations.logits)
    signed, absolute = values.mean(0).cpu(), values.abs().mean(0).cpu()
    level, seed = context.settings["level"], context.settings["seed"]
    result = plane(found, absolute, level=level, seed=seed)
    return Outcome({"": result}, {(layer, "complexity.signed"): signed, (layer, "complexity.absolute"): absolute})


def _layer(context: Context) -> str:
    head, layers = context.activations.head, context.activations.layers
    return head.layer if head is not None and head.layer in context.activations else layers[-1]


def _complexity(context: Context) -> Complexity:
    return context.found["complexity"].results[""]
