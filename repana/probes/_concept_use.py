"""Whether the network uses what a probe finds: the derivative of its output along the probe's direction."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from repana import _check
from repana._results import NAN, Estimate, as_table
from repana.probes import _refusals
from repana.probes._protocol import Probe
from repana.statistics.intervals import proportion

BATCH = 64
RANDOM = 99


@dataclass(frozen=True)
class ConceptUse:
    """What a probe finds and whether the network uses it, side by side; see `concept_use`."""

    found: Estimate
    tcav: Estimate
    sensitivity: Estimate
    p_value: Estimate
    derivatives: Float[Tensor, " n"]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        return as_table(self)


def concept_use(
    model: nn.Module,
    inputs: Any,
    layer: str,
    probe: Probe,
    concept: str | int,
    target: int,
    *,
    random: int = RANDOM,
    level: float = 0.95,
    seed: int = 0,
) -> ConceptUse:
    """How an output changes when a layer moves along the direction in which a probe reads a concept.

    The direction v is the probe's weight of `concept` (a name or column of `probe.classes`) less the mean of its other
    weights, in units of the features as they came, of length 1; for features that are a mean over positions, every
    position moves along v. For each input, the derivative of output `target` of the model along v at `layer`, from
    captum's `LayerGradientXActivation(multiply_by_inputs=False)`.

    - `found`: the probe's recall of the concept on its report rows.
    - `tcav`: share of inputs with a positive derivative, Wilson's interval. Behind the layer all is linear, as in front
      of the logits, and every input has the same derivative: the share is 0 or 1 then, for any direction.
    - `sensitivity`: mean cosine of the gradient with v, in [-1, 1]. Its null, and that of `tcav`, is the range over
      `random` random directions; `p_value` is (1 + #{random cosines at least as far from 0})/(1 + random). A concept is
      found but not used where `found` is high and `sensitivity` inside its null.

    The model is run in eval mode, which is restored, as are the gradients of its parameters.

    Raises InputError for a probe without weights or of another width, or an unknown concept, and ModelError for a layer
    that is no module of the model.

    Sources: Kim et al. 2018, arXiv:1711.11279 (TCAV); Kokhlikyan et al. 2020, arXiv:2009.07896 (captum).
    """
    from captum.attr import LayerGradientXActivation

    _check.level_of(level)
    _check.at_least(random, "random", 1)
    x = _inputs(inputs, next(model.parameters(), None))
    address, _, side = layer.partition(":")
    modules = dict(model.named_modules())
    if address not in modules or side not in ("", "in"):
        raise _refusals.no_module(layer, list(modules))
    if probe.weight is None:
        raise _refusals.no_weights(str(probe.settings.get("probe")))
    column = _refusals.class_of(concept, probe.classes)
    others = [k for k in range(len(probe.classes)) if k != column]
    v = probe.weight[:, column] - probe.weight[:, others].mean(1)
    v = v / v.norm()
    training = [m for m in model.modules() if m.training]
    kept = [(p, p.grad) for p in model.parameters()]
    model.eval()
    try:
        with torch.no_grad():
            out = model(x[:1])
        columns = out.shape[-1] if isinstance(out, Tensor) and out.ndim == 2 else 0
        _check.output_of(target, columns)
        attribution = LayerGradientXActivation(model, modules[address], multiply_by_inputs=False)
        parts = []
        for start in range(0, len(x), BATCH):
            with torch.enable_grad():
                found = attribution.attribute(
                    x[start : start + BATCH].detach(), target=target, attribute_to_layer_input=side == "in"
                )
            first = found[0] if isinstance(found, (tuple, list)) else found
            assert isinstance(first, Tensor)
            parts.append(_pooled(first.detach(), len(v), layer).double().cpu())
    finally:
        for m in training:
            m.training = True
        for p, grad in kept:
            p.grad = grad
    gradient = torch.cat(parts)
    generator = torch.Generator().manual_seed(seed)
    chance = torch.randn(len(v), random, generator=generator, dtype=torch.float64)
    chance = chance / chance.norm(dim=0)
    along = gradient @ torch.cat([v.cpu()[:, None], chance], 1)
    share = (along[:, 1:] > 0).double().mean(0)
    cosines = along / gradient.norm(dim=1, keepdim=True).clamp_min(1e-300)
    cosine, others = cosines[:, 0], cosines[:, 1:].mean(0)
    p = (1 + int((others.abs() >= cosine.mean().abs()).sum())) / (1 + random)
    error = float(cosine.std()) / len(x) ** 0.5 if len(x) > 1 else NAN
    z = NormalDist().inv_cdf(0.5 + level / 2)
    mean = float(cosine.mean())
    tcav = proportion(int((along[:, 0] > 0).sum()), len(x), level=level)
    hits, n = int(probe.confusion[column, column]), int(probe.counts[column])
    return ConceptUse(
        found=proportion(hits, n, level=level),
        tcav=replace(tcav, null=float(share.median()), null_low=float(share.min()), null_high=float(share.max())),
        sensitivity=Estimate(
            mean,
            max(mean - z * error, -1.0) if len(x) > 1 else NAN,
            min(mean + z * error, 1.0) if len(x) > 1 else NAN,
            len(x),
            "" if len(x) > 1 else "one input",
            null=float(others.median()),
            null_low=float(others.min()),
            null_high=float(others.max()),
        ),
        p_value=Estimate(p, n=len(x)),
        derivatives=along[:, 0],
        settings={
            "layer": layer,
            "concept": probe.classes[column],
            "target": target,
            "random": random,
            "level": level,
            "seed": seed,
        },
    )


def _inputs(inputs: Any, known: Tensor | None) -> Tensor:
    """A batch on the model's device, in its precision."""
    if not isinstance(inputs, (Tensor, np.ndarray, list, tuple)) or not len(inputs):
        raise _refusals.inputs_not_understood(type(inputs).__name__)
    x = inputs if isinstance(inputs, Tensor) else torch.as_tensor(np.asarray(inputs))
    if known is None:
        return x
    return x.to(known.device, known.dtype if x.is_floating_point() else x.dtype)


def _pooled(gradient: Tensor, d: int, layer: str) -> Tensor:
    """Derivatives along features: of all positions together where the features are their mean."""
    n = len(gradient)
    if gradient.ndim == 2 and gradient.shape[1] == d:
        return gradient
    if gradient.ndim == 3 and gradient.shape[2] == d:
        return gradient.sum(1)
    if gradient.ndim >= 3 and gradient.shape[1] == d:
        return gradient.flatten(2).sum(2)
    if gradient[0].numel() == d:
        return gradient.reshape(n, d)
    raise _refusals.probe_width(layer, tuple(gradient.shape), d)
