"""What a router of a mixture of experts gives, told by its shapes and types."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Routed:
    """Scores of all experts, the experts that were chosen and their weights, and the tokens that came in, a row
    each."""

    scores: Float[Tensor, "n e"]
    chosen: Int[Tensor, "n k"]
    weights: Float[Tensor, "n k"]
    given: Tensor | None = None


def routed(args: Any, output: Any) -> Routed | None:
    """What a module gave, if that is what a router gives: scores of all experts, those chosen, and their weights."""
    if not isinstance(output, (tuple, list)):
        return None
    tensors = [t for t in output if isinstance(t, Tensor) and t.ndim == 2]
    chosen = [t for t in tensors if t.dtype == torch.int64]
    if len(chosen) != 1:
        return None
    rows, k = chosen[0].shape
    floats = [t for t in tensors if t.is_floating_point() and len(t) == rows]
    scores = [t for t in floats if t.shape[1] > k]
    weights = [t for t in floats if t.shape[1] == k]
    if len(scores) != 1 or len(weights) != 1 or int(chosen[0].max()) >= scores[0].shape[1]:
        return None
    given = args[0] if args and isinstance(args[0], Tensor) and args[0].is_floating_point() else None
    fits = given is not None and given.ndim > 1 and given.numel() == rows * given.shape[-1]
    return Routed(scores[0], chosen[0], weights[0], given if fits else None)
