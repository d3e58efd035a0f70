"""What a similarity is worth, read off many networks: which layers it finds again, whether it follows outputs and
groups, and whether near layers are more alike than far ones."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from repana import _check
from repana._activations import Activations
from repana._ambient import settled
from repana._estimate import Estimate, Flag, shown
from repana.comparison import _refusals
from repana.comparison._layer_pairs import identified
from repana.comparison._output_agreement import output_agreement
from repana.comparison._similarity import Similarity, similarity
from repana.statistics.permutation import against

OUTPUTS = ("disagreement", "jsd", "accuracy_difference")
PERMUTATIONS = 999


@shown
@dataclass(frozen=True)
class GroupSeparation:
    """Whether networks of one group are more similar than networks of two; see `group_separation`."""

    average_precision: Estimate
    violations: Estimate
    settings: Mapping[str, Any] = field(default_factory=dict)


@shown
@dataclass(frozen=True)
class LayerMonotonicity:
    """Whether near layers are more similar than far ones; see `layer_monotonicity`."""

    correlation: Estimate
    violations: Estimate
    settings: Mapping[str, Any] = field(default_factory=dict)


@settled()
def identification(networks: Mapping[str, Activations], measure: str = "cka", **options: Any) -> Estimate:
    """The share of layers whose most similar layer in another network has the same index, over all ordered pairs of
    networks of one architecture (seeds apart), input and logits aside; the null is chance, 1/L.

    Wilson's interval, clustered by pair of networks: layers of one pair depend on each other, and where all are found
    (or none), the pairs alone are counted. In a network of equal
    layers in a row no measure tells them apart, so that a low share is a property of the networks as much as of the
    measure.

    `options` are those of `similarity`.

    Raises InputError for fewer than two networks, or networks of different numbers of layers.

    Source: Kornblith et al. 2019, arXiv:1905.00414.

    >>> import torch, repana
    >>> g = torch.Generator().manual_seed(0)
    >>> x, z = torch.randn(60, 4, generator=g), torch.randn(60, 4, generator=g)
    >>> nets = {k: repana.Activations({"one": x, "two": z}) for k in "abc"}
    >>> float(repana.comparison.identification(nets))
    1.0
    """
    found = _all_pairs(networks, measure, options)
    return identified([(s.matrix(measure).value, s.inner) for s in found.values()], options.get("level", 0.95))


@settled()
def output_correlation(
    networks: Mapping[str, Activations],
    layer: str,
    measure: str = "cka",
    *,
    output: str = "disagreement",
    labels: Any = None,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    **options: Any,
) -> Estimate:
    """Whether networks that are less similar in a layer differ more in their outputs: Spearman's correlation, over
    pairs of networks, of similarity with `output`: "disagreement", "jsd", or "accuracy_difference" (absolute; needs
    labels). In [-1, 1]; the better a measure sees what matters for the output, the nearer to -1.

    Null and p (one-sided, towards -1): `permutations` of the networks' outputs, as pairs share networks.

    Raises InputError for fewer than four networks, or networks without logits.

    Source: Klabunde et al. 2025, arXiv:2408.00531.

    >>> import torch, repana
    >>> g = torch.Generator().manual_seed(0)
    >>> x = torch.randn(80, 4, generator=g)
    >>> noisy = [x + s * torch.randn(80, 4, generator=g) for s in (0.1, 0.3, 1.0, 3.0, 9.0)]
    >>> nets = {str(k): repana.Activations({"one": z}, logits=z) for k, z in enumerate(noisy)}
    >>> float(repana.comparison.output_correlation(nets, "one")) < -0.5
    True
    """
    _check.choice(output, "output", OUTPUTS)
    names = _at_least(networks, 4)
    alike = _symmetric(names, _all_pairs(networks, measure, options), layer, measure)
    apart = np.zeros((len(names), len(names)))
    for i, j in combinations(range(len(names)), 2):
        found = output_agreement(networks[names[i]], networks[names[j]], labels)
        if output == "accuracy_difference" and math.isnan(float(found.accuracy_difference)):
            raise _check.no_labels("`output='accuracy_difference'`")
        apart[i, j] = apart[j, i] = abs(float(getattr(found, output)))
    at = np.triu_indices(len(names), 1)
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(permutations):
        order = random.permutation(len(names))
        drawn.append(_spearman(alike[at], apart[np.ix_(order, order)][at]))
    value = _spearman(alike[at], apart[at])
    note = "" if math.isfinite(value) else Flag.UNDEFINED.note("all similarities or all outputs are equal")
    return against(Estimate(value, n=len(at[0]), note=note), drawn, better="lower")


@settled()
def group_separation(
    networks: Mapping[str, Activations],
    groups: Mapping[str, Any],
    layer: str,
    measure: str = "cka",
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    **options: Any,
) -> GroupSeparation:
    """Whether networks of one group (trained on other labels, with a shortcut, with another augmentation) are more
    similar in a layer than networks of two groups.

    - `average_precision` of telling pairs of one group from pairs of two by their similarity, in [0, 1], higher is
      better.
    - `violations`: share of (pair inside, pair across) with one network in common in which the pair across is at least
      as similar, lower is better.

    Null and p: `permutations` of the networks' groups.

    Raises InputError for networks without a group, or no pair inside or across groups.

    Source: Klabunde et al. 2025, arXiv:2408.00531.

    >>> import torch, repana
    >>> g = torch.Generator().manual_seed(0)
    >>> x, z = torch.randn(60, 4, generator=g), torch.randn(60, 4, generator=g)
    >>> nets = {k: repana.Activations({"one": x if k < "c" else z}) for k in "abcd"}
    >>> float(repana.comparison.group_separation(nets, dict(a=0, b=0, c=1, d=1), "one").average_precision)
    1.0
    """
    names = _at_least(networks, 3)
    missing = [name for name in names if name not in groups]
    if missing:
        raise _refusals.no_group(missing)
    alike = _symmetric(names, _all_pairs(networks, measure, options), layer, measure)
    codes = np.unique([str(groups[name]) for name in names], return_inverse=True)[1]
    random = np.random.default_rng(seed)
    value = _separated(alike, codes)
    if value is None:
        raise _refusals.no_group_pairs()
    drawn = [_separated(alike, random.permutation(codes)) for _ in range(permutations)]
    known = [v for v in drawn if v is not None]
    n = len(names) * (len(names) - 1) // 2
    return GroupSeparation(
        against(Estimate(value[0], n=n), [v[0] for v in known], better="higher"),
        against(Estimate(value[1], n=n), [v[1] for v in known], better="lower"),
        {"layer": layer, "measure": measure, "permutations": permutations, "seed": seed},
    )


@settled()
def layer_monotonicity(found: Similarity, measure: str | None = None) -> LayerMonotonicity:
    """Whether layers that are near in depth are more similar than layers that are far: of one network's own layers.

    - `correlation`: Spearman's, of similarity with the distance |i - j| of layers, over pairs i < j; in [-1, 1], lower
      is more monotone.
    - `violations`: share of triples i < j < k in which the far pair (i, k) is more similar than (i, j) or than (j, k).

    Raises InputError for the similarity of two networks, or of fewer than three layers.

    Source: Klabunde et al. 2025, arXiv:2408.00531.

    >>> import torch, repana
    >>> g = torch.Generator().manual_seed(0)
    >>> steps = torch.randn(4, 200, 5, generator=g).cumsum(0)
    >>> own = repana.similarity(repana.Activations({str(k): x for k, x in enumerate(steps)}))
    >>> float(repana.comparison.layer_monotonicity(own).violations)
    0.0
    """
    if not found.itself or len(found.layers_a) < 3:
        raise _refusals.own_layers(len(found.layers_a), found.itself)
    values = found.matrix(measure).value
    size = len(values)
    i, j = np.triu_indices(size, 1)
    worse = [values[p, r] > values[p, q] or values[p, r] > values[q, r] for p, q, r in combinations(range(size), 3)]
    return LayerMonotonicity(
        Estimate(_spearman(values[i, j], (j - i).astype(float)), n=len(i)),
        Estimate(float(np.mean(worse)), n=len(worse)),
        {"measure": measure or next(iter(found.matrices))},
    )


def _at_least(networks: Mapping[str, Activations], least: int) -> list[str]:
    names = _check.layers_of(networks, "a set of networks", least)
    for name in names:
        if not isinstance(networks[name], Activations):
            raise _refusals.not_recorded_here(type(networks[name]).__name__)
    return names


def _all_pairs(
    networks: Mapping[str, Activations], measure: str, options: Mapping[str, Any]
) -> dict[tuple[str, str], Similarity]:
    names = _at_least(networks, 2)
    chosen = {"jackknife": 0, **options}
    return {
        (p, q): similarity(networks[p], networks[q], measures=measure, names=(p, q), **chosen)
        for p, q in combinations(names, 2)
    }


def _symmetric(names: list[str], found: Mapping[tuple[str, str], Similarity], layer: str, measure: str) -> np.ndarray:
    """The similarity of one layer, networks by networks."""
    grid = np.ones((len(names), len(names)))
    for (p, q), one in found.items():
        i, j = names.index(p), names.index(q)
        grid[i, j] = grid[j, i] = float(one.estimate(layer, layer, measure))
    return grid


def _separated(alike: np.ndarray, codes: np.ndarray) -> tuple[float, float] | None:
    from sklearn.metrics import average_precision_score

    i, j = np.triu_indices(len(codes), 1)
    inside = codes[i] == codes[j]
    if not inside.any() or inside.all():
        return None
    wrong = total = 0
    for a in range(len(codes)):
        same = [b for b in range(len(codes)) if b != a and codes[b] == codes[a]]
        other = [b for b in range(len(codes)) if codes[b] != codes[a]]
        wrong += sum(alike[a, c] >= alike[a, b] for b in same for c in other)
        total += len(same) * len(other)
    return float(average_precision_score(inside, alike[i, j])), wrong / total if total else math.nan


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    from scipy import stats

    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    found: Any = stats.spearmanr(x, y)
    return float(found.statistic)
