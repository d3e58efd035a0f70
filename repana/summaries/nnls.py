"""Non-negative least squares of many rows at once: min |a - zD|^2 over z >= 0.

Accelerated projected gradients, whose steps are one product of all rows with DD', find which codes are zero; one
Cholesky factor a row then solves the others exactly. What is returned carries its certificate: how far each row is
from the conditions that hold at the minimum.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from repana.summaries._linalg import full_precision

STEPS, ROUNDS = 4000, 30
ROUGH = 40  # steps before rows are solved exactly
EXACT = 512  # atoms: of more, rows are not solved by a factor of their own
ROWS = 2**24  # numbers of such factors held at a time
TOLERANCE, ROUGHLY = 1e-9, 1e-6


@dataclass(frozen=True)
class NonNegative:
    """`codes` (n, t) and `gap` (n,): the largest violation of g >= 0 and zg = 0, where g = (zD - a)D', as a share of
    |aD'|.
    """

    codes: Float[Tensor, "n t"]
    gap: Float[Tensor, " n"]


def non_negative(rows: Float[Tensor, "n d"], atoms: Float[Tensor, "t d"], tolerance: float = TOLERANCE) -> NonNegative:
    """In float64. Zero atoms get zero codes."""
    a, dictionary = rows.double(), atoms.double()
    size = dictionary.norm(dim=1)
    unit = dictionary / torch.where(size > 0, size, 1.0)[:, None]
    with full_precision():
        gram, aim = unit @ unit.T, a @ unit.T
    exact = len(gram) <= EXACT
    tolerance = tolerance if exact else max(tolerance, ROUGHLY)
    z = _descent(gram, aim, tolerance, ROUGH if exact else STEPS)
    if exact:
        for part in torch.arange(len(z), device=z.device).split(max(1, ROWS // len(gram) ** 2)):
            z[part] = _polished(gram, aim[part], z[part], tolerance)
        left = (_gap(gram, aim, z) > tolerance).nonzero()[:, 0]
        if len(left):
            z[left] = _descent(gram, aim[left], tolerance, STEPS)
    return NonNegative(torch.where(size > 0, z / torch.where(size > 0, size, 1.0), 0.0), _gap(gram, aim, z))


def _gap(gram: Tensor, aim: Tensor, z: Tensor) -> Tensor:
    slope = z @ gram - aim
    wrong = torch.where(z > 0, slope.abs(), (-slope).clamp_min(0))
    return wrong.amax(1) / aim.norm(dim=1).clamp_min(torch.finfo(z.dtype).tiny)


def _descent(gram: Tensor, aim: Tensor, tolerance: float, steps: int) -> Tensor:
    """Steps of 1/L with momentum, which starts again in a row whose slope turns against it."""
    n, step = len(aim), 1 / float(torch.linalg.matrix_norm(gram, 2).clamp_min(1e-300))
    z = last = (aim * step).clamp_min(0)
    pace = aim.new_ones(n, 1)
    for k in range(steps):
        following = (1 + (1 + 4 * pace.square()).sqrt()) / 2
        ahead = z + (pace - 1) / following * (z - last)
        new = (ahead - step * (ahead @ gram - aim)).clamp_min_(0)
        turned = ((ahead - new) * (new - z)).sum(1, keepdim=True) > 0
        pace = torch.where(turned, 1.0, following)
        z, last = new, z
        if k % 25 == 24 and float(_gap(gram, aim, z).amax()) < tolerance:
            break
    return z


def _polished(gram: Tensor, aim: Tensor, z: Tensor, tolerance: float) -> Tensor:
    """Solve for the codes that may be positive, put out those that became negative, let in those that the slope asks
    for, until neither is left (block principal pivoting); rows that are done stay out of the next round.
    """
    best, gap = z.clone(), _gap(gram, aim, z)
    eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    todo = (gap > tolerance).nonzero()[:, 0]
    free = z[todo] > 0
    for _ in range(ROUNDS):
        if not len(todo):
            break
        system = torch.where(free[:, :, None] & free[:, None], gram, eye)
        factor, failed = torch.linalg.cholesky_ex(system)
        found = torch.cholesky_solve((aim[todo] * free)[:, :, None], factor)[:, :, 0]
        found = torch.where(failed[:, None] > 0, best[todo], found * free)
        new = found.clamp_min(0)
        other = _gap(gram, aim[todo], new)
        better = other < gap[todo]
        best[todo[better]], gap[todo[better]] = new[better], other[better]
        slope = found @ gram - aim[todo]
        free = torch.where(free, found > 0, slope < 0)
        going = other > tolerance
        todo, free = todo[going], free[going]
    return best
