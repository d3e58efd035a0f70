"""The estimators of dimension that a profile does not take unless asked, from the same neighbour search."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from repana._estimate import NAN, Estimate, shown
from repana._reads import reads
from repana.dimension._angles import abid, danco, mind_ml, tle
from repana.dimension._linear import local_pca
from repana.dimension._local import correlation_dimension, ess, mada, mom
from repana.dimension._ph_dimension import ph_dimension
from repana.errors import InputError
from repana.summaries.neighbour_graph import SHARED, NeighbourGraph


@shown
@dataclass(frozen=True)
class DimensionEstimators:
    """Intrinsic dimension of one layer by ten more estimators; see `dimension_estimators`."""

    mind_ml: Estimate
    tle: Estimate
    danco: Estimate
    abid: Estimate
    ess: Estimate
    local_pca: Estimate
    mom: Estimate
    mada: Estimate
    correlation: Estimate
    ph: Estimate
    settings: Mapping[str, Any] = field(default_factory=dict)


@reads
def dimension_estimators(graph: NeighbourGraph, *, level: float = 0.95) -> DimensionEstimators:
    """Intrinsic dimension by ten more estimators, from one neighbour search. Call as `dimension_estimators(features)`.

    `mind_ml`, `tle`, `mada` with k = 20, `danco` with 10, `correlation` between the neighbours 10 and 20; `abid`,
    `local_pca`, `ess` and `mom` with the 64 neighbours that are shared; `ph` with alpha = 1. Each as its function says,
    which has the formula and the source. They answer different questions (distances, angles, local variance, growth of
    trees) at different scales, and need not agree. Those that need more samples than there are, are NaN. Unit:
    dimensions.

    Raises InputError for NaN or infinite features, or fewer than 2 samples.

    Sources: those of the functions.

    >>> import torch
    >>> from repana import dimension_estimators
    >>> round(float(dimension_estimators(torch.rand(500, 2, generator=torch.Generator().manual_seed(0))).tle))
    2
    """
    k = min(SHARED, graph.neighbours.k)

    def estimated(function: Callable[..., Estimate], **options: Any) -> Estimate:
        try:
            return function(graph, level=level, **options)
        except InputError as error:
            return Estimate(NAN, n=graph.n, note=str(error))

    return DimensionEstimators(
        mind_ml=estimated(mind_ml),
        tle=estimated(tle),
        danco=estimated(danco),
        abid=estimated(abid, k=k),
        ess=estimated(ess, k=k),
        local_pca=estimated(local_pca, k=k),
        mom=estimated(mom, k=k),
        mada=estimated(mada),
        correlation=estimated(correlation_dimension),
        ph=estimated(ph_dimension),
        settings={"k": k, "samples": graph.n, "duplicates": graph.duplicates, "level": level},
    )
