"""Scores of queries against a bank, in tiles of one shape, so that equal items have equal scores whatever the batch."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from repana import _check
from repana.ranking import _refusals

SCORES = ("cosine", "dot", "euclidean", "precomputed")
TILE = 2**28  # bytes
QUERIES = 256  # of a tile, at most
COLUMNS = 64  # items of a tile are filled up to a multiple of this


def unit(x: Float[Tensor, "n d"], name: str) -> Float[Tensor, "n d"]:
    """Rows of norm 1 in float64."""
    x = x.double()
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    zero = norm[:, 0] == 0
    if bool(zero.any()):
        raise _refusals.zero_rows(int(zero.sum()), name, int(zero.int().argmax()))
    return x / norm


def precomputed(scores: object) -> Float[Tensor, "q n"]:
    x = _check.features_of(scores, finite=False, name="queries").double()
    bad = int(x.isnan().sum())
    if bad:
        raise _refusals.not_a_number(bad, "queries")
    return x


def tiles(
    queries: Float[Tensor, "q d"], bank: Float[Tensor, "n e"] | None, score: str, names: tuple[str, str]
) -> Iterator[tuple[int, Float[Tensor, "t n"]]]:
    """The first query of each tile, and the scores of its queries with the whole bank."""
    if bank is None:  # the scores themselves
        rows = max(1, min(QUERIES, TILE // (8 * queries.shape[1])))
        yield from ((at, queries[at : at + rows]) for at in range(0, len(queries), rows))
        return
    if queries.shape[1] != bank.shape[1]:
        raise _refusals.widths_differ(names[0], queries.shape[1], names[1], bank.shape[1])
    bank = bank.to(queries.device)
    offset = torch.zeros(1, bank.shape[1], dtype=torch.float64, device=bank.device)
    if score == "cosine":
        queries = unit(queries, names[0])
        bank = queries if bank is queries else unit(bank, names[1])
    elif score == "euclidean":
        offset = bank.double().mean(0, keepdim=True)
    n, d = bank.shape
    rows = max(1, min(QUERIES, TILE // (8 * n)))
    columns = min(-(-n // COLUMNS), max(1, TILE // (8 * d * COLUMNS))) * COLUMNS
    for start in range(0, len(queries), rows):
        x = queries[start : start + rows].double() - offset
        count, filled = len(x), F.pad(x, (0, 0, 0, rows - len(x)))
        parts = []
        for at in range(0, n, columns):
            y = bank[at : at + columns].double() - offset
            product = filled @ F.pad(y, (0, 0, 0, columns - len(y))).T
            if score == "euclidean":
                squared = filled.square().sum(1, keepdim=True) + F.pad(y, (0, 0, 0, columns - len(y))).square().sum(1)
                product = 2 * product - squared
            parts.append(product[:count, : len(y)])
        yield start, torch.cat(parts, 1) if len(parts) > 1 else parts[0]


COMPARED = 32  # relevant items of a query up to which its scores are compared with each, not sorted


def places(
    scores: Float[Tensor, "t n"], query: np.ndarray, item: np.ndarray, own: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """How many items score higher than each relevant item, and how many as high, itself among them. `own` (t,): an
    item of each query that does not count."""
    r = len(query)
    if not r:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    of = torch.from_numpy(query).to(scores.device)
    found = scores[of, torch.from_numpy(item).to(scores.device)]
    counts = np.bincount(query, minlength=len(scores))
    number = torch.from_numpy(np.arange(r) - np.concatenate([[0], np.cumsum(counts)])[query]).to(scores.device)
    most = int(counts.max())
    table = scores.new_full((len(scores), most), torch.inf)
    table[of, number] = found
    if most <= COMPARED:
        above = torch.stack([(scores > table[:, j : j + 1]).sum(1) for j in range(most)], 1)
        equal = torch.stack([(scores == table[:, j : j + 1]).sum(1) for j in range(most)], 1)
    else:
        ascending = scores.sort(1).values
        below, through = (torch.searchsorted(ascending, table, right=right) for right in (False, True))
        above, equal = scores.shape[1] - through, through - below
    above, equal = above[of, number], equal[of, number]
    if own is not None:
        mine = scores[torch.arange(len(scores), device=scores.device), torch.from_numpy(own).to(scores.device)][of]
        above, equal = above - (mine > found).long(), equal - (mine == found).long()
    return above.cpu().numpy(), equal.cpu().numpy()
