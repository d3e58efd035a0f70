"""One layer over a training, from the features that records kept."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from repana._activations import Activations
from repana.comparison import Similarity, similarity
from repana.training import _refusals
from repana.training._measured import run_name
from repana.training._run_folder import RunFolder
from repana.training._scores import probe_split


def records_with(
    folder: RunFolder, steps: Sequence[int], layer: str, split: str | None, fewest: int = 1
) -> dict[int, Activations]:
    """The stored recordings of a split by step, without those that were thinned out."""
    found: dict[int, Activations] = {}
    for step, report in folder.reports(steps).items():
        if split is not None and split not in report.splits:
            raise _refusals.unknown_split(split, report.splits)
        kept = folder.activations(step, split or probe_split(report))
        if kept is not None:
            kept[layer]  # refuses a layer that was not recorded
            found[step] = kept
    if len(found) < fewest:
        raise _refusals.no_features(layer, len(found), fewest)
    return found


def features_by_step(folder: RunFolder, steps: Sequence[int], layer: str, split: str | None) -> dict[int, Tensor]:
    return {step: kept[layer].float() for step, kept in records_with(folder, steps, layer, split).items()}


def layer_over_time(folder: RunFolder, steps: Sequence[int], layer: str, **options: Any) -> Similarity:
    """Similarity of a layer with itself over records."""
    kept = records_with(folder, steps, layer, None, fewest=2)
    first = next(iter(kept.values()))
    features = {run_name(step): found[layer] for step, found in kept.items()}
    about = {"model": f"{layer} over training"}
    whole = Activations(features, first.labels, sample=first.sample, seen=first.seen, provenance=about)
    return similarity(whole, **options)
