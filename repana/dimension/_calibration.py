"""What an estimator gives on balls of known dimension, and the dimension whose ball gives what was found.

With few samples every estimator from neighbours falls short, the more the higher the dimension. The mean of its
logarithm over samples drawn evenly from unit balls, against the logarithm of their dimension, is its curve; the shipped
curves are of `SIZES` samples, others are simulated. Between the dimensions and sizes of a curve it is interpolated.

In a ball of many dimensions most samples lie near its surface, where half of the neighbours are missing, and that is a
part of what a curve corrects. A set without a boundary has none of it: its curves are those of flat tori.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator

from repana._estimate import NAN, Estimate, Flag, noted
from repana.summaries.neighbour_graph import NeighbourGraph

TABLE = Path(__file__).parent / "_balls.npz"
DIMENSIONS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 32, 40, 50, 64, 80, 100, 130, 170, 230, 300, 500, 1000)
SIZES = (50, 70, 100, 140, 200, 300, 500, 700, 1000, 2000, 5000, 10_000, 20_000)
TWO_NN = "two_nn discard=0.0 method=ml"
SHORT = 1.2  # a ball this much higher gives the same: the estimate is a lower bound
SEED = 1_000_003  # of the balls, far from the seeds that people take


@dataclass(frozen=True)
class Curve:
    """Statistics of balls, one row a dimension: means over draws, and the errors of these means. `n`: their samples."""

    mean: np.ndarray
    error: np.ndarray
    n: int


def draws(n: int) -> int:
    """How many balls of n samples one point of a curve averages: as many as keep its error below a third of one's."""
    return max(4, min(60, 40_000 // n))


def ball(n: int, d: int, seed: int) -> torch.Tensor:
    """n samples drawn evenly from the unit ball in d dimensions."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    radius = torch.rand(n, 1, generator=generator, dtype=torch.float64) ** (1 / d)
    return (x * (radius / torch.linalg.vector_norm(x, dim=1, keepdim=True))).float()


def torus(n: int, d: int, seed: int) -> torch.Tensor:
    """n samples drawn evenly from the flat torus of d dimensions, the product of d unit circles in 2 d coordinates."""
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.rand(n, d, generator=generator, dtype=torch.float64)
    return torch.cat([angle.cos(), angle.sin()], 1).float()


def simulated(
    statistics: Callable[[NeighbourGraph], list[float]],
    k: int,
    n: int,
    draw: Callable[[int, int, int], torch.Tensor] = ball,
) -> Curve:
    """The curve at one size; `statistics` reads a graph with k neighbours of what `draw(n, d, seed)` gives."""
    found = []
    for d in DIMENSIONS:
        seeds = range(SEED, SEED + draws(n))
        found.append([statistics(NeighbourGraph.of(draw(n, d, s), k=min(k, n - 1))) for s in seeds])
    values = np.asarray(found)
    return Curve(values.mean(1), values.std(1, ddof=1) / math.sqrt(values.shape[1]), n)


def curve(
    name: str, statistics: Callable[[NeighbourGraph], list[float]], k: int, n: int, *, boundary: bool = True
) -> Curve:
    """The curve of a statistic for n samples: the shipped one between two sizes, or a simulated one. Of balls, or
    without a boundary of tori."""
    shipped = _shipped().get(name) if boundary else None
    if shipped is None:
        return _once(name, statistics, k, min(n, SIZES[-1]), ball if boundary else torus)
    return _interpolated(*shipped, n)


def _interpolated(mean: np.ndarray, error: np.ndarray, n: int) -> Curve:
    """Between the shipped sizes; below the smallest that one, whose `n` says so."""
    known = np.isfinite(mean).all((1, 2))
    sizes, mean, error = np.log(SIZES)[known], mean[known], error[known]
    if math.log(n) < sizes[0] - 1e-9:
        return Curve(mean[0], error[0], round(math.exp(sizes[0])))
    at = float(np.clip(math.log(n), sizes[0], sizes[-1]))
    j = int(np.clip(np.searchsorted(sizes, at), 1, len(sizes) - 1))
    w = (at - sizes[j - 1]) / (sizes[j] - sizes[j - 1])
    both = np.hypot((1 - w) * error[j - 1], w * error[j])
    return Curve((1 - w) * mean[j - 1] + w * mean[j], both, round(math.exp(at)))


_SIMULATED: dict[tuple[str, str, int], Curve] = {}


def _once(
    name: str,
    statistics: Callable[[NeighbourGraph], list[float]],
    k: int,
    n: int,
    draw: Callable[[int, int, int], torch.Tensor],
) -> Curve:
    key = (name, draw.__name__, n)
    if key not in _SIMULATED:
        _SIMULATED[key] = simulated(statistics, k, n, draw)
    return _SIMULATED[key]


@cache
def _shipped() -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
    if not TABLE.is_file():
        return {}
    with np.load(TABLE) as stored:
        return {key[:-5]: (stored[key], stored[f"{key[:-5]}.error"]) for key in stored if key.endswith(".mean")}


def curve_name(function: Callable[..., Estimate], options: Mapping[str, Any]) -> str:
    """The name of a curve: the estimator with what changes its value."""
    return function.__name__ + "".join(f" {name}={value}" for name, value in sorted(options.items()))


def with_calibrated(
    function: Callable[..., Estimate],
    graph: NeighbourGraph,
    *,
    boundary: bool,
    error: str | None = None,
    level: float,
    **options: Any,
) -> Estimate:
    """The estimate with the calibrated one beside it. The interval of that is the estimate's, widened by the error of
    the curve and carried through it."""
    raw = function(graph, level=level, **options, **({} if error is None else {"error": error}))

    def statistics(drawn: NeighbourGraph) -> list[float]:
        return [math.log(max(function(drawn, **options).value, 1e-3))]

    if not raw.value > 0:
        return replace(raw, calibrated=Estimate(NAN, n=raw.n, note=Flag.MISSING_INPUT.note("no estimate to calibrate")))
    k = NeighbourGraph.needed(options)
    found = curve(curve_name(function, options), statistics, k, raw.n, boundary=bool(boundary))
    return replace(raw, calibrated=_inverted(raw, found, level, "balls" if boundary else "flat tori"))


def _inverted(raw: Estimate, found: Curve, level: float, shapes: str) -> Estimate:
    """The dimension of the ball, or other shape, whose curve passes through the estimate."""
    log, at = found.mean[:, 0], np.log(DIMENSIONS)
    inverse = PchipInterpolator(log, at, extrapolate=False)
    if raw.n < found.n:
        return Estimate(NAN, n=raw.n, note=Flag.OUT_OF_RANGE.note(f"{raw.n} samples; curves begin at {found.n}"))
    far = "" if abs(math.log(raw.n / found.n)) < 0.01 else f"by {shapes} of {found.n} samples"

    def dimension(value: float) -> float:
        x = math.log(value)
        return math.exp(x - log[0]) if x < log[0] else math.exp(float(inverse(x))) if x <= log[-1] else math.inf

    if dimension(raw.value) == math.inf:
        return Estimate(
            NAN, n=raw.n, note=Flag.OUT_OF_RANGE.note(f"above what {shapes} of {DIMENSIONS[-1]} dimensions give")
        )
    z = NormalDist().inv_cdf(0.5 + level / 2)
    blur = z * float(np.interp(math.log(raw.value), log, found.error[:, 0]))
    low, high = (
        raw.value * math.exp(side * math.hypot(math.log(end / raw.value), blur)) if end > 0 else NAN
        for end, side in ((raw.low, -1), (raw.high, 1))
    )
    low, high = (NAN if math.isnan(end) else dimension(end) for end in (low, high))
    return Estimate(dimension(raw.value), low, high, raw.n, far)


def calibrated(estimate: Estimate, function: Callable[..., Estimate], level: float, **options: Any) -> Estimate:
    """The calibrated value of an estimate that is known, by the shipped curve of its function; NaN without one."""
    shipped = _shipped().get(curve_name(function, options))
    if shipped is None or not estimate.value > 0 or estimate.n < 1:
        return Estimate(NAN, n=estimate.n, note=Flag.MISSING_INPUT.note("no estimate to calibrate"))
    return _inverted(estimate, _interpolated(*shipped, estimate.n), level, "balls")


def with_lower_bound_note(
    estimate: Estimate, function: Callable[..., Estimate] | None = None, **options: Any
) -> Estimate:
    """With the warning that it falls short, where a ball of a higher dimension gives it from as many samples.

    By the estimator's own curve where that is shipped, else by that of TwoNN, which falls short the least.
    """
    if not estimate.value > 0 or estimate.n < SIZES[0]:
        return estimate
    own = "" if function is None else curve_name(function, options)
    found = _interpolated(*_shipped()[own if own in _shipped() else TWO_NN], estimate.n)
    log, at = found.mean[:, 0], np.log(DIMENSIONS)
    x = math.log(estimate.value)
    d = math.inf if x > log[-1] else math.exp(float(np.interp(x, log, at)))
    if d < SHORT * estimate.value:
        return estimate
    which = f"{d:.3g}" if d < math.inf else f"more than {DIMENSIONS[-1]}"
    low = f"a lower bound: a ball of {which} dimensions gives this from {estimate.n} samples"
    return replace(estimate, note=noted(estimate.note, low))
