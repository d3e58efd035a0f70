from collections.abc import Sequence
from .._typing import FeatureArray

from ._density import DensityPersistence as DensityPersistence
from ._persistence import H0Separability as H0Separability
from ._persistence import Persistence as Persistence
from ._persistence import diagram_distance as diagram_distance
from ._persistence import persistence as persistence
from ._persistence import rtd as rtd

def density_persistence(
    features: FeatureArray,
    *,
    k: int = 10,
    levels: int | Sequence[float] = 10,
    scales: Sequence[float] = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3, 1.35, 1.4, 1.45, 1.5),
    normalize: str = 'center+l2',
    tau: float = 0.5,
    loops: bool = False,
    memory: int = 2147483648,
    level: float = 0.95,
    max_samples: int = 2000,
    seed: int = 0,
    nan_policy: str = 'raise',
) -> DensityPersistence:
    """Clusters by density and scale."""

def h0_separability(
    features: FeatureArray,
    *,
    normalize: str = 'center+l2',
    tau: float = 0.5,
    level: float = 0.95,
    max_samples: int = 2000,
    seed: int = 0,
    nan_policy: str = 'raise',
) -> H0Separability:
    """Separability without labels, from H0 persistence."""

