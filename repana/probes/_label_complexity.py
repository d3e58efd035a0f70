"""How complex the labels are: the part of their entropy that each layer makes usable."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repana import _check
from repana._estimate import Estimate, shown
from repana._typing import INPUT, LabelArray
from repana.probes._information import usable_information
from repana.statistics.intervals import columns


@shown
@dataclass(frozen=True)
class LabelComplexity:
    """Usable bits of the labels by layer; see `label_complexity`."""

    complexity: Estimate
    hidden: Estimate
    bits: Float[Tensor, "l three"]
    share: Float[Tensor, " l"]
    onset: int
    pointwise: Float[Tensor, "l n"]
    hardest: Int[Tensor, " h"]
    layers: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


def label_complexity(
    layers: Any, labels: LabelArray, *, threshold: float = 0.5, hardest: int = 10, level: float = 0.95,
    seed: int = 0, **options: Any,
) -> LabelComplexity:  # fmt: skip
    """The complexity of a categorical feature: K = 1 - mean over layers of I_V(layer -> y)/H_V(y), softmax probes.

    For each layer of `layers` (as in `complexity`), `usable_information` by cross-fitted softmax regression, in bits.

    - `bits` (l, 3): value, low, high; below 0 where the probe overfits. `share` (l,) = max(0, bits)/H_V(y).
    - `complexity`, `hidden` (without the layer "input"): 1 - mean share. Intervals from the layers' pointwise
      information, averaged over layers by row: rows inside classes are independent.
    - `onset`: place of the first layer whose share is at least `threshold`; -1 for none.
    - `pointwise` (l, n): log2 p(y|x) - log2 p(y) of every row; `hardest`: the rows with the least mean over layers.

    `options` are those of `usable_information`. Raises what it raises, and for an empty mapping.

    Sources: Fel et al. 2024, arXiv:2407.06076; Xu et al. 2020, arXiv:2002.10689; Ethayarajh, Choi & Swayamdipta 2022,
    arXiv:2110.08420.

    >>> import torch
    >>> from repana import label_complexity
    >>> x = torch.arange(400.0)[:, None]
    >>> float(label_complexity({"a": 0 * x + torch.randn(400, 1), "b": x}, x[:, 0] >= 200).complexity) > 0.4
    True
    """
    _check.in_range(threshold, "threshold", 0.0, 1.0)
    names = _check.layers_of(layers, "label_complexity")
    found = [usable_information(layers[name], labels, level=level, seed=seed, **options) for name in names]
    bits = columns([u.bits for u in found])
    pointwise = torch.stack([u.pointwise.cpu().double() for u in found])
    known = torch.isfinite(pointwise).all(0)
    base = float((bits[0, 0] / found[0].share.value) if found[0].share.value else _entropy(labels))
    share = bits[:, 0].clamp_min(0) / base
    inner = [k for k, name in enumerate(names) if name != INPUT] or list(range(len(names)))
    onset = (share >= threshold).nonzero()[:, 0].tolist()
    mean = torch.where(known, pointwise.mean(0), torch.inf)
    return LabelComplexity(
        complexity=_complexity(share, pointwise[:, known], base, level),
        hidden=_complexity(share[inner], pointwise[inner][:, known], base, level),
        bits=bits,
        share=share,
        onset=onset[0] if onset else -1,
        pointwise=pointwise,
        hardest=mean.argsort()[: min(hardest, int(known.sum()))],
        layers=tuple(names),
        settings={"threshold": threshold, "entropy": base, "level": level, "seed": seed},
    )


def _complexity(share: Tensor, pointwise: Float[Tensor, "l n"], base: float, level: float) -> Estimate:
    from statistics import NormalDist

    n = pointwise.shape[1]
    value = 1 - float(share.mean())
    wide = NormalDist().inv_cdf(0.5 + level / 2) * float((pointwise.mean(0) / base).std()) / n**0.5
    return Estimate(value, max(value - wide, 0.0), min(value + wide, 1.0), n)


def _entropy(labels: Any) -> float:
    codes = _check.labels_of(labels, len(labels))[0]
    p = torch.bincount(torch.unique(codes[codes >= 0], return_inverse=True)[1]).double()
    p = p / p.sum()
    return -float((p * p.log2()).sum())
