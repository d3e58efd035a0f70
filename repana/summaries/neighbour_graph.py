"""The distinct samples of a layer and their nearest neighbours, from one search for all that reads distances."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._cost import Cost, Size, reading
from repana._typing import Features, Labels
from repana.summaries import _refusals
from repana.summaries._summary import Layer, Summary
from repana.summaries.neighbours import MEMORY, Neighbours

KEYED = 2**24  # features that are multiplied at a time
POLICIES = ("drop", "keep", "raise")
SHARED = 64  # neighbours that one search takes
QUERIES = 20_000  # samples whose neighbours are searched, unless more are asked for


@dataclass(frozen=True)
class NeighbourGraph(Summary):
    """`neighbours` of the samples `rows` of those that were given, which are `seen`; `duplicates` were dropped or kept.

    Of many samples only some have their neighbours searched, but among all: distances are those of the whole.
    `features` are those of the n samples that were searched, for what reads directions or searches further;
    `neighbours` counts among them, and so does `own`, the places of `rows`, which is None where every sample has its
    neighbours. `policy` says what became of duplicates.
    """

    labelled: ClassVar[bool] = False

    neighbours: Neighbours
    rows: Int[Tensor, " m"]
    seen: int
    duplicates: int
    features: Features | None = None
    own: Int[Tensor, " m"] | None = None
    policy: str = "drop"

    @property
    def n(self) -> int:
        """The samples that were searched: those that an estimate is from."""
        return self.neighbours.bank

    def places(self, rows: Int[Tensor, " p"]) -> Int[Tensor, " p"]:
        """Where lists of neighbours stand among the samples searched."""
        return rows if self.own is None else self.own[rows]

    def used(self, rows: Int[Tensor, " p"]) -> int:
        """The samples behind an estimate that reads these lists of neighbours and leaves out the others."""
        return self.n - (len(self.rows) - len(rows))

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
    def cost(cls, size: Size) -> Cost:
        queries, rows = min(size.n, QUERIES), 8.0 * size.n * size.d
        lists, copied = 16.0 * SHARED * queries, rows / 2 if size.n > QUERIES else 0.0  # where duplicates are dropped
        return Cost(
            flop=2.0 * queries * size.n * size.d,
            bytes=7 * 8.0 * queries * size.n + 160 * rows,
            calls=2500,
            peak=min(6 * rows, MEMORY) + 5 * lists + 5600.0 * min(size.n, 40_000) + 48 * size.n + copied,
            kept=lists,
            reads=reading(size.n, QUERIES, "{} queries among all"),
        )

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
        queries: int = QUERIES,
        max_samples: int | None = None,
        seed: int = 0,
        memory: int = MEMORY,
    ) -> "NeighbourGraph":
        """Up to `k` neighbours, fewer where there are not so many samples.

        The neighbours of at most `queries` samples drawn by `seed`, each searched among all: what is averaged over them
        is that of all samples, with the error of fewer. `max_samples` first draws so many to be all there are, which
        widens the scale that neighbours see. `duplicates`: of samples that are equal in every feature, "drop" keeps the
        first, "keep" all, "raise" refuses. `labels` make the search of collapsed features faster and change no value.
        """
        _check.choice(duplicates, "duplicates", POLICIES)
        most = len(features) if max_samples is None else _check.at_least(max_samples, "max_samples", 2)
        rows = some(len(features), most, seed).to(features.device)
        x = features if len(rows) == len(features) else features[rows]
        if len(rows) < 2:
            raise _check.too_few_samples("an estimate from neighbours", len(rows), 2)
        if len(rows) > _check.at_least(queries, "queries", 2):
            return cls._of_some(x, labels, rows, len(features), k, duplicates, queries, seed, memory)
        codes = None if labels is None else labels[rows.to(labels.device)]
        found = Neighbours.of(x, codes, k=min(k, len(x) - 1), memory=memory)
        again = (found.distances[:, 0] == 0).nonzero()[:, 0]
        repeated, policy = 0, "keep"
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
                found, policy = Neighbours.of(x, codes, k=min(k, len(x) - 1), memory=memory), "drop"
        return cls(found, rows, len(features), repeated, x, policy=policy)

    @classmethod
    def _of_some(
        cls,
        x: Features,
        labels: Labels | None,
        rows: Int[Tensor, " n"],
        seen: int,
        k: int,
        duplicates: str,
        queries: int,
        seed: int,
        memory: int,
    ) -> "NeighbourGraph":
        """The neighbours of some of x, which is `rows` of what was given."""
        kept = distinct(x)
        repeated = len(x) - len(kept)
        if repeated and duplicates == "raise":
            raise _refusals.duplicated(repeated, len(x))
        policy = "drop" if duplicates == "drop" and len(kept) >= 2 else "keep"
        if repeated and policy == "drop":
            rows, x = rows[kept], x[kept]
        own = some(len(x), queries, seed).to(x.device)
        codes = None if labels is None else labels[rows[own].to(labels.device)]
        found = Neighbours.of_bank(x[own], x, codes, k=min(k, len(x) - 1), places=own, memory=memory)
        whole = len(own) == len(x)  # duplicates left no more
        return cls(found, rows[own], seen, repeated, x, None if whole else own, policy)


def some(n: int, most: int, seed: int) -> Int[Tensor, " m"]:
    """Places of all of n samples, or of `most` of them drawn by the seed, in order."""
    if n <= most:
        return torch.arange(n)
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:most].sort().values


def distinct(x: Float[Tensor, "n d"]) -> Int[Tensor, " m"]:
    """Places of the first of every distinct row.

    Only rows of one key are compared: a sum of their bits, times odd numbers, modulo 2^64.
    """
    places = torch.arange(len(x), device=x.device)
    if not x.shape[1]:
        return places[:1]
    odd = torch.randint(-(2**62), 2**62, (x.shape[1],), generator=torch.Generator().manual_seed(0)) * 2 + 1
    keys = torch.cat([_bits(part).mul_(odd.to(x.device)).sum(1) for part in x.split(max(1, KEYED // x.shape[1]))])
    _, alike, counts = torch.unique(keys, return_inverse=True, return_counts=True)
    shared = (counts[alike] > 1).nonzero()[:, 0]
    if not len(shared):
        return places
    _, group = torch.unique(x[shared], dim=0, return_inverse=True)
    first = torch.full((int(group.max()) + 1,), len(x), dtype=torch.int64, device=x.device)
    first = first.scatter_reduce(0, group, shared, "amin")
    alone = places[counts[alike] == 1]
    return torch.cat([alone, first]).sort().values


def _bits(x: Float[Tensor, "n d"]) -> Int[Tensor, "n d"]:
    """The bits of every feature as a whole number, those of 0 for -0."""
    x = (x if x.dtype in (torch.float32, torch.float64) else x.float()) + 0.0
    return x.view(torch.int64 if x.dtype == torch.float64 else torch.int32).long()
