from .._typing import FeatureArray
from .._typing import LabelArray

from ._class_divergences import ClassDivergences as ClassDivergences
from ._class_divergences import class_divergences as class_divergences
from ._fisher import Fisher as Fisher
from ._separability import DataComplexity as DataComplexity
from ._separability import Separability as Separability

def fisher(
    features: FeatureArray,
    labels: LabelArray,
    *,
    level: float = 0.95,
    jackknife: int = 20,
    shrinkage: float | str = 0.0,
    permutations: int = 0,
    seed: int = 0,
    nan_policy: str = 'raise',
) -> Fisher:
    """Fisher's discriminant ratio in its four forms."""

def data_complexity(
    features: FeatureArray,
    labels: LabelArray,
    *,
    ratio: str = 'points',
    vertices: bool = True,
    ties: str = 'first',
    jackknife: int = 10,
    permutations: int = 0,
    level: float = 0.95,
    k: int = 10,
    max_samples: int = 5000,
    seed: int = 0,
    nan_policy: str = 'raise',
) -> DataComplexity:
    """Measures of the complexity of a classification problem, for any number of classes; lower is easier."""

def separability(
    features: FeatureArray,
    labels: LabelArray,
    *,
    normalize: str = 'l2',
    tolerance_over: str = 'class',
    unbiased: bool = True,
    drop_constant: bool = False,
    jackknife: int = 10,
    permutations: int = 0,
    level: float = 0.95,
    k: int = 10,
    max_samples: int = 5000,
    seed: int = 0,
    nan_policy: str = 'raise',
) -> Separability:
    """Class separability from the distances between samples."""

