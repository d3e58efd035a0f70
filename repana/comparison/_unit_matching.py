"""Which units of one layer are those of another: one-to-one, many-to-one and in groups, beside what a layer gives of
itself."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._ambient import settled
from repana._estimate import NAN, Estimate, Flag, shown
from repana._typing import FeatureArray, LabelArray
from repana.comparison import _refusals
from repana.comparison._cca import PERMUTATIONS
from repana.comparison._inputs import JACKKNIFE, constant_note, dealt_out, groups_of, pair
from repana.comparison._matrices import Centred
from repana.comparison._procrustes import WIDEST
from repana.comparison._resampled import deleted_values, estimated, permuted_values

NAMES = ("bipartite", "forward", "backward", "within_a", "within_b")


@shown
@dataclass(frozen=True)
class UnitMatching:
    """Units of two layers matched by correlation, higher is more similar; see `unit_matching`."""

    NULL: ClassVar[str] = "samples paired at random"
    SIMILAR: ClassVar[str] = "higher is more similar"

    bipartite: Estimate
    forward: Estimate
    backward: Estimate
    within_a: Estimate
    within_b: Estimate
    assignment: Int[Tensor, "m 2"]
    correlations: Float[Tensor, " m"]
    best_forward: Int[Tensor, " d"]
    best_backward: Int[Tensor, " e"]
    dropped_a: tuple[int, ...]
    dropped_b: tuple[int, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


@shown
@dataclass(frozen=True)
class UnitGroups:
    """Groups of units of two layers that go together; see `unit_groups`. -1 for constant units."""

    inside: Estimate
    outside: Estimate
    group_a: Int[Tensor, " d"]
    group_b: Int[Tensor, " e"]
    settings: Mapping[str, Any] = field(default_factory=dict)


@settled()
def unit_matching(
    a: FeatureArray,
    b: FeatureArray,
    *,
    signed: bool = True,
    most: int | None = None,
    groups: LabelArray | None = None,
    jackknife: int = JACKKNIFE,
    permutations: int = PERMUTATIONS,
    level: float = 0.95,
    seed: int = 0,
) -> UnitMatching:
    """Match the units (features) of two layers on the same samples by their correlation; higher is more similar.

    With C (d1, d2) the correlations of units, or their absolute values with `signed=False`, constant units left out
    (`dropped_a`, `dropped_b`),

    - `bipartite`: the mean of C over the one-to-one `assignment` (m, 2) with the largest sum, m = min(d1, d2);
      `correlations` (m,) has each.
    - `forward`: the mean over units of the first layer of their best match in the second (`best_forward`), many to one;
      `backward` the reverse.
    - `within_a`, `within_b`: the mean over units of their best match among the other units of the same layer: a
      `forward` no higher says that units are redundant, not that the layers agree.

    In [-1, 1]. Unchanged by permutations of units and by a positive scale and a translation of each; changed by
    rotations. `most`: the units of largest variance, where a layer has more than 8192.

    Intervals: `jackknife` groups of samples left out (whole `groups`), Student's t, on atanh. Null: `permutations` of
    the samples, which the best of many matches raises above 0.

    Raises InputError for NaN or infinite features, different numbers of samples, fewer than 3, or too many units.

    Source: Li et al. 2016, arXiv:1511.07543.

    >>> import torch
    >>> from repana.comparison import unit_matching
    >>> x = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    >>> unit_matching(x, 2 * x.flip(1)).assignment.tolist()
    [[0, 3], [1, 2], [2, 1], [3, 0]]
    """
    _check.level_of(level)
    x, y = pair(a, b, "unit_matching")
    n = len(x)
    first, second = Centred.of(x, double=True), Centred.of(y, double=True)
    note = constant_note(first.constant, second.constant, x.shape[1], y.shape[1])
    live = [_live(t.x, most) for t in (first, second)]
    dropped = [tuple((t.x.abs().amax(0) == 0).nonzero()[:, 0].tolist()) for t in (first, second)]
    settings = {"signed": signed, "jackknife": jackknife, "permutations": permutations, "level": level, "seed": seed}
    if not first.varies or not second.varies:
        nothing = Estimate(NAN, n=n, note=note)
        none, empty = torch.full((x.shape[1],), -1), torch.full((y.shape[1],), -1)
        return UnitMatching(
            nothing, nothing, nothing, nothing, nothing, torch.empty(0, 2, dtype=torch.int64),
            torch.empty(0, dtype=torch.float64), none, empty, dropped[0], dropped[1], settings,
        )  # fmt: skip
    p, q = first.x[:, live[0]], second.x[:, live[1]]
    _refusals.at_most_units(max(p.shape[1], q.shape[1]), WIDEST)
    group = groups_of(groups, n)
    part = dealt_out(n, jackknife, group, seed) if jackknife else None
    values, matrix, pairs = _matched(p, q, signed)
    deleted = deleted_values(lambda rows: _matched(p[rows], q[rows], signed)[0], part)
    permuted = permuted_values(
        lambda order: _matched(p, q[order.to(q.device)], signed, within=False)[0], n, permutations, seed, group
    )
    alone = {
        f"within_{name}": Flag.TRIVIAL.note("one unit that varies") for name, t in zip("ab", (p, q)) if t.shape[1] < 2
    }
    notes = dict.fromkeys(NAMES, note) | alone
    made = estimated(values, deleted, permuted, n=n, level=level, better={}, notes=notes)
    best = [torch.full((t.shape[1],), -1, dtype=torch.int64) for t in (x, y)]
    best[0][live[0].cpu()] = live[1].cpu()[matrix.argmax(1)]
    best[1][live[1].cpu()] = live[0].cpu()[matrix.argmax(0)]
    return UnitMatching(
        **made,
        assignment=torch.stack([live[0].cpu()[pairs[:, 0]], live[1].cpu()[pairs[:, 1]]], 1),
        correlations=matrix[pairs[:, 0], pairs[:, 1]],
        best_forward=best[0],
        best_backward=best[1],
        dropped_a=dropped[0],
        dropped_b=dropped[1],
        settings=settings,
    )


@settled()
def unit_groups(
    a: FeatureArray, b: FeatureArray, *, groups: int = 8, seed: int = 0, level: float = 0.95, jackknife: int = JACKKNIFE
) -> UnitGroups:
    """Groups of units of two layers that go together, many to many: a spectral co-clustering of |C|, the absolute
    correlations of the units of the first layer with those of the second.

    `group_a` (d1,) and `group_b` (d2,) number the group of each unit; `inside` is the mean of |C| over pairs of one
    group, `outside` over the others. Groups are found on all samples; the intervals, of `jackknife` groups of samples
    left out, take them as given.

    Raises InputError as `unit_matching`, or for more groups than a layer has units that vary.

    Sources: Li et al. 2016, arXiv:1511.07543 (spectral matching); Dhillon 2001, doi:10.1145/502512.502550.

    >>> import torch
    >>> from repana.comparison import unit_groups
    >>> z = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    >>> unit_groups(z.repeat(1, 3), z.repeat(1, 2), groups=2).group_b.unique().tolist()
    [0, 1]
    """
    from sklearn.cluster import SpectralCoclustering

    _check.level_of(level)
    count = _check.at_least(groups, "groups", 2)
    x, y = pair(a, b, "unit_groups")
    first, second = Centred.of(x, double=True), Centred.of(y, double=True)
    live = [_live(t.x, None) for t in (first, second)]
    _refusals.groups_of_units(count, min(map(len, live)))
    p, q = first.x[:, live[0]], second.x[:, live[1]]
    matrix = _correlations(p, q, signed=False).cpu().numpy()
    # rows and columns without any correlation have no place in a graph
    fitted = SpectralCoclustering(n_clusters=count, random_state=seed).fit(np.maximum(matrix, 1e-12))
    rows, columns = (
        torch.from_numpy(labels.astype(np.int64)) for labels in (fitted.row_labels_, fitted.column_labels_)
    )
    same = (rows[:, None] == columns).to(p.device)

    def means(at: Tensor) -> dict[str, float]:
        c = _correlations(p[at], q[at], signed=False)
        return {"inside": float(c[same].mean()), "outside": float(c[~same].mean())}

    part = dealt_out(len(x), jackknife, None, seed) if jackknife else None
    deleted = deleted_values(means, part)
    made = estimated(means(torch.arange(len(x), device=p.device)), deleted, {}, n=len(x), level=level, better={})
    group = [torch.full((t.shape[1],), -1, dtype=torch.int64) for t in (x, y)]
    group[0][live[0].cpu()], group[1][live[1].cpu()] = rows, columns
    return UnitGroups(**made, group_a=group[0], group_b=group[1], settings={"groups": count, "seed": seed})


def _live(x: Float[Tensor, "n d"], most: int | None) -> Int[Tensor, " u"]:
    """The units that vary; of many the most varying."""
    spread = x.square().sum(0)
    units = (spread > 0).nonzero()[:, 0]
    if most is None or len(units) <= most:
        return units
    return units[spread[units].argsort(descending=True, stable=True)[: _check.at_least(most, "most", 1)]].sort().values


def _unit(x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Columns less their mean, of length 1; one that does not vary stays 0."""
    x = x - x.mean(0)
    size = x.norm(dim=0)
    return torch.where(size > 0, x / size, 0.0)


def _correlations(x: Float[Tensor, "n d"], y: Float[Tensor, "n e"], *, signed: bool) -> Float[Tensor, "d e"]:
    c = (_unit(x).T @ _unit(y)).clamp(-1, 1)
    return c if signed else c.abs()


def _matched(
    x: Float[Tensor, "n d"], y: Float[Tensor, "n e"], signed: bool, *, within: bool = True
) -> tuple[dict[str, float], Float[Tensor, "d e"], Int[Tensor, "m 2"]]:
    """The means, the matrix of correlations and the assignment."""
    from scipy.optimize import linear_sum_assignment

    c = _correlations(x, y, signed=signed).cpu()
    rows, columns = linear_sum_assignment(c.numpy(), maximize=True)
    pairs = torch.from_numpy(np.stack([rows, columns], 1).astype(np.int64))
    found = {
        "bipartite": float(c[pairs[:, 0], pairs[:, 1]].mean()),
        "forward": float(c.amax(1).mean()),
        "backward": float(c.amax(0).mean()),
    }
    for name, t in (("within_a", x), ("within_b", y)) if within else ():
        own = _correlations(t, t, signed=signed)
        own.fill_diagonal_(-math.inf)
        found[name] = float(own.amax(1).mean()) if len(own) > 1 else NAN
    return found, c, pairs
