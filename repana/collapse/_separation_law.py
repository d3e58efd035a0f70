"""The law of data separation: how the fuzziness of classes falls from layer to layer."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from repana import _check
from repana._estimate import NAN, Estimate, Flag, shown
from repana._results import Report
from repana.collapse import _refusals


@shown
@dataclass(frozen=True)
class SeparationLaw:
    """The fit of log separation fuzziness against depth; see `separation_law`."""

    rho: Estimate
    correlation: Estimate
    half_life: Estimate
    log_fuzziness: Float[Tensor, " layers"] = field(default_factory=lambda: torch.empty(0))
    layers: tuple[str, ...] = ()


def separation_law(
    fuzziness_by_layer: Report | Mapping[str, float] | Sequence[float], *, split: str | None = None, level: float = 0.95
) -> SeparationLaw:
    """The law of data separation: D_l = rho^l D_0, fitted as a straight line through log D_l against the layer number.

    D = tr(Sw Sb^+), both scatters over samples (`neural_collapse(...).fuzziness`), given for the layers in forward
    order, or as a `Report`, where the model's input and logits count like any other layer, and a layer whose D is not
    positive and finite is left out without moving the others. `rho` is
    exp(slope), below 1 when layers separate; `correlation` Pearson's r of log D and depth; `half_life` the layers that
    halve D. Intervals: Student's t of the slope, Fisher's z of r. For a residual net He & Su first reduce features to
    100 principal components; give such values to follow them.

    Raises InputError for fewer than 3 layers or a D that is not positive and finite.

    Source: He & Su 2023, doi:10.1073/pnas.2221704120, eq. 1.

    >>> from repana import separation_law
    >>> round(float(separation_law([8.0, 4.0, 2.0, 1.0]).rho), 6)
    0.5
    """
    place: Sequence[int] | None = None
    if isinstance(fuzziness_by_layer, Report):
        rows = [
            r for r in fuzziness_by_layer.select("fuzziness", split=split) if math.isfinite(r.value) and r.value > 0
        ]
        named: Mapping[str, float] = {r.layer: r.value for r in rows}
        place = [r.depth for r in rows]
    elif isinstance(fuzziness_by_layer, Mapping):
        named = {str(name): float(value) for name, value in fuzziness_by_layer.items()}
    else:
        named = {str(i): float(value) for i, value in enumerate(fuzziness_by_layer)}
    return law_at(named, range(len(named)) if place is None else place, level)


def law_at(fuzziness: Mapping[str, float], depths: Sequence[int], level: float) -> SeparationLaw:
    """The law through the fuzziness of named layers at their depths."""
    values = np.array(list(fuzziness.values()), float)
    if len(values) < 3:
        raise _check.too_few_layers("separation_law", len(values), 3)
    bad = [name for name, value in fuzziness.items() if not (math.isfinite(value) and value > 0)]
    if bad:
        raise _refusals.not_positive("separation fuzziness", bad)
    n, log = len(values), np.log(values)
    fit: Any = stats.linregress(np.array(depths), log)
    t = float(stats.t.ppf(0.5 + level / 2, n - 2))
    slope, error = float(fit.slope), float(fit.stderr)
    low, high = slope - t * error, slope + t * error
    r = float(np.clip(fit.rvalue, -1, 1)) if log.std() > 0 else NAN
    r_low, r_high = NAN, NAN
    if n > 3 and abs(r) < 1:
        half = stats.norm.ppf(0.5 + level / 2) / math.sqrt(n - 3)
        r_low, r_high = math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)
    halving = -math.log(2) / slope if slope else math.inf
    bounds = (-math.log(2) / low, -math.log(2) / high) if low * high > 0 else (NAN, NAN)
    note = "" if slope < 0 else Flag.UNDEFINED.note("fuzziness does not fall with depth")
    return SeparationLaw(
        rho=Estimate(math.exp(slope), math.exp(low), math.exp(high), n, note),
        correlation=Estimate(r, r_low, r_high, n, "" if n > 3 else Flag.NO_INTERVAL.note("no interval from 3 layers")),
        half_life=Estimate(halving, *bounds, n=n, note=note),
        log_fuzziness=torch.from_numpy(log),
        layers=tuple(fuzziness),
    )
