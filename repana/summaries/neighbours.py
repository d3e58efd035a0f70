"""Exact k nearest neighbours: one chunked matrix product finds candidates, direct differences measure them.

|x|^2 + |y|^2 - 2 x.y in float32 errs by up to c u (|x|^2 + |y|^2), u = 2^-24 (measured over widths 16 to 4096: c is at
most 13): useless between two samples of a collapsed class. So the product only chooses: less that margin it is a lower
bound of the squared distance, and the k + SPARE smallest bounds of a row are measured again by differences. A row whose
k-th distance lies below the last of those bounds is certified; the others are done again in float64, with as many
candidates as may be tied with the k-th, and what that leaves by differences to every sample. The bounds of a row are
searched in two steps, groups by their smallest and then inside the best groups: as exact as a search through all, since
each of the m smallest lies in one of the m best groups.

Where the processor multiplies bfloat16, the first product is of such roundings, at two to four times the speed, and
what it does not certify is done again in float32. With r the largest relative rounding of a row, measured, and u = 2^-9
that of the product as it is stored, a squared distance errs by no more than (2r + r^2 + u (1 + r)^2)(|x|^2 + |y|^2).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._typing import Array, Features, Labels
from repana.summaries import _refusals
from repana.summaries._linalg import full_precision, power_of_two, scaled, unit_rows
from repana.summaries._low_precision import multiplies_bfloat16, rounded_away

METRICS = ("euclidean", "cosine", "inner")
MARGIN = 28.0  # c: twice the largest error seen, and the rounding of centred features
SPARE = 8  # candidates beyond k
LOW_SPARE, MOST_SPARE = 20, 80  # those of products of bfloat16, doubled while rows are not certified
LOW_WIDTH = 96  # features from which such products pay
CERTIFIED = 0.97  # share of rows of a chunk that they are to certify
STORED = 2.0**-9 * 1.01  # rounding of a product that is stored in bfloat16
GROUPS = (32, 16, 8)
ROWS, FEWEST_ROWS = 512, 64  # of a chunk
REFINED = 64  # rows whose candidates are measured at a time, or as many as
CACHE = 3 * 2**18  # bytes hold, so that they stay in cache
TIED = {
    torch.float32: 5e-7,
    torch.float64: 1e-12,
}  # squared distances of such features closer than this, relatively, are tied
SMALLEST_CLASS = 128  # median size from which classes get a centre of their own
MEMORY = 2**29  # bytes for the working buffers
PREPARED = 12  # bytes of a feature of the bank: as it is, scaled and centred, and in bfloat16
LEAST_PIECE = 4_096  # samples of a bank that are searched at a time, or more


@dataclass(frozen=True)
class Neighbours:
    """The k nearest neighbours of every query, nearest first. Of samples at an equal distance those of lower index come
    first, whatever k, the memory and the pieces of a bank.

    `distances` in float64: Euclidean, 1 - cosine, or for "inner" the inner products, largest first. `bank` samples were
    searched; `redone` queries needed float64.
    """

    distances: Float[Tensor, "n k"]
    indices: Int[Tensor, "n k"]
    bank: int
    d: int
    metric: str = "euclidean"
    redone: int = 0

    @classmethod
    def of(
        cls,
        features: Features,
        labels: Labels | None = None,
        *,
        k: int = 64,
        bank: Float[Tensor, "m e"] | None = None,
        metric: str = "euclidean",
        offset: int = 0,
        places: Int[Tensor, " n"] | None = None,
        memory: int = MEMORY,
    ) -> "Neighbours":
        """Of every row of `features` among the others, or among `bank`.

        `labels` centre the product by class, which saves the second pass of collapsed features; they change no value.
        A bank may come in pieces that are merged: `offset` is the index of the piece's first sample. `places` are the
        indices of the queries in the whole bank, where they are samples of it: each leaves itself out.
        """
        _check.choice(metric, "metric", METRICS)
        y = features if bank is None else bank
        if y.shape[1] != features.shape[1]:
            raise _refusals.other_width(features.shape[1], y.shape[1])
        if bank is None:
            places = torch.arange(len(y), device=y.device)
        own = None if places is None else places.to(y.device) - offset
        inside = own is not None and bool(((own >= 0) & (own < len(y))).any())
        most = len(y) - inside
        if not 1 <= k <= most:
            raise _check.too_many_neighbours(k, most)
        search = _Search(features, y, k, metric, own if inside else None, memory)
        distances, indices, redone = search.run(labels)
        return cls(distances, indices + offset, len(y), features.shape[1], metric, redone)

    @classmethod
    def of_bank(
        cls,
        features: Features,
        bank: Float[Tensor, "m e"],
        labels: Labels | None = None,
        *,
        k: int,
        places: Int[Tensor, " n"] | None = None,
        memory: int = MEMORY,
    ) -> "Neighbours":
        """`of` a bank of any length: as many of its samples at a time as can be made ready in `memory`."""
        piece = max(LEAST_PIECE, 2 * k + 2, memory // (PREPARED * max(1, bank.shape[1])))
        pieces = -(-len(bank) // piece)
        found = [
            cls.of(features, labels, k=k, bank=part, offset=start, places=places, memory=memory)
            for start, part in zip(_starts(len(bank), pieces), torch.tensor_split(bank, pieces))
        ]
        merged = found[0]
        for part in found[1:]:
            merged = merged.merge(part)
        return merged

    @property
    def n(self) -> int:
        return len(self.distances)

    @property
    def k(self) -> int:
        return self.distances.shape[1]

    def first(self, k: int) -> "Neighbours":
        """The k nearest of them."""
        if k > self.k:
            raise _check.too_many_neighbours(k, self.k)
        return Neighbours(self.distances[:, :k], self.indices[:, :k], self.bank, self.d, self.metric, self.redone)

    def merge(self, other: "Neighbours") -> "Neighbours":
        """The nearest of two pieces of a bank, for the same queries."""
        k = max(self.k, other.k)
        distances = torch.cat([self.distances, other.distances], 1)
        indices = torch.cat([self.indices, other.indices], 1)
        distances, indices = _sorted(distances, indices, k, largest=self.metric == "inner")
        redone = max(self.redone, other.redone)
        return Neighbours(distances, indices, self.bank + other.bank, self.d, self.metric, redone)


class _Search:
    """One search: what the product reads (centred, in float32), and what differences read (the features as given)."""

    def __init__(self, x: Tensor, y: Tensor, k: int, metric: str, own: Tensor | None, memory: int) -> None:
        self._k, self._metric, self._own, self._memory = k, metric, own, memory
        others = len(y) - (0 if own is None else 1)  # that some query can have
        met = own is None or bool(((own >= 0) & (own < len(y))).all())
        self.most = others if met else len(y)  # candidates from which on all of every query's have been measured
        self._same = y is x
        x, y = (t.float() if t.dtype in (torch.float16, torch.bfloat16) else t for t in (x, y))
        if metric == "cosine":
            x, y = unit_rows(x, "features"), unit_rows(y, "bank")
        self._scale = power_of_two(y, x)
        self._x, self._y = scaled(x, self._scale), scaled(y, self._scale)
        if self._same:
            self._x = self._y
        self._near: Tensor | None = None  # candidates as they are measured
        self._searched = min(k + SPARE, others)

    def run(self, labels: Labels | None) -> tuple[Tensor, Tensor, int]:
        n, device = len(self._x), self._x.device
        distances = torch.empty(n, self._k, dtype=torch.float64, device=device)
        indices = torch.empty(n, self._k, dtype=torch.int64, device=device)
        open_rows: list[Tensor] = []
        low = self._low()
        for rows, centre in self._blocks(labels):
            chunks = self._in_low_precision(rows, centre, distances, indices) if low else [rows]
            if not any(map(len, chunks)):
                continue
            step = _Step(self, centre, torch.float32, self._searched)
            for chunk in (part for some in chunks if len(some) for part in some.split(step.rows)):
                distances[chunk], indices[chunk], sure = step.search(chunk)
                open_rows.append(chunk[~sure])
        self._order_copies(distances, indices)
        left = torch.cat([torch.empty(0, dtype=torch.int64, device=device), *open_rows])
        redone = len(left)
        if redone:
            step, still = _Step(self, self._mean(), torch.float64, self._searched), []
            for chunk in left.split(step.rows):
                distances[chunk], indices[chunk], sure = step.search(chunk)
                still.append(chunk[~sure])
            for row in torch.cat(still).split(1):
                distances[row], indices[row] = self._by_differences(row)
        if self._metric == "euclidean":
            distances = distances.sqrt_() * self._scale
        elif self._metric == "cosine":
            distances = distances * (self._scale**2 / 2)
        else:
            distances = -distances * self._scale**2
        return distances, indices, redone

    def _low(self) -> bool:
        """Whether the first product is of bfloat16 roundings: float32 features wide enough for it to be faster."""
        x = self._y
        if x.dtype != torch.float32 or x.shape[1] < LOW_WIDTH or self._metric == "inner":
            return False
        wide = len(x) // GROUPS[-1] > 2 * (self._k + LOW_SPARE)
        return wide and (torch.cuda.is_bf16_supported() if x.is_cuda else multiplies_bfloat16())

    def _in_low_precision(self, rows: Tensor, centre: Tensor, distances: Tensor, indices: Tensor) -> list[Tensor]:
        """Search by products of bfloat16; rows that these do not certify come back, and all where few are certified."""
        spare, open_rows, at = LOW_SPARE, [], 0
        while at < len(rows):
            step = _Step(self, centre, torch.bfloat16, min(self._k + spare, self._searched - SPARE + spare))
            done = True
            while at < len(rows) and done:
                chunk = rows[at : at + step.rows]
                distances[chunk], indices[chunk], sure = step.search(chunk)
                done = spare >= MOST_SPARE or int(sure.sum()) >= CERTIFIED * len(chunk)
                if done:
                    open_rows.append(chunk[~sure])
                    at += len(chunk)
                    if len(open_rows) == 1 and 2 * len(open_rows[0]) > len(chunk):
                        return [*open_rows, rows[at:]]
            spare *= 2
        return open_rows

    def _order_copies(self, distances: Tensor, indices: Tensor) -> None:
        """Of rows with k copies of themselves or more, the copies of lowest index."""
        if self._metric == "inner":
            return
        rows = (distances[:, -1] == 0).nonzero()[:, 0]
        if not len(rows):
            return
        if self._own is None or not self._same:
            self._order_copies_of_others(rows, indices)
            return
        _, group = torch.unique(self._x[rows], dim=0, return_inverse=True)
        for members in rows[group.argsort(stable=True)].split(group.bincount().tolist()):
            if len(members) <= self._k:  # squares of differences that underflow
                continue
            first = members[: self._k + 1].expand(len(members), -1)
            others = first != members[:, None]
            others[others.all(1), -1] = False  # behind the first k + 1 a row leaves out none of the first k
            indices[members] = first[others].view(len(members), self._k)

    def _order_copies_of_others(self, rows: Tensor, indices: Tensor) -> None:
        """The same for queries that are not the bank."""
        _, group = torch.unique(self._x[rows], dim=0, return_inverse=True)
        for members in rows[group.argsort(stable=True)].split(group.bincount().tolist()):
            copies = (self._y == self._x[members[0]]).all(1).nonzero()[:, 0]
            if len(copies) <= self._k:  # squares of differences that underflow
                continue
            first = copies[: self._k + 1].expand(len(members), -1)
            own = copies.new_full((len(members), 1), -1) if self._own is None else self._own[members, None]
            others = first != own
            others[others.all(1), -1] = False
            indices[members] = first[others].view(len(members), self._k)

    def _mean(self) -> Tensor:
        """Around what the product is taken; inner products are no distances, and have no centre."""
        if self._metric == "inner":
            return torch.zeros(self._y.shape[1], dtype=torch.float64, device=self._y.device)
        return self._y.mean(0, dtype=torch.float64)

    def _blocks(self, labels: Labels | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows that are searched around one centre: all of them, or a class at a time."""
        everything = torch.arange(len(self._x), device=self._x.device)
        if labels is not None and self._metric != "inner":
            codes = labels.to(self._x.device)
            values, counts = torch.unique(codes, return_counts=True)
            if len(values) > 1 and int(counts.median()) >= SMALLEST_CLASS:
                for value in values:
                    rows = everything[codes == value]
                    yield rows, self._x[rows].mean(0, dtype=torch.float64)
                return
        yield everything, self._mean()

    def measured(self, rows: Tensor, candidates: Tensor) -> Tensor:
        """Squared distances (or inner products, negative) of rows to their candidates, from the features as given."""
        found = torch.empty(candidates.shape, dtype=torch.float64, device=candidates.device)
        m, d = candidates.shape[1], self._y.shape[1]
        step = max(1, min(REFINED, CACHE // (m * d * self._y.element_size())))
        if self._near is None or len(self._near) < step * m:
            self._near = self._y.new_empty(step * m, d)
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            near, mine = self._near[: candidates[part].numel()], self._x[rows[part]]
            torch.index_select(self._y, 0, candidates[part].flatten(), out=near)
            near = near.view(-1, m, d)
            if self._metric == "inner":
                found[part] = -torch.einsum("rkd,rd->rk", near.double(), mine.double())
            else:
                near -= mine[:, None]
                found[part] = torch.linalg.vector_norm(near, dim=2).double().square_()
        return found

    def _by_differences(self, row: Tensor) -> tuple[Tensor, Tensor]:
        """Without any product: what is left where distances are beyond float64, as among near-duplicates far away."""
        if not len(row):
            return row[:, None].double().expand(0, self._k), row[:, None].expand(0, self._k)
        everything = torch.arange(len(self._y), device=row.device)[None]
        distances = self.measured(row, everything)
        if self._own is not None:
            _leave_out(distances, self._own[row])
        return _sorted(distances, everything, self._k)


class _Step:
    """A search around one centre in one precision: the bank made ready, and its buffers."""

    def __init__(self, search: _Search, centre: Tensor, dtype: torch.dtype, searched: int) -> None:
        self._search, self._centre, self._dtype, self._searched = search, centre, dtype, searched
        n = len(search._y)
        self._group = next((g for g in GROUPS if -(-n // g) > 2 * searched), 0)
        width = -(-n // GROUPS[0]) * GROUPS[0]
        y = torch.nn.functional.pad(self._moved(search._y), (0, 0, 0, width - n))
        rounding = 2.0**-53 if dtype == torch.float64 else 2.0**-24
        self._margin = MARGIN * rounding
        self._error = 0.0
        norms = y.square().sum(1, dtype=torch.float64)
        low = dtype == torch.bfloat16
        if low:
            self._error = rounded_away(y, norms)
            self._margin += self._error * (2 + self._error) + STORED * (1 + self._error) ** 2
        # |x.y| errs by no more than c u |x||y| <= c u (|x|^2 + |y|^2)/2
        bias = -self._margin * norms / 2 if search._metric == "inner" else norms * (1 - self._margin)
        bias[n:] = math.inf
        self._bias = bias.to(y.dtype)
        self._y = y.to(dtype).T
        size = y.element_size() + (2 if low else 0)
        self.rows = max(FEWEST_ROWS, min(ROWS, search._memory // (2 * width * size)))
        self._product = torch.empty(self.rows, width, dtype=y.dtype, device=y.device)
        self._low = torch.empty(self.rows, width, dtype=dtype, device=y.device) if low else None

    def _moved(self, x: Tensor) -> Tensor:
        """Less the centre, in the precision of the step, or in float32; what rounding the centre leaves is subtracted
        too."""
        if self._dtype == torch.float64 or x.dtype == torch.float64:
            return (x.double() - self._centre).to(torch.float64 if self._dtype == torch.float64 else torch.float32)
        first = self._centre.float()
        return (x - first).sub_((self._centre - first.double()).float())

    def search(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Squared distances and indices of the nearest, and which rows are certified."""
        s = self._search
        x = self._moved(s._x[rows])
        norms = x.square().sum(1, dtype=torch.float64)
        v, margin = self._product[: len(rows)], self._margin
        factor = -1.0 if s._metric == "inner" else -2.0
        with full_precision():
            if self._low is None:
                torch.mm(x * factor, self._y, out=v).add_(self._bias)
            else:
                torch.mm(x.to(self._dtype), self._y, out=self._low[: len(rows)])
                torch.add(self._bias, self._low[: len(rows)], alpha=factor, out=v)
                if not s._same:
                    worse = max(0.0, rounded_away(x, norms) - self._error)
                    margin += worse * (1 + self._error) * 2  # the queries round worse than the bank
        if s._own is not None:
            _leave_out(v, s._own[rows])
        bounds, candidates = self._smallest(v, self._searched)
        exact = s.measured(rows, candidates)
        distances, indices = _sorted(exact, candidates, s._k)
        if self._searched >= s.most:  # every sample was measured
            return distances, indices, torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        base = -margin * norms / 2 if s._metric == "inner" else norms * (1 - margin)
        unseen = bounds.amax(1).double() + base  # no sample outside the candidates is nearer than this
        if margin > self._margin:  # and the bank's share of what the queries add
            unseen = unseen - (margin - self._margin) * float(self._bias[: len(s._y)].amax()) / (1 - self._margin)
        last = distances[:, -1]
        slack = last.abs() * TIED[s._y.dtype]
        top = last + slack  # up to here a sample may be tied with the last
        sure = (top < unseen) | ((last == 0) & (s._metric != "inner"))
        if self._dtype == torch.float64 and not bool(sure.all()):
            self._with_tied(v, rows, top - base, ~sure, distances, indices)
            sure = sure | (last - slack <= unseen)
        return distances, indices, sure

    def _with_tied(
        self, v: Tensor, rows: Tensor, top: Tensor, open_rows: Tensor, distances: Tensor, indices: Tensor
    ) -> None:
        """Search again among all samples with a bound up to `top`."""
        s, at = self._search, open_rows.nonzero()[:, 0]
        counts, order = (v[at] <= top[at, None]).sum(1).sort()
        for some, count in zip(at[order].split(REFINED), counts.split(REFINED)):
            m = max(self._searched, int(count[-1]))
            candidates = torch.topk(v[some], m, largest=False, sorted=False).indices
            distances[some], indices[some] = _sorted(s.measured(rows[some], candidates), candidates, s._k)

    def _smallest(self, v: Tensor, m: int) -> tuple[Tensor, Tensor]:
        """The m smallest of every row and their places."""
        if not self._group:
            return torch.topk(v, m, largest=False, sorted=False)
        groups = v.shape[1] // self._group
        best = torch.topk(v.view(len(v), groups, self._group).amin(2), m, largest=False, sorted=False).indices
        rows = torch.arange(len(v), device=v.device)[:, None] * groups
        inside = v.view(-1, self._group).index_select(0, (best + rows).flatten()).view(len(v), -1)
        values, at = torch.topk(inside, m, largest=False, sorted=False)
        return values, torch.gather(best, 1, at // self._group) * self._group + at % self._group


def _starts(n: int, pieces: int) -> list[int]:
    """Where `torch.tensor_split` begins each piece."""
    size, longer = divmod(n, pieces)
    return [i * size + min(i, longer) for i in range(pieces)]


def _leave_out(values: Tensor, column: Tensor) -> None:
    """Infinite where a query meets itself, at the column of its place; columns outside are not in the bank."""
    here = ((column >= 0) & (column < values.shape[1])).nonzero()[:, 0]
    values[here, column[here]] = math.inf


def _sorted(distances: Tensor, indices: Tensor, k: int, *, largest: bool = False) -> tuple[Tensor, Tensor]:
    """The k smallest, in order, ties by index."""
    by_index = indices.argsort(1)
    distances, indices = distances.gather(1, by_index), indices.gather(1, by_index)
    order = torch.argsort(distances, stable=True, dim=1, descending=largest)[:, :k]
    return distances.gather(1, order), indices.gather(1, order)


def nearest_neighbours(
    features: Array,
    k: int,
    bank: Array | None = None,
    metric: str = "euclidean",
    *,
    labels: Array | None = None,
    memory: int = MEMORY,
) -> Neighbours:
    """The k nearest neighbours of every sample among the others, or among the samples of `bank`, exact.

    `metric`: "euclidean", "cosine" (distance 1 - cosine), "inner" (largest inner products). Distances are float64 with
    a relative error below 1e-6 for float32 features, 1e-9 for float64, also inside collapsed classes; of two samples at
    an equal distance that of lower index comes first. `labels` make collapsed classes faster and change no
    value. `memory`: bytes for the working buffers.

    Raises InputError for NaN or infinite features, k above the number of other samples, a bank of another width, or,
    for "cosine", a sample whose features are all zero.

    >>> from repana import nearest_neighbours
    >>> nearest_neighbours([[0.0], [1.0], [3.0]], 1).indices[:, 0].tolist()
    [1, 0, 1]
    """
    x = _check.features_of(features)
    codes = None if labels is None else _check.labels_of(labels, len(x))[0]
    return Neighbours.of(
        x, codes, k=k, bank=None if bank is None else _check.features_of(bank), metric=metric, memory=memory
    )
