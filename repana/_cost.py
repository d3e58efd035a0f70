"""What a computation takes before it is run, in counts that any machine can be held against."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """A layer of n samples, d wide, with `classes` (0 without labels), and the draws of nulls and intervals."""

    n: int
    d: int
    classes: int = 0
    permutations: int = 0
    bootstrap: int = 0


@dataclass(frozen=True)
class Cost:
    """`flop` of matrix products and factorisations, `bytes` that everything else reads and writes, `calls` of small
    operations, of some microseconds each; `peak` bytes beside the features while it runs, of which `kept` stay for
    others to read. `reads` says of which samples it is.

    Counts follow the algorithm, their factors from timings: a factorisation is slower than a product of as many
    operations, and most of what is read is read several times.
    """

    flop: int | float = 0
    bytes: int | float = 0
    calls: int | float = 0
    peak: int | float = 0
    kept: int | float = 0
    reads: str = "all samples"


def reading(n: int, most: int, some: str) -> str:
    """What to say of which samples are read, where at most so many are."""
    return "all samples" if n <= most else some.format(f"{most:,}")
