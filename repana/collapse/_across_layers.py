"""What the collapse family reads from all layers together."""

import math

from repana._table import Context, Outcome
from repana.collapse._separation_law import law_at

FEWEST = 3  # layers, below which no law is read


def separation_law(context: Context) -> Outcome | None:
    """The law of data separation over the layers whose fuzziness is positive and finite, each at its own depth."""
    measured = {layer: found.fuzziness for layer, found in context.of("neural_collapse").items()}
    if len(measured) < FEWEST:
        return None
    depths = {layer: depth for depth, layer in enumerate(context.activations.layers)}
    fit = {layer: e.value for layer, e in measured.items() if math.isfinite(e.value) and e.value > 0}
    return Outcome({"": law_at(fit, [depths[layer] for layer in fit], context.settings["level"])})
