"""Newton's method for small problems of multinomial logistic regression: few steps of a few batched operations.

Of one problem the parameters are theta (c, d + 1), the last column the intercepts. The Hessian of the mean loss is
sum_i w_i (diag(p_i) - p_i p_i') x x_i x_i', with p_i the probabilities of row i. It has no curvature along intercepts
that move together, nor along that of a class without samples; the gradient is zero there, and stays so.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

FLAT = 1e-12  # curvature lent to every intercept
SINGLE, LENT = (
    1e-6,
    1e-10,
)  # of the largest entry of a Hessian, lent to its diagonal in float32, or where it is singular
HALVINGS = 40  # of a step
ARMIJO = 1e-4
BUDGET = 2.5e7  # operations of one step of all problems, up to which it is cheaper than steps of L-BFGS


@dataclass(frozen=True)
class Minimum:
    """Where the steps ended: `theta` (p, c, d + 1), objective, gradient (p, c, d + 1), and steps taken."""

    theta: Float[Tensor, "p c e"]
    objective: Float[Tensor, " p"]
    gradient: Float[Tensor, "p c e"]
    steps: Int[Tensor, " p"]


def operations(n: int, d: int, classes: int, problems: int) -> float:
    """Of one step: the Hessian's product and its factor."""
    size = float(classes * (d + 1))
    return problems * (n * size**2 + size**3 / 3)


def newton(
    x: Float[Tensor, "n d"],
    codes: Int[Tensor, "n p"],
    share: Float[Tensor, "_ p"],
    ridge: Float[Tensor, "p d"],
    theta: Float[Tensor, "p c e"],
    *,
    tolerance: float,
    iterations: int,
) -> Minimum:
    """Minimise sum_i share_i CE + sum_jk ridge_j theta_kj^2/2 from `theta`, until Newton's decrement is below the
    tolerance of the objective, for every problem at once, in float64."""
    wide = torch.cat([x.double(), x.new_ones(len(x), 1).double()], 1)
    problem = _Problem(wide, codes.T, share.T.double().expand(codes.T.shape), ridge.double(), x.dtype == torch.float32)
    theta = theta.double()
    f, g, p = problem.at(theta)
    steps = torch.zeros(len(theta), dtype=torch.int64, device=x.device)
    for _ in range(iterations):
        direction = problem.direction(p, g)
        decrease = -(g * direction).sum((1, 2))
        open_ = decrease > tolerance * f.clamp_min(1e-300)
        if not bool(open_.any()):
            break
        steps += open_
        t = open_.double()
        for _ in range(HALVINGS):
            moved = theta + t[:, None, None] * direction
            new = problem.at(moved)
            poor = open_ & ~(new[0] <= f - ARMIJO * t * decrease + 1e-14 * f)
            if not bool(poor.any()):
                break
            t = torch.where(poor, t / 2, t)
        else:  # rounding: no step lowers the objective any more
            break
        theta, (f, g, p) = moved, new
    return Minimum(theta, f, g, steps)


@dataclass(frozen=True)
class _Problem:
    x: Float[Tensor, "n e"]
    codes: Int[Tensor, "p n"]
    share: Float[Tensor, "p n"]
    ridge: Float[Tensor, "p d"]
    single: bool  # the Hessian in float32: directions are then nearly Newton's, values as exact

    def at(self, theta: Float[Tensor, "p c e"]) -> tuple[Tensor, Tensor, Tensor]:
        """Objective, gradient and probabilities (p, n, c)."""
        log_p = torch.log_softmax(self.x @ theta.mT, -1)
        own = log_p.gather(2, self.codes[..., None])[..., 0]
        pulled = theta[..., :-1] * self.ridge[:, None]
        f = (pulled * theta[..., :-1]).sum((1, 2)) / 2 - (self.share * own).sum(1)
        p = log_p.exp()
        residual = p.scatter_add(2, self.codes[..., None], -torch.ones_like(own)[..., None]) * self.share[..., None]
        g = residual.mT @ self.x
        g[..., :-1] += pulled
        return f, g, p

    def direction(self, p: Float[Tensor, "p n c"], g: Float[Tensor, "p c e"]) -> Float[Tensor, "p c e"]:
        """Minus the inverse Hessian times the gradient."""
        found = self._solved(p.float(), g, self.x.float(), SINGLE) if self.single else None
        found = self._solved(p, g, self.x, 0.0) if found is None else found
        if found is None:  # rounding of a Hessian that is nearly singular
            found = self._solved(p, g, self.x, LENT)
        assert found is not None
        return found

    def _solved(self, p: Tensor, g: Tensor, x: Tensor, lent: float) -> Tensor | None:
        """In the precision of p; None where the Hessian has no factor. `lent` is added, times its largest entry."""
        (q, n, c), e = p.shape, x.shape[1]
        share = self.share.to(p.dtype)
        own = ((p * share[..., None]).mT[:, :, None] * x.T) @ x  # (q, c, e, e)
        spread = (p[..., None] * x[:, None]).view(q, n, c * e)
        hessian = -(spread.mT * share[:, None]) @ spread
        blocks = hessian.view(q, c, e, c, e)
        at = torch.arange(c, device=p.device)
        blocks[:, at, :, at, :] += own.transpose(0, 1)
        flat = torch.cat([self.ridge, self.ridge.new_full((q, 1), FLAT)], 1).repeat(1, c).to(p.dtype)
        diagonal = hessian.diagonal(dim1=1, dim2=2)
        diagonal.add_(flat)
        if lent:
            diagonal.add_(lent * diagonal.amax(1, keepdim=True))
        factor, wrong = torch.linalg.cholesky_ex(hessian)
        if bool(wrong.any()):
            return None
        return -torch.cholesky_solve(g.reshape(q, c * e, 1).to(p.dtype), factor).view(q, c, e).to(g.dtype)
