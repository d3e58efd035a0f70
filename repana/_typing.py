"""Shape words. n samples, d features, c classes, k neighbours, r replicates."""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int, Shaped
from torch import Tensor

# What a user may pass: tensors, NumPy arrays, or anything that NumPy reads. Checked by `_check`, not by the type.
Array: TypeAlias = Tensor | np.ndarray | list | tuple

Features: TypeAlias = Float[Tensor, "n d"]
Labels: TypeAlias = Int[Tensor, " n"]
Means: TypeAlias = Float[Tensor, "c d"]
PerClass: TypeAlias = Shaped[Tensor, " c"]
