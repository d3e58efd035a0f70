"""What is read from the tokens of every text under all layers."""

from dataclasses import dataclass

from repana._estimate import NAN, Estimate, Flag, shown
from repana._table import Context, Outcome
from repana.dimension import _refusals
from repana.dimension._texts import text_dimension as of_texts
from repana.extraction._record import record


@shown
@dataclass(frozen=True)
class MeanTextDimension:
    """The average dimension of single texts at one layer."""

    mean: Estimate


def text_dimension(context: Context) -> Outcome | None:
    """The geometric mean over texts by layer, with its interval; tokens are recorded for it where texts were pooled."""
    activations = context.activations
    if not activations.has_tokens:
        live = context.live()
        if live is None:
            raise _refusals.no_texts()
        model, data, recording = live
        options = {name: value for name, value in recording.items() if name != "pool"}
        layers = [layer for layer in activations.layers if layer != "input"]
        activations = record(model, data, layers, pool="tokens", logits=False, head=False, **options)
    level, seed = context.settings["level"], context.settings["seed"]
    found = of_texts(activations, level=level, seed=seed)
    means = found.means().set_index("layer")
    results = {}
    for layer in means.index:
        line = means.loc[layer]
        out = int(line["left_out"])
        note = Flag.FEW_SAMPLES.note(f"{out} of {len(found.texts)} texts have too few tokens") if out else ""
        value = Estimate(float(line["value"]), float(line["low"]), float(line["high"]), int(line["texts"]), note)
        missing = Estimate(NAN, n=0, note=Flag.FEW_SAMPLES.note("no text has enough tokens"))
        results[layer] = MeanTextDimension(value if line["texts"] else missing)
    return Outcome(results, settings=dict(found.settings))
