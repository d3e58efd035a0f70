"""Rows that read the probes of all layers together, and the probes of networks that have learnt nothing."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from repana._activations import Activations
from repana._results import Row, estimates, row
from repana.errors import RepanaError
from repana.extraction._record import record
from repana.extraction._reinitialised import reinitialised
from repana.probes._controls import probe_baselines
from repana.probes._layer_selection import best_layer, layer_differences
from repana.probes._suite import Probing

INPUT = "input"  # the address of what the network is given


def across_probes(
    probings: Mapping[str, Probing], run: str, split: str, depths: Mapping[str, int], level: float, seed: int
) -> Iterator[Row]:
    """The layer chosen on the select rows, and every layer against it. The input is no layer of the network."""
    probes = {layer: p.probes["linear"] for layer, p in probings.items() if layer != INPUT}
    if len(probes) < 2:
        return
    choice = best_layer(probes, level=level, seed=seed)
    notes = {"chosen_accuracy": choice.layer, "oracle_accuracy": choice.oracle}
    for name, e in estimates(choice).items():
        made = row(run, split, "", -1, "layer_choice", name, e)
        yield Row(**{**vars(made), "note": notes.get(name, made.note)})
    for layer, found in layer_differences(probes, choice, level=level, seed=seed).items():
        for name, e in estimates(found).items():
            yield row(run, split, layer, depths[layer], "layer_differences", name, e)


def untrained(
    model: nn.Module,
    data: Any,
    activations: Activations,
    probings: Mapping[str, Probing],
    run: str,
    split: str,
    copies: int,
    factory: Callable[[], nn.Module] | None,
    recording: Mapping[str, Any],
    level: float,
    seed: int,
    failures: list[str],
) -> Iterator[Row]:
    """Linear probes of every layer of copies with new random weights, and of random projections of the input."""
    options = {k: v for k, v in recording.items() if k in ("forward", "batch_size")}
    layers = list(activations.layers)
    recorded = []
    for k in range(copies):
        try:
            fresh = reinitialised(model, data, seed=seed + k, factory=factory, **options)
            recorded.append(record(fresh, data, layers, seed=seed, **recording))
        except RepanaError as error:
            failures.append(f"{split}, re-initialised copy {k}: {error}")
            break
    try:
        inputs = activations if INPUT in activations else record(model, data, [INPUT], seed=seed, **recording)
        raw = inputs[INPUT]
    except RepanaError:
        raw = None  # token numbers are no features
    for depth, layer in enumerate(layers):
        if layer == INPUT or not recorded:
            continue
        width = activations[layer].shape[1]
        labels = recorded[0].labels
        if labels is None:
            return
        same = raw is not None and len(raw) == len(labels)
        try:
            sample, split_of_layer = recorded[0].sample, None
            if layer in probings and activations.labels is not None and torch.equal(activations.labels, labels):
                split_of_layer = probings[layer].probes["linear"].split
            several = int(sample.unique().numel()) < len(sample)
            found = probe_baselines(
                [a[layer] for a in recorded],
                labels,
                raw if same else None,
                width=width,
                groups=sample if several and split_of_layer is None else None,
                split=split_of_layer,
                level=level,
                seed=seed,
            )
        except RepanaError as error:
            failures.append(f"{split}, {layer}, probe_baselines: {error}")
            continue
        for name, e in estimates(found).items():
            yield row(run, split, layer, depth, "probe_baselines", name, e)
