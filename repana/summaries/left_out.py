"""Ridge regressions of few samples with many features, each sample predicted by all others, or each group of samples by
all other groups: from the products of samples, for many targets and every penalty at once.

With K the products of the samples around the mean of those that are fitted, K = U S U', the dual solution of penalty a
is U (S + a)^-1 U'Y. The penalty is chosen among `PENALTIES` by the squared error of the same kind of left-out
predictions inside the samples that are fitted, in closed form: e_g = (I - H_gg)^-1 (y_g - fit_g), H the hat matrix.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

PENALTIES = tuple(10.0 ** (-k / 2) for k in range(-4, 9))  # 100 to 1e-4 of tr K/n, from strong to weak
EQUAL = 1e-9  # relative differences of errors up to which the stronger penalty is taken
FREE = 1e-10  # of a sample's own weight in its fit: below, it decides its fit alone

Products = Callable[[Int[Tensor, " f"]], Float[Tensor, "n n"]]


def left_out(
    products: Products,
    targets: Float[Tensor, "n s t"],
    fold: Int[Tensor, " n"],
    penalties: Sequence[float] = PENALTIES,
    prior: Float[Tensor, "s t"] | None = None,
) -> tuple[Float[Tensor, "n s t"], Float[Tensor, "f s"]]:
    """Predictions of every sample from the samples of all other folds, and the penalty that each fold chose for every
    set of targets, in units of tr K/n of the samples that were fitted.

    `products(at)` are those of all samples, around the mean (and in the scale) of the samples `at`. `targets`: s sets
    of t columns, whose squared errors choose one penalty together. `prior` stands for the mean of the targets of the
    samples that are fitted: that of classes falls where one of theirs is left out, and would tell against it.
    """
    n, s, t = targets.shape
    found = torch.empty(n, s, t, dtype=torch.float64)
    chosen = []
    for f in fold.unique().tolist():
        test, fit = (fold == f).nonzero()[:, 0], (fold != f).nonzero()[:, 0]
        kernel = products(fit).double()
        y, inside = targets[fit].double(), kernel[fit][:, fit]
        best, solved = dual(inside, y, fold[fit], penalties)
        middle = y.mean(0) if prior is None else prior
        found[test] = (kernel[test][:, fit] @ solved.flatten(1)).view(len(test), s, t) + middle
        chosen.append(best)
    return found, torch.stack(chosen)


def dual(
    kernel: Float[Tensor, "f f"], y: Float[Tensor, "f s t"], fold: Int[Tensor, " f"], penalties: Sequence[float]
) -> tuple[Float[Tensor, " s"], Float[Tensor, "f s t"]]:
    """The penalty of least left-out error of every set, and the dual weights of that penalty."""
    f, s, t = y.shape
    values, vectors = torch.linalg.eigh(kernel)
    values = values.clamp_min(0)
    unit = float(values.sum()) / f or 1.0
    along = vectors.T @ (y - y.mean(0)).flatten(1)
    best = torch.zeros(s, dtype=torch.int64)
    if len(penalties) > 1:
        errors = torch.stack(
            [_error(values, vectors, along, y, fold, unit * share) for share in penalties]
        )  # (penalties, s)
        best = (errors <= errors.min(0).values * (1 + EQUAL)).int().argmax(0)
    share = torch.tensor(penalties, dtype=torch.float64)[best]
    damped = values[:, None] + unit * share.repeat_interleave(t)
    damped = damped.clamp_min(FREE * unit)
    return share, (vectors @ (along / damped)).view(f, s, t)


def _error(
    values: Float[Tensor, " f"],
    vectors: Float[Tensor, "f f"],
    along: Float[Tensor, "f c"],
    y: Float[Tensor, "f s t"],
    fold: Int[Tensor, " f"],
    penalty: float,
) -> Float[Tensor, " s"]:
    """The squared error of left-out predictions with one penalty, of every set of targets."""
    f, s, t = y.shape
    kept = values / (values + penalty)
    rest = (y - y.mean(0)).flatten(1) - vectors @ (kept[:, None] * along)
    scaled = vectors * kept
    total = torch.zeros(s, dtype=torch.float64)
    parts = fold.unique()
    if len(parts) in (1, f):  # of one group its samples are left out
        own = 1 - 1 / f - (scaled * vectors).sum(1)
        return (rest / own.clamp_min(FREE)[:, None]).square().view(f, s, t).sum((0, 2))
    for part in parts.tolist():
        at = (fold == part).nonzero()[:, 0]
        own = torch.eye(len(at), dtype=torch.float64) - scaled[at] @ vectors[at].T - 1 / f
        missed = torch.linalg.lstsq(own, rest[at], driver="gelsd").solution
        total += missed.square().view(len(at), s, t).sum((0, 2))
    return total


def products_of(x: Float[Tensor, "n d"], scale: str) -> Products:
    """Products of samples around the mean of those that are fitted: "centre", from one product; "standard" with each
    feature divided by its deviation there, features without one left out; "unit", each sample of length 1 after
    centring; "none", as they are."""
    shifted = x.double() - x.double().mean(0) if scale != "none" else x.double()
    whole = shifted @ shifted.T

    def centred(at: Int[Tensor, " f"]) -> Float[Tensor, "n n"]:
        means = whole[:, at].mean(1, keepdim=True)
        return whole - means - means.T + whole[at][:, at].mean()

    def standard(at: Int[Tensor, " f"]) -> Float[Tensor, "n n"]:
        inside = shifted[at]
        spread = inside.std(0, correction=0)
        alive = spread > 1e-12 * inside.abs().amax(0)
        z = (shifted[:, alive] - inside[:, alive].mean(0)) / spread[alive]
        return z @ z.T

    def unit(at: Int[Tensor, " f"]) -> Float[Tensor, "n n"]:
        found = centred(at)
        lengths = found.diagonal().clamp_min(1e-300).sqrt()
        return found / lengths / lengths[:, None]

    return {"centre": centred, "standard": standard, "unit": unit, "none": lambda at: whole}[scale]
