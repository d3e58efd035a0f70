"""Shape words. n samples, d features, c classes, k neighbours, r replicates."""

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from jaxtyping import Float, Int, Shaped
from torch import Tensor

# What a user may pass: tensors, NumPy arrays, or anything that NumPy reads, with their shapes. At run time `_check`
# looks at them, and what it refuses it refuses in its own words.
Array: TypeAlias = Any
if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    FeatureArray: TypeAlias = Tensor | ArrayLike
    LabelArray: TypeAlias = Tensor | ArrayLike
    TargetArray: TypeAlias = Tensor | ArrayLike
else:
    FeatureArray = Annotated[Any, "array (n, d): n samples, d features"]
    LabelArray = Annotated[Any, "array (n,): one for each sample"]
    TargetArray = Annotated[Any, "array (n,) or (n, t): t targets of each sample"]

IGNORED = -100  # the label that loss functions skip

Features: TypeAlias = Float[Tensor, "n d"]
Labels: TypeAlias = Int[Tensor, " n"]
Means: TypeAlias = Float[Tensor, "c d"]
PerClass: TypeAlias = Shaped[Tensor, " c"]


INPUT = "input"  # the address of what the network is given
