"""Procrustes and canonical correlations of all pairs of layers."""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from repana.comparison._cca import Basis, halves, held_out_mean
from repana.comparison._cka import jackknife_error
from repana.comparison._inputs import FEWEST_GROUPS
from repana.comparison._layer_matrix import LayerMatrix, Layers, Options, layer_matrix, on_atanh_each, student
from repana.comparison._matrices import (
    Centred,
)
from repana.comparison._procrustes import held_out


def of_pairs(
    a: Layers,
    b: Layers | None,
    options: Options,
    measure: Callable[[Any, Any, Tensor], float],
    prepare: Callable[[Any], Any],
    deal: Callable[[int, Options], Int[Tensor, " n"]],
    symmetric: bool = True,
) -> LayerMatrix:
    """A measure that takes one pair at a time; `prepare` is done once a layer, `deal` says in which half or fold a row
    is."""
    parts = 0 if options.part is None else int(options.part.max()) + 1
    kept = [None, *((options.part != g).nonzero()[:, 0] for g in range(parts))] if options.part is not None else [None]
    found, dealt = [], deal(len(a[0]), options)
    for rows in kept:
        first = [prepare(x if rows is None else x[rows.to(x.device)]) for x in a]
        second = first if b is None else [prepare(x if rows is None else x[rows.to(x.device)]) for x in b]
        side = dealt if rows is None else dealt[rows]
        grid = torch.full((len(first), len(second)), math.nan, dtype=torch.float64)
        for i, p in enumerate(first):
            for j, q in enumerate(second):
                grid[i, j] = grid[j, i] if b is None and symmetric and j < i else measure(p, q, side)
        found.append(grid)
    value, deleted = found[0], torch.stack(found[1:]) if parts >= FEWEST_GROUPS else None
    nothing = torch.full_like(value, math.nan)
    low = high = nothing
    if deleted is not None:
        low, high = on_atanh_each(value, jackknife_error(deleted), student(options.level, parts))
    return layer_matrix(value, low, high, nothing, nothing, nothing.numpy(), deleted)


def dealt(n: int, options: Options) -> Int[Tensor, " n"]:
    return halves(n, options.group)


def procrustes_held_out(p: Tensor, q: Tensor, half: Tensor) -> float:
    if not bool(p.any()) or not bool(q.any()):
        return math.nan
    return (held_out(p, q, half == 0) + held_out(p, q, half == 1)) / 2


def cca_held_out(p: Tensor, q: Tensor, half: Tensor) -> float:
    return held_out_mean(p, q, half) if bool(p.any()) and bool(q.any()) else math.nan


def procrustes_value(p: Tensor, q: Tensor, _: Tensor) -> float:
    size = float(p.norm() * q.norm())
    return min(float(torch.linalg.svdvals(p.T @ q).sum()) / size, 1.0) if size > 0 else math.nan


def cca_value(p: Basis | None, q: Basis | None, _: Tensor) -> float:
    if p is None or q is None:
        return math.nan
    return float(torch.linalg.svdvals(p.q.T @ q.q).clamp(0, 1).mean())


def centred(x: Tensor) -> Tensor:
    return Centred.of(x, double=True).x


def basis(x: Tensor, keep: float | None) -> Basis | None:
    moved = Centred.of(x, double=True)
    if not moved.varies:
        return None
    found = Basis.of(moved.x)
    kept = found.rank if keep is None else found.components(keep)
    return Basis(found.x, found.q[:, :kept], found.s[:kept], found.v[:, :kept])
