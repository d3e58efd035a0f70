"""The measures that compare all layers with all: kernels, neighbours, distances, bases, and held-out predictions."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from statistics import NormalDist

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import stats
from torch import Tensor

from repana._estimate import Flag
from repana.comparison import _refusals
from repana.comparison._cka import jackknife_error
from repana.comparison._inputs import FEWEST_GROUPS, PAIRINGS, paired_groups, paired_values
from repana.comparison._layer_matrix import CONSTANT, LayerMatrix, Layers, Options, layer_matrix, on_atanh_each, student
from repana.comparison._matrices import (
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
from repana.comparison._neighbourhoods import Lists, null_of_groups, null_of_lists, shared_counts
from repana.comparison._paired_bases import (
    basis,
    cca_held_out,
    cca_value,
    centred,
    dealt,
    of_pairs,
    procrustes_held_out,
    procrustes_value,
)
from repana.comparison._predictivity import FLAT, FOLDS, explained, folds_of, without_parts
from repana.comparison._rsa import Ranked, distance_matrix
from repana.errors import InputError
from repana.statistics.pairing import EXACT, PATTERNS

NO_DIRECTION = "RA235"  # samples of zeros have no cosine


MOST_RANKED = 2048  # rows of which distances are ranked anew for each pairing of groups


def of_kernel(a: Layers, b: Layers | None, options: Options, kernel: str) -> LayerMatrix:
    """Debiased CKA of a kernel, or the bias-corrected distance correlation."""
    n, widths = len(a[0]), [[x.shape[1] for x in layers] for layers in (a, b or ())]
    cheaper = n > EXACT and cheaper_by_features(n, widths[0], None if b is None else widths[1])
    by_features = kernel == "linear" and cheaper
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
        error, quantile = jackknife_error(deleted), student(options.level, len(deleted))
    low, high = on_atanh_each(value, error, quantile)
    if options.group is not None and len(deleted) < FEWEST_GROUPS:
        low = high = torch.full_like(value, math.nan)
    form = "features" if by_features else "matrices"
    if options.group is not None:
        null, spread, p, draws = _of_groups(_kernels_paired(made, other, value, options.group), value)
        found = layer_matrix(value, low, high, null, spread, p, deleted, form)
        return replace(found, draws=draws, left_out="group")
    sd = math.sqrt(2 / (n * (n - 3)))
    null, spread = (torch.full_like(value, v).masked_fill(value.isnan(), math.nan) for v in (0.0, sd))
    skewness = _skewness(made, made if other is None else other, found)
    p = _pearson(value.cpu().numpy() / sd, skewness)
    found = layer_matrix(value, low, high, null, spread, p, deleted, form)
    return replace(found, skewness=skewness, left_out="sample")


def _kernels_paired(
    a: Sequence[Matrix], b: Sequence[Matrix] | None, value: Tensor, group: Int[Tensor, " n"]
) -> list[Tensor]:
    """All values with whole groups paired at random."""

    def paired(p: Tensor, q: Tensor) -> Tensor:
        first, second = [m.at(p) for m in a], [m.at(q) for m in (a if b is None else b)]
        one, other = _linear(first), _linear(second)
        linear = len(one) == len(first) and len(p) > EXACT
        if linear and cheaper_by_features(len(p), [m.width for m in one], [m.width for m in other]):
            return feature_products(one, other).values
        return products(first, second).values

    return paired_values(paired, value, group, PAIRINGS)


def _of_groups(drawn: Iterable[Tensor], value: Tensor) -> tuple[Tensor, Tensor, np.ndarray, int]:
    """Mean and deviation of values under some pairings, and the p of Student's prediction."""
    found = [t.cpu() for t in drawn]
    if len(found) < 2:
        nothing = torch.full_like(value.cpu(), math.nan)
        return nothing, nothing, nothing.numpy(), 0
    grid = torch.stack(found)
    null, sd, count = grid.mean(0), grid.std(0), len(found)
    z = (value.cpu() - null) / (sd * math.sqrt(1 + 1 / count)).clamp_min(1e-300)
    return null, sd, stats.t.sf(z.numpy(), count - 1), count


def _linear(layers: Sequence[Matrix]) -> list[LinearMatrix]:
    return [m for m in layers if isinstance(m, LinearMatrix)]


def _skewness(a: Sequence[Matrix], b: Sequence[Matrix], found: Products) -> Float[np.ndarray, "a b"]:
    """Of all pairs under random pairings."""
    n = found.n
    nothing = torch.zeros(1, dtype=torch.float64)  # of many samples cubes are a hundredth of the skewness, or less
    sides = [
        (layers, own, nothing.expand(len(layers)) if cubes is None else cubes)
        for layers, own, cubes in ((a, found.own_a, found.cubes_a), (b, found.own_b, found.cubes_b))
    ]
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
    reasons: dict[tuple[str, int], str] = {}

    def lists_of(layers: Layers, first: int, side: str) -> list[Lists | None]:
        found: list[Lists | None] = []
        for place, x in enumerate(layers):
            if bool((x == x[0]).all()):
                reasons[side, place] = Flag.CONSTANT.note(CONSTANT)
                found.append(None)
                continue
            try:
                found.append(Lists.of(x, options.k, options.metric, options.seed + first + place))
            except InputError as error:
                if error.code != NO_DIRECTION:
                    raise
                reasons[side, place] = Flag.UNDEFINED.note(str(error).partition(": ")[2])
                found.append(None)
        return found

    made = lists_of(a, 0, "a")
    other = made if b is None else lists_of(b, len(a), "b")
    if b is None:
        reasons |= {("b", place): why for (_, place), why in tuple(reasons.items())}
    draws = 0 if options.group is None else len(paired_groups(options.group, PAIRINGS))
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
            moments = null_of_lists(one, two) if options.group is None else null_of_groups(one, two, options.group)
            null[i, j], sd[i, j] = moments.mean, moments.sd
            same = b is not None and a[i].shape == b[j].shape and bool((a[i] == b[j]).all())
            two, lists = (one, fewer[i]) if same else (two, less[j])
            value[i, j] = float(shared_counts(one.nearest, two.nearest).double().mean()) / options.k
            for g in range(parts):
                deleted[g, i, j] = float(shared_counts(fewer[i][g], lists[g]).double().mean()) / options.k
    low = high = torch.full_like(value, math.nan)
    if parts >= FEWEST_GROUPS:
        half = student(options.level, parts) * jackknife_error(deleted)
        low, high = (value - half).clamp_min(0), (value + half).clamp_max(1)
    ties = sum(lists.ties for lists in ([*made] if b is None else [*made, *other]) if lists is not None)
    if ties:
        notes[f"{ties} lists of neighbours end in a tie, broken at random"] = None
    if draws:
        p = stats.t.sf(((value - null) / sd).numpy() / math.sqrt(1 + 1 / draws), draws - 1)
    else:
        p = stats.norm.sf(((value - null) / sd).numpy())
    found = layer_matrix(value, low, high, null, sd, p, deleted if parts else None, "", tuple(notes))
    return replace(found, draws=draws, reasons=reasons)


def _fewer(lists: Lists | None, part: Int[Tensor, " n"] | None, parts: int) -> list[Tensor]:
    """The lists of a layer without each part of the samples."""
    return [] if lists is None or part is None else [lists.without(part, g) for g in range(parts)]


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
            if options.group is None:
                moments = made[i].null(other[j])
                null[i, j], sd[i, j], p[i, j] = moments.mean, moments.sd, moments.p(float(value[i, j]))
            for g in range(parts):
                deleted[g, i, j] = float(first[i][g + 1] @ less[j][g + 1])
    low = high = torch.full_like(value, math.nan)
    if parts >= FEWEST_GROUPS:
        low, high = on_atanh_each(value, jackknife_error(deleted), student(options.level, parts))
    value = value.clamp(-1, 1)
    if options.group is None:
        return layer_matrix(value, low, high, null, sd, p.numpy(), deleted if parts else None)
    if n > MOST_RANKED:
        notes = (Flag.DEPENDENT.note(f"no null: rows of a sample depend on each other, and {n} are many; see `rsa`"),)
        return layer_matrix(value, low, high, null, sd, p.numpy(), deleted if parts else None, "", notes)
    null, sd, tail, draws = _of_groups(_ranked_paired(made, other, value, options.group), value)
    return replace(layer_matrix(value, low, high, null, sd, tail, deleted if parts else None), draws=draws)


def _ranked_paired(a: list[Ranked], b: list[Ranked], value: Tensor, group: Int[Tensor, " n"]) -> list[Tensor]:
    """All correlations with whole groups paired at random."""

    def paired(p: Tensor, q: Tensor) -> Tensor:
        first, second = (torch.stack([r.at(rows).values() for r in side]) for side, rows in ((a, p), (b, q)))
        return first @ second.T

    return paired_values(paired, value, group, PAIRINGS)


def of_r2(a: Layers, b: Layers | None, options: Options) -> LayerMatrix:
    """Held-out R^2 of ridge regressions from the layers a to the layers b."""

    first = [centred(x) for x in a]
    second = first if b is None else [centred(x) for x in b]
    fold, part = folds_of(FOLDS, len(a[0]), options.group, options.seed)[0], options.part
    parts = 0 if part is None else int(part.max()) + 1
    value = torch.full((len(first), len(second)), math.nan, dtype=torch.float64)
    deleted, flat = value.new_full((parts, *value.shape), math.nan), False
    for i, p in enumerate(first):
        for j, q in enumerate(second):
            if bool(p.any()) and bool(q.any()):
                fit = explained(p, q, fold, FOLDS, None)
                value[i, j] = fit.value
                flat = flat or fit.flat
                if part is not None and not fit.flat:
                    deleted[:, i, j] = without_parts(p, q, fold, FOLDS, fit.strengths, part)
    nothing = torch.full_like(value, math.nan)
    if parts < FEWEST_GROUPS:
        return layer_matrix(value, nothing, nothing, nothing, nothing, nothing.numpy(), None)
    half = student(options.level, parts) * jackknife_error(deleted)
    low, high = value - half, (value + half).clamp(max=1)
    found = layer_matrix(value, low, high, nothing, nothing, nothing.numpy(), deleted)
    return replace(found, without_interval=Flag.NO_INTERVAL.note(FLAT) if flat else "")


MEASURES: dict[str, Callable[[Layers, Layers | None, Options], LayerMatrix]] = {
    "cka": partial(of_kernel, kernel="linear"),
    "cka_rbf": partial(of_kernel, kernel="rbf"),
    "distance_correlation": partial(of_kernel, kernel="distance"),
    "knn": of_neighbours,
    "rsa": of_rsa,
    "procrustes": partial(of_pairs, measure=procrustes_held_out, prepare=centred, deal=dealt),
    "cca": partial(of_pairs, measure=cca_held_out, prepare=centred, deal=dealt),
    "procrustes_biased": partial(of_pairs, measure=procrustes_value, prepare=centred, deal=dealt),
    "cca_biased": partial(of_pairs, measure=cca_value, prepare=partial(basis, keep=None), deal=dealt),
    "svcca_biased": partial(of_pairs, measure=cca_value, prepare=partial(basis, keep=0.99), deal=dealt),
    "r2": of_r2,
}
