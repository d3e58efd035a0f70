"""Which layers of two networks stand for each other: by name, by place, along a path, by similarity."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from repana._estimate import Estimate


def like_places(a: Sequence[str], b: Sequence[str], outputs: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Pairs of layers of two networks that stand for each other; see `Similarity.pairs`."""
    least = min(len(a), len(b))
    found = {i: b.index(x) for i, x in enumerate(a) if x in b}
    if len(found) < least:
        fits = {i: [j for j, y in enumerate(b) if _ends_with(x, y)] for i, x in enumerate(a)}
        single = {i: at[0] for i, at in fits.items() if len(at) == 1}
        found = single if len(set(single.values())) == len(single) else {}
    if len(found) < least:
        found = {}
        for kind in (lambda x: x == "input", lambda x: x.endswith(":in"), lambda x: x in outputs):
            first, second = [i for i, x in enumerate(a) if kind(x)], [j for j, y in enumerate(b) if kind(y)]
            if len(first) == len(second) == 1:
                found[first[0]] = second[0]
        rest, free = [i for i in range(len(a)) if i not in found], [j for j in range(len(b)) if j not in found.values()]
        for place, i in enumerate(rest if free else ()):
            depth = place / max(len(rest) - 1, 1)
            found[i] = free[round(depth * (len(free) - 1))]
    return tuple(sorted(found.items()))


def _ends_with(one: str, other: str) -> bool:
    return one == other or one.endswith(f".{other}") or other.endswith(f".{one}")


def monotone_path(values: np.ndarray) -> list[tuple[int, int]]:
    """From the first pair to the last by steps down, right or both, with the largest sum of values; a step of both
    counts twice, so that every path has the same weight (Sakoe & Chiba 1978, doi:10.1109/TASSP.1978.1163055)."""
    rows, columns = values.shape
    total = np.full((rows, columns), -np.inf)
    came = np.zeros((rows, columns, 2), int)
    total[0, 0] = values[0, 0]
    for i in range(rows):
        for j in range(columns):
            for p, q, weight in ((i - 1, j - 1, 2), (i - 1, j, 1), (i, j - 1, 1)):
                if p >= 0 and q >= 0 and total[p, q] + weight * values[i, j] > total[i, j]:
                    total[i, j], came[i, j] = total[p, q] + weight * values[i, j], (p, q)
    path = [(rows - 1, columns - 1)]
    while path[-1] != (0, 0):
        p, q = came[path[-1]]
        path.append((int(p), int(q)))
    return path[::-1]


def identified(found: Sequence[tuple[np.ndarray, list[int]]], level: float) -> Estimate:
    """Over ordered pairs of networks. Layers of one pair depend on each other: with several pairs the share has the
    error of as many independent layers as their spread says, at least as many as there are pairs."""
    hits, sizes, chance = [], [], []
    for values, places in found:
        inner = np.nan_to_num(values[np.ix_(places, places)], nan=-np.inf)
        size = len(places)
        hits.append(int((inner.argmax(1) == np.arange(size)).sum()) + int((inner.argmax(0) == np.arange(size)).sum()))
        sizes.append(2 * size)
        chance.append(1 / size)
    total, k = sum(sizes), len(found)
    share = sum(hits) / total
    independent = float(total) if 0 < share < 1 else float(k)  # layers of one pair that all agree may be one fact
    if k > 1 and 0 < share < 1:
        spread = sum((h - share * m) ** 2 for h, m in zip(hits, sizes)) * k / (k - 1) / total**2
        independent = min(max(share * (1 - share) / spread, k), total) if spread > 0 else total
    z = NormalDist().inv_cdf(0.5 + level / 2)
    centre = (share + z * z / (2 * independent)) / (1 + z * z / independent)
    half = z / (1 + z * z / independent) * math.sqrt(share * (1 - share) / independent + (z / (2 * independent)) ** 2)
    low, high = max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))
    return Estimate(share, low, high, total, null=sum(chance) / k)
