"""What a profile says of dictionaries: how well each writes the rows of its layer, and what the network loses by it."""

from collections.abc import Mapping
from typing import Any

from repana import _check
from repana._table import Context, Outcome
from repana.errors import RepanaError
from repana.extraction._record import record
from repana.features import _refusals
from repana.features._dictionary import Dictionary
from repana.features._dictionary_quality import dictionary_quality as quality
from repana.features._splice import splice as spliced

ROWS = ("none", "tokens", "flatten")  # poolings under which a dictionary reads the rows that were recorded
OWN = ("forward", "labels", "mask", "layout", "device", "batch_size")  # options of a recording that splice takes


def dictionary_quality(context: Context) -> Outcome | None:
    """Of every dictionary whose layer was recorded; of pooled layers the tokens are recorded for it."""
    results, arrays = {}, {}
    settings: dict[str, Any] = {}
    for layer, words in _dictionaries(context).items():
        try:
            x, groups = _rows(context, layer)
            found = quality(words, x, groups=groups, level=context.settings["level"])
        except RepanaError as error:
            context.fail(context.split, layer, "dictionary_quality", error)
            continue
        results[layer] = found
        arrays |= {(layer, name): getattr(found, name) for name in ("density", "histogram", "max_cosine")}
        settings[layer] = {
            "features": len(words), "rows": len(x), "grouped": found.settings["grouped"],
            "hook": getattr(words, "hook", ""), "encoder": getattr(words, "encoder", words.kind),
        }  # fmt: skip
    return Outcome(results, arrays, {"dictionaries": settings}) if results else None


def splice(context: Context) -> Outcome | None:
    """Of every dictionary, where the model is at hand."""
    live = context.network(OWN)
    if live is None or not _dictionaries(context):
        return None
    model, data, options = live
    results = {}
    for layer, words in _dictionaries(context).items():
        try:
            shared = {name: context.settings[name] for name in ("level", "seed")}
            results[layer] = spliced(model, data, layer, words, **options, **shared)
        except RepanaError as error:
            context.fail(context.split, layer, "splice", error)
    return Outcome(results) if results else None


def _dictionaries(context: Context) -> Mapping[str, Dictionary]:
    for layer, words in context.dictionaries.items():
        if not isinstance(words, Dictionary):
            raise _refusals.not_a_dictionary(layer, type(words).__name__)
    return context.dictionaries


def _rows(context: Context, layer: str) -> tuple[Any, Any]:
    """The rows that a dictionary reads, and the sample of each where samples have several."""
    activations = context.activations
    if layer not in activations:
        raise _check.not_recorded(layer, activations.layers)
    pooling = activations.provenance.get("pooling", {}).get(layer, "none")
    live = context.live()
    if pooling not in ROWS:
        if live is None:
            raise _refusals.pooled_rows(layer, pooling)
        model, data, recording = live
        options = {name: value for name, value in recording.items() if name != "pool"}
        activations = record(model, data, [layer], pool="tokens", logits=False, head=False, **options)
    sample = activations.sample
    several = int(sample.unique().numel()) < len(sample)
    return activations[layer], sample.numpy() if several else None
