"""Which rows a balanced subset keeps: of every class those with the smallest random numbers, below the water level."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def class_of(labels: Tensor | None, n: int) -> Tensor:
    """The class of each row; one for all where labels are no classes."""
    if labels is None or labels.ndim != 1 or labels.is_floating_point():
        return torch.zeros(n, dtype=torch.int64)
    return labels.long()


def kept_rows(labels: Tensor | None, priority: Tensor, counts: Mapping[int, int], most: int) -> Tensor:
    """The rows that stay of `most`, in order; `counts` are the samples of every class that were seen, kept or not."""
    classes = class_of(labels, len(priority)).numpy()
    return torch.from_numpy(_lowest_priority(classes, priority.numpy(), water_level(counts, most), most))


def water_level(counts: Mapping[int, int], total: int) -> float:
    """The q with sum_c min(n_c, q) = total (infinite when all fit)."""
    remaining, left = total, len(counts)
    for n in sorted(counts.values()):
        if n * left > remaining:
            return remaining / left
        remaining, left = remaining - n, left - 1
    return float("inf")


def _lowest_priority(classes: np.ndarray, priority: np.ndarray, level: float, total: int) -> np.ndarray:
    """Rows to keep, in order: in each class the floor(level) lowest numbers; what is left of `total` by number."""
    order = np.lexsort((priority, classes))
    sorted_classes = classes[order]
    starts = np.r_[0, np.flatnonzero(np.diff(sorted_classes)) + 1]
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    whole = order[rank < np.floor(level)]
    edge = order[rank == np.floor(level)] if level < len(order) else order[:0]
    spare = edge[np.argsort(priority[edge], kind="stable")][: max(0, total - len(whole))]
    return np.sort(np.r_[whole, spare])
