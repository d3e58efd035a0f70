"""Features as they arrive: on the device up to a budget, then on the host; all samples, or a balanced subset."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from repana.store._subset import class_of, kept_rows

FREE_SHARE = 0.5  # of the device's free memory, where no budget is given


@dataclass(frozen=True)
class Kept:
    """What was kept, rows in the order of the data."""

    features: Mapping[str, Tensor]
    labels: Tensor | None
    logits: Tensor | None
    sample: Tensor
    priority: Tensor | None = None  # random numbers of the rows, where a subset was kept


class _Block:
    """Rows of one tensor, written into one growing block.

    One block, not a list of chunks: small tensors kept between the large ones of a forward pass would pin the heap,
    and 400 batches of a small ResNet would take gigabytes for megabytes of features.
    """

    def __init__(self, expected: int) -> None:
        self._expected, self._n = expected, 0
        self._block: Tensor | None = None

    def __len__(self) -> int:
        return self._n

    def add(self, x: Tensor, device: torch.device) -> None:
        """Write the rows of `x` behind what is there, on `device`, whereto the block moves if it is elsewhere."""
        end, block = self._n + len(x), self._block
        dtype = x.dtype if block is None else torch.promote_types(x.dtype, block.dtype)
        if block is None or end > len(block) or dtype != block.dtype or block.device != device:
            room = max(end, self._expected) if block is None else len(block) if end <= len(block) else 2 * end
            grown = torch.empty((room, *x.shape[1:]), dtype=dtype, device=device)
            if block is not None:
                grown[: self._n] = block[: self._n]
            self._block = block = grown
        block[self._n : end] = x
        self._n = end

    def keep(self, rows: Tensor) -> None:
        """Only these rows from now on."""
        if self._block is not None:
            self._block = self._block[rows.to(self._block.device)]
            self._n = len(rows)

    def bytes(self) -> int:
        return 0 if self._block is None else self._block[: self._n].nbytes

    def value(self) -> Tensor | None:
        """What was added, without spare room; None where nothing was."""
        if self._block is None or len(self._block) == self._n:
            return self._block
        return self._block[: self._n].clone()


class FeatureStore:
    """Features by layer, with labels, logits and the number of the sample of every row.

    `expected` rows are made room for at once; `first` is the place of the first sample in the data. With
    `max_samples`, every row draws a random number; each class keeps the rows with its smallest numbers, as many as an
    equal share of `max_samples` allows once small classes are full (the water level). The level only falls as data
    come in, so rows once dropped are never missed, and the subset does not depend on how the data were batched.
    """

    def __init__(
        self,
        layers: list[str],
        device: torch.device,
        *,
        max_samples: int | None,
        memory: int | None,
        seed: int,
        expected: int | None = None,
        first: int = 0,
    ) -> None:
        room = 0 if expected is None or max_samples is not None else expected
        self._features = {layer: _Block(room) for layer in layers}
        self._logits, self._labels, self._sample, self._priority = (_Block(room) for _ in range(4))
        self._random = np.random.Generator(np.random.PCG64(seed).advance(first))
        self._max, self._used = max_samples, 0
        self.counts: dict[int, int] = defaultdict(int)
        self._device, self._budget = device, _budget(device, memory)
        self.seen = 0

    def add(
        self,
        features: Mapping[str, Tensor],
        logits: Tensor | None,
        labels: Tensor | None,
        index: Tensor,
        size: int,
        numbers: Tensor | None = None,
    ) -> None:
        """Add the rows of one batch; `index` numbers the batch's samples, of which there are `size`, and `numbers` are
        their places in the data, by default those behind the last."""
        sample, host = index + self.seen if numbers is None else numbers[index], torch.device("cpu")
        self.seen += size
        if self._max == 0:
            return
        if logits is not None and len(logits) != len(index):
            logits = logits[index.to(logits.device)]
        if self._device != host:
            arrived = [*features.values(), *([] if logits is None else [logits])]
            self._used += sum(x.numel() * x.element_size() for x in arrived)
            self._device = host if self._used > self._budget else self._device
        for layer, x in features.items():
            self._features[layer].add(x, self._device)
        if logits is not None:
            self._logits.add(logits, self._device)
        if labels is not None:
            self._labels.add(labels, host)
        self._sample.add(sample, host)
        if self._max is not None:
            self._priority.add(torch.from_numpy(self._random.random(size))[index], host)
            for label in class_of(labels, len(index)).tolist():
                self.counts[label] += 1
            if len(self._sample) > 2 * self._max + len(index):
                self._compact(self._max)

    def _compact(self, most: int) -> None:
        """Drop the rows above the water level."""
        priority = self._priority.value()
        assert priority is not None
        keep = kept_rows(self._labels.value(), priority, self.counts, most)
        for rows in (*self._features.values(), self._logits, self._labels, self._sample, self._priority):
            rows.keep(keep)

    def sizes(self) -> list[tuple[str, int]]:
        """Bytes held by layer, the largest first."""
        return sorted(((layer, rows.bytes()) for layer, rows in self._features.items()), key=lambda pair: -pair[1])

    def close(self) -> Kept:
        """What was kept; blocks are let go layer by layer."""
        if self._max == 0 or not len(self._sample):
            return Kept({}, None, None, torch.empty(0, dtype=torch.int64))
        if self._max is not None and len(self._sample) > self._max:
            self._compact(self._max)
        features = {}
        for layer in list(self._features):
            features[layer] = self._features.pop(layer).value()
        sample = self._sample.value()
        assert sample is not None
        return Kept(features, self._labels.value(), self._logits.value(), sample, self._priority.value())


def _budget(device: torch.device, memory: int | None) -> float:
    if memory is not None:
        return float(memory)
    if device.type == "cuda":
        return FREE_SHARE * torch.cuda.mem_get_info(device)[0]
    return float("inf")
