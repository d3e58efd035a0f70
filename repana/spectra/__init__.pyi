from .._typing import FeatureArray

from ._coding_rate import CodingRate as CodingRate
from ._coding_rate import coding_rate as coding_rate
from ._spectrum import Spectrum as Spectrum
from ._w_pca import WeightedPCA as WeightedPCA
from ._w_pca import w_pca as w_pca

def spectrum(
    features: FeatureArray,
    *,
    window: tuple[int, int] | None = None,
    level: float = 0.95,
    seed: int = 0,
    nan_policy: str = 'raise',
) -> Spectrum:
    """Linear dimensions of a layer, from the eigenvalues of its covariance."""

