"""Features as they arrive: on the device up to a budget, then on the host; all samples, or a balanced subset."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

FREE_SHARE = 0.5  # of the device's free memory, where no budget is given


@dataclass(frozen=True)
class Kept:
    """What was kept, rows in the order of the data."""

    features: Mapping[str, Tensor]
    labels: Tensor | None
    logits: Tensor | None
    sample: Tensor


class FeatureStore:
    """Chunks of features by layer.

    With `max_samples`, every row draws a random number; each class keeps the rows with its smallest numbers, as many
    as an equal share of `max_samples` allows once small classes are full (the water level). The level only falls as
    data come in, so rows once dropped are never missed, and the subset does not depend on how the data were batched.
    """

    def __init__(
        self, layers: list[str], device: torch.device, *, max_samples: int | None, memory: int | None, seed: int
    ) -> None:
        self._chunks: dict[str, list[Tensor]] = {layer: [] for layer in layers}
        self._logits: list[Tensor] = []
        self._labels: list[Tensor] = []
        self._sample: list[Tensor] = []
        self._priority: list[np.ndarray] = []
        self._random = np.random.default_rng(seed)
        self._max, self._held = max_samples, 0
        self._counts: dict[int, int] = defaultdict(int)
        self._budget = _budget(device, memory)
        self._used = 0
        self.seen = 0

    def add(
        self, features: Mapping[str, Tensor], logits: Tensor | None, labels: Tensor | None, index: Tensor, size: int
    ) -> None:
        """Add the rows of one batch; `index` numbers the batch's samples, of which there are `size`."""
        priority = self._random.random(size)[index.numpy()] if self._max is not None else np.empty(0)
        sample = index + self.seen
        self.seen += size
        if self._max == 0:
            return
        for layer, x in features.items():
            _append(self._chunks[layer], self._place(x))
        if logits is not None:
            self._logits.append(self._place(logits if len(logits) == len(index) else logits[index.to(logits.device)]))
        if labels is not None:
            self._labels.append(labels)
        self._sample.append(sample)
        self._held += len(index)
        if self._max is not None:
            self._priority.append(priority)
            for label in self._class_of(labels, len(index)).tolist():
                self._counts[label] += 1
            if self._held > 2 * self._max + len(index):
                self._compact()

    def _place(self, x: Tensor) -> Tensor:
        """Where a chunk lives; rows that are a view of something larger are copied."""
        self._used += x.numel() * x.element_size()
        if x.device.type != "cpu" and self._used > self._budget:
            return x.to("cpu")
        return x

    def _class_of(self, labels: Tensor | None, n: int) -> Tensor:
        if labels is None or labels.ndim != 1 or labels.is_floating_point():
            return torch.zeros(n, dtype=torch.int64)
        return labels.long()

    def _compact(self) -> None:
        """Drop the rows above the water level."""
        assert self._max is not None
        labels = torch.cat(self._labels) if self._labels else None
        sample, priority = torch.cat(self._sample), np.concatenate(self._priority)
        classes = self._class_of(labels, len(sample)).numpy()
        keep = torch.from_numpy(_lowest(classes, priority, water_level(self._counts, self._max), self._max))
        if labels is not None:
            self._labels = [labels[keep]]
        self._sample, self._priority = [sample[keep]], [priority[keep.numpy()]]
        for layer, chunks in self._chunks.items():
            self._chunks[layer] = [_joined(chunks)[keep.to(chunks[0].device)]]
        if self._logits:
            self._logits = [_joined(self._logits)[keep.to(self._logits[0].device)]]
        self._held = len(keep)

    def sizes(self) -> list[tuple[str, int]]:
        """Bytes held by layer, the largest first."""
        held = {layer: sum(x.numel() * x.element_size() for x in chunks) for layer, chunks in self._chunks.items()}
        return sorted(held.items(), key=lambda pair: -pair[1])

    def close(self) -> Kept:
        """The features, joined; chunks are let go layer by layer."""
        if self._max == 0:
            return Kept({}, None, None, torch.empty(0, dtype=torch.int64))
        if self._max is not None and self._held > self._max:
            self._compact()
        features = {}
        for layer in list(self._chunks):
            features[layer] = _joined(self._chunks.pop(layer))
        labels = torch.cat(self._labels) if self._labels else None
        logits = _joined(self._logits) if self._logits else None
        return Kept(features, labels, logits, torch.cat(self._sample))


def water_level(counts: Mapping[int, int], total: int) -> float:
    """The q with sum_c min(n_c, q) = total (infinite when all fit)."""
    remaining, left = total, len(counts)
    for n in sorted(counts.values()):
        if n * left > remaining:
            return remaining / left
        remaining, left = remaining - n, left - 1
    return float("inf")


def _lowest(classes: np.ndarray, priority: np.ndarray, level: float, total: int) -> np.ndarray:
    """Rows to keep, in order: in each class the floor(level) lowest numbers; what is left of `total` by number."""
    order = np.lexsort((priority, classes))
    sorted_classes = classes[order]
    starts = np.r_[0, np.flatnonzero(np.diff(sorted_classes)) + 1]
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    whole = order[rank < np.floor(level)]
    edge = order[rank == np.floor(level)] if level < len(order) else order[:0]
    spare = edge[np.argsort(priority[edge], kind="stable")][: max(0, total - len(whole))]
    return np.sort(np.r_[whole, spare])


def _append(chunks: list[Tensor], x: Tensor) -> None:
    """Add a chunk, joining neighbours as they reach equal size, so that few are alive at a time.

    Small tensors kept between the large ones of a forward pass would pin the heap: 400 batches of a small ResNet then
    take gigabytes for megabytes of features.
    """
    chunks.append(x)
    while len(chunks) > 1 and len(chunks[-2]) <= len(chunks[-1]) and chunks[-2].device == chunks[-1].device:
        last, before = chunks.pop(), chunks.pop()
        chunks.append(torch.cat([before, last]))


def _joined(chunks: list[Tensor]) -> Tensor:
    """One tensor; on the host if any chunk had to go there."""
    if any(x.device.type == "cpu" for x in chunks):
        chunks = [x.cpu() for x in chunks]
    return chunks[0] if len(chunks) == 1 else torch.cat(chunks)


def _budget(device: torch.device, memory: int | None) -> float:
    if memory is not None:
        return float(memory)
    if device.type == "cuda":
        return FREE_SHARE * torch.cuda.mem_get_info(device)[0]
    return float("inf")


def host_memory() -> int:
    """Bytes of host memory that can still be used."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 2**63 - 1
