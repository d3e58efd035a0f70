"""One vector per sample from whatever a layer gives, inside the hook: maps, token sequences, vectors.

The result never shares memory with the layer's tensor, so a later change in place cannot reach it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d

from repana import _check

MAPS = ("avg", "max", "flatten", "grid")
SEQUENCES = ("mean", "cls", "last", "tokens", "flatten")
POOLINGS = ("auto", "none", "avg", "max", "flatten", "grid", "mean", "cls", "last", "tokens")
GRID = 4


@dataclass(frozen=True)
class Pooling:
    """What to do with one tensor: move the sample axis first, the channels second, then reduce.

    `kind` is "vector" (b, d), "map" (b, channels, ...) or "sequence" (b, t, d).
    """

    method: str
    kind: str
    axis: int = 0
    channels_last: bool = False
    masked: bool = False

    def __call__(self, x: Tensor, mask: Tensor | None, where: str) -> Tensor:
        """(rows, d) in float32 or float64; rows are samples, or tokens for "tokens"."""
        if x.is_nested:
            x, mask = padded(x)
        elif self.axis:
            x = x.movedim(self.axis, 0)
        if self.channels_last:
            x = x.movedim(-1, 1)
        mask = mask if self.masked or (mask is not None and self.method == "tokens") else None
        if mask is not None and tuple(mask.shape) != tuple(x.shape[:2]):
            raise _check.mask_shape(where, tuple(mask.shape), tuple(x.shape))
        x = x if x.dtype == torch.float64 else x.float() if x.dtype != torch.float32 else x
        if self.kind == "vector":
            return x.reshape(len(x), -1).clone()
        if self.kind == "map":
            return _map(x, self.method)
        return _sequence(x, self.method, mask)


def padded(x: Tensor) -> tuple[Tensor, Tensor]:
    """A nested tensor as (b, t, d) with its mask."""
    parts = x.unbind()
    lengths = torch.tensor([len(part) for part in parts], device=parts[0].device)
    mask = torch.arange(int(lengths.max()), device=lengths.device) < lengths[:, None]
    return torch.nested.to_padded_tensor(x, 0.0), mask


def _map(x: Tensor, method: str) -> Tensor:
    if method == "avg":
        return x.mean(tuple(range(2, x.ndim)))
    if method == "max":
        return x.flatten(2).amax(2)
    if method == "flatten":
        return x.flatten(1).clone()
    pool = {3: adaptive_avg_pool1d, 4: adaptive_avg_pool2d, 5: adaptive_avg_pool3d}[x.ndim]
    return pool(x, GRID).flatten(1)


def _sequence(x: Tensor, method: str, mask: Tensor | None) -> Tensor:
    if method == "flatten":
        return x.flatten(1).clone()
    if method == "cls":
        first = mask.int().argmax(1) if mask is not None else torch.zeros(len(x), dtype=torch.int64, device=x.device)
        return x[torch.arange(len(x), device=x.device), first]
    if method == "last":
        if mask is None:
            return x[:, -1].clone()
        last = x.shape[1] - 1 - mask.flip(1).int().argmax(1)
        return x[torch.arange(len(x), device=x.device), last]
    if method == "tokens":
        return x[mask] if mask is not None else x.flatten(0, 1).clone()
    if mask is None:
        return x.mean(1)
    weight = mask.to(x.dtype)
    total = torch.bmm(weight[:, None], x)[:, 0]
    if x.device.type != "cpu" or not bool(torch.isfinite(total.sum())):  # NaN in the padding must not count
        total = torch.bmm(weight[:, None], torch.where(mask[..., None], x, 0))[:, 0]
    return total / weight.sum(1, keepdim=True).clamp_min(1)
