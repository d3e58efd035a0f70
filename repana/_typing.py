"""Shape words. n samples, d features, c classes, k neighbours, r replicates."""

from typing import Any, TypeAlias

from jaxtyping import Float, Int, Shaped
from torch import Tensor

# What a user may pass: tensors, NumPy arrays, or anything that NumPy reads. `_check` looks at it, not the type checker.
Array: TypeAlias = Any

IGNORED = -100  # the label that loss functions skip

Features: TypeAlias = Float[Tensor, "n d"]
Labels: TypeAlias = Int[Tensor, " n"]
Means: TypeAlias = Float[Tensor, "c d"]
PerClass: TypeAlias = Shaped[Tensor, " c"]


INPUT = "input"  # the address of what the network is given
