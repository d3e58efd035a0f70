"""The quantities of class means, class scatter and the classifier as estimates: value, interval, null and p."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats
from torch import Tensor

from repana._estimate import Estimate, explained
from repana.collapse import _formulas as formulas
from repana.collapse._floor import FLOOR
from repana.collapse._inputs import Inputs
from repana.collapse._measures import UNBIASED, Setting, measure, measured
from repana.collapse._notes import REASON, REASONS, notes_of
from repana.collapse._resampled import permuted_of, replicates_of
from repana.statistics.intervals import from_replicates
from repana.statistics.permutation import against
from repana.summaries.moments import Moments
from repana.summaries.resampling import Sample

VARIABILITY = ("nc1", "quotient", "fuzziness", "cdnv", "cdnv_median", "cdnv_max")
HIGHER = ("one_vs_rest", "duality_cosine")  # of which more is better
BOUNDS = {
    "etf_error": (0.0, 2.0),
    "of_error": (0.0, 2.0),
    "gof_error": (0.0, 2.0),
    "classifier_etf_error": (0.0, 2.0),
    "duality_zhu": (0.0, 2.0),
    "duality_cosine": (-1.0, 1.0),
    "uniformity": (-math.inf, math.inf),
    "duality_variation": (-math.inf, math.inf),
}


@dataclass(frozen=True)
class Estimates:
    """`found` by quantity; `replicates` are bootstrap values, `permuted` those of shuffled labels."""

    found: Mapping[str, Estimate]
    geometry: formulas.Geometry
    trace: Tensor
    replicates: Mapping[str, list[float]]
    permuted: Mapping[str, list[float]]


def estimates_of(
    given: Inputs,
    setting: Setting,
    centres: Tensor | None,
    *,
    bootstrap: int,
    permutations: int,
    level: float,
    seed: int,
) -> Estimates:
    """Values of all samples that the moments are of, with intervals and nulls of the rows that are there."""
    x, moments = given.x, given.moments
    subset = moments.n != len(x)
    sample = Sample.of(moments, x, given.slot, centres)
    trace = sample.trace[None]
    geometry = formulas.geometry_of(sample.mean[None], trace, sample.count)
    values = {name: float(value) for name, value in measured([sample], geometry, trace, setting).items()}
    rank = int(values.pop("rank", -1))
    unbiased = {name.removeprefix(UNBIASED): values.pop(name) for name in list(values) if name.startswith(UNBIASED)}
    own = Moments.of(x, given.codes).to(x.device) if subset else moments
    boots = replicates_of(given, own, setting, centres, bootstrap, seed)
    nulls = permuted_of(given, own, setting, centres, permutations, seed)
    kept = values
    if subset:  # the permuted values are of these rows, and so is what they are compared with
        kept = {name: float(v) for name, v in measure([Sample.of(own, x, given.slot, centres)], setting).items()}
    notes = notes_of(moments, values, setting, rank, given.empty)
    replicates = {name: boots.get(name, []) for name in values}
    corrected = {} if subset or centres is not None else {k: boots.get(UNBIASED + k, []) for k in unbiased}
    if subset:
        replicates = {name: _centred(found, values[name]) for name, found in replicates.items()}
    widen, shrinks = _small_classes(moments, level), _shrinks(moments, len(x))
    found: dict[str, Estimate] = {}
    for name, value in values.items():
        e = from_replicates(
            value, corrected.get(name, replicates[name]), n=moments.n, level=level,
            bounds=BOUNDS.get(name, (0.0, math.inf)), note=notes.get(name, ""),
            unbiased=unbiased[name] if name in corrected else None, widen=widen,
        )  # fmt: skip
        e = _with_null(e, nulls.get(name, []), name, level, kept[name], shrinks if name in VARIABILITY else 1.0)
        e = _with_floor(e, boots.get(FLOOR + name, []), level)
        found[name] = explained(e, REASONS.get(name, REASON))
    return Estimates(found, geometry, trace, replicates if boots else {}, nulls)


def _with_null(e: Estimate, permuted: list[float], name: str, level: float, value: float, scale: float) -> Estimate:
    """With its null and p; the null in the scale of the estimate's number of samples."""
    e = against(e, permuted, better="higher" if name in HIGHER else "lower", level=level, value=value)
    if scale == 1.0:
        return e
    return replace(e, null=e.null * scale, null_low=e.null_low * scale, null_high=e.null_high * scale)


def _with_floor(e: Estimate, of_exact_frames: list[float], level: float) -> Estimate:
    """With the middle of what an exact simplex frame gives, and the upper end of the range that holds it."""
    if not of_exact_frames or not math.isfinite(e.value):
        return e
    middle, high = np.quantile(of_exact_frames, [0.5, level])
    return replace(e, floor=float(middle), floor_high=float(high))


def _small_classes(moments: Moments, level: float) -> float:
    """What an interval of a bootstrap inside classes lacks: sqrt(n_k/(n_k - 1)), and Student's t in place of z."""
    count = moments.count.clamp_min(2).double()
    few = float((count / (count - 1)).mean())
    q = 0.5 + level / 2
    return math.sqrt(few) * float(stats.t.ppf(q, 1 / (few - 1)) / stats.norm.ppf(q))


def _shrinks(moments: Moments, kept: int) -> float:
    """The factor from a null of the kept rows to one of all rows: with shuffled labels, Sb falls as 1/(n - c)."""
    c = len(moments.classes)
    return (moments.n - c) / max(kept - c, 1)


def _centred(replicates: list[float], value: float) -> list[float]:
    """Replicates of a subset, moved onto the value that all samples give: their spread is kept, their bias is not."""
    finite = [r for r in replicates if math.isfinite(r)]
    if not finite or not math.isfinite(value) or value <= 0 or min(finite) <= 0:
        return replicates
    middle = math.fsum(map(math.log, finite)) / len(finite)
    return [value * math.exp(math.log(r) - middle) for r in finite]
