"""Whether the network uses what a probe finds: the derivative of its output along the probe's direction."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from repana import _check
from repana._ambient import settled
from repana._estimate import NAN, Estimate, Flag, shown
from repana._renamed import renamed
from repana.extraction._attribution import along_features, derivatives, reading, target_of
from repana.extraction._batches import Forward
from repana.probes import _refusals
from repana.probes._protocol import Probe
from repana.statistics.intervals import proportion

BATCH = 64
PERMUTATIONS = 99


@shown
@dataclass(frozen=True)
class ConceptUse:
    """What a probe finds and whether the network uses it, side by side; see `concept_use`."""

    found: Estimate
    tcav: Estimate
    sensitivity: Estimate
    p_value: Estimate
    derivatives: Float[Tensor, " n"]
    settings: Mapping[str, Any] = field(default_factory=dict)


@renamed(inputs="data", random="permutations")
@settled()
def concept_use(
    model: nn.Module,
    data: Any,
    layer: str,
    probe: Probe,
    concept: str | int,
    target: int | str,
    *,
    position: int | str = "last",
    pool: str | Mapping[str, str] = "auto",
    device: torch.device | str | None = None,
    forward: Forward | None = None,
    labels: Any = None,
    mask: Any = None,
    layout: str | Mapping[str, str] | None = None,
    batch_size: int = 64,
    permutations: int = PERMUTATIONS,
    level: float = 0.95,
    seed: int = 0,
) -> ConceptUse:
    """How an output changes when a layer moves along the direction in which a probe reads a concept.

    The direction v is the probe's weight of `concept` (a name or column of `probe.classes`) less the mean of its other
    weights, in units of the features as they came, of length 1. For each sample, the derivative of the logit of column
    `target` (or "predicted", "label", "loss"; of a language model at `position`, as in `importance`) as the features
    move along v: for features that are a mean over positions, every position that the mean takes moves along v; for
    those of one token, that token. `data`, `layer` and the other options are as `record` takes them, and should be
    those with which the probe's features were recorded.

    - `found`: the probe's recall of the concept on its test samples.
    - `tcav`: share of inputs with a positive derivative, Wilson's interval. Behind the layer all is linear, as in front
      of the logits, and every input has the same derivative: the share is 0 or 1 then, for any direction.
    - `sensitivity`: mean cosine of the gradient with v, in [-1, 1]. Its null, and that of `tcav`, is the range over
      `permutations` random directions; `p_value` is (1 + #{random cosines at least as far from 0})/(1 + random). A
      concept is found but not used where `found` is high and `sensitivity` inside its null.

    The model is left as it was, also after an error: hooks, mode, gradients of its parameters.

    Raises InputError for a probe without weights or of another width, or an unknown concept, and ModelError for a layer
    that is not in the model, that no derivative reaches, or whose pooling ("max", "tokens", "grid") has no direction.

    Source: Kim et al. 2018, arXiv:1711.11279 (TCAV).
    """
    _check.level_of(level)
    _check.at_least(permutations, "permutations", 1)
    target = target_of(target)
    if probe.weight is None:
        raise _refusals.no_weights(str(probe.settings.get("probe")))
    column = _refusals.class_of(concept, probe.classes)
    others = [k for k in range(len(probe.classes)) if k != column]
    v = probe.weight[:, column] - probe.weight[:, others].mean(1)
    v = v / v.norm()
    parts = []
    options: dict[str, Any] = {"pool": pool, "device": device, "forward": forward, "labels": labels, "mask": mask}
    options |= {"layout": layout, "batch_size": batch_size, "target": target, "position": position, "tokens": True}
    with reading(model, data, [layer], **options) as (reader, batches):
        planned = reader.only(layer)
        if planned.width != len(v):
            raise _refusals.probe_width(layer, planned.shape, len(v))
        for batch in batches:
            tensors, logits = reader.values(batch)
            chosen = logits.gather(1, reader.columns(logits, batch)[:, None])
            (slope,) = derivatives(chosen.sum(), [tensors[planned.address]], [planned.address])
            parts.append(along_features(planned, slope.detach(), batch).double().cpu())
    gradient = torch.cat(parts)
    n = len(gradient)
    generator = torch.Generator().manual_seed(seed)
    chance = torch.randn(len(v), permutations, generator=generator, dtype=torch.float64)
    chance = chance / chance.norm(dim=0)
    along = gradient @ torch.cat([v.cpu()[:, None], chance], 1)
    share = (along[:, 1:] > 0).double().mean(0)
    cosines = along / gradient.norm(dim=1, keepdim=True).clamp_min(1e-300)
    cosine, others = cosines[:, 0], cosines[:, 1:].mean(0)
    p = (1 + int((others.abs() >= cosine.mean().abs()).sum())) / (1 + permutations)
    error = float(cosine.std()) / n**0.5 if n > 1 else NAN
    z = NormalDist().inv_cdf(0.5 + level / 2)
    mean = float(cosine.mean())
    tcav = proportion(int((along[:, 0] > 0).sum()), n, level=level)
    hits, rows = int(probe.confusion[column, column]), int(probe.counts[column])
    return ConceptUse(
        found=proportion(hits, rows, level=level),
        tcav=replace(tcav, null=float(share.median()), null_low=float(share.min()), null_high=float(share.max())),
        sensitivity=Estimate(
            mean,
            max(mean - z * error, -1.0) if n > 1 else NAN,
            min(mean + z * error, 1.0) if n > 1 else NAN,
            n,
            "" if n > 1 else Flag.NO_INTERVAL.note("one sample"),
            null=float(others.median()),
            null_low=float(others.min()),
            null_high=float(others.max()),
        ),
        p_value=Estimate(p, n=n),
        derivatives=along[:, 0],
        settings={
            "layer": layer,
            "concept": probe.classes[column],
            "target": target,
            "position": position,
            "permutations": permutations,
            "level": level,
            "seed": seed,
        },
    )
