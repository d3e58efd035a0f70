"""Neural collapse: how far class features have shrunk to their means, and the means and classifier to a frame."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from repana import _check
from repana._activations import Classifier
from repana._estimate import NAN, Estimate, Flag, explained, shown
from repana._measure import Logits, Reference
from repana._renamed import renamed
from repana._typing import Array, Features, Labels
from repana.collapse import _formulas as formulas
from repana.collapse._inputs import Inputs, centres_of, per_class, prepare
from repana.collapse._measures import UNBIASED, Setting, measure, measured
from repana.collapse._nearest_mean import equal_means, nearest_mean, permuted_accuracies
from repana.statistics.intervals import from_jackknife, from_replicates, proportion
from repana.statistics.permutation import against
from repana.summaries.discriminant import WIDEST, Discriminant
from repana.summaries.moments import Moments
from repana.summaries.resampling import (
    BLOCK_BYTES,
    FEWEST,
    Sample,
    affordable,
    affordable_permutations,
    bootstrapped,
    permuted,
    permuted_orders,
    working,
)

T = TypeVar("T")
VARIABILITY = ("nc1", "quotient", "fuzziness", "cdnv", "cdnv_median", "cdnv_max")
REASON = "the class means leave it undefined"
SAME_MEANS = "two classes have the same mean"
REASONS = dict.fromkeys(("cdnv", "cdnv_median", "cdnv_max"), SAME_MEANS) | {
    "of_error": "every class mean is 0",
    "gof_error": "every class mean is 0",
    "uniformity": "two class means lie in one direction",
    "uniformity_variance": "two class means lie in one direction",
}
HIGHER = ("one_vs_rest", "duality_cosine")  # of which more is better

FAMILIES = ("nc1", "law", "nc2", "nc3", "nc4", "vci")
ABSENT = Estimate(NAN, note=Flag.NOT_APPLICABLE.note("not applicable"))
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


@shown
@dataclass(frozen=True)
class NeuralCollapse:
    """Neural-collapse quantities of one layer. Those that do not apply are NaN with a note; see `neural_collapse`."""

    nc1: Estimate = ABSENT
    quotient: Estimate = ABSENT
    cdnv: Estimate = ABSENT
    cdnv_median: Estimate = ABSENT
    cdnv_max: Estimate = ABSENT
    vci: Estimate = ABSENT
    fuzziness: Estimate = ABSENT
    equinorm: Estimate = ABSENT
    equiangularity: Estimate = ABSENT
    cosine_std: Estimate = ABSENT
    etf_error: Estimate = ABSENT
    of_error: Estimate = ABSENT
    gof_error: Estimate = ABSENT
    uniformity: Estimate = ABSENT
    uniformity_variance: Estimate = ABSENT
    one_vs_rest: Estimate = ABSENT
    classifier_equinorm: Estimate = ABSENT
    classifier_etf_error: Estimate = ABSENT
    self_duality: Estimate = ABSENT
    duality_zhu: Estimate = ABSENT
    duality_cosine: Estimate = ABSENT
    duality_variation: Estimate = ABSENT
    bias_collapse: Estimate = ABSENT
    nc4: Estimate = ABSENT
    nc4_mismatch: Estimate = ABSENT
    ncc_accuracy: Estimate = ABSENT
    accuracy: Estimate = ABSENT
    cdnv_grid: Float[Tensor, "c c"] = field(default_factory=lambda: torch.empty(0, 0))
    class_cosines: Float[Tensor, "c c"] = field(default_factory=lambda: torch.empty(0, 0))
    mean_spectrum: Float[Tensor, " r"] = field(default_factory=lambda: torch.empty(0))
    bootstrap: Mapping[str, Float[Tensor, " b"]] = field(default_factory=dict)
    jackknife: Mapping[str, Float[Tensor, " g"]] = field(default_factory=dict)
    classes: tuple[Any, ...] = ()
    counts: tuple[int, ...] = ()
    convention: str = "papyan"
    settings: Mapping[str, Any] = field(default_factory=dict)


@renamed(replicates="bootstrap", null="permutations")
def neural_collapse(
    features: Array,
    labels: Array,
    *,
    weight: Array | None = None,
    bias: Array | None = None,
    logits: Array | None = None,
    convention: str = "papyan",
    families: Collection[str] = FAMILIES,
    reference: Moments | None = None,
    around: str = "own",
    moments: Moments | None = None,
    discriminant: Discriminant | None = None,
    gof_target: Array | None = None,
    kernel: str = "log",
    riesz: float = 1.0,
    ddof: int = 0,
    ignore_index: int | None = -100,
    min_count: int = 1,
    nan_policy: str = "raise",
    bootstrap: int = 100,
    permutations: int = 0,
    level: float = 0.95,
    seed: int = 0,
) -> NeuralCollapse:
    """Neural-collapse statistics of `features` (n, d) under `labels` (n,), with a classifier where there is one.

    With class means m_c, global mean g, Mc = M - g, Sw and Sb the within- and between-class scatter:

    - variability: `nc1` tr(Sw Sb^+)/c; `quotient` tr Sw / tr Sb; `cdnv` mean over pairs of
      (v_i + v_j)/(2 |m_i - m_j|^2), with `cdnv_median`, `cdnv_max` and `cdnv_grid` (c, c); `vci`
      1 - tr(St^+ Sb)/rank(Sb), Sb weighted by class size, in [0, 1]; `fuzziness` tr(Sw Sb^+) in He & Su's form,
      whatever the convention. All 0 at full collapse, unbounded above unless said.
    - geometry of the means, also in `class_cosines` (c, c) and `mean_spectrum`, the singular values of Mc, which are
      equal for a simplex: `equinorm` std/mean of |m_c - g|; `equiangularity` mean |cos + 1/(c-1)| over pairs;
      `cosine_std` std of the cosines; `etf_error` |G/|G| - J/|J||_F of G = Mc Mc', in [0, 2]; `of_error` the same of
      MM' to the identity; `gof_error` the same to diag(`gof_target`), or to its own diagonal; `uniformity` and
      `uniformity_variance`, mean and variance of the pair energy of unit Mc (`kernel`: "log", "distance", "riesz" with
      exponent `riesz`); `one_vs_rest` min_k dist(u_k, conv of the others), of the classifier rows, or of M without one.
    - duality with `weight` W (c, d), `bias` (c,): `self_duality` |W/|W| - Mc/|Mc||_F^2 ("papyan"), in [0, 4], or
      |WMc'/|WMc'| - J/|J||_F ("zhu"; always in `duality_zhu`), in [0, 2]; `duality_cosine` mean cos(w_c, m_c - g) and
      `duality_variation`, their std over mean; `classifier_equinorm` and `classifier_etf_error`, as above of W;
      `bias_collapse` |Wg + b|, in logits.
    - decisions with `logits` (n, classes), or W and b: `nc4` share of samples where the network and the nearest class
      mean agree, `nc4_mismatch` its complement; `ncc_accuracy` of the nearest class mean; `accuracy` of the network.

    `convention` says how Sw, Sb and g are formed:

    - "papyan": Sw over samples, Sb and g over classes, NC1 / c.
    - "zhu": g over samples, else as Papyan; self-duality of Zhu.
    - "he_su": Sb and g weighted by class size, NC1 not divided (separation fuzziness).
    - "galanti": every class weighs the same in Sw, Sb and g, as in his CDNV; he publishes no trace ratio.

    All divide variances by n_c. `settings` in the result stores the choice.

    `families` chooses among "nc1", "nc2", "nc3", "nc4", "vci" and "law" (`fuzziness`, which goes with
    "nc1"). `moments` and `discriminant` are summaries of the
    same samples, if at hand; `moments` may be those of more samples than `features` has: then values are exact over all
    of them, intervals come from the rows that are there, and nulls are scaled to the larger number. `ddof` is that of
    the standard deviation in `equinorm` (Papyan's code: 1).

    `reference` are the `Moments` of the training split: then the nearest-mean rule uses its class means. With
    `around="reference"` they are also the class means of every other quantity, so that Sw is the scatter of these
    samples around the training means (the stronger sense of Hui, Belkin & Nakkiran 2022, arXiv:2202.08384); with "own",
    the default, they are not. `vci` always takes the samples' own.

    `permutations` label permutations give each quantity of the features its median without class structure (`vci` has
    it in closed form). Intervals: bootstrap within classes (`bootstrap`, fewer where the layer is large), Wilson for
    shares, delete-a-group jackknife for `vci`; `level` is their confidence. Samples labelled `ignore_index` are left
    out, classes with fewer than `min_count` samples too, and with `nan_policy="omit"` samples with NaN or infinite
    features; `settings` has their numbers.

    Degenerate cases: classes without samples are left out and counted; with 2 classes the geometry is trivially exact;
    with equal class means NC1 is infinite; with c > d + 1 no simplex frame exists, and `one_vs_rest` is computed, for
    up to 200 classes. Notes say so.

    Raises InputError for one class, wrong lengths or shapes, NaN or infinite features, labels outside the classifier.

    Sources: Papyan, Han & Donoho 2020, doi:10.1073/pnas.2015509117. Zhu et al. 2021, arXiv:2105.02375, eqs. 9-12.
    Galanti, Gyorgy & Hutter 2022, arXiv:2112.15121, def. 1. Xu & Liu 2023, arXiv:2306.03440 (VCI). He & Su 2023,
    doi:10.1073/pnas.2221704120. Dang et al. 2023, arXiv:2301.00437 (orthogonal frames). Liu et al. 2023,
    arXiv:2303.06484 and Jiang et al. 2023, arXiv:2310.05351 (more classes than dimensions). Tirer, Huang & Niles-Weed
    2023, arXiv:2210.16658 (quotient). Wu & Papyan 2024, arXiv:2405.17767 (variation of duality).

    >>> import torch
    >>> from repana import neural_collapse
    >>> points = torch.eye(4).repeat_interleave(5, 0)
    >>> result = neural_collapse(points, torch.arange(4).repeat_interleave(5))
    >>> float(result.nc1), round(float(result.etf_error), 6)
    (0.0, 0.0)
    """
    _check_options(convention, kernel, families, level, permutations, bootstrap)
    given = prepare(
        features, labels, weight, bias, logits, moments,
        ignore_index=ignore_index, min_count=min_count, nan_policy=nan_policy,
    )  # fmt: skip
    x, slot, moments = given.x, given.slot, given.moments
    if len(x) < given.rows:
        discriminant = None
    centres = centres_of(reference, around, given)
    target = None if gof_target is None else per_class(gof_target, "gof_target", len(moments.classes), x.device)
    setting = Setting(formulas.CONVENTIONS[convention], families, given.weight, given.bias, target, kernel, riesz, ddof)

    subset = moments.n != len(x)
    sample = Sample.of(moments, x, slot, centres)
    trace = sample.trace[None]
    geometry = formulas.geometry_of(sample.mean[None], trace, sample.count)
    values = {name: float(value) for name, value in measured([sample], geometry, trace, setting).items()}
    rank = int(values.pop("rank", -1))
    unbiased = {name.removeprefix(UNBIASED): values.pop(name) for name in list(values) if name.startswith(UNBIASED)}
    own = Moments.of(x, given.codes).to(x.device) if subset else moments
    boots = _replicates(given, own, setting, centres, bootstrap, seed)
    nulls = _permuted(given, own, setting, centres, permutations, seed)
    kept = values
    if subset:  # the permuted values are of these rows, and so is what they are compared with
        kept = {name: float(v) for name, v in measure([Sample.of(own, x, slot, centres)], setting).items()}
    notes = _notes(moments, values, setting, rank, given.empty)
    replicas = {name: boots.get(name, []) for name in values}
    widen = _small_classes(moments, level)
    corrected = {} if subset or centres is not None else {k: boots.get(UNBIASED + k, []) for k in unbiased}
    if subset:
        replicas = {name: _centred(found, values[name]) for name, found in replicas.items()}
    scale = _shrinks(moments, len(x))
    found = {
        name: _beside(
            from_replicates(
                value,
                corrected.get(name, replicas[name]),
                n=moments.n,
                level=level,
                bounds=BOUNDS.get(name, (0.0, math.inf)),
                note=notes.get(name, ""),
                unbiased=unbiased[name] if name in corrected else None,
                widen=widen,
            ),
            nulls.get(name, []),
            name,
            level,
            kept[name],
            scale if name in VARIABILITY else 1.0,
        )
        for name, value in values.items()
    }
    found = {name: explained(e, REASONS.get(name, REASON)) for name, e in found.items()}
    deleted: list[float] = []
    if "vci" in families:
        found["vci"], deleted = _vci(x, given.codes, moments, discriminant, bootstrap > 0, permutations, level, seed)
    if "nc4" in families:
        found |= _decisions(given, reference, nulls.get("ncc_accuracy", []), subset, permutations, level, seed)
    return NeuralCollapse(
        **found,
        cdnv_grid=formulas.cdnv_grid(geometry, trace)[0].cpu(),
        class_cosines=formulas.cosines(formulas.centred_gram(geometry, setting.convention))[0].cpu(),
        mean_spectrum=geometry.spectrum[geometry.spectrum > 0].sqrt().flip(0).cpu(),
        bootstrap={name: torch.tensor(replicas[name]) for name in values if boots},
        jackknife={"vci": torch.tensor(deleted)} if deleted else {},
        classes=tuple(given.names[value] if given.names else value for value in moments.classes.tolist()),
        counts=tuple(moments.count.tolist()),
        convention=convention,
        settings={
            **setting.convention._asdict(),
            "convention": convention,
            "variance": "population (ddof 0)",
            "around": around,
            "equinorm_ddof": ddof,
            "kernel": kernel if kernel != "riesz" else f"riesz (s = {riesz:g})",
            "bootstrap": len(boots.get("nc1", next(iter(boots.values()), []))),
            "permutations": max(map(len, nulls.values()), default=0),
            "level": level,
            "seed": seed,
            "ignored": given.ignored,
            "omitted": given.omitted,
            "empty_classes": given.empty,
            "single_sample_classes": int((moments.count == 1).sum()),
        },
    )


def of_layer(
    features: Features,
    labels: Labels,
    moments: Moments,
    discriminant: Discriminant,
    logits: Logits | None,
    classifier: Classifier | None,
    reference: Reference | None,
    *,
    convention: str,
    permutations: int,
    bootstrap: int,
    level: float,
    seed: int,
) -> NeuralCollapse:
    """`neural_collapse` of what was recorded of a layer, with the classifier at its input."""
    weight, bias = (None, None) if classifier is None else (classifier.weight, classifier.bias)
    return neural_collapse(
        features, labels, weight=weight, bias=bias, logits=logits, reference=reference, moments=moments,
        discriminant=discriminant, convention=convention, permutations=permutations, bootstrap=bootstrap, level=level,
        seed=seed,
    )  # fmt: skip


def _check_options(
    convention: str, kernel: str, families: Collection[str], level: float, null: int, replicates: int
) -> None:
    _check.choice(convention, "convention", formulas.CONVENTIONS)
    _check.choice(kernel, "kernel", ("log", "distance", "riesz"))
    for family in families:
        _check.choice(family, "families", FAMILIES)
    _check.level_of(level)
    for name, count in (("null", null), ("replicates", replicates)):
        if count < 0:
            raise _check.negative(name, count)


def _replicates(
    given: Inputs, moments: Moments, setting: Setting, centres: Tensor | None, bootstrap: int, seed: int
) -> dict[str, list[float]]:
    """Every quantity of bootstrap samples drawn within classes."""
    if not bootstrap:
        return {}
    count = affordable(bootstrap, len(given.x), moments.d, len(moments.classes))
    generator = torch.Generator().manual_seed(seed)
    drawn = bootstrapped(given.x, given.slot, moments, count, generator, centres)
    return _by_name(measure(some, setting) for some in batched(drawn, _block(moments)))


def _permuted(
    given: Inputs, moments: Moments, setting: Setting, centres: Tensor | None, permutations: int, seed: int
) -> dict[str, list[float]]:
    """Every quantity under permuted labels. A hull for every class costs so much that few permutations have it."""
    if not permutations:
        return {}
    x, (n, d), c = given.x, given.x.shape, len(moments.classes)
    count = affordable_permutations(permutations, n, d, c)
    setting = replace(setting, unbiased=False)
    total = None
    if d <= WIDEST and centres is None:
        rows = (x.double() - x.double().mean(0)).to(working(x))
        total = (rows.T @ rows).double()
    found: list[dict[str, Tensor]] = []
    for some in permuted(x, given.slot, count, seed):
        for samples in batched(some.samples(total, centres), _block(moments)):
            hulls = sum(map(_length, found)) < FEWEST - 1
            found.append(measure(samples[: FEWEST - 1] if hulls else samples, setting, hulls=hulls))
            if hulls and len(samples) > FEWEST - 1:
                found.append(measure(samples[FEWEST - 1 :], setting, hulls=False))
        if centres is None:
            found.append({"ncc_accuracy": torch.tensor(permuted_accuracies(some), dtype=torch.float64)})
    return _by_name(found)


def _length(values: Mapping[str, Tensor]) -> int:
    return max((len(v) for v in values.values()), default=0)


def _by_name(parts: Iterable[Mapping[str, Tensor]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for part in parts:
        for name, values in part.items():
            found.setdefault(name, []).extend(values.tolist())
    return found


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most so many, in order."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


def _block(moments: Moments) -> int:
    """How many samples are measured at a time."""
    c, d = len(moments.classes), moments.d
    return max(1, BLOCK_BYTES // (8 * c * (3 * d + 8 * c)))


def _small_classes(moments: Moments, level: float) -> float:
    """What an interval of a bootstrap inside classes lacks: sqrt(n_k/(n_k - 1)), and Student's t in place of z."""
    count = moments.count.clamp_min(2).double()
    few = float((count / (count - 1)).mean())
    q = 0.5 + level / 2
    return math.sqrt(few) * float(stats.t.ppf(q, 1 / (few - 1)) / stats.norm.ppf(q))


def _shrinks(moments: Moments, kept: int) -> float:
    """Of a null of the kept rows, for values of all rows: without class structure Sb shrinks as 1/(n - c)."""
    c = len(moments.classes)
    return (moments.n - c) / max(kept - c, 1)


def _beside(e: Estimate, permuted: list[float], name: str, level: float, value: float, scale: float) -> Estimate:
    """With its null and p; the null in the scale of the estimate's number of samples."""
    if not permuted:
        return e
    e = against(e, permuted, better="higher" if name in HIGHER else "lower", level=level, value=value)
    if scale == 1.0:
        return e
    return replace(e, null=e.null * scale, null_low=e.null_low * scale, null_high=e.null_high * scale)


def _decisions(
    given: Inputs,
    reference: Moments | None,
    permuted_shares: list[float],
    subset: bool,
    permutations: int,
    level: float,
    seed: int,
) -> dict[str, Estimate]:
    """What the network says against what the nearest class mean says; the accuracy of the latter without the sample
    that is read, or by the means of the reference.

    Classes without a mean are no candidates, and samples whose nearest mean two classes share are left out.
    """
    x, truth = given.x, given.codes.to(given.x.device)
    moments = (reference or given.moments).to(x.device)
    at = nearest_mean(x, moments.mean)
    tied = equal_means(moments.mean)
    nearest, clear = moments.classes[at], ~tied[at]
    n, decided = len(truth), int(clear.sum())
    note = ""
    if decided < n:
        note = Flag.TIES.note(f"{n - decided} samples left out: their nearest class mean is that of two classes")
    if reference is None:
        place = nearest_mean(x, moments.mean, given.slot, moments.count)
        known = ~tied[place]
        right = (moments.classes[place] == truth)[known]
        found = {"ncc_accuracy": proportion(int(right.sum()), int(known.sum()), level=level, note=note)}
        shares, value = permuted_shares, None
        if subset and permuted_shares:
            own = Moments.of(x, given.codes).to(x.device)
            value = float((nearest_mean(x, own.mean, given.slot, own.count) == given.slot).double().mean())
    else:
        guess, right = nearest[clear], truth[clear]
        orders = permuted_orders(decided, permutations, seed).to(x.device)
        shares, value = [float((guess == right[order]).double().mean()) for order in orders], None
        found = {"ncc_accuracy": proportion(int((guess == right).sum()), decided, level=level, note=note)}
    found["ncc_accuracy"] = against(found["ncc_accuracy"], shares, better="higher", level=level, value=value)
    if given.decision is None:
        return found
    agree = int((given.decision == nearest)[clear].sum())
    return found | {
        "nc4": proportion(agree, decided, level=level, note=note),
        "nc4_mismatch": proportion(decided - agree, decided, level=level, note=note),
        "accuracy": proportion(int((given.decision == truth).sum()), n, level=level),
    }


def _vci(
    x: Tensor,
    codes: Tensor,
    moments: Moments,
    discriminant: Discriminant | None,
    interval: bool,
    permutations: int,
    level: float,
    seed: int,
) -> tuple[Estimate, list[float]]:
    """1 - tr(St^+ Sb)/rank(Sb), by the canonical correlations of features and classes, and its jackknife values."""
    if discriminant is None:
        groups = 20 if interval else 0
        discriminant = Discriminant.of(x, codes, jackknife=groups, permutations=permutations, seed=seed)
    n, c = discriminant.n, len(moments.classes)

    def index(canonical: Tensor) -> Tensor:
        kept = canonical > 1e-12
        return 1 - torch.where(kept, canonical, 0.0).sum(-1) / torch.where(kept.any(-1), kept.sum(-1), torch.nan)

    value = float(index(discriminant.canonical))
    note = ""
    if math.isnan(value):
        note = discriminant.reason or Flag.COINCIDING_MEANS.note("the class means coincide: rank(Sb) = 0")
    elif n - 1 <= discriminant.rank:
        note = Flag.TRIVIAL.note(f"trivial: the features span n - 1 = {n - 1} dimensions, so any labels give 0")
    null = 1 - max(c - 1, discriminant.rank) / (n - 1) if 0 < discriminant.rank < n - 1 else NAN
    deleted = [float(index(part.canonical)) for part in discriminant.deleted]
    e = from_jackknife(value, deleted, n=n, level=level, bounds=(0.0, 1.0), note=note, corrected=False)
    e = replace(e, null=null)
    if discriminant.permuted is not None:
        own = None if discriminant.kept is None else float(index(discriminant.kept.canonical))
        shown = against(e, index(discriminant.permuted.canonical).tolist(), better="lower", level=level, value=own)
        e = shown if own is None else replace(e, p=shown.p, permutations=shown.permutations)
    return e, deleted


def _notes(moments: Moments, values: Mapping[str, float], setting: Setting, rank: int, empty: int) -> dict[str, str]:
    """What a reader must know about a value that is formally right."""
    c, d = len(moments.classes), moments.d
    notes: dict[str, str] = {}
    geometry = ("equinorm", "equiangularity", "cosine_std", "etf_error", "uniformity", "uniformity_variance")
    if c == 2 and (setting.convention.centre == "class" or int(moments.count[0]) == int(moments.count[1])):
        notes |= dict.fromkeys(geometry, Flag.TRIVIAL.note("trivial: any two centred means are a simplex frame"))
    if c > d + 1:
        notes |= dict.fromkeys(
            geometry, Flag.NO_SIMPLEX.note(f"no simplex frame exists for c = {c} > d + 1 = {d + 1}: see one_vs_rest")
        )
    if values.get("nc1") == math.inf:
        notes |= dict.fromkeys(
            ("nc1", "quotient", "fuzziness"), Flag.COINCIDING_MEANS.note("the class means coincide (Sb = 0)")
        )
        notes |= dict.fromkeys(geometry, Flag.COINCIDING_MEANS.note("the class means coincide (Sb = 0)"))
    elif values.get("nc1") is not None:
        if rank < min(c - 1, d):
            text = f"Sb has rank {rank}, below min(c - 1, d) = {min(c - 1, d)}: class means are linearly dependent"
            notes |= dict.fromkeys(("nc1", "fuzziness"), text)
        if math.isnan(values["nc1"]):
            notes |= dict.fromkeys(
                ("nc1", "fuzziness"), Flag.MISSING_INPUT.note("needs the features, or moments with scatter")
            )
    singles = int((moments.count == 1).sum())
    if singles:
        text = f"{singles} class(es) with one sample have no spread"
        for name in ("quotient", "cdnv", "cdnv_median", "cdnv_max"):
            notes.setdefault(name, text)
    if empty:
        for name in (*geometry, "nc1"):
            notes.setdefault(
                name, Flag.MISSING_CLASSES.note(f"{empty} class(es) of the classifier have no samples and are left out")
            )
    return notes


def _centred(replicates: list[float], value: float) -> list[float]:
    """Replicates of a subset, moved onto the value that all samples give: their spread is kept, their bias is not."""
    finite = [r for r in replicates if math.isfinite(r)]
    if not finite or not math.isfinite(value) or value <= 0 or min(finite) <= 0:
        return replicates
    middle = math.fsum(map(math.log, finite)) / len(finite)
    return [value * math.exp(math.log(r) - middle) for r in finite]
