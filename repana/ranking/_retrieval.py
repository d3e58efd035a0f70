"""How well nearest items of a bank are the relevant ones: recall, precision, MRR, MAP and nDCG of a retrieval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from repana import _check
from repana._ambient import settled
from repana._estimate import Estimate, Flag, noted
from repana._typing import FeatureArray
from repana.ranking import _refusals
from repana.ranking._estimates import Estimates, means_of
from repana.ranking._expected import AT_K, WHOLE, Places
from repana.ranking._relevance import Relevance
from repana.ranking._scores import SCORES, places, precomputed, tiles

KS = (1, 5, 10)
NEAR = 0.9999  # a cosine above which an item is a near-duplicate of the query


@dataclass(frozen=True, repr=False)
class Retrieval(Estimates):
    """Measures of a retrieval; see `retrieval`. The measures at k are mappings from k to an Estimate.

    `per_query`: every measure of every query, by name such as "ndcg@5", NaN without relevant items. `replicates`: the
    means over the bootstrap's queries.
    """

    hit: Mapping[int, Estimate]
    recall: Mapping[int, Estimate]
    recall_capped: Mapping[int, Estimate]
    precision: Mapping[int, Estimate]
    ndcg: Mapping[int, Estimate]
    mrr: Estimate
    map: Estimate
    queries: int
    bank: int
    per_query: Mapping[str, Float[Tensor, " q"]] = field(repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    replicates: Mapping[str, Float[Tensor, " b"]] = field(default_factory=dict, repr=False)


@settled()
def retrieval(
    queries: FeatureArray,
    bank: FeatureArray | None,
    relevant: Any,
    *,
    k: int | Sequence[int] = KS,
    score: str = "cosine",
    gain: str = "linear",
    exclude_self: bool = False,
    level: float = 0.95,
    seed: int = 0,
) -> Retrieval:
    """Retrieval of the relevant items of a bank (n, d) by queries (q, d): the mean over queries of each measure.

    Items are ranked by `score`: "cosine", "dot", "euclidean" (the nearer the better), or "precomputed", where
    `queries` is the matrix of scores (q, n), larger is better, and `bank` is None. Every measure is the expected value
    over random orders of items with equal scores. With R relevant items of a query, and for a group of m items of equal
    score with r relevant ones, s items before it, R_b of them relevant, and t of its places within k:

    - `hit` by k: whether any relevant item is within k, 1 - prod C(m - r, t)/C(m, t); what papers on image-text
      retrieval and metric learning call recall@k.
    - `recall` by k: sum t r/m over R (the convention of TREC); `recall_capped` over min(R, k); `precision` over k, also
      where k > n.
    - `mrr`: 1/place of the first relevant item, sum_i C(m - i, r - 1)/C(m, r)/(s + i) of the first group with one, over
      the whole bank.
    - `map`: sum_{i<=m} (r/m)(R_b + 1 + (i - 1)(r - 1)/(m - 1))/(s + i) over R, over the whole bank.
    - `ndcg` by k: mean gain of the group times its discounts 1/log2(place + 1) within k, over that of the best order of
      the whole bank; `gain` "linear" is the grade, "exp" 2^grade - 1.

    All in [0, 1], higher is better. `null`: the same measure on constant scores, in closed form. A query without
    relevant items is left out, and counted in the note.

    - `relevant`: grades (q, n), 0 is not relevant, dense or sparse; a list with the relevant items of each query, by
      number, or their grades by number; or a pair (labels of the queries, labels of the items), where items of the
      query's class are relevant (-100 is of no class). A list of lists as long as the bank is read as grades.
    - `bank=None`: the queries are the bank, and each leaves itself out; one vector of labels is enough then.
      `exclude_self`: item i is query i in another bank, as of another layer, and is left out by its number; duplicates
      of the query stay.

    Interval: percentiles of 2000 bootstrap samples of queries (fewer for more than 20,000), for 10 queries or more; the
    bank is fixed. The same `seed` draws the same queries in every layer, for paired differences (`by_layer`).

    Raises InputError for NaN scores, a zero vector under the cosine (RA293), and relevance that does not fit (RA292).

    Sources: McSherry & Najork 2008, doi:10.1007/978-3-540-78646-7_38 (ties); Järvelin & Kekäläinen 2002,
    doi:10.1145/582415.582418 (nDCG).

    >>> import torch
    >>> from repana.ranking import retrieval
    >>> bank = torch.eye(4)
    >>> found = retrieval(bank + 0.1, bank, ([0, 1, 2, 3], [0, 1, 2, 3]), k=1)
    >>> found.hit[1].value, found.hit[1].null
    (1.0, 0.25)
    """
    _check.level_of(level)
    _check.choice(score, "score", SCORES)
    _check.choice(gain, "gain", ("linear", "exp"))
    ks = sorted({_check.at_least(one, "k", 1) for one in (k if isinstance(k, Sequence) else [k])})
    if not ks:
        raise _check.negative("k", 0)
    same = bank is None
    own = exclude_self or same
    if score == "precomputed":
        if not same:
            raise _refusals.bank_beside_scores()
        x, y = precomputed(queries), None
        same, own = x.shape[0] == x.shape[1], exclude_self
        n = x.shape[1]
    else:
        x = _check.features_of(queries, name="queries")
        y = x if bank is None else _check.features_of(bank, name="bank")
        n = len(y)
    relevance = Relevance.of(relevant, len(x), n, own, same)
    per_query, null, near = measured(x, y, relevance, score, ks, gain)
    kept = np.isfinite(per_query["mrr"])
    if not kept.any():
        raise _refusals.nothing_relevant()
    note = noted(_missing(kept), Flag.DUPLICATES.note(_duplicates(near, len(x))) if near else "")
    values, constant = ({name: v[kept] for name, v in side.items()} for side in (per_query, null))
    found, replicates = means_of(values, constant, level, seed, note)
    settings = {
        "k": ks, "score": score, "gain": gain, "exclude_self": own, "level": level, "seed": seed,
        "near_duplicates": near, "without_relevant": int((~kept).sum()),
    }  # fmt: skip
    fields: dict[str, Any] = {name: {k: found[f"{name}@{k}"] for k in ks} for name in AT_K}
    fields |= {name: found[name] for name in WHOLE}
    return Retrieval(
        **fields,
        queries=len(x),
        bank=n,
        per_query={name: torch.from_numpy(values) for name, values in per_query.items()},
        settings=settings,
        replicates=replicates,
    )


def measured(
    x: Tensor, y: Tensor | None, relevance: Relevance, score: str, ks: Sequence[int], gain: str
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], int]:
    """Every measure of every query, on these scores and on constant ones, and how many queries have a near-duplicate
    in the bank."""
    found: list[dict[str, np.ndarray]] = []
    nulls: list[dict[str, np.ndarray]] = []
    near = 0
    for start, scores in tiles(x, y, score, ("queries", "bank")):
        stop = start + len(scores)
        query, item, grade = relevance.between(start, stop)
        own = np.arange(start, stop) if relevance.own else None
        above, equal = places(scores, query, item, own)
        items = np.full(len(scores), relevance.bank - relevance.own)
        here = Places.of(query, above, equal, grade, items)
        found.append(here.measures(ks, gain))
        nulls.append(here.constant().measures(ks, gain))
        if score == "cosine":
            close = (scores > NEAR).sum(1)
            if own is not None:
                mine = torch.from_numpy(own).to(scores.device)[:, None]
                close = close - (scores.gather(1, mine)[:, 0] > NEAR).long()
            near += int((close > 0).sum())
    joined = [{name: np.concatenate([part[name] for part in parts]) for name in parts[0]} for parts in (found, nulls)]
    return joined[0], joined[1], near


def _missing(kept: np.ndarray) -> str:
    count = int((~kept).sum())
    return Flag.SUBSET.note(f"{count} of {len(kept)} queries have no relevant item and are left out") if count else ""


def _duplicates(near: int, queries: int) -> str:
    return f"{near} of {queries} queries have an item with a cosine above {NEAR}"
