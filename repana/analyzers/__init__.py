"""The registry: the tables of the families, joined.

A family that is left out of `FAMILIES` is not measured; the others do not know.
"""

from repana._quantity import Quantity
from repana._table import Across, Analyzer, Family
from repana.collapse._table import FAMILY as COLLAPSE
from repana.comparison._table import FAMILY as COMPARISON
from repana.dimension._table import FAMILY as DIMENSION
from repana.dynamics._table import FAMILY as DYNAMICS
from repana.features._table import FAMILY as FEATURES
from repana.heads._table import FAMILY as HEADS
from repana.kernels._table import FAMILY as KERNELS
from repana.probes._table import FAMILY as PROBES
from repana.ranking._table import FAMILY as RANKING
from repana.separation._table import FAMILY as SEPARATION
from repana.spectra._table import FAMILY as SPECTRA
from repana.topology._table import FAMILY as TOPOLOGY

FAMILIES: tuple[Family, ...] = (
    COLLAPSE, SEPARATION, PROBES, TOPOLOGY, DIMENSION, SPECTRA, FEATURES, COMPARISON, DYNAMICS, RANKING, HEADS,
    KERNELS,
)  # fmt: skip
ANALYZERS: dict[str, Analyzer] = {a.name: a for family in FAMILIES for a in family.analyzers}
ACROSS_LAYERS: dict[str, Across] = {a.name: a for family in FAMILIES for a in family.across}
SOURCES: dict[str, str] = {work: entry for family in FAMILIES for work, entry in family.sources.items()}


def quantity(analyzer: str, name: str) -> Quantity:
    """The line of the table for a quantity; one that is not in it has its name alone."""
    owner = ANALYZERS.get(analyzer) or ACROSS_LAYERS.get(analyzer)
    return next((q for q in (owner.quantities if owner else ()) if q.name == name), Quantity(name))


__all__ = ["ACROSS_LAYERS", "ANALYZERS", "FAMILIES", "SOURCES", "quantity"]
