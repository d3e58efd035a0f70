"""Every feature read from every layer: from rows, or from sums that were taken while the data passed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from repana import _check
from repana._typing import Features
from repana.features import _refusals
from repana.statistics.splits import parts_of_rows
from repana.summaries.folds import FoldMoments
from repana.summaries.held_out import HeldOut, grid, held_out, held_out_rows, in_sample, in_sample_rows

NOISE = 32  # features of nothing, whose R^2 is the floor
WIDEST = 4096  # units, and rows, of which a fit has its own direction
ALIKE = 1e-6  # of 1 - |correlation|: two features with less are one
MANY = 2000  # pairs of features looked at for equality in blocks of so many
CONSTANT = 1e-7  # of a feature's size: one that varies less is constant


@dataclass(frozen=True)
class FeatureReads:
    """What was read of all layers: of `t` targets, and after them of so many of noise."""

    explained: Float[Tensor, "l both"]
    influence: Float[Tensor, "f l both"]
    strength: Float[Tensor, "l both"]
    variance: Float[Tensor, " t"]
    widths: list[int]
    n: int
    noise: int
    twins: tuple[tuple[int, ...], ...]
    named: str
    falling: Bool[Tensor, "l both"]
    projected: tuple[str, ...]


def from_rows(
    layers: Mapping[str, Any],
    targets: Any,
    form: str,
    strengths: Sequence[float],
    folds: int,
    groups: Any,
    max_features: int,
    seed: int,
) -> FeatureReads:
    xs = {name: _check.features_of(layers[name]) for name in layers}
    lengths = {len(x) for x in xs.values()}
    if len(lengths) > 1:
        raise _check.unlike_samples(*sorted(lengths)[:2])
    n = lengths.pop()
    _check.at_least(folds, "folds", 2)
    if n < 2 * folds:
        raise _check.too_few_samples(f"{folds} folds", n, 2 * folds)
    named = ""
    if targets is None:
        named = getattr(getattr(layers, "head", None), "layer", "")
        named = named if named in xs else list(xs)[-1]
        z = xs[named]
    else:
        z = _check.values_of(targets, "targets", n)
        z = z[:, None] if z.ndim == 1 else z
    z = z.double().cpu()
    group = None if groups is None else _check.groups_of(groups, n)
    random = np.random.default_rng(seed)
    fold = torch.from_numpy(parts_of_rows(np.zeros(n, np.int64), group, (1 / folds,) * folds, random))
    drawn = random.standard_normal((n if group is None else int(group.max()) + 1, NOISE))
    nothing = torch.from_numpy(drawn if group is None else drawn[group])
    spread, largest = z.std(0, correction=0), z.abs().amax(0)
    constant = spread <= CONSTANT * largest
    unit = torch.where(constant, 0.0, z - z.mean(0)) / torch.where(constant, 1.0, spread)
    both = torch.cat([unit, nothing], 1)
    reads = []
    projected = tuple(name for name, x in xs.items() if min(x.shape) > max_features)
    for k, name in enumerate(projected):
        xs[name] = _projected(xs[name], max_features, seed + k)
    for x in xs.values():
        here, place = both.to(x.device), fold.to(x.device)
        if form == "in_sample":
            reads.append(_without_folds(in_sample_rows(x, here), folds))
            continue
        reads.append(_held(held_out_rows(x, here, place, folds, _strengths(x, strengths))))
    widths = [x.shape[1] for x in xs.values()]
    return _stacked(reads, spread.square(), widths, n, NOISE, _equal(unit, constant), named, constant, projected)


def from_sums(layers: Mapping[str, Any], targets: Any, form: str, strengths: Sequence[float]) -> FeatureReads:
    if targets is not None:
        raise _refusals.targets_twice()
    sums: list[FoldMoments] = list(layers.values())
    first = sums[0]
    widths, n = [m.xx.shape[1] for m in sums], int(first.count.sum())
    normals = [m.normal() for m in sums]
    t = len(normals[0].squares)
    if len({(len(p.squares), p.n) for p in normals}) > 1:
        raise _check.unlike_samples(normals[0].n, next(p.n for p in normals if p.n != n or len(p.squares) != t))
    squares = normals[0].squares.cpu()
    size = (squares / n + normals[0].target_mean.cpu().square()).sqrt()
    constant = (squares / n).sqrt() <= CONSTANT * size
    reads = []
    for m, normal in zip(sums, normals):
        if form == "in_sample":
            reads.append(_without_folds(in_sample(normal), m.folds))
            continue
        at = grid(float(normal.gram.diagonal().sum()), len(normal.gram), tuple(strengths))
        reads.append(_held(held_out(m, at)))
    seen = torch.cat([p.cross.cpu() for p in normals])
    seen = seen / torch.where(constant, 1.0, squares.sqrt())
    length = seen.norm(dim=0)
    twins = _equal(seen / length.clamp_min(1e-300), constant | (length == 0), length)
    return _stacked(reads, squares / n, widths, n, 0, twins, "", constant)


def _projected(x: Features, width: int, seed: int) -> Float[Tensor, "n w"]:
    generator = torch.Generator().manual_seed(seed)
    found = torch.zeros(len(x), width, device=x.device)
    moved = x.float() - x.float().mean(0)
    for part in torch.arange(x.shape[1]).split(WIDEST):
        found += moved[:, part] @ torch.randn(len(part), width, generator=generator).to(x.device)
    return found / width**0.5


def _strengths(x: Features, relative: Sequence[float]) -> Float[Tensor, " r"]:
    moved = x.double()
    return grid(float((moved - moved.mean(0)).square().sum()), x.shape[1], tuple(relative))


def _held(found: HeldOut) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    chosen, strengths = found.best, found.strengths.cpu()
    explained, influence = found.explained(chosen).cpu(), found.influence(chosen).cpu()
    return explained, influence, strengths[chosen.cpu()], found.falling.cpu()


def _without_folds(explained: Float[Tensor, " t"], folds: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A fit on all rows has no fold and no strength."""
    nothing = torch.full((folds, len(explained)), torch.nan, dtype=torch.float64)
    zero = torch.zeros_like(explained.cpu())
    return explained.cpu(), nothing, zero, zero > 0


def _stacked(
    reads: list[tuple[Tensor, Tensor, Tensor, Tensor]],
    variance: Float[Tensor, " t"],
    widths: list[int],
    n: int,
    noise: int,
    twins: tuple[tuple[int, ...], ...],
    named: str,
    constant: Tensor,
    projected: tuple[str, ...] = (),
) -> FeatureReads:
    explained = torch.stack([r[0] for r in reads])
    explained[:, : len(constant)][:, constant] = torch.nan
    influence = torch.stack([r[1] for r in reads], 1)
    strength = torch.stack([r[2] for r in reads])
    falling = torch.stack([r[3] for r in reads])
    return FeatureReads(explained, influence, strength, variance, widths, n, noise, twins, named, falling, projected)


def _equal(
    unit: Float[Tensor, "n t"], constant: Tensor, length: Float[Tensor, " t"] | None = None
) -> tuple[tuple[int, ...], ...]:
    """Groups of columns that are the same up to sign (and, where lengths are given, of the same length)."""
    t = unit.shape[1]
    size = unit.square().sum(0).sqrt().clamp_min(1e-300)
    first = torch.arange(t)
    for start in range(0, t, MANY):
        part = slice(start, start + MANY)
        cosine = (unit[:, part].T @ unit).abs() / size[part, None] / size
        alike = (1 - cosine < ALIKE) & ~constant[part, None] & ~constant
        if length is not None:
            alike &= (length[part, None] - length).abs() <= ALIKE**0.5 * length
        alike[torch.arange(alike.shape[0]), torch.arange(start, start + alike.shape[0])] = True
        first[part] = alike.int().argmax(1)
    groups: dict[int, list[int]] = {}
    for column, one in enumerate(first.tolist()):
        groups.setdefault(one, []).append(column)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)
