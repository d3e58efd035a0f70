from .._typing import FeatureArray

from ._persistence import H0Separability as H0Separability
from ._persistence import Persistence as Persistence
from ._persistence import diagram_distance as diagram_distance
from ._persistence import persistence as persistence
from ._persistence import rtd as rtd

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

