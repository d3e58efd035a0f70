"""How samples are cut into lanes of parts of batches: by their number alone, so that every process cuts alike."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass

from repana import _check
from repana.extraction import _store_refusals

PART_BYTES = 2**28  # of all layers in a part, nearly
FEWEST_BATCHES, MOST_SAMPLES = 8, 65_536  # of a part
LANES = 64


@dataclass(frozen=True)
class Cuts:
    """n samples in `lanes` of `each` parts of `rows` samples; batches are cut from the start of every part."""

    n: int
    batch: int
    rows: int
    lanes: int
    each: int

    @classmethod
    def of(cls, n: int, batch: int, bytes_per_sample: int, lanes: int | None) -> "Cuts":
        """Parts of a power of two of batches, as near to `PART_BYTES` as that comes; lanes of as many whole parts."""
        ideal = max(1.0, PART_BYTES / max(bytes_per_sample, 1) / batch)
        batches = max(FEWEST_BATCHES, 2 ** round(math.log2(ideal)))
        while batches > FEWEST_BATCHES and batches * batch > MOST_SAMPLES:
            batches //= 2
        made = cls._with(n, batch, batches, LANES if lanes is None else lanes)
        while lanes is not None and made.lanes < lanes and batches > 1:  # so many were asked for
            batches //= 2
            made = cls._with(n, batch, batches, lanes)
        return made

    @classmethod
    def _with(cls, n: int, batch: int, batches: int, lanes: int) -> "Cuts":
        rows = batches * batch
        each = max(1, math.ceil(n / (lanes * rows)))
        return cls(n, batch, rows, max(1, math.ceil(n / (each * rows))), each)

    def samples(self, lane: int) -> range:
        size = self.each * self.rows
        return range(lane * size, min((lane + 1) * size, self.n))

    def parts(self, lane: int) -> Iterator[range]:
        return _cut(self.samples(lane), self.rows)

    def batches(self, part: range) -> Iterator[range]:
        return _cut(part, self.batch)


def _cut(samples: range, step: int) -> Iterator[range]:
    for start in range(samples.start, samples.stop, step):
        yield range(start, min(start + step, samples.stop))


@dataclass(frozen=True)
class Share:
    """Which lanes are those of this process: every `of`-th, beginning with `number`, counted from 0."""

    number: int = 0
    of: int = 1

    @classmethod
    def requested(cls, lanes_of: str | None) -> "Share":
        """ "2/4" is the second of four; else the rank that torchrun gave the process."""
        if lanes_of is None:
            rank, world = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
            return cls(int(rank), int(world)) if rank and world else cls()
        number, _, of = str(lanes_of).partition("/")
        if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
            raise _store_refusals.share(lanes_of)
        return cls(int(number) - 1, int(of))

    def lanes(self, count: int) -> range:
        return range(self.number, count, self.of)


def checked_lanes(lanes: int | None, share: Share) -> None:
    if lanes is None:
        return
    _check.at_least(lanes, "lanes", 1)
    if lanes < share.of:
        raise _store_refusals.fewer_lanes(lanes, share.of)
