"""What the probes of all layers say together: the layer to choose, and what needs no training."""

from collections.abc import Iterable
from dataclasses import replace

import torch

from repana._activations import Activations
from repana._table import Context, Outcome
from repana._typing import INPUT
from repana.errors import RepanaError
from repana.probes._controls import probe_baselines
from repana.probes._layer_selection import best_layer
from repana.probes._layer_selection import layer_differences as differences
from repana.probes._protocol import Probe
from repana.probes._relation import relation as between
from repana.probes._weight_probe import weight_probe
from repana.statistics.splits import Split

OF_RELATIONS = ("pool", "device", "forward", "labels", "mask", "layout", "batch_size")  # options that a recording has


def layer_choice(context: Context) -> Outcome | None:
    """The layer selected on the validation split; the raw input is not a candidate."""
    probes = _linear(context)
    if len(probes) < 2:
        return None
    found = best_layer(probes, level=context.settings["level"], seed=context.settings["seed"])
    named = {
        name: replace(getattr(found, name), note=layer, label=layer)
        for name, layer in (("chosen_accuracy", found.layer), ("oracle_accuracy", found.oracle))
    }
    return Outcome({"": replace(found, **named)})


def layer_differences(context: Context) -> Outcome | None:
    """Every layer against the selected one."""
    choice = context.found["layer_choice"].results[""]
    level, seed = context.settings["level"], context.settings["seed"]
    return Outcome(differences(_linear(context), choice, level=level, seed=seed).layers)


def _linear(context: Context) -> dict[str, Probe]:
    return {layer: found.probes["linear"] for layer, found in context.of("probing").items() if layer != INPUT}


def baselines(context: Context) -> Outcome | None:
    """Linear probes of every layer of copies with new random weights, and of random projections of the input."""
    copies = context.untrained()
    if not copies or copies[0].labels is None:
        return None
    raw, labels, found = context.inputs(), copies[0].labels, {}
    probings = context.of("probing")
    for layer in _hidden(context.activations):
        same = raw is not None and len(raw) == len(labels)
        split: Split | None = None
        if layer in probings and context.activations.labels is not None:
            split = probings[layer].probes["linear"].split if _equal(context.activations.labels, labels) else None
        sample = copies[0].sample
        several = int(sample.unique().numel()) < len(sample)
        try:
            found[layer] = probe_baselines(
                [copy[layer] for copy in copies],
                labels,
                raw if same else None,
                width=context.activations[layer].shape[1],
                groups=sample if several and split is None else None,
                split=split,
                level=context.settings["level"],
                seed=context.settings["seed"],
            )
        except RepanaError as error:
            context.fail(context.split, layer, "probe_baselines", error)
    return Outcome(found)


def relation(context: Context) -> Outcome | None:
    """From each recorded layer before the object, of the network itself where it is at hand."""
    live, options = context.network(OF_RELATIONS), context.options.get("relation", {})
    if live is None or not options:
        return None
    model, data, known = live
    known |= {name: context.settings[name] for name in ("level", "seed")} | dict(options)
    end, found = known.pop("object", ""), {}
    layers = list(context.activations.layers)
    for layer in layers[: layers.index(end)] if end in layers else layers:
        try:
            found[layer] = between(model, data, layer, end, **known)
        except RepanaError as error:
            context.fail(context.split, layer, "relation", error)
    return Outcome(found) if found else None


def _hidden(activations: Activations) -> Iterable[str]:
    return (layer for layer in activations.layers if layer != INPUT)


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.equal(a.cpu(), b.cpu())


def weights(context: Context) -> Outcome | None:
    """Of a zoo of models, where labels say something of each."""
    activations = context.activations
    if activations.provenance.get("data") != "weights" or activations.labels is None:
        return None
    known = {name: context.settings[name] for name in ("permutations", "level", "seed")}
    found = weight_probe(activations, **known)
    return Outcome(found.layers, settings={**found.settings, "score": found.score})
