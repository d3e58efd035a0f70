"""Measures of a ranking in expectation over the orders of items with equal scores, from the places of relevant items
alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from repana._estimate import NAN

AT_K = ("hit", "recall", "recall_capped", "precision", "ndcg")
WHOLE = ("mrr", "map")


@dataclass(frozen=True)
class Places:
    """The relevant items of some queries, by query and then place: items with a better score, items with an equal one
    (itself among them), and its grade. `items` (q,): how many items each query ranks."""

    query: Int[np.ndarray, " r"]
    above: Int[np.ndarray, " r"]
    equal: Int[np.ndarray, " r"]
    grade: Float[np.ndarray, " r"]
    items: Int[np.ndarray, " q"]

    @classmethod
    def of(
        cls,
        query: Int[np.ndarray, " r"],
        above: Int[np.ndarray, " r"],
        equal: Int[np.ndarray, " r"],
        grade: Float[np.ndarray, " r"],
        items: Int[np.ndarray, " q"],
    ) -> "Places":
        order = np.lexsort((above, query))
        return cls(query[order], above[order], equal[order], grade[order], items)

    def constant(self) -> "Places":
        """The same items where all scores are equal: a ranking that knows nothing."""
        return Places(self.query, np.zeros_like(self.above), self.items[self.query], self.grade, self.items)

    def measures(self, ks: Sequence[int], gain: str) -> dict[str, Float[np.ndarray, " q"]]:
        """Every measure of every query; NaN for queries without relevant items.

        With a group of m items of equal score, r of them relevant, s items before the group, R_b relevant ones before
        it, R relevant ones in all, and t = places of the group within k: see `retrieval`.
        """
        count = len(self.items)
        relevant = np.bincount(self.query, minlength=count).astype(float)
        relevant[relevant == 0] = NAN
        s, m = self.above.astype(float), self.equal.astype(float)
        first, in_group, group_size, before = self._groups()
        found: dict[str, np.ndarray] = {}
        most = max(ks)
        discount = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, most + 2)))])
        gained = self.grade if gain == "linear" else np.exp2(self.grade) - 1
        best = self._ideal(gained, np.diff(discount), ks)
        for k in ks:
            t = np.clip(k - s, 0, m)
            inside = self._sum(t / m)
            missed = np.maximum(m - t - in_group, 0) / (m - in_group)
            found[f"hit@{k}"] = np.where(np.isnan(relevant), NAN, 1 - self._product(missed))
            found[f"recall@{k}"] = inside / relevant
            found[f"recall_capped@{k}"] = inside / np.minimum(relevant, k)
            found[f"precision@{k}"] = np.where(np.isnan(relevant), NAN, inside / k)
            ends = [np.minimum(np.minimum(at, k), most).astype(int) for at in (s, s + m)]
            cumulative = self._sum(gained / m * (discount[ends[1]] - discount[ends[0]]))
            found[f"ndcg@{k}"] = np.divide(cumulative, best[k], out=np.full(count, NAN), where=best[k] > 0)
        found["mrr"] = self._reciprocal(first, group_size, relevant)
        found["map"] = self._precision_of_places(group_size, before) / relevant
        return found

    def _groups(self) -> tuple[np.ndarray, ...]:
        """Of every relevant item: whether it is the first of its query, its number in its group, how many relevant
        items the group has, and how many come before the group."""
        r = len(self.query)
        if not r:
            return (np.zeros(0, bool), *(np.zeros(0),) * 3)
        new_query = np.concatenate([[True], self.query[1:] != self.query[:-1]])
        new_group = new_query | np.concatenate([[True], self.above[1:] != self.above[:-1]])
        at = np.arange(r)
        begin = np.maximum.accumulate(np.where(new_group, at, 0))
        of_query = np.maximum.accumulate(np.where(new_query, at, 0))
        number = np.cumsum(new_group) - 1
        size = np.bincount(number)[number]
        return new_query, at - begin, size.astype(float), (begin - of_query).astype(float)

    def _sum(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self.query, weights=values, minlength=len(self.items))

    def _product(self, values: np.ndarray) -> np.ndarray:
        found = np.ones(len(self.items))
        np.multiply.at(found, self.query, values)
        return found

    def _ideal(self, gained: np.ndarray, discount: np.ndarray, ks: Sequence[int]) -> dict[int, np.ndarray]:
        """The discounted gain of the best order within k, by k."""
        order = np.lexsort((-gained, self.query))
        query = self.query[order]
        begin = np.concatenate([[0], np.cumsum(np.bincount(query, minlength=len(self.items)))])[query]
        rank = np.arange(len(query)) - begin
        weighted = gained[order] * np.concatenate([discount, [0.0]])[np.minimum(rank, len(discount))]
        return {k: np.bincount(query, weights=weighted * (rank < k), minlength=len(self.items)) for k in ks}

    def _reciprocal(self, first: np.ndarray, size: np.ndarray, relevant: np.ndarray) -> np.ndarray:
        """Of the first relevant item: sum_i C(m-i, r-1)/C(m, r)/(s+i) over the places i of its group."""
        found = np.where(np.isnan(relevant), NAN, 0.0)
        for at in np.flatnonzero(first):
            s, m, r = int(self.above[at]), int(self.equal[at]), int(size[at])
            if m == 1:
                found[self.query[at]] = 1 / (s + 1)
                continue
            i = np.arange(1, m - r + 2)
            share = (r / m) * np.concatenate([[1.0], np.cumprod((m - i[:-1] - r + 1) / (m - i[:-1]))])
            found[self.query[at]] = float(share @ (1 / (s + i)))
        return found

    def _precision_of_places(self, size: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Sum over relevant items of the expected precision at their place."""
        s, m = self.above.astype(float), self.equal.astype(float)
        alone = self.equal == 1
        harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, int(self.items.max(initial=0)) + 1))])
        inverse = harmonic[self.above + self.equal] - harmonic[self.above]
        inverse[alone] = 1 / (s[alone] + 1)
        later = np.divide(size - 1, m - 1, out=np.zeros_like(m), where=~alone) * (m - (s + 1) * inverse)
        return self._sum(((before + 1) * inverse + later) / m)
