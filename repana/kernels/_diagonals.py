"""The diagonal of a kernel alone, |J_i|^2 of every sample: nothing of n x n is formed."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from repana.extraction._tangents import CONVOLUTIONS, Called
from repana.kernels._grams import BYTES, embedded, is_linear, joined, of_groups, of_rows, positions

Diagonal = Float[Tensor, " n"]


def diagonals(module: nn.Module, batches: Sequence[Sequence[Called]]) -> dict[str, Diagonal]:
    """Of the kernel of each parameter of a module, by its own name; calls of one pass add up before the square."""
    if isinstance(module, nn.Embedding):
        return {"weight": _summed([squares(rows) for rows in embedded(module, batches)])}
    names = [name for name, _ in module.named_parameters(recurse=False)]
    found: dict[str, Tensor] = {}
    if "weight" in names:
        if isinstance(module, CONVOLUTIONS):
            found["weight"] = _summed([_of_matrix(a, g) for a, g in of_groups(module, batches)])
        elif is_linear(module):
            found["weight"] = _of_matrix(*joined([[positions(c) for c in calls] for calls in batches]))
        else:
            found["weight"] = squares(of_rows(module, batches, scaled=True))
    if "bias" in names:
        found["bias"] = squares(of_rows(module, batches, scaled=False))
    return found


def squares(rows: Float[Tensor, "r n p"]) -> Diagonal:
    """Of gradients that are there."""
    return torch.linalg.vector_norm(rows, dim=(0, 2), dtype=torch.float64).square()


def _summed(parts: Sequence[Diagonal]) -> Diagonal:
    return torch.stack(list(parts)).sum(0)


def _of_matrix(a: Float[Tensor, "n t a"], g: Float[Tensor, "r n t g"]) -> Diagonal:
    """|a|^2 |g|^2 of a single position; of several by products of pairs of positions, or by gradients that are formed:
    what costs less."""
    r, n, t, d_out = g.shape
    d_in = a.shape[2]
    if t * (d_in + r * d_out) < r * d_in * d_out:
        wide = g.permute(1, 2, 0, 3).reshape(n, t, r * d_out)
        step = max(1, BYTES // (8 * t * t))
        parts = [
            ((x @ x.transpose(1, 2)) * (y @ y.transpose(1, 2))).sum((1, 2), dtype=torch.float64)
            for x, y in zip(a.split(step), wide.split(step))
        ]
        return torch.cat(parts)
    total = torch.zeros(n, dtype=torch.float64, device=a.device)
    step = max(1, BYTES // (4 * n * d_in))
    for of_direction in g:
        for part in of_direction.split(step, dim=2):
            total += squares(torch.bmm(part.transpose(1, 2), a).flatten(1)[None])
    return total
