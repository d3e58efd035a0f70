"""What a profile says of features: how complex the units of the classifier's input are, and how important."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy import stats

from repana._activations import Activations
from repana._estimate import Estimate
from repana._table import Context, Outcome
from repana.errors import RepanaError
from repana.features._complexity import READABLE, Complexity
from repana.features._complexity import complexity as complexity_of
from repana.features._complexity import layer_readings as readings
from repana.features._complexity_importance import FEWEST
from repana.features._complexity_importance import complexity_vs_importance as plane
from repana.features._head_importance import head_importance
from repana.features._read_features import up_to_layer

FEW_ROWS = 20
MAX_FEATURES = 1024  # units that a profile reads features from; wider layers through random projections
RANDOM = "re-initialised"  # the label of a value whose null is that of networks with new random weights
CURVES = ("curve", "low", "high", "complexity", "onset")


def complexity(context: Context) -> Outcome | None:
    """Of the units that the classifier reads, or of the last layer where there is no classifier.

    None for one layer alone, for few rows, or where that layer has values that are not finite.
    """
    activations = context.activations
    layer = _layer(context)
    some = up_to_layer(activations, layer)
    some = some.select(*(name for name in some.layers if bool(torch.isfinite(some[name]).all())))
    n = len(some.sample)
    if layer not in some or len(some.layers) < 2 or n < FEW_ROWS:
        return None
    groups = some.sample if int(some.sample.unique().numel()) < n else None
    level, seed = context.settings["level"], context.settings["seed"]
    found = complexity_of(some, max_features=MAX_FEATURES, groups=groups, level=level, seed=seed)
    arrays = {(layer, name): getattr(found, name) for name in CURVES}
    arrays |= {
        ("", f"complexity.jackknife.{name}"): found.jackknife[name] for name in ("mean_complexity", "mean_hidden")
    }
    settings = {**found.settings, "layers": list(found.layers), "features": layer}
    settings |= {"constant": len(found.constant), "twins": [list(group) for group in found.twins]}
    return Outcome({"": found}, arrays, settings)


def layer_readings(context: Context) -> Outcome | None:
    """How much of the features each layer decodes."""
    found = _complexity(context)
    arrays = {(name, "layer_readings.jackknife.readable"): found.jackknife[READABLE + name] for name in found.layers}
    return Outcome(readings(found).layers, arrays)


def complexity_vs_importance(context: Context) -> Outcome | None:
    """Complexity against the contribution of each unit to the predicted logit; None without a classifier there."""
    found, layer, head = _complexity(context), _layer(context), context.activations.head
    if head is None or head.layer != layer or int(torch.isfinite(found.complexity).sum()) < FEWEST:
        return None
    values = head_importance(context.activations[layer], head.weight, context.activations.logits)
    signed, absolute = values.mean(0).cpu(), values.abs().mean(0).cpu()
    level, seed = context.settings["level"], context.settings["seed"]
    result = plane(found, absolute, level=level, seed=seed)
    random = [rho for copy in context.untrained() if (rho := _rank_correlation(context, copy, layer)) is not None]
    if len(random) > 1:
        result = replace(result, rank_correlation=_beside_random(result.rank_correlation, random, level))
    return Outcome({"": result}, {(layer, "complexity.signed"): signed, (layer, "complexity.absolute"): absolute})


def _rank_correlation(context: Context, copy: Activations, layer: str) -> float | None:
    """That of a copy of the network with new random weights, read as the network itself."""
    if copy.head is None or copy.head.layer != layer or copy.logits is None:
        return None
    some = up_to_layer(copy, layer)
    level, seed = context.settings["level"], context.settings["seed"]
    try:
        found = complexity_of(some, max_features=MAX_FEATURES, level=level, seed=seed)
        values = head_importance(copy[layer], copy.head.weight, copy.logits)
        return plane(found, values.abs().mean(0).cpu(), level=level, seed=seed).rank_correlation.value
    except RepanaError as error:
        context.fail(context.split, layer, "complexity_vs_importance", error)
        return None


def _beside_random(e: Estimate, random: Sequence[float], level: float) -> Estimate:
    """With the range in which one more re-initialised network lies as often as the level says: Student's prediction
    interval on Fisher's scale."""
    z = np.arctanh(np.clip(random, -0.999999, 0.999999))
    half = stats.t.ppf(0.5 + level / 2, len(z) - 1) * z.std(ddof=1) * math.sqrt(1 + 1 / len(z))
    low, middle, high = np.tanh([z.mean() - half, z.mean(), z.mean() + half]).tolist()
    return replace(e, null=middle, null_low=low, null_high=high, label=RANDOM)


def _layer(context: Context) -> str:
    head, layers = context.activations.head, context.activations.layers
    return head.layer if head is not None and head.layer in context.activations else layers[-1]


def _complexity(context: Context) -> Complexity:
    return context.found["complexity"].results[""]
