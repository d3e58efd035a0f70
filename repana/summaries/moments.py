"""Per-class counts, means and scatter of a layer: one read of the features, values that add.

Sums run around a pilot per class: the median of its first samples, or the origin where those lie within a few
spreads of it. So the error is relative to the spread within a class, not to its distance from the origin; totals are
float64. Two `Moments` add by the pairwise
formula of Chan, Golub & LeVeque 1983 (doi:10.1080/00031305.1983.10483115), so any split of the data, in any order,
gives the same value.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana._cost import Cost, Size
from repana._typing import Features, Labels
from repana.summaries._summary import Layer, Summary

CHUNK_BYTES = 2**20  # a chunk and its two buffers stay in a core's second-level cache
MOST_ROWS = 512  # that are summed in float32 before the float64 totals take them, or 4 per class where that is more
SCATTER_ROWS = 4096  # a matrix product this deep hides the addition to the (d, d) total
FLOAT32_SAFE = (1e-15, 1e15)  # outside, squares leave the range of float32
PILOT_SAMPLES = 5  # that say how far a class lies from the origin; the median of three of them is its pilot
NEAR = 16.0  # squared distance of the pilot from the origin, in squared spreads, up to which the origin serves
NEAR_FEATURE = 100.0  # the same for each feature, from the mean square of few samples
FAR = 1e3  # the same for the means that were found, above which one array is summed again around its medians


@dataclass(frozen=True)
class Moments(Summary):
    """First and second moments of features, per class, exact in float64.

    `trace[c]` is the sum of squared distances of class c to its mean; `spread[f]` the sum over all samples of squared
    deviations of feature f from the class mean; `scatter` the (d, d) matrix of which `spread` is the diagonal.
    """

    labelled: ClassVar[bool] = True

    classes: Int[Tensor, " c"]
    count: Int[Tensor, " c"]
    mean: Float[Tensor, "c d"]
    trace: Float[Tensor, " c"]
    spread: Float[Tensor, " d"] | None = None
    scatter: Float[Tensor, "d d"] | None = None

    @classmethod
    def cost(cls, size: Size) -> Cost:
        rows, means = 8.0 * size.n * size.d, 8.0 * size.classes * size.d
        return Cost(bytes=4 * rows + 270 * means, calls=1100, peak=0.1 * rows + 10 * means + 2e6, kept=means)

    @classmethod
    def of_layer(cls, layer: Layer) -> "Moments":
        return layer.moments if layer.moments is not None else cls.of(layer.features, layer.labels)

    @classmethod
    def of(
        cls, features: Features, labels: Labels | None = None, *, scatter: bool = False, spread: bool = True
    ) -> "Moments":
        """The moments of one array; without labels all samples are one class, numbered 0."""
        sums = MomentSums(scatter=scatter, spread=spread)
        sums.add(features, labels)
        found = sums.value()
        if sums.direct and found._far():
            sums = MomentSums(scatter=scatter, spread=spread, near=0.0)
            sums.add(features, labels)
            found = sums.value()
        if features.dtype != torch.float64 and not bool(torch.isfinite(found.trace).all()):
            sums = MomentSums(scatter=scatter, spread=spread)  # squares beyond float32
            sums.add(features.double(), labels)
            found = sums.value()
        return found

    def _far(self) -> bool:
        """Whether a class or, where it is kept, a feature lies too far from the origin for sums around it."""
        squares = self.mean.square()
        far = bool((self.count * squares.sum(1) > FAR * self.trace).any())
        if self.spread is not None:
            far |= bool((self.count.double() @ squares > FAR * self.spread).any())
        return far

    @cached_property
    def n(self) -> int:
        return int(self.count.sum())

    @property
    def d(self) -> int:
        return self.mean.shape[1]

    def __add__(self, other: "Moments") -> "Moments":
        return self._combine(other, 1)

    def __radd__(self, other: int) -> "Moments":
        """So that `sum(parts)` works, which starts from 0."""
        if other != 0:
            return NotImplemented
        return self

    def __sub__(self, other: "Moments") -> "Moments":
        """Take away a part that was added: what a jackknife needs. Classes without samples disappear."""
        return self._combine(other, -1)

    def _combine(self, other: "Moments", sign: int) -> "Moments":
        classes = torch.unique(torch.cat([self.classes, other.classes]))
        mine, theirs = (torch.searchsorted(classes, m.classes) for m in (self, other))
        c = len(classes)
        ours = self.count.new_zeros(c).index_add_(0, mine, self.count)
        delta_count = self.count.new_zeros(c).index_add_(0, theirs, sign * other.count)
        count = ours + delta_count
        zeros = self.mean.new_zeros(c, self.d)
        gap = zeros.index_add(0, theirs, other.mean) - zeros.index_add(0, mine, self.mean)
        gap[(ours == 0) | (delta_count == 0)] = 0  # a class on one side only keeps its own mean
        share = torch.where(count > 0, delta_count.double() / count.clamp_min(1), 0.0)
        base = torch.where((ours > 0)[:, None], zeros.index_add(0, mine, self.mean), 0)
        base = torch.where((ours == 0)[:, None], zeros.index_add(0, theirs, other.mean), base)
        weight = ours * share  # n_a n_b / (n_a + n_b), negative when a part is taken away
        trace = zeros[:, 0].index_add(0, mine, self.trace).index_add_(0, theirs, sign * other.trace)
        trace = (trace + weight * gap.square().sum(1)).clamp_min(0)
        spread = scatter = None
        if self.spread is not None and other.spread is not None:
            spread = (self.spread + sign * other.spread + weight @ gap.square()).clamp_min(0)
        if self.scatter is not None and other.scatter is not None:
            scatter = self.scatter + sign * other.scatter + gap.T @ (weight[:, None] * gap)
        keep = count > 0
        return Moments(
            classes=classes[keep],
            count=count[keep],
            mean=(base + share[:, None] * gap)[keep],
            trace=trace[keep],
            spread=spread,
            scatter=scatter,
        )

    def around(self, mean: Float[Tensor, "c d"]) -> "Moments":
        """The scatter of the same samples around other centres, which take the place of the means."""
        gap, n = self.mean - mean, self.count.double()
        return Moments(
            classes=self.classes,
            count=self.count,
            mean=mean,
            trace=self.trace + n * gap.square().sum(1),
            spread=None if self.spread is None else self.spread + n @ gap.square(),
            scatter=None if self.scatter is None else self.scatter + gap.T @ (n[:, None] * gap),
        )

    def to(self, device: torch.device | str) -> "Moments":
        fields = {name: None if value is None else value.to(device) for name, value in self.tensors().items()}
        return Moments(**fields)  # type: ignore[arg-type]

    def tensors(self) -> dict[str, Tensor | None]:
        """The fields by name."""
        return {name: getattr(self, name) for name in ("classes", "count", "mean", "trace", "spread", "scatter")}


def _middle(few: Tensor) -> Tensor:
    """The median of the first three rows, or the first: one outlier among them does no harm."""
    if len(few) < 3:
        return few[0]
    a, b, c = few[:3]
    return torch.maximum(torch.minimum(a, b), torch.minimum(torch.maximum(a, b), c))


class MomentSums:
    """The buffer that a stream fills: `add` batches, read `value()`. It holds O(c d) numbers, whatever n is."""

    def __init__(self, *, scatter: bool = False, spread: bool = True, near: float = NEAR) -> None:
        self._wants_scatter, self._wants_spread, self._near = scatter, spread, near
        self.direct = True  # as long as every pilot is the origin
        self._slot: dict[int, int] = {}
        self._started = False

    def add(self, features: Features, labels: Labels | None = None) -> None:
        """Add samples. Labels are best on the host: then nothing waits for the device."""
        if labels is None:
            labels = torch.zeros(len(features), dtype=torch.int64)
        if not self._started:
            self._start(features)
        if not len(features):
            return
        present, inverse = torch.unique(labels.detach().cpu().long(), return_inverse=True)
        rows = min(MOST_ROWS, max(32, CHUNK_BYTES // (4 * features.shape[1])))
        if self._scatter is not None:
            rows = max(rows, SCATTER_ROWS)
        self._meet(features, present, inverse, rows)
        slots = torch.tensor([self._slot[value] for value in present.tolist()])[inverse]
        self._count.index_add_(0, slots, torch.ones_like(slots))
        slots = slots.to(self._device)
        norms = torch.empty(len(features), dtype=self._work, device=self._device)
        for start in range(0, len(features), rows):
            span = slice(start, start + rows)
            self._add_chunk(features[span].to(self._work), slots[span], norms[span])
        self._square.index_add_(0, slots, norms.double())

    def _meet(self, features: Tensor, present: Tensor, inverse: Tensor, rows: int) -> None:
        """Give each new class a slot, and as its pilot the median of its first few samples."""
        fresh = [(i, value) for i, value in enumerate(present.tolist()) if value not in self._slot]
        if not fresh:
            return
        self._grow([value for _, value in fresh])
        order = torch.argsort(inverse, stable=True)
        starts = torch.searchsorted(inverse[order], torch.arange(len(present) + 1))
        for i, value in fresh:
            first = order[starts[i] : min(int(starts[i + 1]), int(starts[i]) + PILOT_SAMPLES)]
            few = features[first.to(self._device)].to(self._work)
            pilot = _middle(few)
            squares = (few - pilot).square()
            far = len(few) < 3 or float(pilot.square().sum()) > self._near * float(squares.sum(1).median())
            if not far and (self._wants_spread or self._wants_scatter):  # then every feature counts for itself
                far = self._near == 0 or bool((pilot.square() > NEAR_FEATURE * squares.mean(0)).any())
            if far:
                self._pilot[self._slot[value]] = pilot
                self.direct = False

    def _start(self, features: Tensor) -> None:
        self._work = torch.float64 if features.dtype == torch.float64 else torch.float32
        if len(features) and self._work == torch.float32:
            peak = float(features[:64].abs().amax())
            if peak and not FLOAT32_SAFE[0] < peak < FLOAT32_SAFE[1]:
                self._work = torch.float64
        d, self._device = features.shape[1], features.device
        self._pilot = torch.zeros(0, d, dtype=self._work, device=self._device)
        self._part, self._pending = torch.zeros(0, d, dtype=self._work, device=self._device), 0
        self._total = torch.zeros(0, d, dtype=torch.float64, device=self._device)
        self._square = torch.zeros(0, dtype=torch.float64, device=self._device)
        self._spread = torch.zeros(d, dtype=torch.float64, device=self._device)
        self._scatter = torch.zeros(d, d, dtype=torch.float64, device=self._device) if self._wants_scatter else None
        self._count = torch.zeros(0, dtype=torch.int64)
        self._buffer = torch.empty(0, d, dtype=self._work, device=self._device)
        self._started = True

    def _add_chunk(self, chunk: Tensor, slots: Tensor, norms: Tensor) -> None:
        b = len(chunk)
        if len(self._buffer) < b:
            self._buffer = self._buffer.new_empty(b, chunk.shape[1])
        e = chunk
        if not self.direct:
            e = self._buffer[:b]
            torch.index_select(self._pilot, 0, slots, out=e)
            torch.sub(chunk, e, out=e)
        self._part.index_add_(0, slots, e)
        self._pending += b
        if self._pending >= max(MOST_ROWS, 4 * len(self._part)):
            self._flush()
        if self._scatter is not None:
            self._scatter.add_(e.T @ e)
        if self._wants_spread and self._scatter is None:
            e = torch.square(e, out=self._buffer[:b])
            self._spread.add_(e.sum(0))
            torch.mv(e, e.new_ones(e.shape[1]), out=norms)
        else:
            torch.linalg.vector_norm(e, dim=1, out=norms)
            norms.square_()

    def _flush(self) -> None:
        """The sums of the last rows, from the working precision into the float64 totals."""
        self._total.add_(self._part)
        self._part.zero_()
        self._pending = 0

    def _grow(self, fresh: list[int]) -> None:
        """Room for more classes: doubled, so that a stream of new classes costs no more than twice its size."""
        for value in fresh:
            self._slot[value] = len(self._slot)
        short = len(self._slot) - len(self._total)
        if short <= 0:
            return
        extra = max(short, len(self._total))
        for name in ("_pilot", "_part", "_total", "_square", "_count"):
            old = getattr(self, name)
            setattr(self, name, torch.cat([old, old.new_zeros(extra, *old.shape[1:])]))

    def value(self) -> Moments:
        """The moments of everything added so far."""
        if not self._started:
            raise ValueError("no features were added")
        self._flush()
        values = torch.tensor(sorted(self._slot), dtype=torch.int64)
        order = torch.tensor([self._slot[int(v)] for v in values], dtype=torch.int64)
        count = self._count[order]
        order = order.to(self._device)
        n = count.to(self._device, torch.float64)
        total = self._total[order]
        shift = total / n[:, None]
        trace = (self._square[order] - n * shift.square().sum(1)).clamp_min(0)
        scatter = None
        spread = None
        if self._scatter is not None:
            scatter = self._scatter - total.T @ shift
            scatter = (scatter + scatter.T) / 2
            spread = scatter.diagonal().clamp_min(0).clone()
        elif self._wants_spread:
            spread = (self._spread - (total * shift).sum(0)).clamp_min(0)
        return Moments(
            classes=values.to(self._device),
            count=count.to(self._device),
            mean=self._pilot[order].double() + shift,
            trace=trace,
            spread=spread,
            scatter=scatter,
        )
