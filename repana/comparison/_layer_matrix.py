"""A measure of all pairs of layers: values, intervals, null."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import stats
from torch import Tensor

from repana._estimate import Estimate, noted
from repana.comparison import _refusals
from repana.comparison._cca import Basis
from repana.comparison._cka import EQUAL, MEMORY, influential
from repana.comparison._inputs import FEWEST_GROUPS
from repana.comparison._matrices import (
    Centred,
    LinearMatrix,
    Matrix,
    Products,
    cheaper_by_features,
    feature_products,
    matrix_of,
    pair_sums,
    products,
    without_groups,
)
from repana.comparison._neighbourhoods import Lists, null_of_lists, shared_counts
from repana.comparison._predictivity import FOLDS, explained, folds_of
from repana.comparison._rsa import Ranked, distance_matrix
from repana.errors import InputError
from repana.statistics.pairing import PATTERNS

NO_DIRECTION = ("RA235", "RA233")  # samples of zeros have no cosine, and few samples no neighbours
Layers = Sequence[Float[Tensor, "n _"]]


@dataclass(frozen=True)
class LayerMatrix:
    """Of layers a (rows) and b (columns): `value`, `low`, `high`, the mean `null` and its deviation `null_sd` under
    random pairings, one-sided `p`; NaN where there is none. `deleted` (g, a, b) are the values without each group of
    samples, for paired differences.
    """

    value: Float[np.ndarray, "a b"]
    low: Float[np.ndarray, "a b"]
    high: Float[np.ndarray, "a b"]
    null: Float[np.ndarray, "a b"]
    null_sd: Float[np.ndarray, "a b"]
    p: Float[np.ndarray, "a b"]
    deleted: Float[np.ndarray, "g a b"] | None = None
    form: str = ""
    notes: tuple[str, ...] = ()
    each: bool = False  # `deleted` are the values without each sample

    def estimate(self, i: int, j: int, n: int, level: float) -> Estimate:
        """One pair."""
        z = NormalDist().inv_cdf(0.5 + level / 2)
        null, spread = float(self.null[i, j]), z * float(self.null_sd[i, j])
        value, note = float(self.value[i, j]), "; ".join(self.notes)
        if self.each and self.deleted is not None and math.isfinite(value):
            note = noted(influential(value, torch.from_numpy(self.deleted[:, i, j]), "sample"), note)
        return Estimate(
            value, float(self.low[i, j]), float(self.high[i, j]), n, note, null=null,
            null_low=null - spread, null_high=null + spread, p=float(self.p[i, j]),
        )  # fmt: skip


@dataclass(frozen=True)
class Options:
    """What all measures of a call share."""

    level: float
    seed: int
    group: Int[Tensor, " n"] | None  # of rows that depend on each other
    part: Int[Tensor, " n"] | None  # the groups of a delete-a-group jackknife
    k: int
    metric: str
    memory: int = MEMORY


def of_kernel(a: Layers, b: Layers | None, options: Options, kernel: str) -> LayerMatrix:
    """Debiased CKA of a kernel, or the bias-corrected distance correlation."""
    n, widths = len(a[0]), [[x.shape[1] for x in layers] for layers in (a, b or ())]
    by_features = kernel == "linear" and cheaper_by_features(n, widths[0], None if b is None else widths[1])
    if kernel != "linear":
        _refusals.matrices_fit(n, len(a) + len(b or ()) + 2, options.memory)
    made = [matrix_of(x, kernel) for x in a]
    other = None if b is None else [matrix_of(x, kernel) for x in b]
    if by_features:
        found = feature_products(_linear(made), None if other is None else _linear(other))
    else:
        found = products(made, other, cubes=True)
    value = found.values
    if options.group is None:
        deleted, error = found.without_each, found.error
        quantile = NormalDist().inv_cdf(0.5 + options.level / 2)
    else:
        deleted = without_groups(made, made if other is None else other, found, options.group)
        error, quantile = _error(deleted), _student(options.level, len(deleted))
    low, high = _on_atanh(value, error, quantile)
    sd = math.sqrt(2 / (n * (n - 3)))
    null, spread = (torch.full_like(value, v).masked_fill(value.isnan(), math.nan) for v in (0.0, sd))
    skewness = None if by_features else _skewness(made, made if other is None else other, found)
    p = _pearson(value.cpu().numpy() / sd, skewness)
    form = "features" if by_features else "matrices"
    found = _made(value, low, high, null, spread, p, deleted, form)
    return replace(found, each=options.group is None)


def _linear(layers: Sequence[Matrix]) -> list[LinearMatrix]:
    return [m for m in layers if isinstance(m, LinearMatrix)]


def _skewness(a: Sequence[Matrix], b: Sequence[Matrix], found: Products) -> Float[np.ndarray, "a b"]:
    """Of all pairs under random pairings."""
    assert found.cubes_a is not None
    assert found.cubes_b is not None
    n = found.n
    sides = [(a, found.own_a, found.cubes_a), (b, found.own_b, found.cubes_b)]
    sums = []
    for layers, own, cubes in sides if b is not a else sides[:1]:
        squares = own.sum(0)
        sums.append([pair_sums(m, float(s), float(c)) for m, s, c in zip(layers, squares, cubes)])
    sums = sums * 2 if len(sums) == 1 else sums
    third = np.zeros((len(a), len(b)))
    for k, (count, samples) in enumerate(PATTERNS):
        if n < samples:
            continue
        left, right = (np.array([s.triples[k] for s in side]) for side in sums)
        third += count * np.outer(left, right) / float(math.perm(n, samples))
    size = np.outer(*(np.sqrt([s.pairs[0] for s in side]) for side in sums))
    with np.errstate(invalid="ignore", divide="ignore"):
        return third / size**3 / (2 / (n * (n - 3))) ** 1.5


def _pearson(z: np.ndarray, skewness: np.ndarray | None) -> np.ndarray:
    """The upper tail of Pearson type III, of deviations."""
    if skewness is None:
        return stats.norm.sf(z)
    known = np.abs(np.nan_to_num(skewness)) > 1e-6
    found = stats.norm.sf(z)
    found[known] = stats.pearson3.sf(z[known], skewness[known])
    return found


def of_neighbours(a: Layers, b: Layers | None, options: Options) -> LayerMatrix:
    """Mutual k nearest neighbours. A layer whose samples have none by this metric has NaN, and a note."""
    notes: dict[str, None] = {}

    def lists_of(layers: Layers, first: int) -> list[Lists | None]:
        found: list[Lists | None] = []
        for place, x in enumerate(layers):
            try:
                found.append(Lists.of(x, options.k, options.metric, options.seed + first + place))
            except InputError as error:
                if error.code not in NO_DIRECTION:
                    raise
                notes[str(error).partition(": ")[2]] = None
                found.append(None)
        return found

    made = lists_of(a, 0)
    other = made if b is None else lists_of(b, len(a))
    value = torch.full((len(made), len(other)), math.nan, dtype=torch.float64)
    null, sd = value.clone(), value.clone()
    part, parts = options.part, 0 if options.part is None else int(options.part.max()) + 1
    deleted = torch.full((parts, len(made), len(other)), math.nan, dtype=torch.float64)
    fewer = [_fewer(lists, part, parts) for lists in made]
    less = fewer if b is None else [_fewer(lists, part, parts) for lists in other]
    for i, one in enumerate(made):
        for j, two in enumerate(other):
            if one is None or two is None:
                continue
            if b is None and j < i:
                for t in (value, null, sd):
                    t[i, j] = t[j, i]
                deleted[:, i, j] = deleted[:, j, i]
                continue
            moments = null_of_lists(one, two)
            null[i, j], sd[i, j] = moments.mean, moments.sd
            same = b is not None and a[i].shape == b[j].shape and bool((a[i] == b[j]).all())
            two, lists = (one, fewer[i]) if same else (two, less[j])
            value[i, j] = float(shared_counts(one.nearest, two.nearest).double().mean()) / options.k
            for g in range(parts):
                deleted[g, i, j] = float(shared_counts(fewer[i][g], lists[g]).double().mean()) / options.k
    low = high = torch.full_like(value, math.nan)
    if parts >= FEWEST_GROUPS:
        half = _student(options.level, parts) * _error(deleted)
        low, high = (value - half).clamp_min(0), (value + half).clamp_max(1)
    ties = sum(lists.ties for lists in ([*made] if b is None else [*made, *other]) if lists is not None)
    if ties:
        notes[f"{ties} lists of neighbours end in a tie, broken at random"] = None
    p = stats.norm.sf(((value - null) / sd).numpy())
    return _made(value, low, high, null, sd, p, deleted if parts else None, "", tuple(notes))


def _fewer(lists: Lists | None, part: Int[Tensor, " n"] | None, parts: int) -> list[Tensor]:
    """The lists of a layer without each part of the samples."""
    return [] if lists is None or part is None else [lists.without(part, g) for g in range(parts)]


def of_pairs(
    a: Layers, b: Layers | None, options: Options, measure: Callable[[Any, Any], float], prepare: Callable[[Any], Any],
    symmetric: bool = True,
) -> LayerMatrix:  # fmt: skip
    """A measure that takes one pair at a time; `prepare` is done once a layer."""
    parts = 0 if options.part is None else int(options.part.max()) + 1
    kept = [None, *((options.part != g).nonzero()[:, 0] for g in range(parts))] if options.part is not None else [None]
    found = []
    for rows in kept:
        first = [prepare(x if rows is None else x[rows.to(x.device)]) for x in a]
        second = first if b is None else [prepare(x if rows is None else x[rows.to(x.device)]) for x in b]
        grid = torch.full((len(first), len(second)), math.nan, dtype=torch.float64)
        for i, p in enumerate(first):
            for j, q in enumerate(second):
                grid[i, j] = grid[j, i] if b is None and symmetric and j < i else measure(p, q)
        found.append(grid)
    value, deleted = found[0], torch.stack(found[1:]) if parts >= FEWEST_GROUPS else None
    nothing = torch.full_like(value, math.nan)
    low = high = nothing
    if deleted is not None:
        low, high = _on_atanh(value, _error(deleted), _student(options.level, parts))
    return _made(value, low, high, nothing, nothing, nothing.numpy(), deleted)


def of_rsa(a: Layers, b: Layers | None, options: Options) -> LayerMatrix:
    """Spearman's correlation of Euclidean distances, with its exact null."""
    n = len(a[0])
    _refusals.matrices_fit(n, len(a) + len(b or ()) + 8, options.memory)
    made = [Ranked(distance_matrix(x, "euclidean")) for x in a]
    other = made if b is None else [Ranked(distance_matrix(x, "euclidean")) for x in b]
    shape = (len(made), len(other))
    value, null, sd = (torch.full(shape, math.nan, dtype=torch.float64) for _ in range(3))
    p = torch.full(shape, math.nan, dtype=torch.float64)
    parts = 0 if options.part is None else int(options.part.max()) + 1
    deleted = torch.full((parts, *shape), math.nan, dtype=torch.float64)
    masks = [None if options.part is None else options.part != g for g in range(parts)]
    first = [[r.values(m) for m in (None, *masks)] for r in made]
    less = first if b is None else [[r.values(m) for m in (None, *masks)] for r in other]
    for i in range(shape[0]):
        for j in range(shape[1]):
            if b is None and j < i:
                for t in (value, null, sd, p):
                    t[i, j] = t[j, i]
                deleted[:, i, j] = deleted[:, j, i]
                continue
            value[i, j] = float(first[i][0] @ less[j][0])
            moments = made[i].null(other[j])
            null[i, j], sd[i, j], p[i, j] = moments.mean, moments.sd, moments.p(float(value[i, j]))
            for g in range(parts):
                deleted[g, i, j] = float(first[i][g + 1] @ less[j][g + 1])
    low = high = torch.full_like(value, math.nan)
    if parts >= FEWEST_GROUPS:
        low, high = _on_atanh(value, _error(deleted), _student(options.level, parts))
    return _made(value.clamp(-1, 1), low, high, null, sd, p.numpy(), deleted if parts else None)


def _procrustes(p: Tensor, q: Tensor) -> float:
    size = float(p.norm() * q.norm())
    return min(float(torch.linalg.svdvals(p.T @ q).sum()) / size, 1.0) if size > 0 else math.nan


def _cca(p: Basis | None, q: Basis | None) -> float:
    if p is None or q is None:
        return math.nan
    return float(torch.linalg.svdvals(p.q.T @ q.q).clamp(0, 1).mean())


def _centred(x: Tensor) -> Tensor:
    return Centred.of(x, double=True).x


def _basis(x: Tensor, keep: float | None) -> Basis | None:
    moved = Centred.of(x, double=True)
    if not moved.varies:
        return None
    found = Basis.of(moved.x)
    kept = found.rank if keep is None else found.components(keep)
    return Basis(found.x, found.q[:, :kept], found.s[:kept], found.v[:, :kept])


def of_r2(a: Layers, b: Layers | None, options: Options) -> LayerMatrix:
    """Held-out R^2 of ridge regressions from the layers a to the layers b."""
    fold, count = folds_of(FOLDS, len(a[0]), options.group, options.seed)

    def measure(p: Tensor, q: Tensor) -> float:
        return explained(p, q, fold, count, None)[0] if bool(p.any()) and bool(q.any()) else math.nan

    alone = replace(options, part=None)  # held out already, and no row is left out again
    return of_pairs(a, a if b is None else b, alone, measure, _centred, False)


MEASURES: dict[str, Callable[[Layers, Layers | None, Options], LayerMatrix]] = {
    "cka": partial(of_kernel, kernel="linear"),
    "cka_rbf": partial(of_kernel, kernel="rbf"),
    "distance_correlation": partial(of_kernel, kernel="distance"),
    "knn": of_neighbours,
    "rsa": of_rsa,
    "procrustes": partial(of_pairs, measure=_procrustes, prepare=_centred),
    "cca": partial(of_pairs, measure=_cca, prepare=partial(_basis, keep=None)),
    "svcca": partial(of_pairs, measure=_cca, prepare=partial(_basis, keep=0.99)),
    "r2": of_r2,
}


def _error(deleted: Tensor) -> Tensor:
    g = len(deleted)
    return ((g - 1) / g * (deleted - deleted.mean(0)).square().sum(0)).sqrt()


def _student(level: float, groups: int) -> float:
    return float(stats.t.ppf(0.5 + level / 2, max(groups - 1, 1)))


def _on_atanh(value: Tensor, error: Tensor, quantile: float) -> tuple[Tensor, Tensor]:
    whole = value.abs() >= 1 - EQUAL
    inside = value.clamp(-1 + EQUAL, 1 - EQUAL)
    centre, half = inside.atanh(), quantile * error / (1 - inside.square())
    return (torch.where(whole, value, (centre - half).tanh()), torch.where(whole, value, (centre + half).tanh()))


def _made(
    value: Tensor, low: Tensor, high: Tensor, null: Tensor, sd: Tensor, p: np.ndarray, deleted: Tensor | None,
    form: str = "", notes: tuple[str, ...] = (),
) -> LayerMatrix:  # fmt: skip
    first, *others = (t.cpu().numpy() for t in (value, low, high, null, sd))
    p = np.where(np.isnan(first), np.nan, p)
    return LayerMatrix(
        first,
        others[0],
        others[1],
        others[2],
        others[3],
        p,
        None if deleted is None else deleted.cpu().numpy(),
        form,
        notes,
    )
