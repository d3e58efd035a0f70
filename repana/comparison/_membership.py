"""Membership attacks: whether forgotten samples can be told from unseen ones by their loss."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from repana._estimate import NAN, Estimate, Flag
from repana.comparison._forgotten_probes import Sets, labels_of_set


def attacks(sets: Sets, nets: Mapping[str, Any], reference: str, level: float) -> tuple[dict[str, Estimate], Estimate]:
    """Membership of forgotten samples, by the loss, against test samples of their classes."""
    reason = "no `test` samples of the forgotten classes, or no logits"
    nothing = Estimate(NAN, note=Flag.MISSING_INPUT.note(reason))
    if "test" not in sets or any(a.logits is None for s in sets.values() for a in s.values()):
        return dict.fromkeys(nets, nothing), nothing
    inside, labels = (
        labels_of_set(sets["forget"]["original"], "forget"),
        labels_of_set(sets["test"]["original"], "test"),
    )
    at = torch.isin(labels, inside.unique()).nonzero()[:, 0]
    if len(at) < 2:
        return dict.fromkeys(nets, nothing), nothing
    parts = {}
    for m in nets:
        scores = [-_losses(sets[s][m].logits, y)[rows] for s, y, rows in (
            ("forget", inside, torch.arange(len(inside))), ("test", labels, at),
        )]  # fmt: skip
        parts[m] = delong(*scores)
    found = {m: _auc(value, error, len(inside) + len(at), level) for m, (value, error, _, _) in parts.items()}
    if reference == "original":
        return found, Estimate(NAN, note=Flag.MISSING_INPUT.note("no retrained network"))
    a, b = parts["unlearned"], parts["retrained"]
    spread = float(((a[2] - b[2]).var() / len(a[2]) + (a[3] - b[3]).var() / len(a[3])).sqrt())
    return found, _auc(a[0] - b[0], spread, len(inside) + len(at), level, -1.0)


def delong(inside: Float[Tensor, " m"], outside: Float[Tensor, " q"]) -> tuple[float, float, Tensor, Tensor]:
    """The area under the ROC curve of scores, its standard error, and the components of both samples."""
    order = torch.cat([inside, outside]).double()
    ranks, own, other = _midranks(order), _midranks(inside.double()), _midranks(outside.double())
    m, q = len(inside), len(outside)
    first = (ranks[:m] - own) / q
    second = 1 - (ranks[m:] - other) / m
    value = float(first.mean())
    error = math.sqrt(float(first.var()) / m + float(second.var()) / q) if min(m, q) > 1 else NAN
    return value, error, first, second


def _midranks(values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    _, codes, counts = torch.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum(0).double() - (counts.double() - 1) / 2)[codes]


def _auc(value: float, error: float, n: int, level: float, least: float = 0.0) -> Estimate:
    from statistics import NormalDist

    half = NormalDist().inv_cdf(0.5 + level / 2) * error
    return Estimate(value, max(value - half, least), min(value + half, 1.0), n, null=0.0 if least < 0 else 0.5)


def _losses(logits: Any, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits.double().cpu(), labels, reduction="none")
