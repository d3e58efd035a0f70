"""Neural collapse: how far class features have shrunk to their means, and the means and classifier to a frame."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from repana import _check
from repana._activations import Classifier
from repana._estimate import NAN, Estimate, Flag, shown
from repana._measure import Logits, Reference
from repana._renamed import renamed
from repana._typing import Array, FeatureArray, Features, LabelArray, Labels
from repana.collapse import _formulas as formulas
from repana.collapse._decisions import decisions
from repana.collapse._estimates import estimates_of
from repana.collapse._inputs import centres_of, per_class, prepare
from repana.collapse._measures import Setting
from repana.collapse._vci import vci
from repana.summaries.discriminant import Discriminant
from repana.summaries.moments import Moments

FAMILIES = ("nc1", "law", "nc2", "nc3", "nc4", "vci")
ABSENT = Estimate(NAN, note=Flag.NOT_APPLICABLE.note("not applicable"))


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
    features: FeatureArray,
    labels: LabelArray,
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

    `permutations` label permutations give each quantity of the features its median with shuffled labels (`vci` has
    it in closed form). Errors of class means keep distances from a simplex frame above 0 (`equinorm`, `equiangularity`,
    `cosine_std`, `etf_error`, `uniformity_variance`): their `floor` is the median of what an exact frame gives with the
    same scatter and counts, over bootstrap samples, and `floor_high` the end of its range. Intervals: bootstrap within
    classes (`bootstrap`, fewer where the layer is large), Wilson for shares, delete-a-group jackknife for `vci`;
    `level` is their confidence. Samples labelled `ignore_index` are left out, classes with fewer than `min_count`
    samples too, and with `nan_policy="omit"` samples with NaN or infinite features; `settings` has their numbers.

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
    moments = given.moments
    centres = centres_of(reference, around, given)
    target = None if gof_target is None else per_class(gof_target, "gof_target", len(moments.classes), given.x.device)
    setting = Setting(formulas.CONVENTIONS[convention], families, given.weight, given.bias, target, kernel, riesz, ddof)
    estimates = estimates_of(
        given, setting, centres, bootstrap=bootstrap, permutations=permutations, level=level, seed=seed
    )
    found, deleted, geometry = dict(estimates.found), [], estimates.geometry
    if "vci" in families:
        whole = discriminant if len(given.x) == given.rows else None
        found["vci"], deleted = vci(given.x, given.codes, moments, whole, bootstrap > 0, permutations, level, seed)
    if "nc4" in families:
        shares = estimates.permuted.get("ncc_accuracy", [])
        found |= decisions(given, reference, shares, permutations, level, seed)
    return NeuralCollapse(
        **found,
        cdnv_grid=formulas.cdnv_grid(geometry, estimates.trace)[0].cpu(),
        class_cosines=formulas.cosines(formulas.centred_gram(geometry, setting.convention))[0].cpu(),
        mean_spectrum=geometry.spectrum[geometry.spectrum > 0].sqrt().flip(0).cpu(),
        bootstrap={name: torch.tensor(values) for name, values in estimates.replicates.items()},
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
            "bootstrap": max(map(len, estimates.replicates.values()), default=0),
            "permutations": max(map(len, estimates.permuted.values()), default=0),
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
