from collections.abc import Sequence
from torch import Tensor
from .._estimate import Estimate
from .._typing import FeatureArray

from ._binary import binary_dimension as binary_dimension
from ._estimators import DimensionEstimators as DimensionEstimators
from ._objective import ObjectiveDimension as ObjectiveDimension
from ._objective import objective_dimension as objective_dimension
from ._ph_dimension import PHDimensions as PHDimensions
from ._profile import DimensionProfile as DimensionProfile
from ._subspace import Subspace as Subspace
from ._texts import TextDimension as TextDimension
from ._texts import text_dimension as text_dimension

def abid(
    features: FeatureArray,
    *,
    k: int = 64,
    diagonal: bool = True,
    average: str = 'inverse',
    level: float = 0.95,
    duplicates: str = 'drop',
    queries: int = 20000,
    max_samples: int | None = None,
    seed: int = 0,
    memory: int = 536870912,
    nan_policy: str = 'raise',
) -> Estimate:
    """Angle-based intrinsic dimension."""

def danco(
    features: FeatureArray,
    *,
    k: int = 10,
    integer: bool = False,
    level: float = 0.95,
    duplicates: str = 'drop',
    queries: int = 20000,
    max_samples: int | None = None,
    seed: int = 0,
    memory: int = 536870912,
    nan_policy: str = 'raise',
) -> Estimate:
    """Dimension from angle and norm concentration."""

def mind_ml(
    features: FeatureArray,
    *,
    k: int = 20,
    integer: bool = False,
    calibrate: bool = False,
    boundary: bool = True,
    level: float = 0.95,
    duplicates: str = 'drop',
    queries: int = 20000,
    max_samples: int | None = None,
    seed: int = 0,
    memory: int = 536870912,
    nan_policy: str = 'raise',
) -> Estimate:
    """Intrinsic dimension from the ratio of the first to the (k + 1)-th distance."""

def tle(
    features: FeatureArray,
    *,
    k: int = 20,
    average: str = 'inverse',
    calibrate: bool = False,
    boundary: bool = True,
    level: float = 0.95,
    duplicates: str = 'drop',
    queries: int = 20000,
    max_samples: int | None = None,
    seed: int = 0,
    memory: int = 536870912,
    nan_policy: str = 'raise',
) -> Estimate:
    """Tight local intrinsic dimension: also distances between neighbours."""

def gride(
    features: FeatureArray,
    *,
    n1: int = 2,
    n2: int | None = None,
    error: str = 'sandwich',
    calibrate: bool = False,
    boundary: bool = True,
    level: float = 0.95,
    duplicates: str = 'drop',
    queries: int = 20000,
    max_samples: int | None = None,
    seed: int = 0,
    memory: int = 536870912,
    nan_policy: str = 'raise',
) -> Estimate:
    """Intrinsic dimension from the ratio of the distances to two neighbours."""

def mle(
    features: FeatureArray,
    *,
    k: int = 20,
    k_max: int | None = None,
    average: str = 'inverse',
    normalizer: str = 'k-1',
    error: str = 'sandwich',
    calibrate: bool = False,
    boundary: bool = True,
    level: float = 0.95,
    duplicates: str = 'drop',
    queries: int = 20000,
    max_samples: int | None = None,
    seed: int = 0,
    memory: int = 536870912,
    nan_policy: str = 'raise',
) -> Estimate:
    """Intrinsic dimension by maximum likelihood from k neighbours."""

def two_nn(
    features: FeatureArray,
    *,
    method: str = 'linear',
    discard: float | None = None,
    error: str = 'sandwich',
    calibrate: bool = False,
    boundary: bool = True,
    level: float = 0.95,
    duplicates: str = 'drop',
    queries: int = 20000,
    max_samples: int | None = None,
    seed: int = 0,
    memory: int = 536870912,
    nan_policy: str = 'raise',
) -> Estimate:
    """Intrinsic dimension from the ratio of every sample's two nearest distances."""

def dimension_estimators(
    features: FeatureArray,
    *,
    level: float = 0.95,
    duplicates: str = 'drop',
    queries: int = 20000,
    max_samples: int | None = None,
    seed: int = 0,
    memory: int = 536870912,
    nan_policy: str = 'raise',
) -> DimensionEstimators:
    """Intrinsic dimension by ten more estimators, from one neighbour search."""

def fisher_s(
    features: FeatureArray,
    *,
    alpha: float | None = None,
    level: float = 0.95,
    seed: int = 0,
    nan_policy: str = 'raise',
) -> Estimate:
    """Dimension from how many samples a hyperplane does not separate from others."""

def local_pca(
    features: FeatureArray,
    *,
    k: int = 64,
    rule: str = 'fukunaga_olsen',
    share: float = 0.95,
    neighbourhoods: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    duplicates: str = 'drop',
    queries: int = 20000,
    max_samples: int | None = None,
    memory: int = 536870912,
    nan_policy: str = 'raise',
) -> Estimate:
    """Mean over samples of the components that a rule keeps of their k neighbours."""

def spectral_rank(
    features: FeatureArray,
    *,
    rule: str = 'marchenko_pastur',
    share: float = 0.95,
    level: float = 0.95,
    seed: int = 0,
    nan_policy: str = 'raise',
) -> Estimate:
    """How many principal components a rule keeps."""

def correlation_dimension(
    features: FeatureArray,
    *,
    k1: int = 10,
    k2: int = 20,
    level: float = 0.95,
    duplicates: str = 'drop',
    queries: int = 20000,
    max_samples: int | None = None,
    seed: int = 0,
    memory: int = 536870912,
    nan_policy: str = 'raise',
) -> Estimate:
    """Correlation dimension between two radii."""

def ess(
    features: FeatureArray,
    *,
    k: int | None = 100,
    neighbourhoods: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    duplicates: str = 'drop',
    queries: int = 20000,
    max_samples: int | None = None,
    memory: int = 536870912,
    nan_policy: str = 'raise',
) -> Estimate:
    """Expected simplex skewness: dimension from the angles in neighbourhoods."""

def local_dimension(
    features: FeatureArray,
    *,
    k: int = 20,
    smooth: bool = False,
    duplicates: str = 'drop',
    queries: int = 20000,
    max_samples: int | None = None,
    seed: int = 0,
    memory: int = 536870912,
    nan_policy: str = 'raise',
) -> Tensor:
    """Intrinsic dimension around every sample."""

def mada(
    features: FeatureArray,
    *,
    k: int = 20,
    average: str = 'inverse',
    calibrate: bool = False,
    boundary: bool = True,
    level: float = 0.95,
    duplicates: str = 'drop',
    queries: int = 20000,
    max_samples: int | None = None,
    seed: int = 0,
    memory: int = 536870912,
    nan_policy: str = 'raise',
) -> Estimate:
    """Intrinsic dimension from the growth of the ball to k/2 and to k neighbours."""

def mom(
    features: FeatureArray,
    *,
    k: int = 64,
    average: str = 'inverse',
    calibrate: bool = False,
    boundary: bool = True,
    level: float = 0.95,
    duplicates: str = 'drop',
    queries: int = 20000,
    max_samples: int | None = None,
    seed: int = 0,
    memory: int = 536870912,
    nan_policy: str = 'raise',
) -> Estimate:
    """Intrinsic dimension from the mean distance of k neighbours."""

def ph_dimension(
    features: FeatureArray,
    *,
    alpha: float = 1.0,
    smallest: int | None = None,
    largest: int | None = None,
    steps: int = 8,
    repeats: int = 7,
    seed: int = 0,
    level: float = 0.95,
    duplicates: str = 'drop',
    queries: int = 20000,
    max_samples: int | None = None,
    memory: int = 536870912,
    nan_policy: str = 'raise',
) -> Estimate:
    """Persistent-homology dimension of degree 0, from minimum spanning trees."""

def ph_dimensions(
    features: FeatureArray,
    *,
    alphas: Sequence[float] = (0.5, 1.0, 2.0),
    smallest: int | None = None,
    largest: int | None = None,
    steps: int = 8,
    repeats: int = 7,
    seed: int = 0,
    level: float = 0.95,
    duplicates: str = 'drop',
    queries: int = 20000,
    max_samples: int | None = None,
    memory: int = 536870912,
    nan_policy: str = 'raise',
) -> PHDimensions:
    """`ph_dimension` for several alphas from the same trees: `by_alpha` holds one estimate for each."""

def dimension_profile(
    features: FeatureArray,
    *,
    level: float = 0.95,
    duplicates: str = 'drop',
    queries: int = 20000,
    max_samples: int | None = None,
    seed: int = 0,
    memory: int = 536870912,
    nan_policy: str = 'raise',
) -> DimensionProfile:
    """Estimated dimension at several scales, from one neighbour search."""

