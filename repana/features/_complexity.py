"""How complex each feature is: from which layer on, and how well, a linear map of the layer gives its value."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._estimate import NAN, Estimate, Flag, noted, shown
from repana._renamed import renamed
from repana._typing import INPUT, LabelArray, TargetArray
from repana.features import _refusals
from repana.features._readouts import WIDEST, FeatureReads, from_rows, from_sums
from repana.statistics.intervals import mean_of, proportion, replicates_with
from repana.summaries.folds import FoldMoments
from repana.summaries.held_out import GRID

FORMS = ("held_out", "in_sample")
READABLE = "readable "  # before the name of a layer
ROWS_A_UNIT = 5
NEARLY = 0.999  # R^2, from which a weaker strength would add nothing


@shown
@dataclass(frozen=True)
class Complexity:
    """When each feature becomes decodable, and how complex that makes it; see `complexity`."""

    mean_complexity: Estimate
    mean_hidden: Estimate
    mean_onset: Estimate
    never: Estimate
    noise_floor: Estimate
    curve: Float[Tensor, "l t"]
    low: Float[Tensor, "l t"]
    high: Float[Tensor, "l t"]
    complexity: Float[Tensor, " t"]
    complexity_low: Float[Tensor, " t"]
    complexity_high: Float[Tensor, " t"]
    hidden: Float[Tensor, " t"]
    onset: Int[Tensor, " t"]
    reading: Float[Tensor, "l three"]
    strength: Float[Tensor, "l t"]
    noise: Float[Tensor, "l q"]
    layers: tuple[str, ...]
    features: tuple[str, ...]
    constant: tuple[str, ...]
    twins: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    jackknife: Mapping[str, Float[Tensor, " f"]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def nats(self) -> Float[Tensor, "l t"]:
        """Information of a Gaussian of free variance, -ln(1 - R^2)/2, where R^2 of 1 - 1e-15 is the most there is."""
        return -0.5 * torch.log1p(-self.curve.clamp_max(1 - 1e-15))

    def onset_of(self, feature: int) -> str:
        """The layer from which on a feature is decodable, or "never"."""
        at = int(self.onset[feature])
        return self.layers[at] if at >= 0 else "never"


@dataclass(frozen=True)
class LayerReading:
    """What one layer gives of all features; see `layer_readings`."""

    readable: Estimate
    decoded: Estimate


@dataclass(frozen=True)
class LayerReadings:
    """What every layer gives of all features, by name; see `layer_readings`."""

    layers: Mapping[str, LayerReading]


def layer_readings(found: Complexity) -> LayerReadings:
    """By layer: how well the features of a `complexity` can be read from it.

    `layers` holds for each `readable`: mean over features of max(0, R^2), with the interval over folds. `decoded`:
    share of features whose R^2 is at least the threshold, with a binomial interval over features. Features that never
    vary are left out.

    Raises nothing that `complexity` did not.

    Source: Fel et al. 2024, arXiv:2407.06076.

    >>> import torch
    >>> from repana import complexity, layer_readings
    >>> x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    >>> float(layer_readings(complexity({"a": x}, x)).layers["a"].decoded)
    1.0
    """
    threshold, level = found.settings["threshold"], found.settings["level"]
    alive = torch.isfinite(found.curve).all(0)
    given = (found.curve[:, alive] >= threshold).sum(1).tolist()
    return LayerReadings(
        {
            layer: LayerReading(
                Estimate(*found.reading[k].tolist(), n=found.settings["rows"]),
                proportion(given[k], int(alive.sum()), level=level),
            )
            for k, layer in enumerate(found.layers)
        }
    )


@renamed(strengths="alphas", widest="max_features")
def complexity(
    layers: Any,
    targets: TargetArray | None = None,
    *,
    names: Sequence[str] | None = None,
    threshold: float = 0.8,
    form: str = "held_out",
    standardise: bool = True,
    folds: int = 5,
    groups: LabelArray | None = None,
    alphas: Sequence[float] = GRID,
    max_features: int = WIDEST,
    level: float = 0.95,
    seed: int = 0,
) -> Complexity:
    """Predictive V-information from every layer to each feature, and K = 1 - its mean over layers.

    `layers` maps names to (n, d) features of the same rows in order of depth (an `Activations` is such a mapping), or
    to the fold moments that `fold_moments` summed while the data passed. `targets` (n, t) has a feature a column; by
    default the units of the layer that the classifier reads, or of the last. `names` are theirs.

    With the family of linear maps with Gaussian error of fixed variance 1/2, I_V(x -> z) = Var(z) R^2, so that for
    features of unit variance I_V = R^2 and

        K(z) = 1 - mean_l R^2_l(z),

    0 for what every layer gives linearly, 1 for what none does. It depends on which layers are listed; read the `curve`
    first.

    - `curve` (l, t): max(0, R^2) on rows held out in `folds` folds, R^2 = 1 - sum |z - fit|^2/sum |z - mean|^2 where
      fit and mean are of the other folds. Ridge, whose strength is by feature the one of least held-out error among
      `alphas`, in units of tr(X'X)/d; that choice adds less than .002 to the R^2 of a feature of nothing (512 units,
      500 rows and more). `low`, `high`: by Student's t over folds of the ratio's linear part.
    - `complexity` (t,) with `complexity_low` and `complexity_high`; `hidden` (t,) is that of all layers but "input".
    - `onset` (t,): the first layer with R^2 >= `threshold`, its place in `layers`; -1 where there is none.
    - `strength` (l, t): what was chosen; `reading` (l, 3): the mean of `curve` over features, with its interval.
    - `noise` (l, 32): the same R^2 of features of nothing, drawn by the seed; `noise_floor` their mean, its interval
      the central `level` of them. Fold moments carry none: nan.
    - `mean_complexity`, `mean_hidden`: over features; `mean_onset` in layers, of those that have one; `never`, the
      share of features that have none. Their intervals are over folds; that of `never` is binomial, that of
      `mean_onset` the standard error over features.
    - `jackknife`: the means without each fold, to first order, for `compare`; "readable NAME" is that of `reading`.
    - `constant`: features that never vary; their values are NaN, not 1. `twins`: groups of features that are the same
      up to sign and scale, which count several times in every mean.

    `standardise=False` keeps Var(z) R^2, whose K has no lower end. `form="in_sample"` is least squares without penalty
    or held-out rows, as published (as far as is known): a feature of nothing has R^2 = d/(n - 1) there, which grows
    with width. A layer of more than `max_features` units, in more rows than that, is read through `max_features` random
    projections (Gaussian, by the seed), which tell no more than all units do. `groups` (n,): rows of one group stay in
    one fold (patches of an image, tokens of a sentence).

    R^2 in [0, 1]. Raises InputError for layers or targets of other lengths, NaN or infinite values, fewer rows
    than two a fold, strengths that are not positive, or targets none of which varies.

    Sources: Fel et al. 2024, arXiv:2407.06076 (K); Xu et al. 2020, arXiv:2002.10689 (V-information).

    >>> import torch
    >>> from repana import complexity
    >>> x = 2.0 * torch.randint(2, (400, 2), generator=torch.Generator().manual_seed(0)) - 1
    >>> both = torch.cat([x, x[:, :1] * x[:, 1:]], 1)
    >>> [round(float(k), 2) + 0.0 for k in complexity({"input": x, "hidden": both}, both).complexity]
    [0.0, 0.0, 0.5]
    """
    _check.level_of(level)
    _check.choice(form, "form", FORMS)
    _check.in_range(threshold, "threshold", 0.0, 1.0)
    _refusals.alphas_of(alphas)
    found = _check.layers_of(layers, "complexity")
    streamed = [isinstance(layers[name], FoldMoments) for name in found]
    if any(streamed):
        if not all(streamed):
            raise _refusals.rows_and_moments(found[streamed.index(False)])
        given = from_sums(layers, targets, form, alphas)
    else:
        given = from_rows(layers, targets, form, alphas, folds, groups, max_features, seed)
    t = given.explained.shape[1] - given.noise
    names = _refusals.feature_names(names, t, given.named)
    raw, noise = given.explained[:, :t], given.explained[:, t:].clamp_min(0)
    variance = given.variance[:t]
    constant = ~torch.isfinite(raw).all(0)
    if bool(constant.all()):
        raise _check.constant_targets(list(range(t)))
    unit = torch.ones_like(variance) if standardise else variance
    curve = (raw if form == "in_sample" else raw.clamp_min(0)) * unit
    influence = given.influence[:, :, :t] * unit
    wide = _quantile(influence.shape[0], level) * _error(influence)
    hidden = [k for k, name in enumerate(found) if name != INPUT] or list(range(len(found)))
    k, h = 1 - curve.mean(0), 1 - curve[hidden].mean(0)
    k_wide = _quantile(influence.shape[0], level) * _error(influence.mean(1))
    readable = curve >= threshold * unit
    onset = torch.where(readable.any(0), readable.int().argmax(0), -1)
    onset = torch.where(constant, -1, onset)
    alive = ~constant
    n, count = given.n, int(alive.sum())
    late = onset[alive & (onset >= 0)].double()
    dead = tuple(names[j] for j in constant.nonzero()[:, 0].tolist())
    twins = tuple(tuple(names[j] for j in group) for group in given.twins if not bool(constant[list(group)].any()))
    notes = _notes(found, given, raw, form, max_features, dead, twins)
    most = unit if standardise else torch.full_like(unit, torch.inf)
    return Complexity(
        mean_complexity=replace(_mean(k[alive], influence.mean(1)[:, alive], n, level), note=noted(*notes)),
        mean_hidden=_mean(h[alive], influence[:, hidden].mean(1)[:, alive], n, level),
        mean_onset=_of_features(late, level),
        never=proportion(int((onset[alive] < 0).sum()), count, level=level),
        noise_floor=_floor(noise, level),
        curve=curve,
        low=(curve - wide).clamp_min(0) if form == "held_out" else curve - wide,
        high=torch.minimum(curve + wide, most),
        complexity=k,
        complexity_low=torch.maximum(k - k_wide, torch.zeros_like(k)) if standardise else k - k_wide,
        complexity_high=(k + k_wide).clamp_max(1),
        hidden=h,
        onset=onset,
        reading=torch.stack([_row(curve[k][alive], influence[:, k][:, alive], level) for k in range(len(found))]),
        strength=given.strength[:, :t],
        noise=noise,
        layers=tuple(found),
        features=names,
        constant=dead,
        twins=twins,
        notes=notes,
        jackknife={
            "mean_complexity": _without_folds(float(k[alive].mean()), -influence.mean(1)[:, alive]),
            "mean_hidden": _without_folds(float(h[alive].mean()), -influence[:, hidden].mean(1)[:, alive]),
            **{
                f"{READABLE}{name}": _without_folds(float(curve[k][alive].mean()), influence[:, k][:, alive])
                for k, name in enumerate(found)
            },
        },
        settings={
            "form": form,
            "threshold": threshold,
            "standardise": standardise,
            "folds": influence.shape[0],
            "alphas": [float(s) for s in alphas],
            "rows": n,
            "units": raw.shape[1],
            "widths": dict(zip(found, given.widths)),
            "level": level,
            "seed": seed,
        },
    )


def _notes(
    layers: Sequence[str],
    given: FeatureReads,
    raw: Float[Tensor, "l t"],
    form: str,
    max_features: int,
    dead: tuple[str, ...],
    twins: tuple[tuple[str, ...], ...],
) -> tuple[str, ...]:
    """What to beware of."""
    t, n = raw.shape[1], given.n
    notes: list[str] = [
        Flag.APPROXIMATED.note(f"{name}: read through {max_features} random projections") for name in given.projected
    ]
    stuck = (given.falling[:, :t] & (raw < NEARLY)).sum(1).tolist()
    notes += [
        Flag.AT_BOUND.note(f"{name}: no strength was weak enough for {k} features, bring its units to one scale")
        for name, k in zip(layers, stuck)
        if k
    ]
    notes += [
        Flag.FEW_SAMPLES.note(f"{name}: {n} rows for {d} features, fewer than {ROWS_A_UNIT} a feature")
        for name, d in zip(layers, given.widths)
        if n < ROWS_A_UNIT * d
    ]
    if form == "in_sample":
        notes.append(Flag.NO_INTERVAL.note("no intervals in sample"))
    if dead:
        notes.append(Flag.CONSTANT.note(f"{len(dead)} of {t} features never vary: {_check.listed(dead)}"))
    if twins:
        more = sum(len(group) - 1 for group in twins)
        copies = _check.listed(" = ".join(g) for g in twins)
        notes.append(Flag.REPEATED.note(f"{more} of {t} features repeat another: {copies}"))
    return tuple(notes)


# --- intervals --------------------------------------------------------------------------------------------------------


def _quantile(folds: int, level: float) -> float:
    from scipy.stats import t

    return float(t.ppf(0.5 + level / 2, folds - 1))


def _error(influence: Tensor) -> Tensor:
    """Standard error of what the influences of the folds sum up to. The folds share training samples, which their
    scatter does not show: the variance is corrected by 1 + n_test f/n_train (Nadeau & Bengio 2003).
    """
    f = len(influence)
    return ((1 + f / (f - 1)) * f / (f - 1) * influence.square().sum(0)).sqrt()


def _mean(values: Float[Tensor, " t"], influence: Float[Tensor, "f t"], n: int, level: float) -> Estimate:
    value, wide = float(values.mean()), _quantile(len(influence), level) * float(_error(influence.mean(1)))
    low = value - wide if value < 0 else max(value - wide, 0.0)
    return Estimate(value, low, min(value + wide, 1.0) if wide == wide else NAN, n)


def _without_folds(value: float, influence: Float[Tensor, "f t"]) -> Float[Tensor, " g"]:
    """A mean over features without each fold, to first order, for differences of two runs."""
    parts = influence.mean(1)
    error = float(_error(parts))
    return replicates_with(value, parts, error, log=False) if math.isfinite(error) else torch.empty(0).double()


def _row(values: Float[Tensor, " t"], influence: Float[Tensor, "f t"], level: float) -> Float[Tensor, " three"]:
    """Mean over features, and its interval."""
    value, wide = values.mean(), _quantile(len(influence), level) * _error(influence.mean(1))
    return torch.stack([value, (value - wide).clamp_min(0), torch.minimum(value + wide, value.clamp_min(1))])


def _of_features(values: Float[Tensor, " t"], level: float) -> Estimate:
    t = len(values)
    if t < 2:
        return Estimate(
            float(values.mean()) if t else NAN,
            n=t,
            note="" if t else Flag.UNDEFINED.note("no feature is ever decodable"),
        )
    mean, low, high = (float(v) for v in mean_of(values, level))
    return Estimate(mean, max(low, 0.0), high, t)


def _floor(noise: Float[Tensor, "l q"], level: float) -> Estimate:
    if not noise.shape[1]:
        return Estimate(NAN, note=Flag.MISSING_INPUT.note("fold moments carry no noise"))
    mean = noise.mean(0)
    low, high = torch.quantile(mean, torch.tensor([0.5 - level / 2, 0.5 + level / 2], dtype=mean.dtype)).tolist()
    return Estimate(float(mean.mean()), low, high, noise.shape[1])
