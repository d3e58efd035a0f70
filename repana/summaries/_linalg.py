"""Precision and scaling of matrix products: what every engine asks of them."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from repana._typing import Features
from repana.summaries import _refusals


class full_precision:
    """TF32 and its like off for a product, and back to what it was."""

    def __enter__(self) -> None:
        self._before = torch.get_float32_matmul_precision()
        if self._before != "highest":
            torch.set_float32_matmul_precision("highest")

    def __exit__(self, *_: object) -> None:
        if self._before != "highest":
            torch.set_float32_matmul_precision(self._before)


def power_of_two(*arrays: Tensor) -> float:
    """2^e with the largest absolute value in [2^e, 2^(e+1)): dividing by it changes no digit."""
    largest = max(float(x.abs().amax()) for x in arrays)
    return 2.0 ** math.floor(math.log2(largest)) if largest > 0 else 1.0


def scaled(x: Tensor, scale: float) -> Tensor:
    """x over a power of two, in two steps: the inverse of a subnormal scale is infinite."""
    half = 2.0 ** (math.frexp(scale)[1] // 2)
    return (x * (1 / half)).mul_(half / scale) if scale != 1.0 else x


HALVED = 128  # rows of X'X at a time


def gram(x: Features) -> Float[Tensor, "d d"]:
    """X'X of which the lower half alone is multiplied."""
    d = x.shape[1]
    found = x.new_empty(d, d)
    with full_precision():
        for start in range(0, d, HALVED):
            stop = min(start + HALVED, d)
            found[start:stop, :stop] = x[:, start:stop].T @ x[:, :stop]
    return found.tril() + found.tril(-1).T


def whitening(z: Float[Tensor, "n r"], tolerance: float) -> Float[Tensor, "r k"]:
    """W with W' z'z/n W = I, on the directions that are more than rounding."""
    n, r = z.shape
    if n <= r:
        wide = z.double()
        values, vectors = torch.linalg.eigh(wide @ wide.T / n)
        kept = values > tolerance * r**0.5 * values[-1]
        return wide.T @ (vectors[:, kept] / (n**0.5 * values[kept]))
    total = (z.T @ z).double() / n
    factor, info = torch.linalg.cholesky_ex(total)
    diagonal = factor.diagonal().square()
    if n - 1 > r and not int(info) and float(diagonal.min()) >= r * 1e-14 * float(diagonal.max()):
        eye = torch.eye(r, dtype=total.dtype, device=total.device)
        return torch.linalg.solve_triangular(factor, eye, upper=False).T
    values, vectors = torch.linalg.eigh(total)
    kept = values > tolerance * r**0.5 * values[-1]
    return vectors[:, kept] * values[kept].rsqrt()


def unit_rows(x: Tensor, name: str) -> Tensor:
    x = x.double()
    scale = power_of_two(x)
    x = scaled(x, scale)
    norms = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    zero = (norms[:, 0] == 0).nonzero()[:, 0]
    if len(zero):
        raise _refusals.zero_rows(name, len(zero), int(zero[0]))
    return x.div_(norms) if scale != 1.0 else x / norms
