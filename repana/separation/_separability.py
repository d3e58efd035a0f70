"""Class separability from the distances between samples: cluster indices, neighbours, directions, data complexity."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from repana import _check
from repana._ambient import release_memory
from repana._estimate import Estimate, Flag, explained, noted, shown
from repana._reads import reads
from repana.separation import _formulas as f
from repana.separation._dsi import BinnedDistances, OrderedPairs
from repana.separation._permuted import ADDITIONS, FEWEST, permuted_separability
from repana.statistics.intervals import from_error, from_jackknife, proportion
from repana.statistics.permutation import against
from repana.summaries.class_groups import within_class_groups
from repana.summaries.distances import Distances
from repana.summaries.pairwise_distances import NearestByClass, PairwiseDistances, drawn
from repana.summaries.resampling import class_sums, permuted_orders

GROUPS = 10  # of the jackknife
FEW = 600  # samples of the jackknife and of the permutations
MANY_PAIRS = 1e7  # of samples, from which the memory of one group is given back before the next
CALL, AFFORDABLE = 1e7, 1e11  # operations that a call on two classes is worth, and those of an interval
NORMALIZE = ("l2", "center+l2")
COUNTED = ("thornton", "n3")  # shares of samples
REASONS = {
    "calinski_harabasz": "no class has spread",
    "davies_bouldin": "two classes share their mean",
    "gdv": "no feature varies",
    "label_cka": "needs 4 samples whose features vary",
    "alignment": "every class has one sample",
    "tolerance": "every class has one sample",
    "dsi": "every class has one sample",
}
SIGNED, SHARE, OPEN = (-1.0, 1.0), (0.0, 1.0), (-math.inf, math.inf)


@shown
@dataclass(frozen=True)
class Separability:
    """How far apart the classes of one layer are, from distances; see `separability`."""

    silhouette: Estimate
    silhouette_balanced: Estimate
    calinski_harabasz: Estimate
    davies_bouldin: Estimate
    gdv: Estimate
    dsi: Estimate
    thornton: Estimate
    knn_purity: Estimate
    alignment: Estimate
    sample_uniformity: Estimate
    tolerance: Estimate
    label_cka: Estimate
    class_silhouette: Float[Tensor, " c"] = field(default_factory=lambda: torch.empty(0))
    class_dsi: Float[Tensor, " c"] = field(default_factory=lambda: torch.empty(0))
    jackknife: Mapping[str, Float[Tensor, " g"]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@shown
@dataclass(frozen=True)
class DataComplexity:
    """How hard the classes of one layer are to tell apart; lower is easier. See `data_complexity`."""

    f1: Estimate
    f1_mean: Estimate
    f1v: Estimate
    f2: Estimate
    f3: Estimate
    n1: Estimate
    n2: Estimate
    n3: Estimate
    lsc: Estimate
    per_feature: Float[Tensor, " d"] = field(default_factory=lambda: torch.empty(0))
    per_pair: Float[Tensor, "p 3"] = field(default_factory=lambda: torch.empty(0, 3))
    jackknife: Mapping[str, Float[Tensor, " g"]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@reads
def separability(
    pairs: PairwiseDistances,
    *,
    normalize: str = "l2",
    tolerance_over: str = "class",
    unbiased: bool = True,
    drop_constant: bool = False,
    jackknife: int = GROUPS,
    permutations: int = 0,
    level: float = 0.95,
) -> Separability:
    """Class separability from the distances between samples. Call as `separability(features, labels)`.

    With d_ij Euclidean distances, n_k the sizes of the c classes, m_k their means:

    - `silhouette` mean of (b - a)/max(a, b), a the mean distance to the own class (the sample itself left out), b the
      least mean distance to another; 0 for the only sample of a class. In [-1, 1]. `silhouette_balanced` is the mean
      over classes of `class_silhouette` (c,).
    - `calinski_harabasz` (tr Sb/(c - 1))/(tr Sw/(n - c)); infinite where no class has spread (scikit-learn: 1).
    - `davies_bouldin` mean_k max_l (s_k + s_l)/|m_k - m_l|, s the mean distance to m; infinite where two classes with
      spread share their mean (scikit-learn: 0).
    - `gdv` (mean_k intra_k - mean_{k<l} inter_kl)/sqrt(d), means of distances over pairs, features times 1/(2 std). 0
      without structure, -sqrt(c/(2(c - 1))) for the corners of a simplex in c dimensions (-1 at c = 2). Constant
      features count in d; `drop_constant` leaves them out.
    - `dsi` mean over classes of the Kolmogorov-Smirnov distance between the distances inside the class and those to
      other classes, `class_dsi` (c,). In [0, 1].
    - `thornton` share of samples whose nearest other sample is of their class (1 - N3).
    - `knn_purity` (p - p0)/(1 - p0), p the mean share of the `k` nearest that are of the class, p0 = sum n_k (n_k - 1)/
      (n (n - 1)): 1 for pure, 0 without structure.
    - `alignment` mean of |u_i - u_j|^2 over pairs of one class, u = x/|x|, or of features less their mean with
      normalize="center+l2". In [0, 4].
    - `sample_uniformity` log mean_{i<j} exp(-2 |u_i - u_j|^2): 0 where all are equal, -4 and below when spread.
    - `tolerance` mean of u_i.u_j over pairs of one class, or with tolerance_over="all" of u_i.u_j 1[y_i = y_j] over all
      pairs (as Wang & Liu wrote it: it grows with the size of classes).
    - `label_cka` centred kernel alignment of x_i.x_j with 1[y_i = y_j], by the unbiased estimate of HSIC (which can be
      below 0), or with unbiased=False as Cortes et al. wrote it.

    Options of the pass: `k` = 10, `max_samples` = 5000 (of more samples these are drawn by `seed`, every class in its
    share), the same for every layer. `permutations` of labels give the null and p; fewer are taken for what reads the
    distances of many samples (see `Estimate.permutations`), and the null of `dsi` is read from distances in up to 1024
    bins. Of more than 1024 samples of float32 features distances are those of products in float32: `dsi` is within 1e-5
    of that of float64, `sample_uniformity` within 2e-6, all others within 5e-7.
    Intervals: delete one of `jackknife` drawn within classes (0 for none), on up to 600 samples, the error carried to n
    by sqrt(600/n); of `sample_uniformity` that of a U-statistic. Unitless.

    Raises InputError for one class, wrong shapes, NaN or infinite features.

    Sources: Rousseeuw 1987, doi:10.1016/0377-0427(87)90125-7; Calinski & Harabasz 1974; Davies & Bouldin 1979,
    doi:10.1109/TPAMI.1979.4766909; Schilling et al. 2021, doi:10.1016/j.neunet.2021.03.035 (GDV); Guan & Loew 2022,
    arXiv:2109.05180 (DSI); Thornton 1998; Wang & Isola 2020, arXiv:2005.10242 (alignment, uniformity);
    Wang & Liu 2021, arXiv:2012.09740 (tolerance); Cortes, Mohri & Rostamizadeh 2012; Song et al. 2012 (unbiased).

    >>> from repana import separability
    >>> float(separability([[0.0], [1.0], [8.0], [9.0]], [0, 0, 1, 1]).thornton)
    1.0
    """
    _counts(jackknife, permutations)
    _check.choice(normalize, "normalize", NORMALIZE)
    _check.choice(tolerance_over, "tolerance_over", ("class", "all"))

    binned = BinnedDistances.of(pairs.distances, pairs.seed) if Distances.many(pairs.n) or permutations else None
    if binned is not None and Distances.many(pairs.n):
        by_class = binned.exact(pairs.codes, len(pairs.counts))
    else:
        by_class = OrderedPairs.of(pairs.squared()).dsi(pairs.codes, len(pairs.counts))

    def measure(p: PairwiseDistances, part: _Part | None = None) -> dict[str, float]:
        c, silhouettes = len(p.counts), f.silhouettes(p.sums, p.codes, p.counts)
        u = f.directions(p.x, normalize)
        alignment, dots, share = f.alignment(u, p.codes, c)
        linear = f.LinearKernel.of(p.x) if part is None else f.LinearKernel.of_products(part.inner)
        totals = class_sums(p.x - p.x.mean(0), p.codes[None], c)[0]
        return {
            "silhouette": float(silhouettes.mean()),
            "silhouette_balanced": float(f.by_class(silhouettes, p.codes, p.counts).mean()),
            "calinski_harabasz": f.calinski_harabasz(p.x, p.codes, c),
            "davies_bouldin": f.davies_bouldin(p.x, p.codes, c),
            "thornton": float(f.nearest_is_own(p).double().mean()),
            "gdv": float(f.gdv(p.x, p.codes[None], p.counts, single=p.single, drop_constant=drop_constant)),
            "dsi": float((by_class if part is None else part.ordered.dsi(p.codes, c)).nanmean()),
            "knn_purity": float(f.purity((p.same / p.k).mean(), p.counts)),
            "alignment": alignment,
            "tolerance": dots * share if tolerance_over == "all" else dots,
            "label_cka": float(linear.alignment(totals, p.codes, p.counts, unbiased=unbiased)),
        }

    bounds = dict.fromkeys(("silhouette", "silhouette_balanced", "tolerance", "label_cka"), SIGNED)
    bounds |= dict.fromkeys(("dsi", "thornton"), SHARE) | {"gdv": OPEN, "knn_purity": (-math.inf, 1.0)}
    found: dict[str, Tensor] = {}
    if permutations and binned is not None:
        found = permuted_separability(
            pairs, _labels(pairs, permutations), binned, normalize=normalize, tolerance_over=tolerance_over,
            unbiased=unbiased, drop_constant=drop_constant,
        )  # fmt: skip
    better = dict.fromkeys(("davies_bouldin", "gdv", "alignment"), "lower") | {"tolerance": ""}
    estimate, without = _measured(pairs, measure, found, better, jackknife, level, bounds)
    rows = f.kernel_rows(f.directions(pairs.x, normalize), single=pairs.single)
    error = 2 * float(rows.std()) / math.sqrt(pairs.n) / float(rows.mean())
    uniformity = from_error(
        math.log(float(rows.mean())), error, n=pairs.n, level=level, bounds=OPEN, note=_subset_note(pairs)
    )
    return Separability(
        sample_uniformity=uniformity,
        **estimate,
        class_silhouette=f.by_class(f.silhouettes(pairs.sums, pairs.codes, pairs.counts), pairs.codes, pairs.counts),
        class_dsi=by_class,
        jackknife=without,
        settings=_settings(pairs, level, permutations) | {"normalize": normalize, "unbiased": unbiased},
    )


@reads
def data_complexity(
    pairs: PairwiseDistances,
    *,
    ratio: str = "points",
    vertices: bool = True,
    ties: str = "first",
    jackknife: int = GROUPS,
    permutations: int = 0,
    level: float = 0.95,
) -> DataComplexity:
    """Measures of the complexity of a classification problem, for any number of classes; lower is easier. Call as
    `data_complexity(features, labels)`.

    - `f1` 1/(1 + max_f r_f), r_f = sum_k n_k (m_kf - m_f)^2/sum_i (x_if - m_yf)^2, and `f1_mean` the mean over features
      of 1/(1 + r_f), `per_feature` (d,). In [0, 1].
    - `f1v` mean over pairs of classes of 1/(1 + D^2), D the Mahalanobis distance of their means under the pooled
      unbiased covariance. NaN where it is singular, as with fewer samples of two classes than features.
    - `f2` mean over pairs of prod_f overlap/range; underflows to 0 in many dimensions.
    - `f3` mean over pairs of min_f of the share of samples inside the overlap.
    - `n1` share of samples that an edge of the minimum spanning tree joins to another class (ECoL, pymfe); with
      vertices=False, the edges between classes over n. Of equally long edges which is taken is open.
    - `n2` mean of own/(own + enemy), the distances to the nearest of the own class and of another (ECoL, pymfe); with
      ratio="sums", q/(1 + q) of q = sum own/sum enemy (Ho & Basu, Lorena et al.).
    - `n3` leave-one-out error of the nearest neighbour, of two as near the one that comes first; with ties="against" a
      sample as near to another class counts as wrong, which gives pymfe's value on iris.
    - `lsc` 1 - 1/n^2 sum_i #{j: d_ij < enemy_i}, the sample itself among them.
    - `per_pair` (p, 3): f1v, f2, f3 of the pairs (0, 1), (0, 2), ..., (1, 2), ...

    Features are taken as they are, as in ECoL; pymfe scales each to [0, 1] first: give (x - min)/(max - min) for its
    values. problexity differs (F1 doubled, N1 halved and of labels 0 and 1 alone, the second nearest of another class
    in N2), and is not followed. Options of the pass and intervals as in `separability`; `n1` with the error of a mean
    over a graph, its tree. `permutations` does not reach f1v, f2 and f3. Unitless.

    Raises InputError for one class, wrong shapes, NaN or infinite features.

    Sources: Ho & Basu 2002, doi:10.1109/34.990132; Lorena et al. 2019, doi:10.1145/3347711; Leyva, Gonzalez & Perez
    2015, doi:10.1109/TKDE.2014.2327034 (LSC).

    >>> from repana import data_complexity
    >>> float(data_complexity([[0.0], [1.0], [8.0], [9.0]], [0, 0, 1, 1]).n1)
    0.5
    """
    _counts(jackknife, permutations)
    _check.choice(ratio, "ratio", ("points", "sums"))
    _check.choice(ties, "ties", ("first", "against"))

    def of_distances(x: Tensor, codes: Tensor, near: NearestByClass) -> dict[str, float]:
        ratios = 1 / (1 + f.feature_ratios(x, codes, len(pairs.counts)))
        parts = f.n2_of_points(near)
        known = (near.own_at >= 0) & (near.enemy_at >= 0)
        q = float(near.own[known].sum() / near.enemy[known].sum())
        return {
            "f1": float(ratios.min()),
            "f1_mean": float(ratios.mean()),
            "n2": float(parts.mean()) if ratio == "points" else q / (1 + q),
            "n3": 1 - float(f.nearer_than_others(near, ties).double().mean()),
            "lsc": 1 - float((near.inside + 1).mean()) / len(codes),
        }

    def measure(p: PairwiseDistances, part: _Part | None = None) -> dict[str, float]:
        return of_distances(p.x, p.codes, p.by_class)

    bounds: dict[str, tuple[float, float]] = dict.fromkeys(("n2", "n3", "lsc", "f1", "f1_mean"), SHARE)
    labels = _labels(pairs, min(permutations, max(FEWEST, int(ADDITIONS / pairs.n**2))))
    several = [of_distances(pairs.x, *one) for one in zip(labels, pairs.relabelled(labels))]
    found = {
        name: torch.tensor([one[name] for one in several], dtype=torch.float64)
        for name in (several[0] if several else ())
    }
    better: dict[str, str] = dict.fromkeys(("f1", "f1_mean", "n2", "n3", "lsc"), "lower")
    estimate, without = _measured(pairs, measure, found, better, jackknife, level, bounds)
    c, d = len(pairs.counts), pairs.x.shape[1]
    work = {"f1v": d**3 / 3 + pairs.n * d * d / c, "f2": 10.0 * pairs.n * d / c, "f3": 10.0 * pairs.n * d / c}
    functions = {"f1v": f.directional, "f2": f.volume_of_overlap, "f3": f.feature_efficiency}
    table = torch.stack([f.over_pairs(function, pairs.x, pairs.codes, c) for function in functions.values()], 1)
    return DataComplexity(
        **{
            name: _of_pairs(pairs, functions[name], table[:, j], work[name], jackknife, level)
            for j, name in enumerate(functions)
        },
        n1=_crossing(pairs, vertices, permutations, level),
        **estimate,
        per_feature=1 / (1 + f.feature_ratios(pairs.x, pairs.codes, c)),
        per_pair=table,
        jackknife=without,
        settings=_settings(pairs, level, permutations) | {"ratio": ratio, "vertices": vertices},
    )


def _of_pairs(
    pairs: PairwiseDistances,
    function: Callable[[Tensor, Tensor], float],
    values: Float[Tensor, " p"],
    work: float,
    groups: int,
    level: float,
) -> Estimate:
    """The mean over pairs of classes, with the jackknife's error where that is a matter of seconds."""
    value, missing = float(values.nanmean()), int(values.isnan().sum())
    lack = "a singular covariance" if function is f.directional else "no feature with a range"
    note = Flag.MISSING_CLASSES.note(f"{missing} of {len(values)} pairs of classes have {lack}") if missing else ""
    if math.isnan(value) or groups * len(values) * (work + CALL) > AFFORDABLE:
        slow = "" if math.isnan(value) else "no interval: too many pairs of classes for these features"
        return Estimate(value, n=pairs.n, note=noted(note, slow, _subset_note(pairs)))
    deleted = [
        float(f.over_pairs(function, pairs.x[left], pairs.codes[left], len(pairs.counts)).nanmean())
        for left in _without_each_group(pairs, groups)
    ]
    note = noted(note, _subset_note(pairs))
    return from_jackknife(value, deleted, n=pairs.n, level=level, bounds=SHARE, note=note, corrected=False)


def _crossing(pairs: PairwiseDistances, vertices: bool, null: int, level: float) -> Estimate:
    """N1: indicators of samples depend on each other along the tree, so its variance is psi' A psi over it."""
    edges, n = pairs.tree.edges, pairs.n

    def value(codes: Tensor) -> float:
        if vertices:
            return float(f.joined_to_another_class(edges, codes).double().mean())
        return float((codes[edges[:, 0]] != codes[edges[:, 1]]).double().sum()) / n

    found = value(pairs.codes)
    crossed = f.joined_to_another_class(edges, pairs.codes).double()
    psi = crossed - crossed.mean()
    square = float(psi.square().sum()) + 2 * float((psi[edges[:, 0]] * psi[edges[:, 1]]).sum())
    error = math.sqrt(max(square, float(psi.square().sum()) / 4)) / n
    permuted = [value(codes) for codes in _labels(pairs, null)]
    e = from_error(found, error, n=n, level=level, bounds=SHARE, note=_subset_note(pairs))
    if found in (0.0, 1.0):  # all alike: no spread to read an error from
        wilson = proportion(0, n, level=level)
        e = replace(e, low=found and 1 - wilson.high, high=found or wilson.high)
    return against(e, permuted, better="lower", level=level)


def _measured(
    pairs: PairwiseDistances,
    measure: Callable[..., dict[str, float]],
    permuted: Mapping[str, Tensor],
    better: Mapping[str, str],
    groups: int,
    level: float,
    bounds: Mapping[str, tuple[float, float]],
) -> tuple[dict[str, Estimate], dict[str, Tensor]]:
    """Values of all samples with what shuffled labels give, and errors from a few of them: also as values without each
    group. More is better, unless `better` says otherwise."""
    values, large = measure(pairs), pairs.n * pairs.n > MANY_PAIRS
    if large:
        release_memory()
    few = _Few.of(pairs)
    still = "every feature is constant" if bool((pairs.x == pairs.x[0]).all()) else ""
    deleted = []
    for left in _without_each_group(few.pairs, groups):
        deleted.append(measure(*few.part(left)))
        if large:
            release_memory()
    shrink = math.sqrt(few.pairs.n / pairs.n)
    found, without = {}, {}
    for name, value in values.items():
        spread = np.asarray([one[name] for one in deleted])
        spread = spread[np.isfinite(spread)]
        if not math.isfinite(value) or not len(spread):
            scaled = spread[:0]
        elif name not in bounds and value > 0 and bool((spread > 0).all()):  # on the log scale, as the interval
            scaled = value * np.exp((np.log(spread) - np.log(spread).mean()) * shrink)
        else:
            scaled = value + (spread - spread.mean()) * shrink
        if len(scaled):
            without[name] = torch.from_numpy(scaled)
        e = from_jackknife(
            value,
            scaled.tolist(),
            n=pairs.n,
            level=level,
            bounds=bounds.get(name, (0.0, math.inf)),
            note=_subset_note(pairs),
            corrected=False,
        )
        if name in COUNTED and groups > 1:  # at a share of 0 or 1 no group makes a difference
            wilson = proportion(round(value * pairs.n), pairs.n, level=level)
            e = replace(e, low=min(e.low, wilson.low), high=max(e.high, wilson.high))
        of_permuted = permuted[name].tolist() if name in permuted else []
        e = against(e, of_permuted, better=better.get(name, "higher"), level=level)
        found[name] = explained(e, still or REASONS.get(name, "the classes leave it undefined"))
    return found, without


@dataclass(frozen=True)
class _Few:
    """The samples of the jackknife."""

    pairs: PairwiseDistances

    @classmethod
    def of(cls, pairs: PairwiseDistances) -> "_Few":
        return cls(pairs.part(drawn(pairs.codes, FEW, pairs.seed)))

    @cached_property
    def inner(self) -> Float[Tensor, "m m"]:
        """Inner products, around the mean of all."""
        moved = self.pairs.x - self.pairs.x.mean(0)
        return moved @ moved.T

    @cached_property
    def ordered(self) -> OrderedPairs:
        return OrderedPairs.of(self.pairs.squared())

    def part(self, left: Bool[Tensor, " m"]) -> "tuple[PairwiseDistances, _Part]":
        """Some of them, and what is known of their pairs."""
        p = self.pairs
        square, tie = (t[left][:, left] for t in p.known)
        found = PairwiseDistances.of_matrix(p.x[left], p.codes[left], len(p.counts), square, tie, p.k)
        return found, _Part(self, left)


@dataclass(frozen=True)
class _Part:
    few: _Few
    left: Bool[Tensor, " m"]

    @property
    def inner(self) -> Float[Tensor, "p p"]:
        return self.few.inner[self.left][:, self.left]

    @property
    def ordered(self) -> OrderedPairs:
        return self.few.ordered.among(self.left.cpu().numpy())


def _without_each_group(pairs: PairwiseDistances, groups: int) -> list[Bool[Tensor, " n"]]:
    """The samples that stay when one group after the other is left out; none for fewer than two groups."""
    if groups < 2:
        return []
    group = within_class_groups(pairs.codes, groups, pairs.seed).to(pairs.codes.device)
    return [group != g for g in range(groups)]


def _counts(groups: int, null: int) -> None:
    for name, count in (("groups", groups), ("null", null)):
        _check.at_least(count, name, 0)


def _labels(pairs: PairwiseDistances, permutations: int) -> Int[Tensor, "p n"]:
    """The labels in other orders, drawn by the seed."""
    return pairs.codes[permuted_orders(pairs.n, permutations, pairs.seed).to(pairs.codes.device)]


def _subset_note(pairs: PairwiseDistances) -> str:
    part = f"{pairs.n} of {pairs.seen} samples" if pairs.n < pairs.seen else ""
    single = int((pairs.counts == 1).sum())
    alone = f"{single} class(es) of one sample have no spread and no neighbour of their own" if single else ""
    return noted(part, alone)


def _settings(pairs: PairwiseDistances, level: float, null: int) -> dict[str, Any]:
    return {"k": pairs.k, "samples": pairs.n, "permutations": null, "level": level, "seed": pairs.seed}
