"""Features over training: when they become decodable, and whether the important ones grow simple."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jaxtyping import Float
from torch import Tensor, tensor

from repana import _check
from repana._estimate import Estimate, shown
from repana._typing import TargetArray
from repana.features import _refusals
from repana.features._complexity import Complexity, complexity
from repana.features._complexity_importance import ComplexityImportance, complexity_vs_importance
from repana.statistics.intervals import columns


@shown
@dataclass(frozen=True)
class Sedimentation:
    """Complexity and importance by checkpoint; see `sedimentation`."""

    trend: Estimate
    steps: Float[Tensor, " s"]
    mean: Float[Tensor, "s three"]
    top: Float[Tensor, "s three"]
    rho: Float[Tensor, "s three"]
    planes: Mapping[Any, ComplexityImportance] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


def time_to_decode(
    checkpoints: Any, targets: TargetArray, *, names: Sequence[str] | None = None, **options: Any
) -> Complexity:
    """When in training each final feature becomes linearly decodable: `complexity` with checkpoints in place of layers.

    `checkpoints` maps steps, in order, to (n, d) features of one layer; `targets` (n, t) are features of the last. The
    result's `complexity` is 1 - mean over checkpoints of R^2: 0 for what can be decoded from the first on, near 1 for
    what comes late; its `onset` is the first checkpoint with R^2 >= `threshold`. (The published caption says low is
    early, from which this sign follows.) The mean is over the checkpoints that were given: space them evenly.

    Options and errors as in `complexity`.

    Source: Fel et al. 2024, arXiv:2407.06076.
    """
    _check.layers_of(checkpoints, "time_to_decode", 2)
    found = complexity({str(step): x for step, x in checkpoints.items()}, targets, names=names, **options)
    return replace(found, settings={**found.settings, "over": "checkpoints"})


def sedimentation(
    complexities: Mapping[Any, Any], importances: Mapping[Any, Any], *, top: float = 0.1, **options: Any
) -> Sedimentation:
    """Complexity over training: of all features, of the most important ones, and how the two go together.

    Both map steps to what `complexity` and `importance` gave at a checkpoint, whose features are those of that
    checkpoint (a dictionary made again at each). Columns of the results are value, low, high:

    - `mean` (s, 3): mean complexity of all features; `top` (s, 3): mean complexity of the `top` share by importance,
      less the mean; `rho` (s, 3): rank correlation of complexity and importance. Intervals of `mean` are over folds,
      the others over features.
    - `trend`: `top` at the last step less at the first; negative where important features sink below the others
      ("sedimentation"). Its interval takes the two steps as independent.
    - `planes`: the whole result at each step.

    Options are those of `complexity_vs_importance`. Raises InputError for steps that only one of the two has.

    Source: Fel et al. 2024, arXiv:2407.06076.
    """
    _check.layers_of(complexities, "sedimentation", 2)
    steps = sorted(complexities, key=_refusals.step_of)
    odd = sorted(set(complexities) ^ set(importances), key=str)
    if odd:
        raise _refusals.steps_differ(odd)
    planes = {s: complexity_vs_importance(complexities[s], importances[s], top=top, **options) for s in steps}
    first, last = planes[steps[0]].top_complexity, planes[steps[-1]].top_complexity
    change = last.value - first.value
    down = ((last.value - last.low) ** 2 + (first.high - first.value) ** 2) ** 0.5
    up = ((last.high - last.value) ** 2 + (first.value - first.low) ** 2) ** 0.5
    means = [complexities[s].mean_complexity for s in steps]
    return Sedimentation(
        trend=Estimate(change, change - down, change + up, len(steps)),
        steps=tensor([_refusals.step_of(s) for s in steps]),
        mean=columns(means),
        top=columns([planes[s].top_complexity for s in steps]),
        rho=columns([planes[s].rank_correlation for s in steps]),
        planes=planes,
        settings=planes[steps[0]].settings,
    )
