"""Sums of two layers from which the debiased linear CKA of all samples follows: any batches, in any order; they add.

With x_i around a fixed shift, k_i = |x_i|^2 and l_i = |y_i|^2, K = X X' without its diagonal has tr K~L~ = |X'Y|^2 -
sum k l, 1'K~1 = |sum x|^2 - sum k and 1'K~L~1 = s_x'M s_y - s_x'X'l - (Y'k)'s_y + sum k l, M = X'Y. U-centring does
not feel the shift, and so neither does the value.
"""

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana.summaries._linalg import full_precision

PILOT = 256  # rows whose mean is the shift of the first batch
ROWS = 4096


@dataclass(frozen=True)
class CrossMoments:
    """Sums by fold (f), in float64, of x around `shift_x` and y around `shift_y`: `count`; `x`, `y`; `xx`, `xy`, `yy`;
    `xk`, `xl`, `yk`, `yl` = X'k, ...; `k`, `l`, `kk`, `kl`, `ll` sums of squared lengths and of their products.
    """

    shift_x: Float[Tensor, " d"]
    shift_y: Float[Tensor, " e"]
    count: Int[Tensor, " f"]
    x: Float[Tensor, "f d"]
    y: Float[Tensor, "f e"]
    xx: Float[Tensor, "f d d"]
    xy: Float[Tensor, "f d e"]
    yy: Float[Tensor, "f e e"]
    xk: Float[Tensor, "f d"]
    xl: Float[Tensor, "f d"]
    yk: Float[Tensor, "f e"]
    yl: Float[Tensor, "f e"]
    k: Float[Tensor, " f"]
    l: Float[Tensor, " f"]  # noqa: E741  (the letter of the formula)
    kk: Float[Tensor, " f"]
    kl: Float[Tensor, " f"]
    ll: Float[Tensor, " f"]

    @classmethod
    def of(
        cls,
        a: Float[Tensor, "n d"],
        b: Float[Tensor, "n e"],
        fold: Int[Tensor, " n"] | None = None,
        folds: int = 1,
        *,
        shift_x: Float[Tensor, " d"] | None = None,
        shift_y: Float[Tensor, " e"] | None = None,
    ) -> "CrossMoments":
        """Of one batch of both layers. `fold` numbers each row's fold, for an interval. A later batch takes the shifts
        of the first.

        Raises InputError for NaN or infinite features, or different numbers of samples.
        """
        a, b = _check.features_of(a), _check.features_of(b)
        if len(a) != len(b):
            raise _check.unlike_samples(len(a), len(b))
        shift_x = a[:PILOT].double().mean(0) if shift_x is None else shift_x.double()
        shift_y = b[:PILOT].double().mean(0) if shift_y is None else shift_y.double()
        fold = torch.zeros(len(a), dtype=torch.int64) if fold is None else fold.cpu()
        parts = [cls._sums(a, b, (fold == f).nonzero()[:, 0].to(a.device), shift_x, shift_y) for f in range(folds)]
        return cls(shift_x, shift_y, *(torch.stack(column) for column in zip(*parts)))

    @staticmethod
    def _sums(
        a: Float[Tensor, "n d"], b: Float[Tensor, "n e"], at: Tensor, shift_x: Tensor, shift_y: Tensor
    ) -> list[Tensor]:
        (d, e), device = (a.shape[1], b.shape[1]), a.device
        sizes = ((d,), (e,), (d, d), (d, e), (e, e), (d,), (d,), (e,), (e,), (), (), (), (), ())
        found = [torch.zeros(size, dtype=torch.float64, device=device) for size in sizes]
        for rows in at.split(ROWS):
            x, y = a[rows].double() - shift_x, b[rows].double() - shift_y
            k, l = x.square().sum(1), y.square().sum(1)  # noqa: E741
            with full_precision():
                sums = (
                    x.sum(0), y.sum(0), x.T @ x, x.T @ y, y.T @ y, x.T @ k, x.T @ l, y.T @ k, y.T @ l, k.sum(), l.sum(),
                    k @ k, k @ l, l @ l,
                )  # fmt: skip
            for total, part in zip(found, sums):
                total += part
        return [torch.tensor(len(at), device=device), *found]

    @property
    def n(self) -> int:
        return int(self.count.sum())

    @property
    def folds(self) -> int:
        return len(self.count)

    def __add__(self, other: "CrossMoments") -> "CrossMoments":
        """Sums of both; those of the other must run around the same shifts."""
        if not torch.equal(self.shift_x, other.shift_x) or not torch.equal(self.shift_y, other.shift_y):
            raise _check.other_shift()
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in SUMS})

    def __radd__(self, other: int) -> "CrossMoments":
        return self if other == 0 else NotImplemented

    def without(self, fold: int) -> "CrossMoments":
        """The sums of all other folds."""
        keep = [f for f in range(self.folds) if f != fold]
        return replace(self, **{name: getattr(self, name)[keep] for name in SUMS})

    def cka(self) -> float:
        """Debiased linear CKA; NaN where a layer is constant."""
        t = {name: getattr(self, name).sum(0) for name in SUMS}
        cross = _hsic(self.n, t["xy"], t["x"], t["y"], t["xl"], t["yk"], t["k"], t["l"], t["kl"])
        one = _hsic(self.n, t["xx"], t["x"], t["x"], t["xk"], t["xk"], t["k"], t["k"], t["kk"])
        other = _hsic(self.n, t["yy"], t["y"], t["y"], t["yl"], t["yl"], t["l"], t["l"], t["ll"])
        size = max(one, 0.0) * max(other, 0.0)
        return min(max(cross / size**0.5, -1.0), 1.0) if size > 0 else float("nan")


SUMS = tuple(f.name for f in fields(CrossMoments) if not f.name.startswith("shift"))


def _hsic(
    n: int,
    m: Tensor,
    x: Tensor,
    y: Tensor,
    xl: Tensor,
    yk: Tensor,
    k: Tensor,
    l: Tensor,  # noqa: E741
    kl: Tensor,
) -> float:
    """n(n - 3) HSIC_1."""
    trace = m.square().sum() - kl
    ends = (x @ x - k) * (y @ y - l) / ((n - 1) * (n - 2))
    lines = x @ m @ y - x @ xl - yk @ y + kl
    return float(trace + ends - 2 / (n - 2) * lines)
