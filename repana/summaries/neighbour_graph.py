"""The distinct samples of a layer and their nearest neighbours, from one search for all that reads distances."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._typing import Features, Labels
from repana.summaries import _refusals
from repana.summaries._summary import Layer, Summary
from repana.summaries.neighbours import MEMORY, Neighbours

POLICIES = ("drop", "keep", "raise")
SHARED = 64  # neighbours that one search takes
MOST = 20_000  # samples of a layer that are searched, unless more are asked for


@dataclass(frozen=True)
class NeighbourGraph(Summary):
    """`neighbours` among the samples `rows`; `duplicates` were dropped (or kept), `seen` samples were given.

    `features` are those of `rows`, for what reads directions or searches further.
    """

    labelled: ClassVar[bool] = False

    neighbours: Neighbours
    rows: Int[Tensor, " m"]
    seen: int
    duplicates: int
    features: Features | None = None

    @property
    def n(self) -> int:
        return len(self.rows)

    @staticmethod
    def needed(options: Mapping[str, Any]) -> int:
        """How many neighbours a quantity called with these options reads, and no fewer than all of them share, unless
        it says that it reads fewer alone (`searched`)."""
        if options.get("searched") and not options.get("calibrate"):
            return options["searched"]
        asked = [options.get(name) or 0 for name in ("k", "k_max", "k2", "n2")]
        most = max(*asked, 2 * (options.get("n1") or 0))
        return SHARED if most < SHARED else most + 1  # some read one beyond

    @classmethod
    def of_layer(cls, layer: Layer) -> "NeighbourGraph":
        return cls.of(layer.features, layer.labels_or_none, seed=layer.settings.get("seed", 0))

    @classmethod
    def options(cls) -> dict[str, inspect.Parameter]:
        return {name: p for name, p in super().options().items() if name != "k"}  # each quantity has a `k` of its own

    @classmethod
    def asked(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        return {**super().asked(options), "k": cls.needed(options)}

    @classmethod
    def of(
        cls,
        features: Features,
        labels: Labels | None = None,
        *,
        k: int = SHARED,
        duplicates: str = "drop",
        max_samples: int = MOST,
        seed: int = 0,
        memory: int = MEMORY,
    ) -> "NeighbourGraph":
        """Up to `k` neighbours, fewer where there are not so many samples; of at most `max_samples` samples drawn by
        `seed`.

        `duplicates`: of samples that are equal in every feature, "drop" keeps the first, "keep" all, "raise" refuses.
        `labels` make the search of collapsed features faster and change no value.
        """
        _check.choice(duplicates, "duplicates", POLICIES)
        rows = some(len(features), max_samples, seed).to(features.device)
        x = features if len(rows) == len(features) else features[rows]
        codes = None if labels is None else labels[rows.to(labels.device)]
        if len(rows) < 2:
            raise _check.too_few_samples("an estimate from neighbours", len(rows), 2)
        found = Neighbours.of(x, codes, k=min(k, len(x) - 1), memory=memory)
        again = (found.distances[:, 0] == 0).nonzero()[:, 0]
        repeated = 0
        if len(again):
            kept = distinct(x[again])
            repeated = len(again) - len(kept)
            if duplicates == "raise":
                raise _refusals.duplicated(repeated, len(x))
            if duplicates == "drop" and len(x) - repeated >= 2:
                alive = torch.ones(len(x), dtype=torch.bool, device=x.device)
                alive[again] = False
                alive[again[kept]] = True
                rows, x = rows[alive], x[alive]
                codes = None if codes is None else codes[alive.to(codes.device)]
                found = Neighbours.of(x, codes, k=min(k, len(x) - 1), memory=memory)
        return cls(found, rows, len(features), repeated, x)


def some(n: int, most: int, seed: int) -> Int[Tensor, " m"]:
    """Places of all of n samples, or of `most` of them drawn by the seed, in order."""
    if n <= most:
        return torch.arange(n)
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:most].sort().values


def distinct(x: Float[Tensor, "n d"]) -> Int[Tensor, " m"]:
    """Places of the first of every distinct row."""
    _, group = torch.unique(x, dim=0, return_inverse=True)
    first = torch.full((int(group.max()) + 1,), len(x), dtype=torch.int64, device=x.device)
    places = torch.arange(len(x), device=x.device)
    return first.scatter_reduce(0, group, places, "amin").sort().values
