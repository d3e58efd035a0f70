"""One vector per sample from whatever a layer gives, inside the hook, by the layout of its axes.

The result never shares memory with the layer's tensor, so a later change in place cannot reach it.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d

from repana.extraction import _part_refusals, _refusals
from repana.extraction.axes._layout import Layout

NUMBER = "a position such as -2"  # stands for all of them
MEANS = ("mean", "avg")  # one word for both
VECTORS = ("none", "flatten", "steps")
SEQUENCES = ("mean", "avg", "max", "cls", "last", "tokens", "flatten", "grid", "steps", NUMBER)
MAPS = ("avg", "mean", "max", "flatten", "grid", "tokens")
MERGED_ROWS = ("avg", "mean", "max", "cls", "last", "tokens", "flatten", "steps")  # (b w) c: a row for each position
MERGED_MAPS = ("avg", "mean", "max", "flatten")
POOLINGS = ("auto", "none", "avg", "max", "flatten", "grid", "mean", "cls", "last", "tokens", "steps", NUMBER)
PLACE = re.compile(r"-?\d+")  # one position, from the first real one, or from behind the last
GRID = 4
CHECKING = -1  # number of a batch that is read under other masks, to see what moves


def known(method: str, among: Sequence[str]) -> bool:
    """Whether a pooling is among those of a list, or a position where the list has those."""
    return (method in among and method != NUMBER) or (NUMBER in among and PLACE.fullmatch(method) is not None)


def allowed(layout: Layout) -> tuple[str, ...]:
    """The poolings that a layout takes."""
    if layout.kind == "vector":
        return VECTORS
    if layout.kind == "sequence":
        return SEQUENCES
    if len(layout.merged) == 2 and not layout.positions:
        return MERGED_ROWS
    return MAPS if len(layout.merged) == 1 and len(layout.positions) < 4 else MERGED_MAPS


@dataclass(frozen=True)
class Pooling:
    """What to do with one tensor. `masks` are keys of the batch's masks by position axis; parts that are merged with
    the samples count from the tensor's rank on."""

    method: str
    layout: Layout
    masks: Mapping[int, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return self.layout.kind

    def __call__(
        self, x: Tensor, masks: Mapping[str, Tensor], size: int, where: str, number: int = 0, rows: Tensor | None = None
    ) -> Tensor:
        """(rows, d) in float32 or float64; rows are samples, or tokens for "tokens". `size` is that of the batch,
        `rows` tells of every row its sample, where the layout has groups."""
        own = {}
        if x.is_nested:
            x, mask = padded(x)
            own = dict.fromkeys(self.layout.positions, mask)
        x = dense(x)
        if x.ndim != self.layout.ndim:
            raise _refusals.changed_rank(where, self.layout.ndim, x.shape, number)
        if self.layout.groups is not None:
            return _grouped(x, self.layout, rows, size)
        if not x.is_complex() and self.kind == "vector":
            return self._checked(x, size, where).movedim(self.layout.sample or 0, 0).reshape(size, -1).clone()
        masked = {axis: own.get(axis, masks.get(key)) for axis, key in self.masks.items()} | own
        if x.is_complex():
            if self.method == "max":
                raise _refusals.complex_pooling(where, self.method)
            parts = [self._reduced(part, masked, size, where, number) for part in (x.real, x.imag)]
            return torch.cat(parts, 1)
        return self._reduced(x, masked, size, where, number)

    def _checked(self, x: Tensor, size: int, where: str) -> Tensor:
        axis = self.layout.sample or 0
        rows = x.shape[axis]
        if rows != size if len(self.layout.merged) == 1 else rows % size:
            raise _refusals.other_samples(where, x.shape, axis, rows, size)
        return x

    def _reduced(self, x: Tensor, masks: Mapping[int, Tensor | None], size: int, where: str, number: int) -> Tensor:
        """Mean, maximum, one position or all, over a real tensor."""
        layout = self.layout
        x, axes = _split(self._checked(x, size, where), layout, masks, size, where)
        if not axes.positions or self.method == "flatten":
            return x.movedim(axes.sample, 0).reshape(size, -1).clone()
        wide = [(at, masks[axis]) for axis, at in axes.positions.items() if masks.get(axis) is not None]
        masked = {at: mask for at, mask in wide if mask is not None}
        for at, mask in masked.items():
            if mask.shape != (size, x.shape[at]):
                raise _refusals.masks_unfit(where, ["mask"], at, x.shape[at], {"mask": mask.shape[1]})
        if self.method in MEANS:
            return _mean(x, axes, masked, size)
        if self.method == "max":
            return _max(x, axes, masked, size)
        order = (axes.sample, *axes.positions.values(), *axes.features)
        ordered = x.permute(*order, *(d for d in range(x.ndim) if d not in order))
        ordered = ordered.flatten(1 + len(axes.positions))
        if self.method == "grid":
            pool = {1: adaptive_avg_pool1d, 2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}[len(axes.positions)]
            return pool(ordered.movedim(-1, 1), GRID).flatten(1)
        if self.method in ("tokens", "steps"):
            mask = next(iter(masked.values()), None)
            return ordered[mask] if mask is not None else ordered.flatten(0, -2).clone()
        return _one_position(ordered, self.method, next(iter(masked.values()), None), where, number)

    def of_call(self, x: Tensor, size: int, where: str) -> Tensor:
        """All positions (b, t, d) of one of several calls; of vectors one position."""
        rows = replace(self, masks={})(x, {}, size, where)
        return rows.view(size, -1, rows.shape[1])


@dataclass(frozen=True)
class _Axes:
    """Where samples, positions and features stand once merged axes are apart; positions by their number in a layout."""

    sample: int
    positions: dict[int, int]
    features: tuple[int, ...]


def _split(
    x: Tensor, layout: Layout, masks: Mapping[int, Tensor | None], size: int, where: str
) -> tuple[Tensor, _Axes]:
    """The tensor with merged axes apart. Of their sizes one may differ between batches: the rest follow the mask."""
    sample = layout.sample or 0
    if len(layout.merged) == 1:
        return x, _Axes(sample, {p: p for p in layout.positions}, layout.features)
    sizes = [size if n == 0 else n for n in layout.merged]
    others = [k for k, n in enumerate(layout.merged) if n]
    for number, k in enumerate(others):
        mask = masks.get(layout.ndim + number)
        sizes[k] = sizes[k] if mask is None else mask.shape[1]
    if len(others) == 1:
        sizes[others[0]] = x.shape[sample] // size
    if math.prod(sizes) != x.shape[sample]:
        raise _refusals.other_samples(where, x.shape, sample, x.shape[sample], size)
    x = x.unflatten(sample, sizes)
    shift = len(sizes) - 1
    moved = lambda axis: axis + shift if axis > sample else axis  # noqa: E731
    positions = {p: moved(p) for p in layout.positions}
    positions |= {layout.ndim + number: sample + k for number, k in enumerate(others)}
    at = sample + next(k for k, n in enumerate(layout.merged) if n == 0)
    return x, _Axes(at, positions, tuple(map(moved, layout.features)))


def dense(x: Tensor) -> Tensor:
    """Strided numbers of at least single precision, or complex ones of at least that."""
    if x.layout != torch.strided:
        x = x.to_dense()
    if x.is_quantized:
        x = x.dequantize()
    if x.is_complex():
        return x.resolve_conj() if x.dtype in (torch.complex64, torch.complex128) else x.to(torch.complex64)
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def padded(x: Tensor) -> tuple[Tensor, Tensor]:
    """A nested tensor as (b, t, d) with its mask."""
    parts = x.unbind()
    lengths = torch.tensor([len(part) for part in parts], device=parts[0].device)
    mask = torch.arange(int(lengths.max()), device=lengths.device) < lengths[:, None]
    return torch.nested.to_padded_tensor(x, 0.0), mask


def _grouped(x: Tensor, layout: Layout, rows: Tensor | None, size: int) -> Tensor:
    """The mean over the rows of each sample."""
    assert rows is not None
    assert layout.sample is not None
    x = x.movedim(layout.sample, 0)
    x = x.mean(tuple(p + (p < layout.sample) for p in layout.positions)) if layout.positions else x
    x, rows = x.flatten(1), rows.to(x.device)
    total = torch.zeros(size, x.shape[1], dtype=x.dtype, device=x.device).index_add_(0, rows, x)
    return total / torch.bincount(rows, minlength=size).clamp_min(1).to(x.dtype)[:, None]


def _mean(x: Tensor, axes: _Axes, masks: Mapping[int, Tensor], size: int) -> Tensor:
    if not masks:
        order = [d for d in range(x.ndim) if d not in axes.positions.values()]
        found = x.mean(tuple(axes.positions.values()))
        return found.movedim(order.index(axes.sample), 0).reshape(size, -1)
    ((at, mask),) = masks.items()
    plain = [p for p in axes.positions.values() if p != at]
    order = (axes.sample, at, *plain)
    x = x.permute(*order, *(d for d in range(x.ndim) if d not in order))
    x = x.mean(tuple(range(2, 2 + len(plain)))) if plain else x
    return _masked_mean(x.flatten(2), mask)


def _masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """(b, t, d) over its real positions."""
    weight = mask.to(x.dtype)
    total = torch.bmm(weight[:, None], x)[:, 0]
    if x.device.type != "cpu" or not bool(torch.isfinite(total.sum())):  # NaN in the padding must not count
        total = torch.bmm(weight[:, None], torch.where(mask[..., None], x, 0))[:, 0]
    return total / weight.sum(1, keepdim=True)


def _max(x: Tensor, axes: _Axes, masks: Mapping[int, Tensor], size: int) -> Tensor:
    for at, mask in masks.items():
        shape = [1] * x.ndim
        shape[axes.sample], shape[at] = mask.shape
        over = mask if axes.sample < at else mask.T
        x = torch.where(over.reshape(shape), x, float("-inf"))
    order = [d for d in range(x.ndim) if d not in axes.positions.values()]
    return x.amax(tuple(axes.positions.values())).movedim(order.index(axes.sample), 0).reshape(size, -1)


def _one_position(x: Tensor, method: str, mask: Tensor | None, where: str, number: int) -> Tensor:
    """The first, the last or a numbered real position of (b, t, d)."""
    if method not in ("cls", "last"):
        return _numbered(x, int(method), mask, where, number)
    if mask is None:
        return x[:, 0 if method == "cls" else -1].clone()
    first = mask.int().argmax(1) if method == "cls" else x.shape[1] - 1 - mask.flip(1).int().argmax(1)
    return x[torch.arange(len(x), device=x.device), first]


def _numbered(x: Tensor, place: int, mask: Tensor | None, where: str, number: int) -> Tensor:
    """A real position by its number among the real ones."""
    real = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
    lengths = real.sum(1)
    shortest = int(lengths.min())
    if number == CHECKING:
        place = max(-shortest, min(place, shortest - 1))
    if not -shortest <= place < shortest:
        raise _part_refusals.no_such_position(where, place, shortest, number)
    rank = real.cumsum(1) - 1
    chosen = lengths + place if place < 0 else torch.full_like(lengths, place)
    return x[real & (rank == chosen[:, None])]
