"""Quantities of one tangent kernel, with their intervals and nulls."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from repana._estimate import NAN, Estimate, Flag, shown
from repana._typing import IGNORED
from repana.kernels._kernel_statistics import (
    SPECTRAL,
    alignment,
    centred,
    left_out,
    mean_alignment,
    one_hot,
    permuted_alignments,
    singular,
    spectral,
)
from repana.statistics.intervals import proportion
from repana.statistics.permutation import against
from repana.summaries.resampling import permuted_orders

HALVES = 20
CONSTANT = 10  # times the rounding of a kernel: one whose centred norm is smaller counts as constant
QUANTITIES = ("trace", "share", *SPECTRAL, "alignment")
BOUNDS = {"trace": (0.0, math.inf), "share": (0.0, 1.0), "top_share": (0.0, 1.0), "alignment": (-1.0, 1.0)}
BOUNDS |= dict.fromkeys(("effective_rank", "participation", "condition"), (1.0, math.inf))


@shown
@dataclass(frozen=True)
class Kernel:
    """The kernel of one parameter, or of all; see `ntk`."""

    trace: Estimate
    share: Estimate
    top_share: Estimate
    effective_rank: Estimate
    participation: Estimate
    condition: Estimate
    alignment: Estimate


class Measure:
    """Reads kernels over the same n samples."""

    def __init__(self, n: int, labels: Tensor | None, settings: Mapping[str, Any]) -> None:
        self._n, self._level, self._least = n, settings["level"], singular(settings)
        self._orders = permuted_orders(n, settings["permutations"], settings["seed"] + 1)
        self._halves = halves_of(n, settings["seed"])
        self._y = None
        if labels is not None:  # those labelled -100 have a row of zeros, and are left out of what reads labels
            self._known = labels != IGNORED
            if len(labels[self._known].unique()) > 1:
                rows = one_hot(labels[self._known])
                self._y = rows.new_zeros(len(labels), rows.shape[1])
                self._y[self._known] = rows

    def __call__(self, kernel: Float[Tensor, "n n"], *, spectra: bool = True) -> Kernel:
        """All quantities of a kernel but its share of the sum, which `shared` fills in."""
        found = self.of_diagonal(kernel.diagonal(), "eigenvalues were not asked for (`spectra=False`)")
        if spectra:
            values = spectral(kernel, self._least)
            parts = [spectral(kernel[half][:, half], self._least) for half in self._halves]
            found = replace(found, **{q: self._estimate(q, values[q], [p[q] for p in parts]) for q in SPECTRAL})
        return replace(found, alignment=self._aligned(kernel))

    def of_diagonal(self, diagonal: Float[Tensor, " n"], reason: str) -> Kernel:
        """The trace alone; the reason why there is nothing else."""
        size = lambda part: float(diagonal[part].mean())  # noqa: E731
        trace = self._estimate("trace", size(slice(None)), [size(half) for half in self._halves])
        rest = Estimate(NAN, n=self._n, note=Flag.NOT_APPLICABLE.note(reason))
        return Kernel(trace=trace, share=rest, alignment=rest, **dict.fromkeys(SPECTRAL, rest))

    def shared(self, kernel: Kernel, own: Float[Tensor, " n"], whole: Float[Tensor, " n"]) -> Kernel:
        """With its share of the trace of the sum, of both diagonals."""
        total = float(whole.sum())
        value = float(own.sum()) / total if total > 0 else NAN
        parts = [float(own[half].sum() / whole[half].sum()) for half in self._halves]
        return replace(kernel, share=self._estimate("share", value, parts))

    def _aligned(self, kernel: Float[Tensor, "n n"]) -> Estimate:
        if self._y is None:
            return Estimate(NAN, n=self._n, note=Flag.NOT_APPLICABLE.note("no labels of two classes or more"))
        if not float(kernel.trace()) > 0:
            return with_halves(NAN, [], self._n, self._level)
        if not float(centred(kernel).norm()) > CONSTANT * self._least * float(kernel.norm()):
            note = Flag.CONSTANT.note("the kernel is the same at all pairs of samples, up to rounding")
            return Estimate(NAN, n=self._n, note=note)
        value = self._alignment(kernel, torch.arange(self._n))
        found = self._estimate("alignment", value, [self._alignment(kernel, half) for half in self._halves])
        if value != value:
            return found
        inside, y = kernel[self._known][:, self._known], self._y[self._known]
        places = self._known.long().cumsum(0) - 1
        permuted = permuted_alignments(inside, y, [places[o[self._known[o]]] for o in self._orders])
        beside = against(found, permuted, better="higher", level=self._level)
        return replace(beside, n=len(y), null=mean_alignment(inside, y))

    def _alignment(self, kernel: Tensor, part: Tensor) -> float:
        assert self._y is not None
        rows = part[self._known[part]]
        return alignment(kernel[rows][:, rows], self._y[rows])

    def _estimate(self, name: str, value: float, parts: Sequence[float]) -> Estimate:
        return bounded(with_halves(value, parts, self._n, self._level), *BOUNDS[name])


def halves_of(n: int, seed: int) -> list[Tensor]:
    """Random halves of the samples."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randperm(n, generator=generator)[: n // 2] for _ in range(HALVES)]


def of_halves(measured: Callable[[Any], float], n: int, settings: Mapping[str, Any]) -> Estimate:
    """A quantity of rows of the samples, of all with the interval of halves."""
    halves = halves_of(n, settings.get("seed", 0))
    return with_halves(measured(slice(None)), [measured(h) for h in halves], n, settings.get("level", 0.95))


def with_halves(value: float, parts: Sequence[float], n: int, level: float) -> Estimate:
    """The delete-half jackknife: the spread of halves is that of the whole."""
    from scipy import stats

    known = [p for p in parts if p == p and abs(p) != float("inf")]
    if value != value:
        return Estimate(NAN, n=n, note=Flag.UNDEFINED.note("the gradients are 0 at every sample"))
    if len(known) < len(parts) or n < 6 or abs(value) == float("inf"):
        return Estimate(value, n=n)
    spread = (sum((p - value) ** 2 for p in known) / len(known)) ** 0.5
    reach = float(stats.t.ppf(0.5 + level / 2, len(known))) * spread
    return Estimate(value, value - reach, value + reach, n)


def bounded(estimate: Estimate, low: float, high: float) -> Estimate:
    """With its interval inside what the quantity can be."""
    if estimate.low != estimate.low:
        return estimate
    return replace(estimate, low=max(estimate.low, low), high=min(estimate.high, high))


def accuracy(kernel: Tensor, labels: Tensor | None, level: float) -> Estimate:
    """Of leave-one-out kernel ridge regression."""
    if labels is not None:
        kept = labels != IGNORED
        kernel, labels = kernel[kept][:, kept], labels[kept]
    if labels is None or len(labels.unique()) < 2:
        return Estimate(NAN, n=len(kernel), note=Flag.NOT_APPLICABLE.note("no labels of two classes or more"))
    classes, at = torch.unique(labels, return_inverse=True)
    right = int((left_out(kernel, one_hot(labels)) == at).sum())
    commonest = float(torch.bincount(at).max()) / len(labels)
    return replace(proportion(right, len(labels), level=level), null=commonest)
