"""Which items of a bank are relevant to which query, and how much, as lists of places by blocks of queries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from repana._typing import IGNORED
from repana.ranking import _refusals


@dataclass(frozen=True)
class Relevance:
    """Relevant items with their grades; `own`: item i is query i, which is not looked for.

    Grades of all queries one after the other (`start` says where each begins), or the classes of queries and items,
    where an item of the query's class has the grade 1.
    """

    queries: int
    bank: int
    own: bool
    start: Int[np.ndarray, " q1"] | None = None
    items: Int[np.ndarray, " r"] | None = None
    grades: Float[np.ndarray, " r"] | None = None
    classes: tuple[Int[np.ndarray, " q"], Int[np.ndarray, " n"]] | None = None

    @classmethod
    def of(cls, relevant: Any, queries: int, bank: int, own: bool, same: bool) -> "Relevance":
        """From what a user gave; `same`: the bank is the queries, and one vector of labels serves both."""
        if own and queries != bank:
            raise _refusals.self_needs_rows(queries, bank)
        if isinstance(relevant, tuple) and len(relevant) == 2:
            return cls(queries, bank, own, classes=_classes(relevant, queries, bank))
        if hasattr(relevant, "tocsr"):
            return cls(queries, bank, own, *_sparse(relevant, queries, bank))
        if isinstance(relevant, list) and relevant and not np.isscalar(relevant[0]):
            first = relevant[0]
            ragged = isinstance(first, (Mapping, set, frozenset)) or len({len(r) for r in relevant}) > 1
            if ragged or len(first) != bank:
                return cls(queries, bank, own, *_listed(relevant, queries, bank))
        values = relevant.detach().cpu().numpy() if isinstance(relevant, Tensor) else np.asarray(relevant)
        if values.ndim == 1 and same:
            return cls(queries, bank, own, classes=_classes((values, values), queries, bank))
        if values.ndim != 2 or values.dtype.kind not in "biuf":
            raise _refusals.relevance_form(f"{values.ndim}-dimensional {type(relevant).__name__}")
        if values.shape != (queries, bank):
            raise _refusals.relevance_shape(values.shape, queries, bank)
        bad = int((~np.isfinite(values) | (values < 0)).sum()) if values.dtype.kind == "f" else int((values < 0).sum())
        if bad:
            raise _refusals.bad_grades(bad)
        row, item = values.nonzero()
        return cls(queries, bank, own, *_by_query(row, item, values[row, item], queries))

    def between(
        self, first: int, last: int
    ) -> tuple[Int[np.ndarray, " r"], Int[np.ndarray, " r"], Float[np.ndarray, " r"]]:
        """Query (from `first`, counted from 0), item and grade of everything relevant to the queries up to `last`."""
        if self.classes is not None:
            of_queries, of_items = self.classes
            mine = of_queries[first:last, None]
            query, item = ((mine == of_items) & (mine >= 0)).nonzero()
            grade = np.ones(len(query))
        else:
            assert self.start is not None
            assert self.items is not None
            assert self.grades is not None
            at = slice(self.start[first], self.start[last])
            query = np.repeat(np.arange(last - first), np.diff(self.start[first : last + 1]))
            item, grade = self.items[at], self.grades[at]
        if self.own:
            kept = item != query + first
            query, item, grade = query[kept], item[kept], grade[kept]
        return query, item, grade


def _is_place(item: Any, bank: int) -> bool:
    try:
        return not isinstance(item, bool) and int(item) == item and 0 <= item < bank
    except (TypeError, ValueError):
        return False


def _by_query(
    row: np.ndarray, item: np.ndarray, grade: np.ndarray, queries: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each query's items start, the items, and their grades; `row` ascends."""
    start = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=queries))])
    return start, item.astype(np.int64), grade.astype(np.float64)


def _classes(pair: Sequence[Any], queries: int, bank: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes of the classes of queries and items."""
    sides = [v.detach().cpu().numpy() if isinstance(v, Tensor) else np.asarray(v) for v in pair]
    for side, values, count in zip(("queries", "items"), sides, (queries, bank)):
        if values.ndim != 1 or len(values) != count:
            raise _refusals.relevance_labels(side, len(values) if values.ndim else 1, count)
    together = np.concatenate(sides)
    codes = np.unique(together, return_inverse=True)[1]
    if together.dtype.kind in "iu":
        codes = np.where(together == IGNORED, -1, codes)  # of no class
    return codes[:queries], codes[queries:]


def _sparse(relevant: Any, queries: int, bank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = relevant.tocsr().copy()
    rows.sum_duplicates()
    rows.eliminate_zeros()
    if rows.shape != (queries, bank):
        raise _refusals.relevance_shape(rows.shape, queries, bank)
    bad = int((~np.isfinite(rows.data) | (rows.data < 0)).sum())
    if bad:
        raise _refusals.bad_grades(bad)
    return rows.indptr.astype(np.int64), rows.indices.astype(np.int64), rows.data.astype(np.float64)


def _listed(relevant: Sequence[Any], queries: int, bank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items of each query, or their grades by item."""
    if len(relevant) != queries:
        raise _refusals.relevance_length(len(relevant), queries)
    row: list[int] = []
    items: list[int] = []
    grades: list[float] = []
    for q, given in enumerate(relevant):
        found = given.items() if isinstance(given, Mapping) else ((item, 1.0) for item in given)
        pairs = [(item, float(grade)) for item, grade in found]
        for item, _ in pairs:
            if not _is_place(item, bank):
                raise _refusals.no_such_item(q, item, bank)
        if len({int(item) for item, _ in pairs}) < len(pairs):
            raise _refusals.item_twice(q)
        kept = [(int(item), grade) for item, grade in pairs if grade != 0]
        row += [q] * len(kept)
        items += [item for item, _ in kept]
        grades += [grade for _, grade in kept]
    bad = sum(not np.isfinite(g) or g < 0 for g in grades)
    if bad:
        raise _refusals.bad_grades(bad)
    return _by_query(np.array(row, int), np.array(items, int), np.array(grades, float), queries)
