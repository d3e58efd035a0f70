"""Loss and accuracy along the straight line between two networks, with and without their units matched."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from repana import _check
from repana._ambient import settled
from repana._estimate import NAN, Estimate, Flag, shown
from repana._typing import IGNORED
from repana.comparison import _refusals
from repana.errors import ModelError
from repana.extraction._interpolated import (
    has_statistics,
    logits_and_labels,
    matched_units,
    on_the_line,
    readable_layer,
    same_architecture,
)
from repana.extraction._reinitialised import iter_once
from repana.statistics.intervals import columns, mean_of, proportion

POINTS = 11
ROUNDING = 1e-12  # a barrier below is none
UNMATCHED = "no units could be matched: no channels of this network can be followed"


@shown
@dataclass(frozen=True)
class Barrier:
    """Loss and accuracy between two networks; see `barrier`, and `repana.plots.barrier_curve`. Curves have columns
    value, low, high."""

    NULL: ClassVar[str] = "no barrier"
    SIMILAR: ClassVar[str] = "lower is more similar"

    barrier: Estimate
    accuracy_barrier: Estimate
    matched_barrier: Estimate
    matched_accuracy_barrier: Estimate
    points: Float[Tensor, " t"]
    loss: Float[Tensor, "t three"]
    accuracy: Float[Tensor, "t three"]
    matched_loss: Float[Tensor, "t three"] | None
    matched_accuracy: Float[Tensor, "t three"] | None
    orders: Mapping[str, Tensor] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@settled()
def barrier(
    a: nn.Module,
    b: nn.Module,
    data: Any,
    *,
    points: int = POINTS,
    matched: bool = True,
    repair: bool = True,
    device: torch.device | str | None = None,
    forward: Any = None,
    labels: Any = None,
    batch_size: int = 64,
    level: float = 0.95,
    seed: int = 0,
) -> Barrier:
    """The barrier between two networks of one architecture: how much worse the networks on the straight line between
    their weights are than the line between their losses; lower is more similar, and about 0 says that they share a
    basin.

    At `points` evenly spaced t in [0, 1], the cross-entropy of labels and the accuracy of the network with weights
    (1 - t) a + t b. `barrier` = max over t of loss(t) - (1 - t) loss(0) - t loss(1), in nats; `accuracy_barrier` the
    same shortfall of the accuracy. Both with the interval of the mean over samples, paired, at the t of the maximum,
    which is taken as given.

    - `matched`: the same after the units of b were put in the order that their weights give (`orders`, by the layers
      that make them): units have no order of their own, and a barrier that matching removes is of names alone. Nothing
      is trained. Channels are those that can be followed (see `feature_merging`); the rest stays as it is, and where
      none can be (or torch.fx cannot trace the network), the matched values are NaN and the note says why.
    - `repair`: running statistics of batch normalisation are estimated again on `data` at every point, the ends among
      them.

    All copies; both networks are left as they were. `data` must be walked many times, with labels.

    Raises ModelError for networks of other parameters; InputError for
    data without labels or that come once.

    Sources: Frankle et al. 2020, arXiv:1912.05671 (linear mode connectivity); Entezari et al. 2022, arXiv:2110.06296;
    Ainsworth, Hayase & Srinivasa 2023, arXiv:2209.04836 (weight matching); Jordan et al. 2023, arXiv:2211.08403
    (repair).

    >>> import torch
    >>> from repana.comparison import barrier
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    >>> round(float(barrier(net, net, (x, torch.arange(30) % 3)).barrier), 5)
    0.0
    """
    _check.level_of(level)
    count = _check.at_least(points, "points", 3)
    same_architecture(a, b)
    if iter_once(data):
        raise _check.walked_once(type(data).__name__, "every point of the line needs")
    at = torch.linspace(0, 1, count, dtype=torch.float64)
    reading: dict[str, Any] = {"forward": forward, "labels": labels, "device": device, "batch_size": batch_size}
    layers = readable_layer(a, data, **reading)  # the same at every point of the line
    made = {"repair": repair, "forward": forward, "batch_size": batch_size}
    plain = _along(a, b, at, data, layers, made, reading, level)
    orders: dict[str, Tensor] = {}
    nothing = Estimate(NAN, note=Flag.NOT_APPLICABLE.note("units were not matched"))
    other = (nothing, nothing, None, None)
    if matched:
        moved, reason = b, UNMATCHED
        try:
            moved, orders = matched_units(a, b, data, forward=forward, batch_size=batch_size, seed=seed)
        except ModelError as error:  # the network cannot be traced; the plain barrier stands
            reason = f"units could not be matched: {error}"
        if orders:
            other = _along(a, moved, at, data, layers, made, reading, level)
        else:
            nothing = Estimate(NAN, note=Flag.UNDEFINED.note(reason))
            other = (nothing, nothing, None, None)
    return Barrier(
        plain[0], plain[1], other[0], other[1], at, plain[2], plain[3], other[2], other[3], orders,
        {
            "points": count, "matched": matched, "repair": repair and has_statistics(a), "level": level, "seed": seed,
        },
    )  # fmt: skip


def _along(
    a: nn.Module,
    b: nn.Module,
    at: Tensor,
    data: Any,
    layers: list[str] | str,
    made: Mapping[str, Any],
    reading: Mapping[str, Any],
    level: float,
) -> tuple[Estimate, Estimate, Tensor, Tensor]:
    """Both barriers and both curves."""
    losses, hits = [], []
    for net in on_the_line(a, b, at.tolist(), data, **made):
        z, y = logits_and_labels(net, data, layers, **reading)
        if y is None or y.ndim != 1 or y.is_floating_point():
            found = "no labels" if y is None else f"labels of type {str(y.dtype)[6:]} and shape {tuple(y.shape)}"
            raise _refusals.unlabelled_data("the barrier", found)
        known = y != IGNORED
        if not bool(known.any()):
            raise _refusals.unlabelled_data("the barrier", f"no label but {IGNORED}")
        _check.class_columns(y[known], z.shape[1], "logits")
        losses.append(nn.functional.cross_entropy(z[known], y[known].long(), reduction="none"))
        hits.append((z[known].argmax(1) == y[known]).double())
    curve = torch.tensor([[float(v) for v in mean_of(x, level)] for x in losses], dtype=torch.float64)
    rates = columns([proportion(int(h.sum()), len(h), level=level) for h in hits])
    return _above(losses, at, level), _above([-h for h in hits], at, level), curve, rates


def _above(values: list[Tensor], at: Tensor, level: float) -> Estimate:
    """The largest mean above the line between the ends."""
    gaps = [v - (1 - t) * values[0] - t * values[-1] for v, t in zip(values, at.tolist())]
    best = max(range(len(gaps)), key=lambda k: float(gaps[k].mean()))
    mean, low, high = (float(v) for v in mean_of(gaps[best], level))
    if best in (0, len(gaps) - 1) or not math.isfinite(mean) or abs(mean) < ROUNDING:
        mean = max(mean, 0.0) if abs(mean) >= ROUNDING else 0.0
        return Estimate(mean, 0.0, 0.0, len(gaps[0]), null=0.0)
    return Estimate(mean, low, high, len(gaps[best]), f"at t = {float(at[best]):.3g}", null=0.0)
