"""Precision and scaling of matrix products: what every engine asks of them."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from repana._typing import Features


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
