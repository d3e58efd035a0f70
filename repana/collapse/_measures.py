"""Neural collapse of one sample of the data: what class means, class scatter and the classifier determine."""

import math
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from repana._estimate import NAN
from repana.collapse import _formulas as formulas
from repana.summaries.resampling import Sample

WIDEST_HULL = 200  # classes for which the one-vs-rest distance is computed


@dataclass(frozen=True)
class Setting:
    """What the formulas need beside a sample."""

    convention: formulas.Convention
    families: Collection[str]
    weight: Tensor | None
    bias: Tensor | None
    gof_target: Tensor | None
    kernel: str
    riesz: float
    ddof: int


def measure(sample: Sample, setting: Setting, geometry: formulas.Geometry | None = None) -> dict[str, float]:
    """Every quantity that class means, class scatter and the classifier determine."""
    values: dict[str, float] = {}
    how, count = setting.convention, sample.count
    if geometry is None:
        geometry = formulas.geometry_of(sample.mean, sample.trace, count)
    if "nc1" in setting.families:
        law, wanted = formulas.CONVENTIONS["he_su"], "law" in setting.families
        basis = geometry.basis
        plain = how.centre == how.between == "class" and not wanted  # Sb is diagonal along the basis
        within = sample.within(basis, formulas.class_weights(count, how.within), diagonal=plain)
        pooled = within
        if wanted and how.within != law.within and int(count.min()) != int(count.max()):
            pooled = sample.within(basis, formulas.class_weights(count, law.within))
        between = formulas.between_trace(geometry, how)
        spread = formulas.within_trace(sample.trace, count, how)
        pairs = formulas.off_diagonal(formulas.cdnv_grid(geometry, sample.trace))
        values |= {
            "nc1": formulas.trace_ratio(geometry, within, how),
            "quotient": spread / between if between > 0 else math.inf,
            "cdnv": float(pairs.mean()),
            "cdnv_median": _median(pairs),
            "cdnv_max": float(pairs.max()),
            "rank": float(len(geometry.spectrum)),
        }
        if wanted:
            values["fuzziness"] = formulas.trace_ratio(geometry, pooled, law)
    if "nc2" in setting.families:
        values |= _geometry(geometry, setting)
    if "nc3" in setting.families and setting.weight is not None:
        values |= _duality(geometry, setting, setting.weight)
    return values


def _geometry(geometry: formulas.Geometry, setting: Setting) -> dict[str, float]:
    c, d = geometry.mean.shape
    gram, raw = formulas.centred_gram(geometry, setting.convention), formulas.raw_gram(geometry)
    norms = gram.diagonal().clamp_min(0).sqrt()
    cosines = formulas.off_diagonal(formulas.cosines(gram))
    energy, variance = formulas.uniformity(cosines, setting.kernel, setting.riesz)
    spread = float(norms.std(correction=setting.ddof) / norms.mean()) if float(norms.mean()) > 0 else NAN
    values = {
        "equinorm": spread,
        "equiangularity": float((cosines + 1 / (c - 1)).abs().mean()),
        "cosine_std": float(cosines.std(correction=0)),
        "etf_error": formulas.gram_distance(gram, formulas.simplex(c, gram)),
        "of_error": formulas.gram_distance(raw, torch.eye(c, dtype=raw.dtype, device=raw.device)),
        "gof_error": formulas.orthogonality_error(raw, setting.gof_target),
        "uniformity": energy,
        "uniformity_variance": variance,
    }
    if d + 1 < c <= WIDEST_HULL and setting.weight is None:
        values["one_vs_rest"] = formulas.one_vs_rest(geometry.mean)
    return values


def _duality(geometry: formulas.Geometry, setting: Setting, weight: Tensor) -> dict[str, float]:
    g = formulas.global_mean(geometry.mean, geometry.count, setting.convention)
    centred, c = geometry.mean - g, len(geometry.mean)
    simplex = formulas.simplex(c, centred)
    cosines = formulas.row_cosines(centred, weight)
    zhu = formulas.gram_distance(weight @ centred.T, simplex)
    papyan = formulas.self_duality(centred, weight)
    values = {
        "classifier_equinorm": formulas.coefficient_of_variation(weight.norm(dim=1)),
        "classifier_etf_error": formulas.gram_distance(weight @ weight.T, simplex),
        "self_duality": zhu if setting.convention.duality == "zhu" else papyan,
        "duality_zhu": zhu,
        "duality_cosine": float(cosines.mean()),
        "duality_variation": formulas.coefficient_of_variation(cosines),
    }
    if c > centred.shape[1] + 1 and c <= WIDEST_HULL:
        values["one_vs_rest"] = formulas.one_vs_rest(weight)
    if setting.bias is not None:
        values["bias_collapse"] = float((weight @ g + setting.bias).norm())
    return values


def _median(values: Tensor) -> float:
    """The mean of the two middle values of an even number; infinite where those are."""
    ordered = values.sort().values
    middle = len(ordered) // 2
    return float(ordered[middle]) if len(ordered) % 2 else float(ordered[middle - 1] + ordered[middle]) / 2
