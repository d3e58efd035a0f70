"""Multinomial logistic regression of many penalties, row weights and label sets over the same features, at once.

One problem: minimise over W (d, c) and b (c)  sum_i w_i CE(x_i W + b, y_i)/sum_i w_i + penalty/2 sum_jk (s_j W_jk)^2,
the intercept free. It is scikit-learn's with C = 1/(penalty n). Two classes have two columns: the same argument as a
sigmoid of the difference with half the penalty.

All problems share two matrix products an iteration (X times the directions, X' times the residuals), which are as wide
as all of them together. The direction is that of L-BFGS, whose initial matrix is the inverse of
curvature_p X'X/n + penalty_p I along the eigenvectors of X'X, with the mean softmax curvature of the moment. Logits are
affine along a direction, so the line search forms no product. The problem is the innermost index: a softmax over
ten neighbouring numbers takes seven times as long as one over ten rows. Small problems take Newton's steps instead.

Stopping is by certificate: the objective is strongly convex in W, so f - min f <= sum_jk (g_jk/s_j)^2/(2 penalty) once
the gradient of the intercept is zero, which has a test of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana._typing import Features
from repana.summaries._linalg import full_precision, gram
from repana.summaries._newton import BUDGET, newton, operations

MEMORY = 10  # pairs of L-BFGS
WIDTH = 512  # columns (classes x problems) of one product on a CPU; wider ones are no faster
WIDE = 8192  # on a GPU
NARROW = 100  # columns, up to which a product is formed the other way round
BLOCK = 2**18  # logits worked on at a time, so that they stay in cache
ABSENT = -1e4  # the intercept of a class without samples: a probability of zero
INTERCEPT = 0.3  # of the tolerance: an intercept that is off by it moves predictions near ties
TRIALS = 12  # of a line search
PRECISE = 1e-5  # of the tolerance: a decrease at which Newton's steps stop
NEWTON_STEPS = 100
SHRUNK = 0.8  # share of problems still open at which the others are dropped


@dataclass(frozen=True)
class LogisticFits:
    """The minimisers, problem by problem along the last axis.

    `gap` bounds (f - min f)/min(f, f0 - f), f0 the entropy of the classes (or over ten roundings of f, if more), or
    where it was asked for (f - min f)/(f0 - f);
    `certified` where it and the gradient of the intercept (relative to the rarest class) are at most the tolerance.
    """

    weight: Float[Tensor, "d c p"]
    bias: Float[Tensor, "c p"]
    objective: Float[Tensor, " p"]
    gap: Float[Tensor, " p"]
    certified: Tensor
    iterations: Int[Tensor, " p"]

    def of(self, problem: int) -> "LogisticFits":
        """One of them."""
        return LogisticFits(*(getattr(self, f.name)[..., problem : problem + 1] for f in fields(self)))

    def repeated(self, problems: int) -> "LogisticFits":
        """The last problem's minimiser, to begin so many others from."""
        return LogisticFits(
            *(t.expand(*t.shape[:-1], problems) for t in (getattr(self, f.name)[..., -1:] for f in fields(self)))
        )

    def joined(self, *others: "LogisticFits") -> "LogisticFits":
        """With those of further problems."""
        return _joined([self, *others])

    def scores(self, features: Features) -> Float[Tensor, "m c p"]:
        """Logits of other rows."""
        d, c, p = self.weight.shape
        return product(features.to(self.weight.dtype), self.weight.reshape(d, c * p)).view(-1, c, p) + self.bias


def logistic(
    features: Features,
    codes: Int[Tensor, "n *l"],
    penalty: Float[Tensor, " p"],
    classes: int,
    *,
    weight: Float[Tensor, "n p"] | None = None,
    scale: Float[Tensor, "d p"] | None = None,
    start: LogisticFits | None = None,
    axes: Callable[[], "Axes"] | None = None,
    tolerance: float = 1e-3,
    of_explained: bool = False,
    iterations: int = 1000,
) -> LogisticFits:
    """All problems, as many at a time as pays. Features are best centred and of unit variance.

    `codes` (n,) from 0, or (n, p) one label set a problem; `weight` (n, p) of rows, `scale` (d, p) of the penalty.
    `start`: fits to begin from. `axes`: makes `Axes.of(features)`, where these are shared. `of_explained`: the
    tolerance is of f0 - f, not of f where that is less. Float32, or float64 for such features.
    """
    x = features if features.dtype == torch.float64 else features.float()
    n, p = len(x), len(penalty)
    size = max(1, (WIDE if x.is_cuda else WIDTH) // classes)
    every = codes if codes.ndim == 2 else codes[:, None].expand(n, p)
    if not x.is_cuda and operations(n, x.shape[1], classes, min(p, size)) <= BUDGET:
        parts = [
            _by_newton(
                x, every[:, at], penalty[at], classes, None if weight is None else weight[:, at],
                None if scale is None else scale[:, at],
                None if start is None else torch.cat([start.weight, start.bias[None]])[:, :, at], tolerance,
                of_explained, iterations,
            )
            for at in torch.arange(p).split(size)
        ]  # fmt: skip
        return _joined(parts)
    own = Axes.of(x) if axes is None else axes()
    straight = scale is None  # then the penalty is the same along any axes
    theta = None if start is None else torch.cat([start.weight, start.bias[None]])
    if theta is not None and straight:
        theta = own.turned(theta)
    parts = []
    for at in torch.arange(p, device=x.device).split(size):
        descent = _Descent(
            own.along if straight else x,
            every[:, at] if codes.ndim == 2 else every[:, : len(at)],
            penalty[at].to(x),
            classes,
            None if weight is None else weight[:, at].to(x),
            None if scale is None else scale[:, at].to(x),
            own.values,
            None if straight else own.vectors,
            tolerance,
            of_explained,
        )
        parts.append(descent.run(None if theta is None else theta[:, :, at], iterations))
    found = _joined(parts)
    return replace(found, weight=own.back(found.weight)) if straight else found


def _joined(parts: list[LogisticFits]) -> LogisticFits:
    if len(parts) == 1:
        return parts[0]
    return LogisticFits(*(torch.cat([getattr(part, f.name) for part in parts], -1) for f in fields(LogisticFits)))


def _by_newton(
    x: Features,
    codes: Int[Tensor, "n p"],
    penalty: Float[Tensor, " p"],
    classes: int,
    weight: Float[Tensor, "n p"] | None,
    scale: Float[Tensor, "d p"] | None,
    begin: Float[Tensor, "e c p"] | None,
    tolerance: float,
    of_explained: bool,
    iterations: int,
) -> LogisticFits:
    """Small problems, by Newton's steps; the certificate is that of all others."""
    n, p = codes.shape
    penalty = penalty.double()
    share = penalty.new_full((1, p), 1 / n) if weight is None else weight.double() / weight.double().sum(0)
    square = penalty.new_ones(x.shape[1], p) if scale is None else scale.double().square()
    prior = penalty.new_zeros(classes, p).scatter_add_(0, codes, share.expand(n, p))
    if begin is None:
        theta = penalty.new_zeros(x.shape[1] + 1, classes, p)
        theta[-1] = torch.where(prior > 0, prior.clamp_min(1e-300).log(), ABSENT)
    else:
        theta = begin.double()
    found = newton(
        x, codes, share, (square * penalty).T, theta.permute(2, 1, 0),
        tolerance=min(tolerance, 1.0) * PRECISE, iterations=min(iterations, NEWTON_STEPS),
    )  # fmt: skip
    g, f = found.gradient, found.objective
    bound = (g[..., :-1].square() / square.T[:, None]).sum((1, 2)) / (2 * penalty)
    entropy = -(prior * prior.clamp_min(1e-300).log()).sum(0)
    rounding = 10 * torch.finfo(x.dtype).eps * f
    gap = bound / torch.maximum(torch.minimum(f, entropy - f), rounding).clamp_min(1e-300)
    rarest = torch.where(prior > 0, prior, 1.0).amin(0)
    sure = (gap <= tolerance) & (g[..., -1].abs().amax(1) <= INTERCEPT * tolerance * rarest)
    theta = found.theta.permute(2, 1, 0).to(x.dtype)
    return LogisticFits(theta[:-1], theta[-1], f, gap, sure, found.steps)


def _gap(bound: Tensor, f: Tensor, entropy: Tensor, of_explained: bool, eps: float) -> Tensor:
    """A bound of f - min f relative to what is explained, or to f where that is less."""
    size = entropy - f if of_explained else torch.minimum(f, entropy - f)
    rounding = 10 * eps * f  # nothing to explain: the intercept alone is the answer
    return bound / torch.maximum(size, rounding).clamp_min(1e-300)


@dataclass(frozen=True)
class Axes:
    """Eigenvalues and vectors of X'X/n, which precondition all problems, and the rows along them: there the
    preconditioner is diagonal."""

    values: Float[Tensor, " d"]
    vectors: Float[Tensor, "d d"]
    along: Float[Tensor, "n d"]

    @classmethod
    def of(cls, features: Features) -> "Axes":
        x = features if features.dtype == torch.float64 else features.float()
        values, vectors = torch.linalg.eigh(gram(x) / len(x))
        return cls.known(values, vectors, x)

    @classmethod
    def known(cls, values: Float[Tensor, " d"], vectors: Float[Tensor, "d d"], x: Features) -> "Axes":
        vectors = vectors.to(x)
        with full_precision():
            return cls(values.clamp_min(0).to(x), vectors, x @ vectors)

    def turned(self, theta: Float[Tensor, "e c p"]) -> Float[Tensor, "e c p"]:
        """Parameters of the features, the intercepts in the last row, as those along the axes."""
        d, c, p = theta.shape
        weight = product(self.vectors.T, theta[:-1].to(self.along).reshape(d - 1, c * p)).view(d - 1, c, p)
        return torch.cat([weight, theta[-1:].to(weight)])

    def back(self, weight: Float[Tensor, "d c p"]) -> Float[Tensor, "d c p"]:
        """Weights along the axes as those of the features."""
        d, c, p = weight.shape
        return product(self.vectors, weight.reshape(d, c * p)).view(d, c, p)


def product(x: Float[Tensor, "n d"], w: Float[Tensor, "d q"]) -> Float[Tensor, "n q"]:
    """x w, for few columns as (w' x')': a library is two to six times as fast at a few long rows."""
    with full_precision():
        if w.shape[1] > NARROW or x.is_cuda:
            return x @ w
        return (w.T.contiguous() @ x.T).T.contiguous()


class _Descent:
    """One group of problems. `theta` (d + 1, c, p) are W and, in its last row, b."""

    def __init__(
        self,
        x: Tensor,
        codes: Tensor,
        penalty: Tensor,
        classes: int,
        weight: Tensor | None,
        scale: Tensor | None,
        values: Tensor,
        vectors: Tensor | None,
        tolerance: float,
        of_explained: bool,
    ) -> None:
        """`values` and `vectors` are the eigenvalues and vectors of X'X/n; without these, x is along them."""
        n, p = codes.shape
        self.x, self.c, self.tolerance, self.of_explained = x, classes, tolerance, of_explained
        self.values, self.vectors = values, vectors
        self.codes, self.penalty = codes, penalty
        self.share = x.new_full((1, p), 1 / n) if weight is None else weight / weight.sum(0)
        self.square = None if scale is None else scale[:, None, :].square()
        mass = x.new_zeros(classes, p).scatter_add_(0, codes, self.share.expand(n, p))
        self.prior = mass
        self.rarest = torch.where(mass > 0, mass, 1.0).amin(0)
        self.entropy = -(mass * mass.clamp_min(1e-30).log()).sum(0).double()
        self.curvature = ((1 - mass.square().sum(0)) / max(classes - 1, 1)).clamp_min(1e-6)

    def run(self, begin: Tensor | None, iterations: int) -> LogisticFits:
        x, d = self.x, self.x.shape[1]
        p, c = len(self.penalty), self.c
        theta = x.new_zeros(d + 1, c, p) if begin is None else begin.clone()
        if begin is None:
            theta[d] = torch.where(self.prior > 0, self.prior.clamp_min(1e-30).log(), ABSENT)
        z = self._product(theta)
        zd, residual = torch.zeros_like(z), torch.empty_like(z)
        loss, _ = self._evaluate(z, zd, x.new_zeros(p), residual)
        f = loss + self._ridge(theta, theta) / 2
        g = self._gradient(residual, theta)
        steps: list[Tensor] = []
        turns: list[Tensor] = []
        rhos: list[Tensor] = []
        done_theta, done_f = torch.empty_like(theta), torch.empty(p, dtype=torch.float64, device=x.device)
        done_gap, done_at = torch.empty_like(done_f), torch.zeros(p, dtype=torch.int64, device=x.device)
        done_sure = torch.zeros(p, dtype=torch.bool, device=x.device)
        place = torch.arange(p, device=x.device)
        step_of = torch.zeros_like(place)
        stuck = torch.zeros(p, dtype=torch.bool, device=x.device)
        for iteration in range(iterations + 1):
            gap = self._gap(g, f)
            sure = (gap <= self.tolerance) & (g[d].abs().amax(0) <= INTERCEPT * self.tolerance * self.rarest)
            over = sure | stuck
            last = iteration == iterations
            step_of = torch.where(over, step_of, iteration + 1)
            if bool(over.all()) or last or int((~over).sum()) <= SHRUNK * len(over):
                leave = torch.ones_like(over) if last else over
                at = place[leave]
                done_theta[:, :, at], done_f[at], done_gap[at] = theta[:, :, leave], f[leave], gap[leave]
                done_sure[at], done_at[at] = sure[leave], step_of[leave]
                stay = (~leave).nonzero()[:, 0]
                if not len(stay):
                    break
                theta, z, zd, residual, g = (t[..., stay].contiguous() for t in (theta, z, zd, residual, g))
                f, place, step_of, stuck = f[stay], place[stay], step_of[stay], stuck[stay]
                steps, turns = ([t[..., stay].contiguous() for t in some] for some in (steps, turns))
                rhos = [r[stay] for r in rhos]
                self._keep(stay)
            direction = self._direction(g, steps, turns, rhos)
            slope = (g * direction).sum((0, 1)).double()
            uphill = slope >= 0
            if bool(uphill.any()):  # rounding: begin again from the preconditioned gradient
                fresh = -self._precondition(g)
                direction = torch.where(uphill, fresh, direction)
                slope = (g * direction).sum((0, 1)).double()
            zd = self._product(direction)
            t, f, stuck = self._search(z, zd, residual, theta, direction, f, slope)
            t = t.to(x.dtype)
            z.addcmul_(zd, t)
            step = direction.mul_(t)
            theta = theta + step
            new = self._gradient(residual, theta)
            turn = new - g
            bend = (step * turn).sum((0, 1)).double()
            sound = bend > 1e-10 * (step.square().sum((0, 1)) * turn.square().sum((0, 1))).double().sqrt()
            steps.append(step)
            turns.append(turn)
            rhos.append(torch.where(sound, 1 / bend, 0.0).to(x.dtype))
            steps, turns, rhos = steps[-MEMORY:], turns[-MEMORY:], rhos[-MEMORY:]
            g = new
        return LogisticFits(done_theta[:d], done_theta[d], done_f, done_gap, done_sure, done_at)

    def _keep(self, stay: Tensor) -> None:
        self.codes, self.penalty, self.share = self.codes[:, stay], self.penalty[stay], self.share[:, stay]
        self.square = None if self.square is None else self.square[..., stay]
        self.prior, self.rarest, self.entropy = self.prior[:, stay], self.rarest[stay], self.entropy[stay]
        self.curvature = self.curvature[stay]

    def _product(self, theta: Tensor) -> Tensor:
        d, c, p = theta.shape
        return product(self.x, theta[:-1].reshape(d - 1, c * p)).view(-1, c, p).add_(theta[-1])

    def _gradient(self, residual: Tensor, theta: Tensor) -> Tensor:
        n, c, p = residual.shape
        g = torch.empty_like(theta)
        with full_precision():
            g[:-1].view(-1, c * p).copy_((residual.view(n, c * p).T @ self.x).T)
        g[:-1].add_(self._penalised(theta[:-1]))
        g[-1] = residual.sum(0)
        return g

    def _penalised(self, w: Tensor) -> Tensor:
        return w * self.penalty if self.square is None else w * (self.square * self.penalty)

    def _ridge(self, a: Tensor, b: Tensor) -> Tensor:
        return (self._penalised(a[:-1]) * b[:-1]).sum((0, 1)).double()

    def _gap(self, g: Tensor, f: Tensor) -> Tensor:
        squares = g[:-1].square() if self.square is None else g[:-1].square() / self.square
        bound = squares.sum((0, 1)).double() / (2 * self.penalty.double())
        return _gap(bound, f, self.entropy, self.of_explained, torch.finfo(g.dtype).eps)

    def _precondition(self, g: Tensor) -> Tensor:
        d, c, p = g.shape
        bend = (self.values[:, None] * self.curvature + self.penalty)[:, None]
        out = torch.empty_like(g)
        if self.vectors is None:
            torch.div(g[:-1], bend, out=out[:-1])
        else:
            along = product(self.vectors.T, g[:-1].reshape(d - 1, c * p)).view(d - 1, c, p).div_(bend)
            out[:-1] = product(self.vectors, along.view(d - 1, c * p)).view(d - 1, c, p)
        out[-1] = g[-1] / self.curvature
        return out

    def _direction(self, g: Tensor, steps: list[Tensor], turns: list[Tensor], rhos: list[Tensor]) -> Tensor:
        """Two loops over the pairs (Nocedal & Wright 2006, algorithm 7.4), each problem with its own scalars."""
        q, alphas = g.clone(), []
        for s, y, rho in zip(reversed(steps), reversed(turns), reversed(rhos)):
            alpha = rho * (s * q).sum((0, 1))
            q.addcmul_(y, -alpha)
            alphas.append(alpha)
        r = self._precondition(q)
        if steps:
            y, rho = turns[-1], rhos[-1]
            size = (y * self._precondition(y)).sum((0, 1))
            r.mul_(torch.where(rho > 0, 1 / (rho * size), 1.0))
        for s, y, rho, alpha in zip(steps, turns, rhos, reversed(alphas)):
            r.addcmul_(s, alpha - rho * (y * r).sum((0, 1)))
        return r.neg_()

    def _evaluate(self, z: Tensor, zd: Tensor, t: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss at z + t zd and its slope; the residuals are left in `residual`, the curvature in the state."""
        n, c, p = z.shape
        loss = torch.zeros(p, dtype=torch.float64, device=z.device)
        slope, square = torch.zeros_like(loss), torch.zeros_like(loss)
        rows = n if z.is_cuda else max(16, BLOCK // (c * p))
        whole = self.share.shape[0] == 1
        for start in range(0, n, rows):
            part = slice(start, start + rows)
            share = self.share if whole else self.share[part]
            y = self.codes[part][:, None]
            v = residual[part]
            torch.addcmul(z[part], zd[part], t, out=v)
            v.sub_(v.amax(1, keepdim=True))
            own = v.gather(1, y)[:, 0]
            v.exp_()
            total = v.sum(1)
            loss += ((total.log() - own) * share).sum(0)
            v.mul_((share / total)[:, None])
            square += (v.square().sum(1) / share.clamp_min(1e-30)).sum(0)
            v.scatter_add_(1, y, -share.expand(len(v), p)[:, None])
            slope += (v * zd[part]).sum((0, 1))
        self.curvature = ((1 - square) / max(c - 1, 1)).clamp_min(1e-6).to(z.dtype)
        return loss, slope

    def _search(
        self, z: Tensor, zd: Tensor, residual: Tensor, theta: Tensor, direction: Tensor, f: Tensor, slope: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A step for each problem that satisfies the weak Wolfe conditions; the value there; where none was found."""
        t, low, high = torch.ones_like(f), torch.zeros_like(f), torch.full_like(f, torch.inf)
        linear, square = self._ridge(theta, direction), self._ridge(direction, direction)
        ridge = self._ridge(theta, theta) / 2
        noise = 1e-7 * f.abs()
        value, above = f, torch.ones_like(f, dtype=torch.bool)
        for trial in range(TRIALS):
            loss, bend = self._evaluate(z, zd, t.to(z.dtype), residual)
            value = loss + ridge + t * linear + t * t * square / 2
            bend = bend + linear + t * square
            above = value > f + 1e-4 * t * slope + noise
            short = ~above & (bend < 0.9 * slope)
            if not bool((above | short).any()) or trial == TRIALS - 1:
                break
            high, low = torch.where(above, t, high), torch.where(short, t, low)
            root = t * slope / (slope - bend)  # where a slope that changes evenly is zero
            outer = torch.where(torch.isinf(high), 4 * t, high - 0.1 * (high - low))
            inner = torch.where(torch.isinf(high), 1.5 * t, low + 0.1 * (high - low))
            root = torch.where((slope - bend).abs() > 0, root, torch.inf)
            t = torch.where(above | short, torch.minimum(torch.maximum(root, inner), outer), t)
        stuck = above & (value >= f)
        if bool(stuck.any()):  # no step lowers the value any more: rounding; stay
            t = torch.where(stuck, 0.0, t)
            loss, _ = self._evaluate(z, zd, t.to(z.dtype), residual)
            value = torch.where(stuck, f, value)
        return t, value, stuck
