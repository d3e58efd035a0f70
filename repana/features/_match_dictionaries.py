"""Whether two dictionaries hold the same features: cosines, matches, and what random directions would give."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import integrate, special
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from repana import _check
from repana._estimate import Estimate, Flag, shown
from repana._typing import FeatureArray
from repana.features import _refusals
from repana.features._dictionary import Dictionary
from repana.statistics.intervals import proportion
from repana.summaries._linalg import full_precision

EXACT = 4096  # features up to which the best one-to-one matching is found; beyond that, a greedy one
CANDIDATES = 32  # of each feature, for the greedy matching
ROWS = 1024  # of a block of cosines
ROTATIONS = 20
SHARED = 0.7


@shown
@dataclass(frozen=True)
class DictionaryMatch:
    """How much two dictionaries share; see `match_dictionaries`."""

    max_cosine_ab: Estimate
    max_cosine_ba: Estimate
    matched: Estimate
    shared: Estimate
    unique: Estimate
    random: Estimate
    best_ab: Float[Tensor, " t"]
    best_ba: Float[Tensor, " u"]
    pairs: Int[Tensor, "p two"]
    cosines: Float[Tensor, " p"]
    rotated: Float[Tensor, "r t"]
    settings: Mapping[str, Any] = field(default_factory=dict)


def match_dictionaries(
    a: Dictionary | FeatureArray,
    b: Dictionary | FeatureArray,
    *,
    absolute: bool = False,
    rotations: int = ROTATIONS,
    level: float = 0.95,
    seed: int = 0,
) -> DictionaryMatch:
    """How much two dictionaries of one layer, a (t, d) and b (u, d), share; rows are brought to length 1.

    - `max_cosine_ab`: mean over a of the largest cosine with a feature of b (mean max cosine similarity, MMCS);
      `max_cosine_ba` the other way. `best_ab` (t,), `best_ba` (u,): those cosines.
    - `matched`: mean cosine of the one-to-one matching of the largest sum; `pairs` (p, 2) and `cosines` (p,) are that
      matching. Above 4096 features a greedy one among the 32 nearest of each, as its note says.
    - `shared`: share of matched pairs with a cosine above .7, Wilson's interval.
    - `unique`: number of different features of b that are nearest to some of a, over t. (A one-to-one matching has
      different ones by construction.)
    - `random`: the mean largest cosine of u independent directions, 1 - integral_{-1}^{1} F(x)^u dx with F the
      distribution of one cosine in d dimensions.

    The null of `max_cosine_ab`, `max_cosine_ba`, `matched` and `shared` are random rotations of b, which keep how
    crowded b itself is; p is (1 + rotations at least as similar)/(1 + rotations). `rotated` (r, t) are the sorted best
    cosines of a under each rotation. `absolute` takes |cosine|, for directions without a sign (principal components).

    Raises InputError for dictionaries of other widths, or with a row of zeros.

    Sources: Sharkey, Braun & Millidge 2022, Taking features out of superposition with sparse autoencoders (MMCS);
    Cai, Fan & Jiang 2013, JMLR 14, 1837-1864 (cosines of random directions).

    >>> import torch
    >>> from repana.features import match_dictionaries
    >>> a = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    >>> found = match_dictionaries(a, a.flip(0))
    >>> float(found.matched) > 0.999, float(found.max_cosine_ab.null) < 0.9
    (True, True)
    """
    _check.level_of(level)
    _check.at_least(rotations, "rotations", 0)
    x, y = _unit(a, "a"), _unit(b, "b")
    if x.shape[1] != y.shape[1]:
        raise _refusals.dictionary_width(tuple(y.shape), x.shape[1])
    kind = torch.promote_types(x.dtype, y.dtype)
    x, y = x.to(kind), y.to(kind)
    d, t, u = x.shape[1], len(x), len(y)
    best_ab, best_ba = _nearest(x, y, absolute)
    pairs, cosines, note = _matching(x, y, absolute)
    found = _values(best_ab, best_ba, cosines)
    generator = torch.Generator().manual_seed(seed)
    drawn: dict[str, list[float]] = {name: [] for name in found}
    rotated = torch.empty(rotations, t, dtype=torch.float64)
    for k in range(rotations):
        turned = y @ _rotation(d, generator).to(kind)
        one, other = _nearest(x, turned, absolute)
        for name, value in _values(one, other, _matching(x, turned, absolute)[1]).items():
            drawn[name].append(value)
        rotated[k] = one.sort(descending=True).values

    def estimate(name: str, n: int, said: str = "") -> Estimate:
        value, null = found[name], np.array(drawn[name])
        if not len(null):
            return Estimate(value, n=n, note=said)
        p = (1 + int((null >= value).sum())) / (1 + len(null))
        low, high = np.quantile(null, [(1 - level) / 2, (1 + level) / 2])
        return Estimate(
            value, n=n, note=said, null=float(null.mean()), null_low=float(low), null_high=float(high), p=p,
            permutations=len(null),
        )  # fmt: skip

    share = proportion(int((cosines > SHARED).sum()), len(cosines), level=level)
    return DictionaryMatch(
        max_cosine_ab=estimate("max_cosine_ab", t),
        max_cosine_ba=estimate("max_cosine_ba", u),
        matched=estimate("matched", len(cosines), note),
        shared=replace(estimate("shared", len(cosines), note), low=share.low, high=share.high),
        unique=Estimate(_different(x, y, absolute) / t, n=t),
        random=Estimate(largest_of_random(d, u, absolute=absolute), n=u),
        best_ab=best_ab,
        best_ba=best_ba,
        pairs=pairs,
        cosines=cosines,
        rotated=rotated,
        settings={"absolute": absolute, "rotations": rotations, "level": level, "seed": seed},
    )


def largest_of_random(d: int, t: int, *, absolute: bool = False) -> float:
    """The mean largest cosine of one direction with t independent uniform ones in d dimensions."""
    half = (d - 1) / 2

    def below(x: float) -> float:
        return float(special.betainc(half, half, (x + 1) / 2))

    if d == 1:  # cosines of -1 and 1
        return 1.0 if absolute else 1 - 2 * 0.5**t
    points = [0.0, *np.clip([s / np.sqrt(d) for s in (1, 2, 3, 4, 5, 6)], 0, 1)]
    if absolute:
        whole, _ = integrate.quad(lambda x: (2 * below(x) - 1) ** t, 0, 1, points=points, epsabs=1e-12, limit=200)
    else:
        whole, _ = integrate.quad(lambda x: below(x) ** t, -1, 1, points=points, epsabs=1e-12, limit=200)
    return 1 - whole


def _unit(given: Any, name: str) -> Float[Tensor, "t d"]:
    atoms = given.atoms if isinstance(given, Dictionary) else _check.features_of(given)
    x = atoms.detach().cpu()
    x = x if x.dtype == torch.float64 else x.float()
    length = x.norm(dim=1, keepdim=True)
    if bool((length == 0).any()):
        raise _refusals.zero_feature(name, int((length[:, 0] == 0).nonzero()[0, 0]))
    return x / length


def _cosines(x: Float[Tensor, "t d"], y: Float[Tensor, "u d"], absolute: bool) -> Iterator[Float[Tensor, "r u"]]:
    """Block by block of rows of x."""
    for start in range(0, len(x), ROWS):
        with full_precision():
            cosines = x[start : start + ROWS] @ y.T
        yield cosines.abs_() if absolute else cosines


def _nearest(
    x: Float[Tensor, "t d"], y: Float[Tensor, "u d"], absolute: bool
) -> tuple[Float[Tensor, " t"], Float[Tensor, " u"]]:
    """The largest cosine of each row of either with the other; without their places it takes half the time."""
    best_x, best_y = list[Tensor](), torch.full((len(y),), -torch.inf, dtype=torch.float64)
    for cosines in _cosines(x, y, absolute):
        best_x.append(cosines.amax(1).double())
        best_y = torch.maximum(best_y, cosines.amax(0).double())
    return torch.cat(best_x).clamp(-1, 1), best_y.clamp(-1, 1)


def _different(x: Float[Tensor, "t d"], y: Float[Tensor, "u d"], absolute: bool) -> int:
    """How many rows of y are nearest to some row of x."""
    return len(torch.cat([cosines.argmax(1) for cosines in _cosines(x, y, absolute)]).unique())


def _matching(
    x: Float[Tensor, "t d"], y: Float[Tensor, "u d"], absolute: bool
) -> tuple[Int[Tensor, "p two"], Float[Tensor, " p"], str]:
    if max(len(x), len(y)) <= EXACT:
        cosines = torch.cat(list(_cosines(x, y, absolute))).double()
        rows, columns = linear_sum_assignment(cosines.numpy(), maximize=True)
        pairs = torch.from_numpy(np.stack([rows, columns], 1))
        return pairs, cosines[pairs[:, 0], pairs[:, 1]].clamp(-1, 1), ""
    tops = [cosines.topk(min(CANDIDATES, len(y)), dim=1) for cosines in _cosines(x, y, absolute)]
    values, places = [top.values.double() for top in tops], [top.indices for top in tops]
    value, place = torch.cat(values), torch.cat(places)
    row = torch.arange(len(x))[:, None].expand_as(place)
    order = value.flatten().argsort(descending=True, stable=True)
    free_x, free_y = np.ones(len(x), bool), np.ones(len(y), bool)
    chosen = []
    for i, j, k in zip(row.flatten()[order].tolist(), place.flatten()[order].tolist(), order.tolist()):
        if free_x[i] and free_y[j]:
            free_x[i] = free_y[j] = False
            chosen.append((i, j, k))
    pairs = torch.tensor([c[:2] for c in chosen])
    note = Flag.APPROXIMATED.note(f"greedy, of the {CANDIDATES} nearest: {len(pairs)} of {len(x)} matched")
    return pairs, value.flatten()[[c[2] for c in chosen]].clamp(-1, 1), note


def _values(best_ab: Tensor, best_ba: Tensor, cosines: Tensor) -> dict[str, float]:
    return {
        "max_cosine_ab": float(best_ab.mean()),
        "max_cosine_ba": float(best_ba.mean()),
        "matched": float(cosines.mean()),
        "shared": float((cosines > SHARED).double().mean()),
    }


def _rotation(d: int, generator: torch.Generator) -> Float[Tensor, "d d"]:
    """Uniform over orthogonal matrices: Q of a normal matrix with the signs of R's diagonal put right."""
    q, r = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))
    return q * r.diagonal().sign()
