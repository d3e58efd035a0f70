"""Neural collapse of one sample of the data: what class means, class scatter and the classifier determine."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from repana._estimate import NAN
from repana.collapse import _formulas as formulas
from repana.summaries.resampling import Sample, withins

UNBIASED = "unbiased "  # before the names of quantities from unbiased parts
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
    unbiased: bool = True  # variability from unbiased parts as well


def measure(samples: Sequence[Sample], setting: Setting, *, hulls: bool = True) -> dict[str, Float[Tensor, " b"]]:
    """Every quantity that class means, class scatter and the classifier determine, for each of several samples of the
    same classes. Without `hulls` the one-vs-rest distance, an optimisation a class, is left out.
    """
    count = samples[0].count
    mean, trace = torch.stack([s.mean for s in samples]), torch.stack([s.trace for s in samples])
    return measured(samples, formulas.geometry_of(mean, trace, count), trace, setting, hulls=hulls)


def measured(
    samples: Sequence[Sample],
    geometry: formulas.Geometry,
    trace: Float[Tensor, "b c"],
    setting: Setting,
    *,
    hulls: bool = True,
) -> dict[str, Float[Tensor, " b"]]:
    """`measure`, where the geometry is known."""
    values: dict[str, Tensor] = {}
    how, count = setting.convention, geometry.count
    if "nc1" in setting.families:
        law, with_law = formulas.CONVENTIONS["he_su"], "law" in setting.families
        within = withins(samples, geometry.basis, formulas.class_weights(count, how.within))
        pooled = within
        if with_law and how.within != law.within and int(count.min()) != int(count.max()):
            pooled = withins(samples, geometry.basis, formulas.class_weights(count, law.within))
        between = formulas.between_trace(geometry, how)
        spread = formulas.within_trace(trace, count, how)
        pairs = formulas.off_diagonal(formulas.cdnv_grid(geometry, trace))
        values |= {
            "nc1": formulas.trace_ratio(geometry, within, how),
            "quotient": torch.where(between > 0, spread / between, math.inf),
            "cdnv": pairs.mean(-1),
            "cdnv_median": _median(pairs),
            "cdnv_max": pairs.amax(-1),
            "rank": geometry.rank.double(),
        }
        if with_law:
            values["fuzziness"] = formulas.trace_ratio(geometry, pooled, law)
        if setting.unbiased:
            values |= {f"{UNBIASED}{name}": v for name, v in _unbiased(geometry, trace, within, how).items()}
            if with_law:
                values[f"{UNBIASED}fuzziness"] = _unbiased(geometry, trace, pooled, law)["nc1"]
    if "nc2" in setting.families:
        values |= _geometry(geometry, setting, hulls=hulls)
    if "nc3" in setting.families and setting.weight is not None:
        values |= _duality(geometry, setting, setting.weight, hulls=hulls)
    return {name: value.expand(len(samples)).cpu() for name, value in values.items()}


def _unbiased(
    geometry: formulas.Geometry, trace: Float[Tensor, "b c"], within: Float[Tensor, "b r r"], how: formulas.Convention
) -> dict[str, Float[Tensor, " b"]]:
    """Variability from unbiased parts: covariances with n_k - 1, and distances of means less what the error of means
    adds to them, v_i/n_i + v_j/n_j. NaN where less than nothing is left, or a class has one sample.
    """
    count = geometry.count.double()
    variance = trace / (count - 1)
    error = variance / count  # of each mean, squared
    w, p = (formulas.class_weights(geometry.count, kind) for kind in (how.between, how.centre))
    moved = w * (1 - 2 * p) + p.square() * w.sum()  # of the error of a mean, what tr Sb has
    spread = variance @ formulas.class_weights(geometry.count, how.within)
    between = formulas.between_trace(geometry, how) - error @ moved
    distance = formulas.squared_distances(geometry) - error[:, :, None] - error[:, None, :]
    pairs = formulas.off_diagonal((variance[:, :, None] + variance[:, None, :]) / (2 * distance))
    pairs = torch.where(formulas.off_diagonal(distance) > 0, pairs, NAN)
    share = float((count / (count - 1)).mean())  # of pooled scatter with n - 1
    pooled = within * share
    less = pooled * float((moved / count).sum())
    ratio = formulas.trace_ratio(geometry, pooled, how, less=less)
    return {
        "nc1": torch.where(ratio > 0, ratio, NAN),
        "quotient": torch.where(between > 0, spread / between, NAN),
        "cdnv": pairs.mean(-1),
        "cdnv_median": _median(pairs),
    }


def _geometry(geometry: formulas.Geometry, setting: Setting, *, hulls: bool) -> dict[str, Tensor]:
    c, d = geometry.mean.shape[-2:]
    raw = formulas.raw_gram(geometry)
    values = frame_values(formulas.centred_gram(geometry, setting.convention), setting) | {
        "of_error": formulas.gram_distance(raw, torch.eye(c, dtype=raw.dtype, device=raw.device)),
        "gof_error": formulas.orthogonality_error(raw, setting.gof_target),
    }
    if hulls and d + 1 < c <= WIDEST_HULL and setting.weight is None:
        values["one_vs_rest"] = torch.tensor([formulas.one_vs_rest(mean) for mean in geometry.mean])
    return values


def frame_values(gram: Float[Tensor, "b c c"], setting: Setting) -> dict[str, Float[Tensor, " b"]]:
    """How near centred means with this Gram matrix are to a simplex frame."""
    c = gram.shape[-1]
    norms = gram.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()
    cosines = formulas.off_diagonal(formulas.cosines(gram))
    energy, variance = formulas.uniformity(cosines, setting.kernel, setting.riesz)
    middle = norms.mean(-1)
    return {
        "equinorm": torch.where(middle > 0, norms.std(-1, correction=setting.ddof) / middle, NAN),
        "equiangularity": (cosines + 1 / (c - 1)).abs().mean(-1),
        "cosine_std": cosines.std(-1, correction=0),
        "etf_error": formulas.gram_distance(gram, formulas.simplex(c, gram)),
        "uniformity": energy,
        "uniformity_variance": variance,
    }


def _duality(geometry: formulas.Geometry, setting: Setting, weight: Tensor, *, hulls: bool) -> dict[str, Tensor]:
    g = formulas.global_mean(geometry.mean, geometry.count, setting.convention)
    centred, c = geometry.mean - g[..., None, :], geometry.mean.shape[-2]
    simplex = formulas.simplex(c, centred)
    cosines = formulas.row_cosines(centred, weight)
    zhu = formulas.gram_distance(weight @ centred.mT, simplex)
    papyan = formulas.self_duality(centred, weight)
    values = {
        "classifier_equinorm": formulas.coefficient_of_variation(weight.norm(dim=1)),
        "classifier_etf_error": formulas.gram_distance(weight @ weight.T, simplex),
        "self_duality": zhu if setting.convention.duality == "zhu" else papyan,
        "duality_zhu": zhu,
        "duality_cosine": cosines.mean(-1),
        "duality_variation": formulas.coefficient_of_variation(cosines),
    }
    if hulls and c > centred.shape[-1] + 1 and c <= WIDEST_HULL:
        values["one_vs_rest"] = torch.tensor(formulas.one_vs_rest(weight))
    if setting.bias is not None:
        values["bias_collapse"] = (g @ weight.T + setting.bias).norm(dim=-1)
    return values


def _median(values: Float[Tensor, "*b p"]) -> Float[Tensor, "*b"]:
    """The mean of the two middle values of an even number; infinite where those are."""
    p = values.shape[-1]
    upper = values.kthvalue(p // 2 + 1, -1).values
    return upper if p % 2 else (values.kthvalue(p // 2, -1).values + upper) / 2
