"""The product inside an attention module: maps and results from queries, keys and values, a few texts at a time."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

LARGE = 1000.0  # below minus this a mask that is added hides a key; slopes of distance (ALiBi) stay above it
CHUNK = 2**26  # entries of maps that are worked on at a time


@dataclass(frozen=True)
class Product:
    """softmax(scaled queries times keys, under soft cap, bias and mask) times values."""

    query: Float[Tensor, "b h q k"]
    key: Float[Tensor, "b g n k"]
    value: Float[Tensor, "b g n v"]
    mask: Tensor | None
    bias: Tensor | None = None
    scale: float | None = None
    cap: float | None = None
    sinks: Tensor | None = None
    causal: bool = False

    def by_texts(self) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
        """First text, maps, allowed keys and results of a few texts at a time."""
        b, h, q = self.query.shape[:3]
        groups, n = h // self.key.shape[1], self.key.shape[2]
        scale = self.query.shape[3] ** -0.5 if self.scale is None else float(self.scale)
        bias, mask = (None if t is None else t[..., :n] for t in (self.bias, self.mask))
        size = max(1, CHUNK // (h * q * n))
        for first in range(0, b, size):
            texts = slice(first, first + size)
            keys, values = (t[texts].repeat_interleave(groups, 1) for t in (self.key, self.value))
            scores = (self.query[texts] @ keys.transpose(2, 3)) * scale
            if self.cap is not None:
                scores = self.cap * torch.tanh(scores / self.cap)
            hidden = self.causal and q > 1
            scores, allowed = _masked(scores, _of_texts(bias, texts, b), _of_texts(mask, texts, b), hidden)
            maps = _softmax(scores, self.sinks)
            yield first, maps, allowed, maps.to(values.dtype) @ values


def _of_texts(t: Tensor | None, texts: slice, count: int) -> Tensor | None:
    """The part of a mask or a bias that belongs to a few of `count` texts; one for all of them stays."""
    return t if t is None or t.ndim < 4 or t.shape[0] != count else t[texts]


def _masked(
    scores: Float[Tensor, "b h q k"], bias: Tensor | None, mask: Tensor | None, causal: bool
) -> tuple[Float[Tensor, "b h q k"], Bool[Tensor, "b h q k"]]:
    """Scores with the bias and the mask of the model, and which keys that leaves."""
    lowest = torch.finfo(scores.dtype).min
    scores = scores if bias is None else scores + bias
    allowed = torch.ones((), dtype=torch.bool, device=scores.device).expand(scores.shape)
    if mask is not None and mask.dtype == torch.bool:
        return scores.masked_fill(~mask, lowest), allowed & mask
    if mask is not None:
        return scores + mask, allowed & (mask > -LARGE)
    if causal:
        before = torch.ones(scores.shape[2:], dtype=torch.bool, device=scores.device).tril()
        return scores.masked_fill(~before, lowest), allowed & before
    return scores, allowed


def _softmax(scores: Float[Tensor, "b h q k"], sinks: Tensor | None) -> Float[Tensor, "b h q k"]:
    """In float32 or wider, with a part for sinks that are parameters."""
    wide = scores if scores.dtype == torch.float64 else scores.float()
    if sinks is None:
        return wide.softmax(3)
    sink = sinks.to(wide).view(1, -1, 1, 1).expand(*wide.shape[:3], 1)
    return torch.cat([wide, sink], 3).softmax(3)[..., :-1]
